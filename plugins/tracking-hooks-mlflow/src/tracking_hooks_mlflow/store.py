"""Opening a tracking store: a server, or a database file that may still have to be created."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tracking_hooks.events import Unavailable
from tracking_hooks_mlflow import multipart, uris
from tracking_hooks_mlflow.errors import reason


def connect(uri: str) -> MlflowClient:
    """Return a client.

    :param uri: the tracking URI without credentials, which come from this process's MLFLOW_TRACKING_URI
    :raises Unavailable: it cannot be opened; the user can correct that
    :raises ImportError: a module that it needs is not installed
    """
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"  # the relay waits and retries instead
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_DATABRICKS_ENDPOINT_HTTP_RETRY_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it costs a request at the end of a run
    multipart.allow()
    complete = uris.complete(uri)
    try:
        if not uris.is_database(uri):
            return MlflowClient(tracking_uri=complete)
        return _open_database(complete)
    except ImportError as error:
        raise ImportError(f"MLflow's store {uri} cannot be opened: {reason(error)}", name=error.name) from error
    except OSError as error:
        if (path := uris.local_path(uri)) is None:
            raise
        why = f"MLflow's store {path} cannot be written: {error.strerror or error}"
        raise Unavailable(f"{why}. Set MLFLOW_TRACKING_URI to another place.") from error
    except MlflowException as error:
        raise Unavailable(f"MLflow's store {uri} cannot be opened: {reason(error)}") from None


def _open_database(uri: str) -> MlflowClient:
    if not find_spec("sqlalchemy"):
        raise ImportError("a database needs the full package mlflow, not only mlflow-skinny: pip install mlflow")
    from alembic.util import CommandError
    from mlflow.store.db.utils import create_sqlalchemy_engine
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        url = make_url(uri)
        file = url.database if url.get_backend_name() == "sqlite" else None
        if not file or file == ":memory:":
            # MLflow itself would retry for 100 seconds while a database is down.
            create_sqlalchemy_engine(uri).connect().close()
            return MlflowClient(tracking_uri=uri)
        path = Path(file).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            # MLflow's migrations must not run concurrently on one file.
            stack.enter_context(_locked(path.with_name(f".{path.name}.lock")))
            # Opened in its own folder, since MLflow's default artifact root is relative to the working directory.
            stack.enter_context(_inside(path.parent))
            if not path.exists() or path.stat().st_size == 0:
                _create(path)
            return MlflowClient(tracking_uri=uri)
    except (SQLAlchemyError, CommandError) as error:
        raise Unavailable(f"MLflow's store {uris.without_credentials(uri)} cannot be opened: {reason(error)}") from None


def _create(path: Path) -> None:
    """Create a database under another name first: one that was left unfinished can never be opened."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import URL

    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.with_name(f"{new.name}-journal").unlink(missing_ok=True)
    store = SqlAlchemyStore(URL.create("sqlite", database=str(new)).render_as_string(), "./mlruns")
    store.engine.dispose()
    if not path.exists() or path.stat().st_size == 0:  # otherwise the user's own MLflow has just created it
        new.replace(path)
    new.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file that is there only meanwhile; one that another process has just removed is made anew."""
    is_held = False
    while not is_held:
        with path.open("ab") as file:
            _lock(file.fileno())
            is_held = _is_at(path, file.fileno())
            if is_held:
                try:
                    yield
                finally:
                    with suppress(OSError):  # Windows removes none that is open
                        path.unlink()


def _lock(fd: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(fd, msvcrt.LK_LOCK, 1)
    else:
        import fcntl

        fcntl.lockf(fd, fcntl.LOCK_EX)


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Change the working directory (contextlib.chdir is newer than Python 3.10)."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
