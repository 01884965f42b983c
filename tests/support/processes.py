"""Waiting for things and addressing processes: only ones that were started here, each by its id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.liveness import is_alive, read_holder

PATIENCE = 480.0
"""Seconds until an awaited event counts as never coming: far more than it takes on a busy machine."""

_POLL = 0.01
_T = TypeVar("_T")


class NeverCame(AssertionError):
    """Something that was waited for did not happen."""


def wait_for(condition: Callable[[], _T], what: str = "what was waited for", patience: float = PATIENCE) -> _T:
    """Look again until a condition holds; return its value.

    :raises NeverCame: if it never does
    """
    deadline = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise NeverCame(f"never came: {what}")
        time.sleep(_POLL)
    return value


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(url: str) -> bool:
    """Whether a web server answers there that all is well."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def relay_pid(folder: RunFolder, plugin: str) -> int | None:
    """Return the process id of the relay that is at work, if one is."""
    lock = folder.relay(plugin).lock
    holder = read_holder(lock)
    return holder.pid if holder and is_alive(lock, heartbeat=lock, silence=0) else None


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; return whether the process was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def send_session(process: subprocess.Popen, number: signal.Signals) -> None:
    """Send a signal to a process that was started in a session of its own, and to its children."""
    if process.poll() is None:
        with suppress(ProcessLookupError):  # that it has ended is not known yet
            os.killpg(process.pid, number)
