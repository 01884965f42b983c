"""Tracking URIs: MLflow's default, absolute forms, and forms without credentials. Imports no MLflow."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

_NAMED = {"databricks", "databricks-uc", "uc"}
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: C: is a drive
_SECRET_ARGUMENT = re.compile(r"(?<=[?&])(?:user|password|passwd|sslpassword|token)=[^&#]*&?", re.IGNORECASE)


def default(folder: Path) -> str:
    """Return the tracking URI that MLflow 3 uses in a folder when nothing is set.

    That is ``mlflow.db``, unless ``mlruns`` already holds an experiment of the old file store.
    """
    old = folder / "mlruns"
    if any(os.path.lexists(meta) for meta in old.glob("*/meta.yaml") if meta.parent.name.isdigit()):
        return absolute(str(old), folder)
    return absolute("sqlite:///mlflow.db", folder)


def absolute(uri: str, folder: Path) -> str:
    """Return the URI in a form that means the same in any working directory.

    :param folder: the base of a relative path
    """
    if uri.startswith("sqlite") and ":///" in uri:
        head, _, tail = uri.partition(":///")
        path, mark, query = tail.partition("?")
        if path in {"", ":memory:"} or Path(path).is_absolute():
            return uri
        # Percent-encoded, as MLflow does for its default; the given path already is.
        beginning = quote(folder.absolute().as_posix(), safe="/:")
        return f"{head}:///{posixpath.normpath(f'{beginning}/{path}')}{mark}{query}"
    if uri.startswith("file:") and not uri.startswith("file:/"):
        uri = unquote(uri.removeprefix("file:"))
    elif uri in _NAMED or _SCHEME.match(uri):
        return uri
    return Path(posixpath.normpath(folder.absolute() / uri)).as_uri()


def without_credentials(uri: str) -> str:
    """Return the URI without user and password, for a web address or a database."""
    scheme, mark, rest = uri.partition("://")
    if not mark or scheme.startswith(("sqlite", "file")):
        return uri
    # The password in a database URI may contain a slash.
    user = r"^[^/?#]*@" if scheme.startswith("http") else r"^(?:[^/]*@|[^:/]*:[^@]*@)"
    bare = _SECRET_ARGUMENT.sub("", re.sub(user, "", rest)).rstrip("?&")
    return f"{scheme}://{bare}"


def complete(uri: str) -> str:
    """Return the URI with the credentials that this process's environment has for it."""
    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    return given if without_credentials(given) == uri else uri


def is_database(uri: str) -> bool:
    """Return whether runs are written directly to a database, without a server."""
    return uri.startswith(_DATABASES)


def is_in_process(uri: str) -> bool:
    """Return whether this process itself stores the runs, in a database or in files."""
    return is_database(uri) or uri.startswith("file:")


def local_path(uri: str) -> Path | None:
    """Return the file or the folder that a store is; None if it is elsewhere, or in memory."""
    if uri.startswith("file:"):
        from urllib.request import url2pathname  # takes its time, and is asked for behind a training only

        return Path(url2pathname(urlsplit(uri).path))
    head, mark, path = uri.partition(":///")
    path = unquote(path.partition("?")[0])
    return Path(path) if head.startswith("sqlite") and mark and path not in {"", ":memory:"} else None


def obstacle(path: Path) -> str:
    """Return what keeps this user from writing a store here, or from making it; empty if nothing does."""
    places = (path, *path.parents) if os.access(path, os.F_OK) else path.parents  # a link to no file is replaced
    there = next((place for place in places if os.path.lexists(place)), Path(os.sep))
    needed = (there, there.parent) if there.is_file() else (there,)  # a database has a journal of its own beside it
    return next((f"{place} is not writable for this user" for place in needed if not os.access(place, os.W_OK)), "")


def is_databricks(uri: str) -> bool:
    """Return whether the store is a Databricks workspace."""
    return uri.startswith("databricks")


def is_web(uri: str) -> bool:
    """Return whether the store is an MLflow server, whose pages the user can open."""
    return uri.startswith(("http://", "https://"))
