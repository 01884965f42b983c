"""Relays that need not import MLflow: forked from a process that has done so, in place of ``subprocess.Popen``.

To import MLflow takes two seconds of CPU, and a sequence of faults starts three relays or more. What is tested does
not begin before that. Everything else is as it is: ``spawn.start_relay`` makes the same command, and the process has
an id, a session, a log and a lock of its own.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from tracking_hooks.delivery import spawn

ADDRESS = "FAULTS_FORKING"
"""Environment variable: the socket of the process that forks."""

_ROOT = Path(__file__).parents[2]
_READY = b"ready\n"
_LOOK = 0.02  # seconds between two looks for children that have ended


class Forked:
    """As much of ``subprocess.Popen`` as is used of it."""

    def __init__(self, command: list[str], *, stdout: int, **_: Any) -> None:
        self.returncode: int | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.connect(os.environ[ADDRESS])
        request = {"command": command, "env": dict(os.environ), "cwd": str(Path.cwd())}
        socket.send_fds(self._socket, [json.dumps(request).encode()], [stdout])
        self.pid = int(self._socket.recv(64))

    def poll(self) -> int | None:
        if self.returncode is None:
            self._socket.setblocking(False)
            with suppress(BlockingIOError):
                self.returncode = int(self._socket.recv(64))
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self._socket.setblocking(True)
            self.returncode = int(self._socket.recv(64))
        return self.returncode

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


def install() -> None:
    """Let relays be forked in this process, if there is one that forks."""
    if ADDRESS in os.environ:
        spawn.subprocess = SimpleNamespace(Popen=Forked, DEVNULL=subprocess.DEVNULL)


@contextmanager
def relays_are_forked() -> Iterator[None]:
    """Let relays be forked in this process, and in those that it starts."""
    with TemporaryDirectory(prefix="forking-") as folder:  # the name of a socket must be short
        address = str(Path(folder, "socket"))
        parent = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forking", address], cwd=_ROOT, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            if parent.stdout.readline() != _READY:
                raise RuntimeError("the process that forks relays did not start")
            os.environ[ADDRESS] = address
            install()
            yield
        finally:
            spawn.subprocess = subprocess
            os.environ.pop(ADDRESS, None)
            parent.kill()
            parent.communicate()


def _serve(address: str) -> None:
    from tracking_hooks import plugins
    from tracking_hooks.delivery import relay  # noqa: F401

    for point in plugins.installed().values():
        point.load()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        os.write(1, _READY)
        children: dict[int, socket.socket] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while True:
                if selector.select(_LOOK):
                    client, _ = listener.accept()
                    pid = _fork(client)
                    children[pid] = client
                    client.send(str(pid).encode())
                _tell_who_ended(children)


def _tell_who_ended(children: dict[int, socket.socket]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with children.pop(pid) as client, suppress(OSError):  # who asked for it may have been killed
            client.send(str(os.waitstatus_to_exitcode(status)).encode())


def _fork(client: socket.socket) -> int:
    data, (log,), _, _ = socket.recv_fds(client, 1 << 20, 1)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _become(json.loads(data), log)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(log)
    return pid


def _become(request: dict[str, Any], log: int) -> int:
    os.setsid()
    for fd in (1, 2):
        os.dup2(log, fd)
    for path in list(Path("/dev/fd").iterdir()):
        if int(path.name) > 2:
            with suppress(OSError):  # that of the listing itself
                os.close(int(path.name))
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    options, code, arguments = _split(request["command"])
    sys.argv = ["-c", *arguments]
    assert "-I" in options
    try:
        exec(code, {"__name__": "__main__"})
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _split(command: list[str]) -> tuple[list[str], str, list[str]]:
    """Return (the interpreter's options, the code, its arguments)."""
    at = command.index("-c")
    return command[1:at], command[at + 1], command[at + 2 :]


if __name__ == "__main__":
    _serve(sys.argv[1])
