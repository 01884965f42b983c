"""Uploads to the artifact store of a run: an HTTP proxy in the server, a bucket, a folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient

from tracking_hooks.events import Rejected, is_about_one_file
from tracking_hooks_mlflow import multipart
from tracking_hooks_mlflow.errors import gone, reason, told_of_file
from tracking_hooks_mlflow.places import told_of_place, told_of_place_on_server
from tracking_hooks_mlflow.run import MLflowRun


def upload(run: MLflowRun, path: Path, name: str) -> None:
    """Upload a file as artifact ``name``, replacing an older one.

    :raises Rejected: the file is gone, or the store does not take it
    """
    if not path.is_file():
        raise gone(path, run.uri, name)
    folder, _, base = name.rpartition("/")
    with _called(path, base, run.uri) as file, sending(run, name, path) as client, multipart.allowed():
        client.log_artifact(run.run_id, str(file), folder or None)


def write(run: MLflowRun, text: str, name: str) -> None:
    """Upload a text as artifact ``name``."""
    with sending(run, name) as client:
        client.log_text(run.run_id, text, name)


def remove(run: MLflowRun, name: str) -> None:
    """Delete an artifact, where that is possible: not each store lets everybody, and one too many does no harm."""
    with suppress(Exception):  # the client has no function for it
        run.client._tracking_client._get_artifact_repo(run.run_id).delete_artifacts(name)


@contextmanager
def sending(run: MLflowRun, name: str, path: Path | None = None) -> Iterator[MlflowClient]:
    """Give the client for a transfer; raise what the relay expects.

    :param name: of the artifact, for the message
    :param path: the user's file
    """
    try:
        with told_of_place_on_server(run, name), told_of_file(run.uri, name, path), told_of_place(run, name):
            yield run.client
    except Rejected:
        run.check()  # perhaps it takes nothing at all
        raise


@contextmanager
def _called(path: Path, name: str, uri: str) -> Iterator[Path]:
    """Provide the file under another name, since MLflow names an artifact after its file.

    :param uri: where it is sent
    :raises Rejected: no file can have that name
    """
    if path.name == name:
        yield path
        return
    with TemporaryDirectory(prefix="tracking-hooks-") as folder:
        other = Path(folder, name)
        try:
            _link_or_copy(path, other)
        except OSError as error:
            if not is_about_one_file(error):
                raise
            raise Rejected(f"MLflow at {uri} cannot be sent a file named {name}: {reason(error)}") from error
        yield other


def _link_or_copy(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(path, other)
