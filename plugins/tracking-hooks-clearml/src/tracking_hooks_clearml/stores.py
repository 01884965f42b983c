"""Where a task is kept: in a folder that ``Task.import_offline_session`` takes, or on a server."""

import json
import os
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from clearml import StorageManager
from clearml.backend_api.session.client import StrictSession
from clearml.backend_api.session.session import LoginError
from clearml.backend_interface.util import get_or_create_project

from tracking_hooks import Rejected, Run, Unavailable
from tracking_hooks.events import Destination, State

Fields: TypeAlias = dict[str, Any]
"""What ClearML's interface has as an object."""

Changes: TypeAlias = defaultdict[str, list[Fields]]
"""What a flush changes of a task: ``params``, ``files``, ``models`` and ``status``."""


def key(event: Fields) -> tuple[Any, ...]:
    """Return what tells an event from others."""
    return tuple(event.get(name) for name in ("type", "timestamp", "msg", "metric", "variant", "iter"))


class Offline:
    """A session in a folder, in the format of ClearML's client."""

    def __init__(self, destination: Destination, run: Run, _state: State) -> None:
        """Read which events are there, and cut off the line in which a process died."""
        self.id, self._folder = f"offline-{run.uid}", Path(destination["folder"], f"offline-{run.uid}")
        self._task, self._events = self._folder / "task.json", self._folder / "metrics.jsonl"
        self.url, self.exists = self._folder.as_uri(), self._task.exists()
        lines, end, _torn = (self._events.read_bytes() if self._events.exists() else b"").rpartition(b"\n")
        if self._events.exists():
            os.truncate(self._events, len(lines + end))
        self.known = {key(event) for line in lines.splitlines() for event in json.loads(line)}

    def create(self, task: Fields) -> None:
        """Make the session."""
        self._folder.mkdir(parents=True, exist_ok=True)
        more = {"offline_folder": str(self._folder), "offline_output_models": [], "output": {}}
        self._replace({"id": self.id, "execution": {"artifacts": []}, "hyperparams": {}, **task, **more})

    def upload(self, path: Path, place: str) -> str:
        """Copy a file into the session."""
        target = self._folder / "data" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, new := target.with_name("new"))
        return str(new.replace(target))

    def send(self, events: list[Fields]) -> None:
        """Append events."""
        _write(self._events, "a", json.dumps(events) + "\n")

    def write(self, changes: Changes) -> None:
        """Put a changed task in the place of the old one. A session has no models: the weights are files."""
        task = json.loads(self._task.read_text())
        for param in changes["params"]:
            task["hyperparams"].setdefault(param["section"], {})[param["name"]] = param
        named = {file["key"]: file for file in [*task["execution"]["artifacts"], *changes["files"], *changes["models"]]}
        task["execution"]["artifacts"] = [named[name] for name in sorted(named)]
        for status in changes["status"]:
            task |= status
        self._replace(task)

    def _replace(self, task: Fields) -> None:
        _write(new := self._task.with_suffix(".new"), "w", json.dumps(task, sort_keys=True))
        new.replace(self._task)


def _write(path: Path, mode: str, text: str) -> None:
    with path.open(mode) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


class Server:
    """A task on a server, written by requests that may be repeated and are answered before ``flush`` returns."""

    def __init__(self, destination: Destination, run: Run, state: State) -> None:
        """Log in, and look for the task."""
        where = {"config_file": destination["config"], "host": destination["host"] or None}
        self._session, self._name = StrictSession(**where, http_retries_config={"total": 0}), run.name
        by = {"id": [state["id"]]} if state else {"tags": [run.uid]}
        found = self._call("tasks.get_all", **by, only_fields=["id", "project"])["tasks"]
        self.exists = bool(found)
        if found:
            self._take(found[0]["id"], found[0]["project"])

    def create(self, task: Fields) -> None:
        """Make the task."""
        project = get_or_create_project(self._session, task.pop("project_name"))
        self._take(self._call("tasks.create", **task, project=project)["id"], project)

    def upload(self, path: Path, place: str) -> str:
        """Upload a file to the file server."""
        url = f"{self._session.get_files_server_host()}/{quote(place)}"
        try:
            return str(StorageManager.upload_file(str(path), url, retries=1))
        except ValueError as error:  # what the file server answers; a server that is not there is an OSError
            raise Rejected(str(error), retry_after=600) from error

    def send(self, events: list[Fields]) -> None:
        """Send events. A point takes the place of the same point; a line of the log does not."""
        if errors := self._call("events.add_batch", "\n".join(map(json.dumps, events))).get("errors_info"):
            raise Rejected(str(errors))

    def write(self, changes: Changes) -> None:
        """Change the task, the status last."""
        if params := changes["params"]:
            self._edit("edit_hyper_params", hyperparams=params)
        if files := changes["files"]:
            self._edit("add_or_update_artifacts", artifacts=files)
        for model in changes["models"]:
            fields = {"name": f"{self._name} - {model['key']}", "uri": model["uri"], "task": self.id}
            found = self._call("models.get_all", task=[self.id], only_fields=["id", "name"])["models"]
            ids = [made["id"] for made in found if made["name"] == fields["name"]]
            more = {"model": ids[0]} if ids else {"framework": "PyTorch", "labels": {}, "ready": False}
            made = self._call("models.edit" if ids else "models.create", **fields, **more)
            self._edit("add_or_update_model", name=model["key"], model=ids[0] if ids else made["id"], type="output")
        for status in changes["status"]:
            self._edit(status.pop("status").replace("in_progress", "started"), **status)

    def _edit(self, action: str, **arguments: Any) -> None:
        self._call(f"tasks.{action}", task=self.id, force=True, **arguments)

    def _take(self, task: str, project: str) -> None:
        self.id = task
        self.url = f"{self._session.get_app_server_host()}/projects/{project}/experiments/{task}/output/log"
        log = self._call("events.get_task_log", task=task, batch_size=5000, navigate_earlier=True)
        self.known = {("log", line["timestamp"], line["msg"], None, None, None) for line in log["events"]}

    def _call(self, endpoint: str, lines: str = "", **arguments: Any) -> Fields:
        """Send a request, and return what the server answers, or raise what that means."""
        body = {"data": lines, "headers": {"Content-Type": "application/json-lines"}} if lines else {"json": arguments}
        try:
            answer = self._session.send_request(*endpoint.split("."), version="2.13", **body)
        except LoginError as error:
            raise Unavailable(str(error)) from error
        meta, is_fine = answer.json()["meta"], answer.status_code == 200
        if answer.status_code == 400 and meta["result_subcode"] != 101:  # 101: the task is not there
            raise Rejected(f"{endpoint}: {meta['result_msg']}")
        if not is_fine:
            raise Unavailable(f"{endpoint}: {meta['result_msg']}", only_this_run=answer.status_code == 400)
        return dict(answer.json()["data"])
