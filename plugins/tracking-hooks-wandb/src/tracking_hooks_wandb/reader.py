"""What ``wandb sync`` sends of an offline run, for the tests of the plugin and for ``tracking-hooks plugins --check``.

It stands for what somebody sees who opens W&B's page, which needs W&B's service.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import wandb
from wandb.proto import wandb_internal_pb2 as pb

from tracking_hooks.events import Destination
from tracking_hooks_wandb import tracker, translog

_OWN = "_wandb"  # what W&B's client says of itself
_INVENTED = re.compile(r"(?<=wandb-client-artifact://)\w+")  # the ids that W&B's client gives to artifacts
_NUMBER = re.compile(r"_\d+_(?=[0-9a-f]{20}\.)")  # in the name of a media file: a step that the client has counted
_BARRIER = "tracking_hooks_flush"  # how often the plugin has flushed


def destination(folder: Path) -> Destination:
    """Return the destination of an offline run in an empty folder."""
    given = {"mode": "offline", "id": "contract", "project": "shapes", "name": "train", "job_type": "train"}
    empty = dict.fromkeys(("base_url", "entity", "group", "tags", "notes", "sweep"), "")
    return {**empty, **given, "folder": str(folder / "wandb/offline-run-20251009_085320-contract")}


def restart() -> None:
    """Be another process: W&B's own one is ended, as it is when the one that started it dies."""
    for child in psutil.Process().children():
        if child.name() == "wandb-core":
            child.kill()
            child.wait()
    tracker.forget()
    with suppress(Exception):  # it speaks to the process that is gone
        wandb.teardown()
    os.environ.pop("WANDB_SERVICE", None)


def observe(destination: Destination) -> list[Any]:
    """Return what the folders of each run have, but what W&B's client says of itself."""
    runs: dict[str, _Run] = {}
    for path in sorted(Path(destination["folder"]).parent.glob("offline-run-*/run-*.wandb")):
        run = runs.setdefault(path.stem, _Run())
        for _, body in translog.read(path):
            run.add(pb.Record.FromString(body))
        run.add_files(path.parent / "files")
    return [run.seen for run in runs.values()]


class _Run:
    """What the records of a run come to."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {
            "rows": [],
            "config": {},
            "summary": {},
            "artifacts": {},
            "files": {},
            "exit": None,
        }

    def add(self, record: pb.Record) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            self.seen["name"] = record.run.display_name
            self._configure(record.run.config)
        elif kind == "config":
            self._configure(record.config)
        elif kind == "history":
            self.seen["rows"].append(_values(record.history.item))
        elif kind == "summary":
            self.seen["summary"] |= _values(record.summary.update)
            for item in record.summary.remove:
                self.seen["summary"].pop(_key(item), None)
        elif kind == "artifact":
            artifact = record.artifact
            self.seen["artifacts"][f"{artifact.type} {artifact.name} {artifact.digest}"] = list(artifact.aliases)
        elif kind == "exit":
            self.seen["exit"] = record.exit.exit_code

    def add_files(self, folder: Path) -> None:
        """Take in the files that belong to a folder: media, tables, the log."""
        for path in folder.rglob("*"):
            if path.is_file():
                name = _NUMBER.sub("_", path.relative_to(folder).as_posix())
                self.seen["files"][name] = hashlib.sha256(path.read_bytes()).hexdigest()

    def _configure(self, config: Any) -> None:
        for item in config.update:
            if (key := _key(item)) not in {_OWN, _BARRIER}:
                self.seen["config"][key] = _value(item)


def _values(items: Any) -> dict[str, Any]:
    return {key: _value(item) for item in items if not (key := _key(item)).endswith("runtime")}


def _key(item: Any) -> str:
    return ".".join(item.nested_key) or str(item.key)


def _value(item: Any) -> Any:
    return json.loads(_INVENTED.sub("…", _NUMBER.sub("_", item.value_json)))
