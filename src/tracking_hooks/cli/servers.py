"""The servers of trackers' pages that ``tracking-hooks open`` has started.

::

    <state folder>/servers/<digest of the store>.json     which process serves a store, and where
                           <digest of the store>.log

A server is known by what it serves, and a process by its id and the time of its start: no port and no id is believed.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
from msgspec import Struct

from tracking_hooks.pages import Page
from tracking_hooks.run import portable
from tracking_hooks.run.layout import read_json, write_json
from tracking_hooks.run.liveness import Lock

_HOST = "127.0.0.1"
_PATIENCE = 90.0
"""Seconds in which a server comes up, on a busy machine too."""
_POLL = 0.1
_TO_END = 10.0
"""Seconds that it has to end by itself."""
_PORTS = range(20_000, 30_000)
"""Below those that systems give to connections."""
_LOG = 2000
"""Characters of its log that are shown when it does not come up."""


class ServerError(Exception):
    """A server does not come up, with the reason in its own words."""


class Server(Struct, frozen=True, kw_only=True):
    """A process that serves the pages of a store."""

    store: str
    """A URI without credentials."""
    pid: int
    created: float
    """When the process was started, as the system tells it."""
    port: int

    @property
    def address(self) -> str:
        """Where its pages begin."""
        return f"http://{_HOST}:{self.port}/"


def servers() -> list[Server]:
    """Return those that run, by their stores."""
    found = [read_json(file, Server) for file in _folder().glob("*.json")]
    return sorted((one for one in found if one and _process(one)), key=lambda one: one.store)


def serving(page: Page) -> Server:
    """Return the server of a page: the one that serves its store, or a new one.

    :raises ServerError: if it does not come up
    :raises OSError: if the state folder cannot be written
    """
    _folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = Lock(_folder() / "starting.lock")  # or two calls at once would start two
    while not lock.acquire():
        time.sleep(_POLL)
    try:
        known = read_json(_file(page.store), Server)
        server = known if known and _process(known) else _start(page)
        _wait(server)
        return server
    finally:
        lock.release()


def _start(page: Page) -> Server:
    file = _file(page.store)
    port = _free_port(page.store)
    command = [word.replace("{port}", str(port)) for word in page.command]
    descriptor = portable.open_file(_log(page.store), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with os.fdopen(descriptor, "wb") as log:
        process = subprocess.Popen(
            command,
            cwd=file.parent,
            env={**os.environ, **page.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            **portable.apart(),
        )
    try:
        created = psutil.Process(process.pid).create_time()
    except psutil.NoSuchProcess:
        raise ServerError(_last_words(page.store)) from None
    server = Server(store=page.store, pid=process.pid, created=created, port=port)
    write_json(file, server)
    return server


def stop(server: Server) -> None:
    """End a server and the processes that it has started."""
    process = _process(server)
    if process is not None:
        with suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            for one in family:
                with suppress(psutil.NoSuchProcess):
                    one.terminate()
            _, alive = psutil.wait_procs(family, timeout=_TO_END)
            for one in alive:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
    _file(server.store).unlink(missing_ok=True)
    _log(server.store).unlink(missing_ok=True)


def _process(server: Server) -> psutil.Process | None:
    """Return the process, if it is the one that was started."""
    with suppress(psutil.Error):
        process = psutil.Process(server.pid)
        is_same = abs(process.create_time() - server.created) < 1
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    return None


def _wait(server: Server) -> None:
    deadline = time.monotonic() + _PATIENCE
    while _process(server):
        if _answers(server.address):
            return
        if time.monotonic() > deadline:
            raise ServerError(f"{server.address} does not answer. The log: {_log(server.store)}")
        time.sleep(_POLL)
    raise ServerError(_last_words(server.store))


def _answers(address: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine is behind no proxy
    try:
        with direct.open(address, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _free_port(store: str) -> int:
    """Return a port, for a store the same one each time: what a browser remembers of a page, it knows by the port."""
    wanted = _PORTS[int(_digest(store), 16) % len(_PORTS)]
    for port in (wanted, 0):
        with socket.socket() as probe, suppress(OSError):
            if sys.platform != "win32":  # there, it would take a port away from somebody
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # its last connections may linger
            probe.bind((_HOST, port))
            taken: int = probe.getsockname()[1]
            return taken
    raise ServerError("no port is free")


def _folder() -> Path:
    return portable.state_folder() / "servers"


def _file(store: str) -> Path:
    return _folder() / f"{_digest(store)}.json"


def _log(store: str) -> Path:
    return _file(store).with_suffix(".log")


def _digest(store: str) -> str:
    return hashlib.sha256(store.encode()).hexdigest()[:16]


def _last_words(store: str) -> str:
    with suppress(OSError):
        return f"the server ended:\n{_log(store).read_text('utf-8', 'replace')[-_LOG:].strip()}"
    return "the server ended"
