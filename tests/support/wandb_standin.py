"""A stand-in for the W&B service: just enough of it for the W&B client to work against, on the loopback.

This is not W&B. It answers the client's requests as far as these tests need them, in the way that they are
written down in the client's own queries, and keeps what it is given where a test can look at it. What it does
with that is a guess at what W&B does: lines of a file stream stand where their offset says, artifacts with the
same digest are the same version. Before it is allowed to judge anything of ours, ``test_wandb_standin.py`` lets a plain
W&B script and a plain ``wandb sync`` work against it.

It stays what it is over ``stop`` and ``start``, which is how an outage looks from outside.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

API_KEY = "0123456789abcdef" * 2 + "01234567"
"""A key of the right form: 40 characters."""

ENTITY = "somebody"
"""To whom a run belongs that names nobody."""


class StoredRun:
    """What the service holds of a run."""

    def __init__(self, entity: str, project: str, name: str) -> None:
        self.entity = entity
        self.project = project
        self.name = name
        self.fields: dict[str, Any] = {}  # displayName, groupName, jobType, notes, tags, commit, host, sweep, …
        self.config: dict[str, Any] = {}
        self.streams: dict[str, dict[int, str]] = defaultdict(dict)  # file name to line number to line
        self.files: dict[str, bytes] = {}
        self.alerts: list[dict[str, Any]] = []
        self.used: list[str] = []  # ids of artifacts
        self.exit_code: int | None = None
        self.is_open = False  # whether somebody has written to it and not ended it
        self.is_silent = False  # whether nobody has written to it for minutes
        self.stop = False  # whether somebody has pressed "stop"

    @property
    def id(self) -> str:
        return base64.b64encode(f"Run:v1:{self.name}:{self.project}:{self.entity}".encode()).decode()

    @property
    def path(self) -> str:
        return f"{self.entity}/{self.project}/{self.name}"

    @property
    def state(self) -> str:
        if self.is_open or self.exit_code is None:
            return "crashed" if self.is_silent else "running"
        return "failed" if self.exit_code else "finished"

    def lines(self, file: str) -> list[str]:
        """Return the lines of a stream in order."""
        return [line for _, line in sorted(self.streams[file].items())]

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of metrics; NaN and infinities as the client spells them."""
        return [json.loads(line) for line in self.lines("wandb-history.jsonl")]

    @property
    def summary(self) -> dict[str, Any]:
        lines = self.lines("wandb-summary.json")
        return json.loads(lines[-1]) if lines else {}

    @property
    def output(self) -> list[str]:
        """The lines of the console."""
        return self.lines("output.log")

    def points(self, key: str, x: str = "_step") -> list[tuple[Any, Any]]:
        """Return a curve: every value of a metric with that of its x axis."""
        return [(row.get(x), row[key]) for row in self.history if key in row]


class StoredArtifact:
    """One version of an artifact."""

    def __init__(self, number: int, run: StoredRun | None, version: int, given: dict[str, Any]) -> None:
        self.id = f"artifact-{number}"
        self.run = run
        self.version = version
        self.type = given["artifactTypeName"]
        self.name = given["artifactCollectionName"]
        self.digest = given["digest"]
        self.metadata = json.loads(given["metadata"]) if given.get("metadata") else {}
        self.description = given.get("description")
        self.aliases: set[str] = set()
        self.state = "PENDING"
        self.manifest: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}  # by name in the artifact


class WandbStandIn:
    """The stand-in; ``start`` gives it an address, which it keeps."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str, str], StoredRun] = {}
        self.artifacts: list[StoredArtifact] = []
        self.operations: Counter[str] = Counter()
        self.unknown: list[str] = []  # what it was asked and did not understand
        self.requests: list[tuple[str, str]] = []  # method and path
        self.failing: Callable[[str], int | None] = lambda _path: None  # status to answer with instead
        self.refusal: dict[str, Any] = {}  # what it says with that status
        self._uploads: dict[str, Callable[[bytes], None]] = {}
        self._lock = threading.RLock()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    # -- for tests --------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> str:
        """Listen, on the port that it had before, if any; return the address."""
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self.url

    def stop(self) -> None:
        """Be down: connections are refused, and open ones are cut."""
        server, self._server = self._server, None
        if server:
            server.shutdown()
            server.cut()
            server.server_close()

    def run(self, name: str | None = None) -> StoredRun:
        """Return the run of that id, or the only one."""
        found = [run for run in self.runs.values() if name in (None, run.name)]
        assert len(found) == 1, [run.path for run in self.runs.values()]
        return found[0]

    def artifact(self, name: str, alias: str = "latest") -> StoredArtifact:
        found = [a for a in self.artifacts if a.name == name and (alias in a.aliases or alias == f"v{a.version}")]
        assert len(found) == 1, [(a.name, sorted(a.aliases)) for a in self.artifacts]
        return found[0]

    def environment(self) -> dict[str, str]:
        """Return the variables with which a W&B client comes here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": API_KEY}

    # -- requests ---------------------------------------------------------------------------------------------

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        match = re.search(r"\b(?:query|mutation)\s+(\w+)", query)
        name = match[1] if match else ""
        with self._lock:
            self.operations[name] += 1
            operation = _OPERATIONS.get(name)
            if operation is None:
                self.unknown.append(name or query)
                return {"errors": [{"message": f"the stand-in does not know {name!r}"}]}
            try:
                return {"data": operation(self, variables)}
            except Exception as error:
                self.unknown.append(f"{name}: {error!r}")
                raise

    def file_stream(self, entity: str, project: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            run = self._run(entity, project, name)
            for file, chunk in (body.get("files") or {}).items():
                for number, line in enumerate(chunk["content"], chunk["offset"]):
                    run.streams[file][number] = line
            run.is_silent, run.is_open = False, not body.get("complete")
            if body.get("complete"):
                run.exit_code = body.get("exitcode")
            return {"exitcode": None, "limits": {}, **({"stopped": True} if run.stop else {})}

    def upload(self, path: str, body: bytes) -> None:
        with self._lock:
            self._uploads[path](body)

    # -- what it holds ----------------------------------------------------------------------------------------

    def _run(self, entity: str | None, project: str | None, name: str) -> StoredRun:
        key = (entity or ENTITY, project or "uncategorized", name)
        if key not in self.runs:
            self.runs[key] = StoredRun(*key)
        return self.runs[key]

    def _offer(self, path: str, take: Callable[[bytes], None]) -> str:
        """Return the address to which a file may be uploaded."""
        path = f"/storage/{path}"
        self._uploads[path] = take
        return self.url + path

    def _artifact(self, id_: str) -> StoredArtifact:
        return next(artifact for artifact in self.artifacts if artifact.id == id_)

    def _viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        teams: dict[str, Any] = {"edges": []}
        viewer = {"id": "u", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": teams}
        return {"viewer": viewer}

    def _features(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _upsert_run(self, given: dict[str, Any]) -> dict[str, Any]:
        known = {run.id: run for run in self.runs.values()}
        before = len(self.runs)
        run = known.get(given.get("id")) or self._run(given.get("entity"), given.get("project"), given["name"])
        run.is_silent = False
        skipped = ("id", "name", "project", "entity", "config", "summaryMetrics")
        run.fields.update({key: value for key, value in given.items() if value is not None and key not in skipped})
        if given.get("config"):
            run.config = {key: item["value"] for key, item in json.loads(given["config"]).items()}
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": len(self.runs) > before}}

    def _bucket(self, run: StoredRun) -> dict[str, Any]:
        return {
            "id": run.id,
            "name": run.name,
            "displayName": run.fields.get("displayName", run.name),
            "description": "",
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "sweepName": run.fields.get("sweep"),
            "project": {"id": run.project, "name": run.project, "entity": {"id": run.entity, "name": run.entity}},
            "historyLineCount": len(run.streams["wandb-history.jsonl"]),
        }

    def _resume_status(self, given: dict[str, Any]) -> dict[str, Any]:
        entity, project = given.get("entity") or ENTITY, given.get("project") or "uncategorized"
        run = self.runs.get((entity, project, given["name"]))
        model = {"id": project, "name": project, "entity": {"id": entity, "name": entity}, "bucket": None}
        if run is not None:
            model["bucket"] = {
                **self._bucket(run),
                "summaryMetrics": json.dumps(run.summary),
                "logLineCount": len(run.output),
                "historyLineCount": len(run.streams["wandb-history.jsonl"]),
                "eventsLineCount": len(run.streams["wandb-events.jsonl"]),
                "historyTail": json.dumps(run.lines("wandb-history.jsonl")[-1:]),
                "eventsTail": json.dumps(run.lines("wandb-events.jsonl")[-1:]),
                "tags": run.fields.get("tags", []),
                "notes": run.fields.get("notes"),
                "wandbConfig": json.dumps({"t": run.config.get("_wandb", {}).get("t", {})}),
            }
        return {"model": model}

    def _create_run_files(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self._run(given["entity"], given["project"], given["run"])
        offered = []
        for name in given["files"]:
            take = _put_in(run.files, name)
            offered.append({"name": name, "uploadUrl": self._offer(f"{run.path}/{name}", take)})
        return {"createRunFiles": {"runID": run.id, "uploadHeaders": [], "files": offered}}

    def _artifact_type(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"artifact": None}}

    def _create_artifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        given = variables["input"]
        entity, project = given["entityName"], given["projectName"]
        run = self.runs.get((entity, project, given.get("runName") or ""))
        name = given["artifactCollectionName"]
        siblings = [a for a in self.artifacts if a.name == name and a.type == given["artifactTypeName"]]
        same = [a for a in siblings if a.digest == given["digest"]]
        if same:
            artifact = same[0]
        else:
            artifact = StoredArtifact(len(self.artifacts), run, len(siblings), given)
            self.artifacts.append(artifact)
            siblings.append(artifact)
        for alias in {"latest", *(alias["alias"] for alias in given.get("aliases") or [])}:
            for other in siblings:
                other.aliases.discard(alias)
            artifact.aliases.add(alias)
        latest = {"id": siblings[-2].id, "versionIndex": siblings[-2].version} if len(siblings) > 1 else None
        answer = {
            "id": artifact.id,
            "state": artifact.state,
            "artifactSequence": {"id": f"sequence-{name}", "latestArtifact": latest},
        }
        return {"createArtifact": {"artifact": answer}}

    def _create_manifest(self, given: dict[str, Any]) -> dict[str, Any]:
        artifact = self._artifact(given["artifactID"])

        def take(body: bytes) -> None:
            artifact.manifest = json.loads(body)

        url = self._offer(f"{artifact.id}/{given['name']}", take)
        file = {"id": f"file-{artifact.id}", "uploadUrl": url, "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": f"manifest-{artifact.id}", "file": file}}}

    def _update_manifest(self, given: dict[str, Any]) -> dict[str, Any]:
        artifact = self._artifact(given["artifactManifestID"].removeprefix("manifest-"))
        answer = self._create_manifest({"artifactID": artifact.id, "name": "wandb_manifest.json"})
        return {"updateArtifactManifest": answer["createArtifactManifest"]}

    def _create_artifact_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for given in variables["input"]["artifactFiles"]:
            artifact = self._artifact(given["artifactID"])
            path = f"{artifact.id}/{given['name']}"
            node = {
                "name": given["name"],
                "storagePath": path,
                "uploadUrl": self._offer(path, _put_in(artifact.files, given["name"])),
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": artifact.id},
            }
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _commit_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        artifact = self._artifact(given["artifactID"])
        artifact.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    def _describe_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        artifact = self._artifact(given["id"])
        run = artifact.run
        project = run and {"id": "p", "internalId": "p", "name": run.project, "entity": {"name": run.entity}}
        sequence = {"__typename": "ArtifactSequence", "name": artifact.name, "project": project}
        answer = {
            "__typename": "Artifact",
            "id": artifact.id,
            "artifactSequence": sequence,
            "versionIndex": artifact.version,
            "artifactType": {"name": artifact.type},
            "description": artifact.description,
            "metadata": json.dumps(artifact.metadata),
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": artifact.state,
            "size": sum(map(len, artifact.files.values())),
            "digest": artifact.digest,
            "commitHash": artifact.id,
            "fileCount": len(artifact.files),
            "createdAt": "2026-01-01T00:00:00",
            "updatedAt": None,
            "aliases": [
                {"__typename": "ArtifactAlias", "id": alias, "alias": alias, "artifactCollection": sequence}
                for alias in sorted(artifact.aliases)
            ],
        }
        return {"artifact": answer}

    def _use_artifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        given = variables.get("input") or variables
        run = self._run(given["entityName"], given["projectName"], given["runName"])
        if given["artifactID"] not in run.used:
            run.used.append(given["artifactID"])
        return {"useArtifact": {"artifact": {"id": given["artifactID"]}}}

    def _alert(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self._run(given["entityName"], given["projectName"], given["runName"])
        run.alerts.append({key: given.get(key) for key in ("title", "text", "severity")})
        return {"notifyScriptableRunAlert": {"success": True}}

    def _run_info(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get((given["entity"], given["project"], given["name"]))
        steps = [row.get("_step", -1) for row in run.history] if run else []
        found = run and {
            **self._bucket(run),
            "state": run.state,
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": "{}",
            "tags": run.fields.get("tags", []),
            "createdAt": "2026-01-01T00:00:00",
            "readOnly": False,
            "user": {"name": ENTITY, "username": ENTITY},
            "historyKeys": {"lastStep": max(steps, default=-1)},
        }
        return {"project": {"internalId": "p", "run": found}}

    def _run_files(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[given["entity"], given["project"], given["name"]]

        def md5(name: str) -> str:  # as W&B's own `restore` has it: "if the file does not exist, … an md5 of 0"
            return base64.b64encode(hashlib.md5(run.files[name]).digest()).decode() if name in run.files else "0"

        edges = [
            {
                "node": {
                    "id": name,
                    "name": name,
                    "url": None,
                    "directUrl": None,
                    "sizeBytes": str(len(run.files.get(name, b""))),
                    "mimetype": None,
                    "updatedAt": None,
                    "md5": md5(name),
                },
                "cursor": name,
            }
            for name in given["fileNames"] or run.files
        ]
        files = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
        return {"project": {"internalId": "p", "run": {"fileCount": len(run.files), "files": files}}}

    def _parquet_history(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": []}}}}  # nothing is exported yet

    def _history_page(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[given["entity"], given["project"], given["run"]]
        asked = json.loads(given["spec"])
        rows = [
            {key: row[key] for key in asked["keys"]}
            for row in run.history
            if asked["minStep"] <= row["_step"] <= asked["maxStep"] and set(asked["keys"]) <= set(row)
        ]
        return {"project": {"run": {"sampledHistory": [rows]}}}

    def _organization(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}


_OPERATIONS: dict[str, Callable[[WandbStandIn, dict[str, Any]], dict[str, Any]]] = {
    "Viewer": WandbStandIn._viewer,
    "GetDefaultEntity": WandbStandIn._viewer,
    "ServerFeaturesQuery": WandbStandIn._features,
    "UpsertBucket": WandbStandIn._upsert_run,
    "RunResumeStatus": WandbStandIn._resume_status,
    "CreateRunFiles": WandbStandIn._create_run_files,
    "ArtifactType": WandbStandIn._artifact_type,
    "CreateArtifact": WandbStandIn._create_artifact,
    "CreateArtifactManifest": WandbStandIn._create_manifest,
    "UpdateArtifactManifest": WandbStandIn._update_manifest,
    "CreateArtifactFiles": WandbStandIn._create_artifact_files,
    "ArtifactByID": WandbStandIn._describe_artifact,
    "Run": WandbStandIn._run_info,
    "RunHistoryKeys": WandbStandIn._run_info,
    "RunFiles": WandbStandIn._run_files,
    "RunParquetHistory": WandbStandIn._parquet_history,
    "SampledHistoryPage": WandbStandIn._history_page,
    "CommitArtifact": WandbStandIn._commit_artifact,
    "UseArtifact": WandbStandIn._use_artifact,
    "NotifyScriptableRunAlert": WandbStandIn._alert,
    "OrganizationCoreWeaveOrganizationID": WandbStandIn._organization,
}


def _put_in(files: dict[str, bytes], name: str) -> Callable[[bytes], None]:
    def take(body: bytes) -> None:
        files[name] = body

    return take


class _Server(ThreadingHTTPServer):
    """Remembers its connections: a server that is down has none."""

    daemon_threads = True
    request_queue_size = 128  # the client uploads many files at a time, each on a connection of its own

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._connections: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):  # it was closed just now
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: Any) -> None:
        """A client that went away is nothing to print."""


def _handler(standin: WandbStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self._body()
            if self._fails():
                return
            if self.path == "/graphql":
                asked = json.loads(body)
                self._answer(standin.graphql(asked["query"], asked.get("variables") or {}))
            elif match := re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", self.path):
                self._answer(standin.file_stream(*match.groups(), json.loads(body)))
            else:
                self._answer({}, 404)

        def do_PUT(self) -> None:
            body = self._body()
            if self._fails():
                return
            try:
                standin.upload(self.path, body)
            except KeyError:
                self._answer({}, 404)
            else:
                self._answer({})

        def do_GET(self) -> None:
            self._answer({}, 404)

        def _fails(self) -> bool:
            standin.requests.append((self.command, self.path))
            status = standin.failing(self.path)
            if status is not None:
                self._answer(standin.refusal, status)
            return status is not None

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _answer(self, content: dict[str, Any], status: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
