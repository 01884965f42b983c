"""Known mistakes in the address of an MLflow server and in its credentials, and what to do. Imports no MLflow."""

from __future__ import annotations

import os
import re
from configparser import ConfigParser, Error
from contextlib import suppress
from pathlib import Path

from tracking_hooks_mlflow import uris

USERNAME, PASSWORD, TOKEN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"

_HOST_AND_PORT = re.compile(r"(?!file:|sqlite:|databricks)(?:[\w-]+(?:\.[\w-]+)*|\[[0-9a-fA-F:]+\]):\d{1,5}(?:/.*)?")
_IP = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}(?:/.*)?")
_USER_AND_HOST = re.compile(r"(?://)?(?![A-Za-z]:[/\\]|file:|sqlite:)[^/@:\s]+:[^@]*@(?P<server>[^@]+)")
_HALF_A_SCHEME = re.compile(r"(https?)(?::/?|//|;//)(?!/)", re.IGNORECASE)


def checked(uri: str) -> str:
    """Return a tracking URI without the white space around it, such as the carriage return of a ``.env`` of Windows.

    :raises ValueError: it is none, in a sentence that shows the right one
    """
    uri = uri.strip()
    bare = uri.strip("\"'")
    if "://" not in bare and (with_user := _USER_AND_HOST.fullmatch(bare)):
        right = f"MLFLOW_TRACKING_URI=http://USER:PASSWORD@{with_user['server']}"
        raise ValueError(f"the tracking URI, with a user and a password, has no scheme. As in: {right}")
    shown = uris.without_credentials(bare)
    if bare != uri:
        raise ValueError(f"the tracking URI has quotes around it. Set it without: MLFLOW_TRACKING_URI={shown}")
    if _HOST_AND_PORT.fullmatch(uri) or _IP.fullmatch(uri) or uri == "localhost":
        raise ValueError(f"the tracking URI {shown!r} has no scheme. As in: MLFLOW_TRACKING_URI=http://{shown}")
    if (half := _HALF_A_SCHEME.match(uri)) and "://" not in uri:
        right = f"{half[1].lower()}://{shown[half.end() :].lstrip('/')}"
        raise ValueError(f"the tracking URI {shown!r} is no address. As in: MLFLOW_TRACKING_URI={right}")
    return uri


def given_credentials(uri: str) -> tuple[str, tuple[str, str] | None]:
    """Return what is sent to the server at this address: where it is from, and user and password.

    :param uri: the tracking URI with its own credentials, if it has any
    :returns: ("", None) if nothing is; the password is empty for a token
    """
    user, password = os.environ.get(USERNAME), os.environ.get(PASSWORD)
    if user and password:
        return f"{USERNAME} and {PASSWORD}", (user, password)
    if token := os.environ.get(TOKEN):
        return TOKEN, (token, "")
    if uris.without_credentials(uri) != uri:
        return "the user and password in MLFLOW_TRACKING_URI", None
    parser = ConfigParser(interpolation=None)
    with suppress(Error, OSError, UnicodeError, RuntimeError):  # a user without a home folder has none
        path = Path("~/.mlflow/credentials").expanduser()
        parser.read(path, encoding="utf-8")
        names = ("mlflow_tracking_username", "mlflow_tracking_password")
        user, password = (parser.get("mlflow", name, fallback="") for name in names)
        if user and password:
            return str(path), (user, password)
    return "", None


def about_credentials(uri: str, status: int = 401) -> str:
    """Say what to do where access is refused.

    :param uri: the tracking URI
    :param status: 401: it is not known who asks; 403: it is, and they may not
    """
    if uris.is_databricks(uri):
        return "Set DATABRICKS_HOST and DATABRICKS_TOKEN, or make a profile with `databricks configure`."
    where, _ = given_credentials(os.environ.get("MLFLOW_TRACKING_URI", ""))
    if not where:
        return f"Set {USERNAME} and {PASSWORD}, or {TOKEN}."
    if status == 403:
        return f"The user of {where} has no right to do this: ask the server's administrator."
    verb = "is" if where.startswith((TOKEN, os.sep)) else "are"
    return f"Credentials were sent, and not accepted: {where} {verb} wrong, or of another server."


def about_connection(uri: str, why: str) -> str:
    """Say what a connection that failed in this way may be due to; empty if nothing is known.

    :param why: the message of the exception, or the server's answer
    """
    why = why.lower()
    other = re.sub("^http", "https", uri) if uri.startswith("http:") else re.sub("^https", "http", uri)
    if uri.startswith("https:") and re.search("wrong.version.number|record.layer.failure|unknown.protocol", why):
        return f"The server does not speak https: set MLFLOW_TRACKING_URI={other}"
    if uri.startswith("http:") and re.search("plain http request was sent to https port|http request to an https", why):
        return f"The server speaks https: set MLFLOW_TRACKING_URI={other}"
    if "certificate" in why:
        return "Set MLFLOW_TRACKING_SERVER_CERT_PATH to the file of the authority that has signed it."
    return about_stranger("") if "error code 404" in why else ""


def about_stranger(server: str) -> str:
    """Say that what answers is no MLflow server.

    :param server: what it calls itself; may be empty
    """
    return f"Another server than MLflow answers there{f' ({server})' if server else ''}: are host, port and path right?"
