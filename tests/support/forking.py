"""Python processes that begin with their imports done: forked from a process that has made them.

To import PyTorch and what else Ultralytics needs takes seconds of CPU, to import MLflow as long, and the tests start
hundreds of such processes. What most of them test does not begin before that. Beside its imports a forked process is
as an interpreter that was just started: it has an id, a session, standard streams, an environment, a working
directory, a ``sys.path`` and a ``__main__`` of its own, and ends as an interpreter does. Ultralytics, the core and the
user's modules are not among the imports: each process imports them itself.

What happens while Python starts and at ``import torch`` is not the same. ``start`` makes a real process where the
environment or the command asks for anything of that; so does a test of such a promise (``Home.forks``).

A command of an interpreter of another environment makes the forked process that interpreter: see ``servers_for``.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import runpy
import select
import shutil
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

RELAYS = "RELAYS_ARE_FORKED_AT"
TRIALS = "TRIALS_ARE_FORKED_AT"
SERVERS = "MLFLOW_SERVERS_ARE_FORKED_AT"
"""Environment variables: the addresses of the processes that fork relays, trainings for a tuning, and MLflow."""

_BIN = Path(sys.executable).parent
_TRAINING = ("torch", "torch._dynamo", "torchvision", "cv2", "matplotlib.pyplot", "PIL.Image", "psutil", "requests")
"""Not polars and pandas, which start threads: threads do not live on in a fork."""
_RELAY = (
    "tracking_hooks.delivery.worker", "tracking_hooks.testing", "tracking_hooks_mlflow.tracker",
    "tracking_hooks_mlflow.files", "mlflow.store.tracking.sqlalchemy_store", "tracking_hooks_tensorboard.tracker",
)  # fmt: skip
_OF_OTHERS = (
    "msgspec", "pluggy", "platformdirs", "psutil", "tenacity", "mlflow.store.tracking.sqlalchemy_store",
    "tensorboard.compat.proto.event_pb2",
)  # fmt: skip
"""What a relay imports that is not ours."""
_MLFLOW = ("mlflow.cli", "uvicorn.main")
_DELIVERS = ("delivery.main import", "delivery.worker import")
_RELAYS_OPTIONS = ["-I", "-X", "utf8"]
_TRIAL = ["-m", "ultralytics.cfg.__init__"]
_TORCHRUN = ["-m", "torch.distributed.run"]
_MLFLOW_SERVER = ["-m", "mlflow", "server"]
_UVICORN, _APPLICATION = ["-m", "uvicorn"], "mlflow.server.fastapi_app:app"
_UNBUFFERED = "-u"
_COMMANDS = ("sync", "status", "simulate")
_PATH = "PYTHONPATH"
_READ_AT_START = ("PYTHON", "TORCH", "OMP_", "LANG", "LC_", "LD_", "MPL")
"""Prefixes of variables that Python reads when it starts, and PyTorch when it is imported."""
_MAIN = sys.modules["__main__"]  # kept: a process that was forked here has another one


class Forked:
    """As much of ``subprocess.Popen`` as is used of it."""

    def __init__(
        self, address: str, command: Sequence[str], *, env: Mapping[str, str], cwd: str, output: int | None = None
    ) -> None:
        """Fork a process.

        :param output: takes what it prints; None: a pipe does
        """
        self.args = [str(word) for word in command]
        self.returncode: int | None = None
        self.stdout: IO[str] | None = None
        self._printed = b""
        pipe = None
        if output is None:
            pipe, output = os.pipe()
            self.stdout = os.fdopen(pipe, encoding="utf-8")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.connect(address)
        request = {"command": self.args, "env": dict(env), "cwd": cwd}
        socket.send_fds(self._socket, [json.dumps(request).encode()], [output])
        self.pid = int(self._socket.recv(64))
        if pipe is not None:
            os.close(output)

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def communicate(self, _: None = None, timeout: float | None = None) -> tuple[str, None]:
        deadline = None if timeout is None else time.monotonic() + timeout
        if self.stdout is None:
            self.wait(timeout)
            return "", None
        while _is_readable(self.stdout, None if deadline is None else deadline - time.monotonic()):
            if not (some := os.read(self.stdout.fileno(), 1 << 16)):
                self.stdout.close()
                self.wait(None if deadline is None else max(0, deadline - time.monotonic()))
                return self._printed.decode(), None
            self._printed += some
        raise subprocess.TimeoutExpired(self.args, timeout, self._printed)

    def __enter__(self) -> Forked:  # noqa: PYI034 nobody inherits it
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # the answer to `poll` is on its way
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(15)

    def kill(self) -> None:
        self.send_signal(9)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and _is_readable(self._socket, timeout):
            self.returncode = int(self._socket.recv(64))
            self._socket.close()
        return self.returncode


def _is_readable(file: Any, timeout: float | None) -> bool:
    """Whether there is something to read, or an end; not by ``select``, which takes no descriptor from 1,024 on."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(None if timeout is None else max(0, timeout) * 1000))


def start(command: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> Any:
    """Start a command in a session of its own, forked where that is the same thing; its output is in a pipe."""
    if not can_be_forked(command, env):
        return start_anew(command, env=env, cwd=cwd)
    address = _address_of_trainings()
    return Forked(address, command, env={**env, RELAYS: address_of_relays(), TRIALS: address}, cwd=str(cwd))


def start_anew(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start a command as a process that has nothing in common with others.

    :param output: takes what it prints
    """
    return subprocess.Popen(
        command, cwd=cwd, env=env, text=True, encoding="utf-8", stdin=subprocess.DEVNULL, stdout=output,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def start_mlflow(command: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: int) -> Any:
    """Start ``python -m mlflow`` in a session of its own; uvicorn, which it starts, is forked from it."""
    if command[1:3] != ["-m", "mlflow"] or sys.platform != "linux":
        return start_anew(command, env=env, cwd=cwd, output=output)
    return Forked(_server(_MLFLOW), command, env=env, cwd=str(cwd), output=output)


def can_be_forked(command: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether this is a script, ``-c``, ``yolo`` or one of our commands, and asks nothing that Python reads first."""
    program, first = str(command[0]), str(command[1])
    is_python = program == sys.executable and (first == "-c" or not first.startswith("-"))
    is_yolo = program in ("yolo", str(_BIN / "yolo"))
    is_ours = program == "tracking-hooks" and first in _COMMANDS
    if sys.platform != "linux" or not (is_python or is_yolo or is_ours):
        return False
    return _read_at_start(env) == _read_at_start(_environment())


def _read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_READ_AT_START) and name != _PATH}


@functools.cache
def _environment() -> dict[str, str]:
    """Return the environment of a process that forks."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("TRACKING_HOOKS", "MLFLOW"))}
    return {**own, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


# -- relays and trials ---------------------------------------------------------------------------------------------


class _Popen(subprocess.Popen):
    """Makes real processes, but relays, the trials of a tuning, torchrun, its workers and a web server are forked."""

    def __new__(cls, args: Any, *more: Any, **options: Any) -> Any:
        command = list(args) if isinstance(args, (list, tuple)) else []
        here = {"env": options.get("env") or os.environ, "cwd": str(options.get("cwd") or Path.cwd())}
        if RELAYS in os.environ and command[1:4] == _RELAYS_OPTIONS and any(text in command[5] for text in _DELIVERS):
            return Forked(os.environ[RELAYS], command, output=options["stdout"], **here)
        if TRIALS in os.environ and (command[1:3] in (_TRIAL, _TORCHRUN) or _is_worker(command)):
            return Forked(os.environ[TRIALS], command, output=1, **here)
        if SERVERS in os.environ and command[1:4] == _MLFLOW_SERVER:
            return Forked(os.environ[SERVERS], command, output=options["stdout"].fileno(), **here)
        return super().__new__(cls)

    def _execute_child(self, args: Any, executable: Any, *more: Any, **options: Any) -> None:
        """Fork this process for MLflow's web server: it belongs to the session of ``mlflow server``."""
        if not isinstance(args, list) or args[1:3] != _UVICORN or args[-1] != _APPLICATION:
            super()._execute_child(args, executable, *more, **options)
            return
        env = more[4]
        if (pid := os.fork()) == 0:
            del sys.modules["mlflow.server"]  # it reads the environment when it is imported
            try:
                _end(_run, args, dict(env))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        self.pid, self._child_created = pid, True


def _is_worker(command: list[str]) -> bool:
    """Whether this process is torchrun, and this a script that it trains with."""
    return sys.orig_argv[1:3] == _TORCHRUN and command[:2] == [sys.executable, _UNBUFFERED]


def install() -> None:
    """Let be forked what can be, of what this process starts."""
    subprocess.Popen = _Popen


@contextmanager
def relays_are_forked() -> Iterator[None]:
    """Let relays be forked in this process, and in those that it starts if they call ``install``."""
    os.environ[RELAYS] = address_of_relays()
    original = subprocess.Popen
    try:
        install()
        yield
    finally:
        subprocess.Popen = original
        del os.environ[RELAYS]


# -- the process that forks ---------------------------------------------------------------------------------------


def address_of_relays() -> str:
    return _server(_RELAY, *_RELAYS_OPTIONS)


def _address_of_trainings() -> str:
    return _server(_TRAINING)


def servers_for(python: Path) -> dict[str, str]:
    """Return the variables with the processes that fork for environments like that of ``python``.

    Nothing of ours is imported in them, and PyTorch loads its backends in the forked process: what is ours comes from
    the environment whose interpreter a command names.
    """
    return {
        TRIALS: _server(_TRAINING, python=str(python)),
        RELAYS: _server(_OF_OTHERS, *_RELAYS_OPTIONS, python=str(python)),
        SERVERS: _server(_MLFLOW),
    }


@functools.cache
def _server(modules: tuple[str, ...], *options: str, python: str = sys.executable) -> str:
    """Start a process that imports modules and forks; it ends with this one. Return its address.

    :param python: of which environment it is; by default it finds what this process finds
    """
    folder = Path(tempfile.mkdtemp(prefix="forking-"))  # the name of a socket must be short
    env, path = _environment(), [*sys.path]
    if python != sys.executable:
        env, path = {**env, _PATH: "", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}, []
    command = [python, *options, __file__, str(folder / "socket"), json.dumps(path), *modules]
    server = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if server.stdout.read(len(_READY)) != _READY:
        raise RuntimeError(f"the process that forks did not start: {command}")
    _servers.append(server)
    return str(folder / "socket")


_READY = b"ready\n"
_servers: list[subprocess.Popen[bytes]] = []
"""Not collected, so that their standard input stays open."""


def _serve(address: str) -> tuple[dict[str, Any], list[int]]:
    """Fork for whoever asks; return, in a forked process, (what it is to become, where its output and errors go)."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen(64)
    os.write(1, _READY)
    children: dict[int, tuple[int, socket.socket]] = {}  # by the descriptor that tells of the process's end
    while True:
        poll = select.poll()
        for fd in (0, listener.fileno(), *children):
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll():
            if fd == 0:  # who started this process has ended
                Path(address).unlink()
                Path(address).parent.rmdir()
                os._exit(0)
            if fd == listener.fileno():
                client, _ = listener.accept()
                data, outputs, _, _ = socket.recv_fds(client, 1 << 20, 2)
                if not data:  # who was about to ask was killed
                    client.close()
                    continue
                if (pid := os.fork()) == 0:
                    os.setsid()  # before anybody knows the id, which is then also that of a session
                    with suppress(OSError):  # who asked for it may have been killed
                        client.send(str(os.getpid()).encode())
                    for own in (listener, client, *(client for _, client in children.values())):
                        own.close()
                    for own in children:
                        os.close(own)
                    return json.loads(data), outputs
                for output in outputs:
                    os.close(output)
                children[os.pidfd_open(pid)] = (pid, client)
            else:
                pid, client = children.pop(fd)
                os.close(fd)
                _, status = os.waitpid(pid, 0)
                with client, suppress(OSError):  # who asked for it may have ended
                    client.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(request: dict[str, Any], outputs: list[int]) -> None:
    """Be what a fresh interpreter would be with this command, and run it."""
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    for fd, output in ((1, outputs[0]), (2, outputs[-1])):
        os.dup2(output, fd)
    for output in outputs:
        os.close(output)
    os.chdir(request["cwd"])
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # else all would draw the same
    install()
    _run(request["command"], request["env"])


def _run(command: list[str], env: Mapping[str, str]) -> None:
    """Run a command with an environment in this process, as Python does when it starts."""
    os.environ.clear()
    os.environ.update(env)
    sys.orig_argv = command
    _adopt(command[0])
    if not sys.flags.isolated:
        sys.path[:0] = [str(Path(entry).absolute()) for entry in env.get(_PATH, "").split(os.pathsep) if entry]
    is_python = Path(command[0]).name.startswith("python")
    sys.argv = command[1:] if is_python else [shutil.which(command[0]), *command[1:]]
    main = sys.modules["__main__"] = ModuleType("__main__")
    if sys.argv[0] == _UNBUFFERED:
        del sys.argv[0]
        sys.stdout.reconfigure(write_through=True)
    if sys.argv[0] == "-m":
        module = sys.argv.pop(1)
        sys.path.insert(0, str(Path.cwd()))
        runpy._run_module_as_main(module)
        return
    if sys.argv[0].startswith("-"):
        del sys.argv[: sys.argv.index("-c")]
        code = compile(sys.argv.pop(1), "<string>", "exec")
        sys.path.insert(0, "")
    else:
        script = Path(sys.argv[0]).absolute()
        main.__file__ = str(script)
        code = compile(script.read_bytes(), str(script), "exec")
        sys.path.insert(0, str(script.resolve().parent))
    exec(code, main.__dict__)


def _adopt(python: str) -> None:
    """Be the interpreter of another environment: have its packages, and do what they have done when Python starts."""
    bin_, own = Path(python).parent, Path(sys.executable).parent
    if not Path(python).is_absolute() or bin_ == own or not (bin_.parent / "pyvenv.cfg").exists():
        return
    packages = sysconfig.get_path("purelib", vars={"base": str(bin_.parent)})
    at = sys.path.index(sysconfig.get_path("purelib"))
    del sys.path[at]
    sys.executable, sys.prefix, sys.exec_prefix = python, str(bin_.parent), str(bin_.parent)
    rest, sys.path[at:] = sys.path[at:], []
    site.addsitedir(packages)
    sys.path += [entry for entry in rest if entry not in sys.path]
    if torch := sys.modules.get("torch"):
        torch._import_device_backends()


def _main() -> None:
    import gc

    address, path, *modules = sys.argv[1:]
    own = sys.path[not sys.flags.isolated :]  # a script's folder comes first
    if given := [entry for entry in json.loads(path) if entry]:
        sys.path[:] = given
    for module in modules:
        import_module(module)
    sys.path[:] = own
    if orm := sys.modules.get("sqlalchemy.orm"):
        orm.configure_mappers()  # else each process that opens MLflow's database would
    gc.collect()
    gc.freeze()  # else the collector of each process would copy all pages
    _end(_become, *_serve(address))


def _end(main: Callable[..., None], *args: Any) -> NoReturn:
    """Do all that there is to do, and end as an interpreter does that was asked to.

    The memory is given back whole: before it was taken apart, most of it would be copied.

    :raises BaseException: what the interpreter itself has to end with
    """
    code: Any = 0
    try:
        main(*args)
    except SystemExit as end:
        code = end.code or 0
        if not isinstance(code, int):
            raise
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # it may be gone
            stream.flush()
    os._exit(code & 0xFF)


if __name__ == "__main__":
    _main()
