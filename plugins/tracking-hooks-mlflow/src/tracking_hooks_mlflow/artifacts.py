"""Uploads to the artifact store of a run: an HTTP proxy in the server, a bucket, a folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient

from tracking_hooks.events import Rejected
from tracking_hooks_mlflow import multipart
from tracking_hooks_mlflow.errors import gone, told_of_file
from tracking_hooks_mlflow.run import MLflowRun


def upload(run: MLflowRun, path: Path, name: str) -> None:
    """Upload a file as artifact ``name``, replacing an older one.

    :raises Rejected: the file is gone, or the store does not take it
    """
    if not path.is_file():
        raise gone(path, run.uri, name)
    folder, _, base = name.rpartition("/")
    with _called(path, base) as file, sending(run, name, path) as client:
        multipart.upload(lambda: client.log_artifact(run.run_id, str(file), folder or None))


def write(run: MLflowRun, text: str, name: str) -> None:
    """Upload a text as artifact ``name``."""
    with sending(run, name) as client:
        client.log_text(run.run_id, text, name)


@contextmanager
def sending(run: MLflowRun, name: str, path: Path | None = None) -> Iterator[MlflowClient]:
    """Give the client for a transfer; raise what the relay expects.

    :param name: of the artifact, for the message
    :param path: the user's file
    """
    try:
        with told_of_file(run.uri, name, path):
            yield run.client
    except Rejected:
        run.check()  # perhaps it takes nothing at all
        raise


@contextmanager
def _called(path: Path, name: str) -> Iterator[Path]:
    """Provide the file under another name, since MLflow names an artifact after its file."""
    if path.name == name:
        yield path
        return
    with TemporaryDirectory(prefix="tracking-hooks-") as folder:
        other = Path(folder, name)
        try:
            os.link(path, other)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(path, other)
        yield other
