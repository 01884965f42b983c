"""A stand-in for a ClearML server, just enough of it for ClearML's client to work against, on the loopback.

This is not ClearML. It keeps tasks, models, events and files as the client's schemas describe them: a point, a plot or
a picture with the same task, iteration, metric and variant replaces the earlier one, a line of the log never does. The
client's own import of an offline session has to work against it as well.
"""

import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import jwt

ENDINGS = {"started": "in_progress", "completed": "completed", "failed": "failed", "stopped": "stopped"}


class Standin:
    """Holds what it was given in ``tasks``, ``models``, ``events`` (by task) and ``files`` (name to digest)."""

    def __init__(self):
        self.projects, self.tasks, self.models, self.files = {}, {}, {}, {}
        self.points, self.logs = {}, []
        self.refused = {}  # endpoint to (HTTP status, subcode)
        self.asked = []
        self._ids = (f"{number:032x}" for number in count(1))
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, body = outer.answer(self.path.partition("?")[0], self.headers["Content-Type"] or "", content)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.do_POST()

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path, kind, content):
        endpoint = path.rpartition("/")[2]
        self.asked.append(endpoint)
        if endpoint in self.refused:
            status, subcode = self.refused[endpoint]
            return _answer(status, subcode, "refused by the test", {})
        if kind.startswith("multipart/form-data"):
            name = re.search(rb'name="([^"]*)"', content)[1].decode()
            _, _, rest = content.partition(b"\r\n\r\n")
            self.files[name.strip("/")] = hashlib.sha256(rest.rpartition(b"\r\n--")[0]).hexdigest()
            return 200, b""
        if kind == "application/json-lines":
            data = self.add_events([json.loads(line) for line in content.decode().splitlines()])
        else:
            data = getattr(self, endpoint.replace(".", "_"))(**(json.loads(content) if content else {}))
        return _answer(200, 0, "OK", data)

    def auth_login(self, **_):
        return {"token": jwt.encode({"exp": time.time() + 9999, "api_version": "2.30"}, "k" * 32, "HS256")}

    def users_get_current_user(self, **_):
        return {"user": {"id": "u", "name": "ada"}}

    def projects_get_all(self, name=None, id=None, **_):
        found = [project for project in self.projects.values() if not id or project["id"] in id]
        return {"projects": [project for project in found if not name or re.search(name, project["name"])]}

    def projects_create(self, name, **_):
        key = next(self._ids)
        self.projects[key] = {"id": key, "name": name}
        return {"id": key}

    def projects_get_by_id(self, project, **_):
        return {"project": self.projects[project]}

    def tasks_create(self, **fields):
        key = next(self._ids)
        self.tasks[key] = {"status": "created", "models": {"output": []}, **fields, "id": key}
        return {"id": key}

    def tasks_get_by_id(self, task, **_):
        return {"task": self.tasks[task]}

    def tasks_get_all(self, id=None, tags=None, **_):
        found = [task for task in self.tasks.values() if not id or task["id"] in id]
        return {"tasks": [task for task in found if not tags or set(tags) & set(task.get("tags", []))]}

    def tasks_edit(self, task, force=False, **fields):
        self.tasks[task].update(fields)
        return {"updated": 1, "fields": fields}

    def tasks_ping(self, **_):
        return {}

    def tasks_edit_hyper_params(self, task, hyperparams, **_):
        sections = self.tasks[task].setdefault("hyperparams", {})
        for item in hyperparams:
            sections.setdefault(item["section"], {})[item["name"]] = item
        return {"updated": 1}

    def tasks_add_or_update_artifacts(self, task, artifacts, **_):
        execution = self.tasks[task].setdefault("execution", {})
        found = {item["key"]: item for item in [*execution.get("artifacts", []), *artifacts]}
        execution["artifacts"] = [found[key] for key in sorted(found)]
        return {"updated": 1}

    def tasks_add_or_update_model(self, task, name, model, **_):
        output = {item["name"]: item for item in self.tasks[task]["models"]["output"]}
        output[name] = {"name": name, "model": model}
        self.tasks[task]["models"]["output"] = [output[key] for key in sorted(output)]
        return {"updated": 1}

    def models_get_all(self, task=None, **_):
        return {"models": [model for model in self.models.values() if not task or model["task"] in task]}

    def models_create(self, **fields):
        key = next(self._ids)
        self.models[key] = {**fields, "id": key}
        return {"id": key, "created": True}

    def models_edit(self, model, **fields):
        self.models[model].update(fields)
        return {"updated": 1, "fields": fields}

    def add_events(self, events):
        for event in events:
            if event["type"] == "log":
                self.logs.append(event)
            else:
                self.points[tuple(str(event.get(key)) for key in ("task", "type", "metric", "variant", "iter"))] = event
        return {"added": len(events), "errors": 0, "errors_info": {}}

    def events_get_task_log(self, task, **_):
        return {"events": [event for event in self.logs if event["task"] == task]}

    def _end(self, endpoint, task, **fields):
        self.tasks[task].update(fields, status=ENDINGS[endpoint])
        return {"updated": 1}

    def __getattr__(self, name):
        service, _, action = name.partition("_")
        if service == "tasks" and action in ENDINGS:
            return lambda **fields: self._end(action, **{name: fields[name] for name in fields if name != "force"})
        raise AttributeError(name)

    def observe(self):
        """Return what somebody sees of each task, without what the server makes up."""
        found = []
        for key, task in self.tasks.items():
            models = [self.models[item["model"]] for item in task["models"]["output"]]
            events = [event for event in [*self.points.values(), *self.logs] if event["task"] == key]
            files = {name: digest for name, digest in self.files.items() if key in name}
            content = {"task": task, "models": models, "events": sorted(events, key=str), "files": files}
            found.append(json.loads(re.sub(f"{self.url}|{key}|\\b0{{20}}[0-9a-f]{{12}}\\b", "", json.dumps(content))))
        return found


def _answer(status, subcode, message, data):
    meta = {"result_code": status, "result_subcode": subcode, "result_msg": message}
    return status, json.dumps({"meta": meta, "data": data}).encode()
