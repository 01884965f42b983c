"""Names that an artifact store which is a folder cannot have, here or on the server: ``a/b`` beside a file ``a``.

To wait for the store would not help, and would hold up all other files of the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow.utils.file_utils import local_file_uri_to_path

from tracking_hooks.events import Rejected, Unavailable, is_about_one_file
from tracking_hooks_mlflow.errors import RETRY_AFTER, reason
from tracking_hooks_mlflow.run import MLflowRun

_HAS_FAILED = re.compile(r"\b500 (error responses|\w+ Error)")  # a server says no more than that


@contextmanager
def told_of_place(run: MLflowRun, name: str) -> Iterator[None]:
    """Reject a name that a store which is a folder of this machine cannot have."""
    try:
        yield
    except OSError as error:
        uri = run.client.get_run(run.run_id).info.artifact_uri
        if is_about_one_file(error) and Path(local_file_uri_to_path(uri)).is_dir():
            raise Rejected(f"MLflow at {run.uri} cannot store a file named {name}: {reason(error)}") from error
        raise


@contextmanager
def told_of_place_on_server(run: MLflowRun, name: str) -> Iterator[None]:
    """Reject a name for which a server fails whose store has a file in the place of a folder, or the reverse.

    It is tried again, since in a bucket both can be, and the server may have failed for another reason.
    """
    try:
        yield
    except Unavailable as error:
        if _HAS_FAILED.search(str(error)) and (place := _taken(run, name)):
            raise Rejected(
                f"MLflow at {run.uri} fails for a file named {name}, perhaps since it has {place}",
                retry_after=RETRY_AFTER,
            ) from error
        raise


def _taken(run: MLflowRun, name: str) -> str:
    """Return what is in the place of a file or of a folder above it; empty: nothing, or that cannot be asked."""
    for _ in range(2):  # a server that has just failed closes the connection
        with suppress(Exception):
            return _found(run, name)
    return ""


def _found(run: MLflowRun, name: str) -> str:
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        above, place = "/".join(parts[: depth - 1]), "/".join(parts[:depth])
        for file in run.client.list_artifacts(run.run_id, above or None):
            if file.path == place and file.is_dir == (depth == len(parts)):
                return f"a {'folder' if file.is_dir else 'file'} {place}"
    return ""
