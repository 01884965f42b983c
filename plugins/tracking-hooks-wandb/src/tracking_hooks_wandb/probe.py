"""Whether W&B's service can be used: asked for ``tracking-hooks doctor``, without W&B's client, writing nothing."""

from __future__ import annotations

import os
from typing import Any

import requests
from requests.utils import get_netrc_auth

from tracking_hooks.events import Unavailable

_QUESTION = "query { viewer { username entity } }"


def probe(service: str, timeout: float) -> str:
    """Return who the service takes this user for.

    :param service: its address, without credentials
    :param timeout: seconds
    :raises Unavailable: it cannot be used, and what to do
    """
    where, key = _key(service)
    if not key:
        raise Unavailable(f"W&B at {service}: there is no API key. Run `wandb login`, or set WANDB_API_KEY.")
    try:
        answer = requests.post(
            f"{service}/graphql", json={"query": _QUESTION}, auth=("api", key), timeout=timeout, allow_redirects=False
        )
        viewer = _viewer(answer)
    except requests.RequestException as error:
        raise Unavailable(f"W&B at {service} is not available: {_reason(error)}") from None
    if answer.status_code == 401 or (answer.ok and viewer is None):
        raise Unavailable(
            f"W&B at {service} does not accept the API key of {where}: it is wrong, or of another server. "
            "Get one from the page /authorize of that server."
        )
    if not answer.ok or not viewer:
        raise Unavailable(f"W&B at {service} is not available: HTTP {answer.status_code}. Is the address right?")
    return f"{service} answers, as {viewer.get('username') or viewer.get('entity')} (API key of {where})"


def _key(service: str) -> tuple[str, str]:
    """Return where the API key is from, and the key: as W&B's client finds it."""
    if key := os.environ.get("WANDB_API_KEY", "").strip():
        return "WANDB_API_KEY", key
    found = get_netrc_auth(service)
    return ("the file .netrc", found[1] or "") if found else ("", "")


def _viewer(answer: Any) -> dict[str, Any] | None:
    """Return what the answer says of the user; empty if it is none of W&B, None if it knows nobody."""
    try:
        data = answer.json()["data"]
        viewer: dict[str, Any] | None = data["viewer"]
    except (ValueError, KeyError, TypeError):
        return {}
    return viewer


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection; is it http, or signed by an authority that is not known here?"
    return "no connection"
