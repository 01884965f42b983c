"""How this user gets to see a page: in a browser, by a link, through SSH, from a notebook."""

from __future__ import annotations

import json
import os
import socket
import sys
import webbrowser
from collections.abc import Iterator
from urllib.parse import urlsplit

from tracking_hooks.run import portable

_PAGES = {"http", "https", "file"}
"""What a browser is given: the address may come from a run folder that a stranger has written."""


def show(url: str, *, is_local: bool) -> Iterator[str]:
    """Open a page in the browser, if there is one here. Return lines to print: the link, and how else to reach it.

    :param is_local: whether only this machine can reach the page
    """
    yield url
    if "COLAB_RELEASE_TAG" in os.environ:
        yield from _in_colab(url) if is_local else ()
    elif "JPY_PARENT_PID" in os.environ:
        yield from _in_jupyter(url) if is_local else ()
    elif not _has_browser():
        yield from _through_ssh(url) if is_local else ()
    elif urlsplit(url).scheme in _PAGES:
        webbrowser.open(url)


def _has_browser() -> bool:
    if os.environ.get("BROWSER"):  # an editor that is connected to this machine opens the page where its user is
        return True
    if "SSH_CONNECTION" in os.environ:
        return False
    return not sys.platform.startswith("linux") or bool(os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"})


def _through_ssh(url: str) -> Iterator[str]:
    port = urlsplit(url).port
    connection = os.environ.get("SSH_CONNECTION", "").split()
    host, number = connection[2:4] if len(connection) == 4 else (socket.gethostname(), "22")
    name = portable.user_name()
    target = f"{name}@{host}" if name else host
    option = "" if number == "22" else f" -p {number}"
    yield "There is no browser here. From another machine, open the link after:"
    yield f"  ssh -L {port}:127.0.0.1:{port}{option} {target}"


def _in_jupyter(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if prefix := os.environ.get("JUPYTERHUB_SERVICE_PREFIX"):
        yield "If the notebook is on another machine, with jupyter-server-proxy:"
        yield f"  {prefix.rstrip('/')}/proxy/{parts.port}/{_behind(url)}"


def _in_colab(url: str) -> Iterator[str]:
    yield "To open it, run in a cell:"
    yield "  from google.colab import output"
    yield f"  output.serve_kernel_port_as_window({urlsplit(url).port}, path={json.dumps('/' + _behind(url))})"


def _behind(url: str) -> str:
    """Return what follows the address of the server."""
    parts = urlsplit(url)
    return parts._replace(scheme="", netloc="").geturl().lstrip("/")
