"""Whether a tracking store can be used: for ``tracking-hooks doctor``, without MLflow's client, writing nothing."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tracking_hooks.events import Unavailable
from tracking_hooks_mlflow import mistakes, uris

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_LIST = "/api/2.0/mlflow/experiments/search"


def probe(uri: str, timeout: float) -> str:
    """Return what answers at a tracking URI.

    :param uri: without credentials, which are read from the environment
    :param timeout: seconds
    :raises Unavailable: it cannot be used, and what to do
    """
    if uris.is_web(uri):
        return _server(uri, timeout)
    if path := uris.local_path(uri):
        return _local(uri, path)
    if uris.is_database(uri):
        return _database(uri, timeout)
    return f"{uri} is not asked here: the training's relay does it"


def _server(uri: str, timeout: float) -> str:
    import requests

    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    complete = given if uris.without_credentials(given) == uri else uri
    where, who = mistakes.given_credentials(complete)
    session = requests.Session()
    session.verify = _verification()
    if who is not None and who[1]:
        session.auth = who
    elif who is not None:
        session.headers["Authorization"] = f"Bearer {who[0]}"
    try:
        answer = session.get(f"{complete.rstrip('/')}{_LIST}", params={"max_results": 1}, timeout=timeout)
    except requests.RequestException as error:
        hint = f"{_hint(uri, str(error))}{_through(uri)}"
        raise Unavailable(f"MLflow at {uri} is not available: {_reason(error)}{hint}") from None
    if answer.status_code in {401, 403}:
        advice = mistakes.about_credentials(uri, answer.status_code)
        raise Unavailable(f"MLflow at {uri} refuses access (HTTP {answer.status_code}). {advice}")
    if not answer.ok or not _is_mlflow(answer):
        stranger = mistakes.about_stranger(answer.headers.get("Server", "").strip())
        hint = _hint(uri, answer.text) or f". {stranger}"
        raise Unavailable(f"MLflow at {uri} is not available: HTTP {answer.status_code}{hint}{_through(uri)}")
    return f"the server at {uri} answers{f', with {where}' if where else ''}"


def _verification() -> Any:
    """Return how a certificate is checked: as MLflow's own variables say."""
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").strip().lower() in {"true", "1"}:
        return False
    return os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True


def _is_mlflow(answer: Any) -> bool:
    try:
        found = answer.json()
    except ValueError:
        return False
    return isinstance(found, dict) and set(found) <= {"experiments", "next_page_token"}


def _reason(error: Exception) -> str:
    """Return the last words of an exception of requests, which wraps several others."""
    text = re.sub(r"//[^/\s]*@", "//", str(error))
    found = re.findall(r"\[(?:Errno -?\d+|SSL: \w+)\] ([^\"'()]+)|(timed out|[Rr]emote end closed[^'\"()]*)", text)
    words = next((a or b for a, b in reversed(found)), "") or text.splitlines()[0][:200]
    return words.strip().rstrip(".").lower()


def _hint(uri: str, text: str) -> str:
    hint = mistakes.about_connection(uri, text)
    return f". {hint}" if hint else ""


def _through(uri: str) -> str:
    """Say that a proxy was asked, which may not know a server of the user's own network."""
    from requests.utils import get_environ_proxies, select_proxy

    if not select_proxy(uri, get_environ_proxies(uri)):
        return ""
    return f" It was asked through your proxy. If it is in your own network, add {urlsplit(uri).hostname} to NO_PROXY."


def _local(uri: str, path: Path) -> str:
    if obstacle := uris.obstacle(path):
        raise Unavailable(f"MLflow's store {uri} cannot be written: {obstacle}")
    return f"{path}{'' if path.exists() else ', which the first training makes'}"


def _database(uri: str, timeout: float) -> str:
    address = urlsplit(uri)
    host, port = address.hostname, address.port or _PORTS.get(address.scheme.partition("+")[0])
    if host is None or port is None:
        return f"{uri} is not asked here: the training's relay does it"
    try:
        socket.create_connection((host, port), timeout=timeout).close()
    except OSError as error:
        raise Unavailable(f"MLflow's database at {host}:{port} is not available: {error.strerror or error}") from None
    return f"the database at {host}:{port} answers; its password is not tried"
