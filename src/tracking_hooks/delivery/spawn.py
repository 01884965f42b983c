"""Starts relays, adopters and copiers: processes of their own, out of reach of the terminal's Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tracking_hooks.run import layout, portable
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings

DELIVERED, PENDING, BUSY, IDLE, REFUSED, HANGING = 0, 75, 76, 77, 78, 79
"""Exit codes of a relay: all delivered; something is left for ``sync``; another relay is at it; nothing to do at the
moment, for a further part of a plugin; the plugin cannot be used as it is configured; ended by itself because a call
of the plugin did not return."""

_KINDLY = 5.0
"""Seconds that a relay has to end after it was asked to."""

_LIBRARY_IN_ZIP = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
"""What holds the standard library where it is not in a folder; another archive is an application, or a package."""

# The interpreter is started isolated, so that nothing in the working directory (a user's `queue.py`) can
# shadow the standard library before the path is set.
_START = "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
_RELAY = "from tracking_hooks.delivery.main import main; sys.exit(main(sys.argv[1:]))"
_WORKER = "from tracking_hooks.delivery.worker import work; work(sys.argv[1:])"
_COPIER = (
    "from pathlib import Path; from tracking_hooks.run import copies, layout; "
    "copies.copy_owed(layout.RunFolder(Path(sys.argv[1])))"
)
_ADOPTER = (
    "from pathlib import Path; from tracking_hooks.delivery.sync import adopt; adopt(Path(sys.argv[1]), *sys.argv[2:])"
)

_started: set[subprocess.Popen[bytes]] = set()
# Module state, since nobody else holds on to an adopter: those that have ended are taken out of the table of processes.


def start_relay(
    folder: RunFolder,
    label: str,
    settings: Settings,
    *,
    drain: bool = False,
    check: bool = False,
    retry: bool = False,
    verdict: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a relay; its output goes to ``relay.log``.

    :param label: the plugin's name, or that of a replay
    :param drain: deliver what is there and end, rather than follow the run
    :param check: check the plugin and end
    :param retry: try again whatever was set aside
    :param verdict: the file in which it is to remember that its plugin can be used
    :raises OSError: if the process or its log file cannot be made
    """
    files = folder.relay(label)
    files.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    arguments = [str(folder.path), label]
    arguments += ["--linger", str(settings.linger), "--call-timeout", str(settings.call_timeout)]
    arguments += ["--drain"] * drain + ["--check"] * check + ["--retry"] * retry
    if verdict is not None:
        arguments += ["--verdict", str(verdict), "--asked", str(time.time())]
    return _start(_RELAY, arguments, files.log)


def start_worker(address: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a process that delivers the runs that it is told of.

    :param address: of the socket by which it is told
    :param log: where its output goes, until it is told of a run
    :raises OSError: if the process or its log file cannot be made
    """
    return _start(_WORKER, [address], log)


def start_adopter(home: Path, keep: str = "") -> subprocess.Popen[bytes]:
    """Start a process that delivers what other trainings of this user have left in a ``.tracking-hooks`` folder.

    :param keep: which delivered run folders stay, as ``TRACKING_HOOKS_KEEP`` has it; the others are removed
    :raises OSError: if the process or its log file cannot be made
    """
    log = adopter_file(home, ".log")
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _start(_ADOPTER, [str(home), keep], log)


def adopter_file(home: Path, suffix: str) -> Path:
    """Return a file of the adopter of a ``.tracking-hooks`` folder: not one in it, which several users may share."""
    name = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]
    return layout.index_folder().with_name("adopters") / f"{name}{suffix}"


def start_copier(folder: RunFolder) -> subprocess.Popen[bytes]:
    """Start a process that copies the files of a run that are not delivered yet.

    :raises OSError: if the process or its log file cannot be made
    """
    return _start(_COPIER, [str(folder.path)], folder.copier_log)


def _start(code: str, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    if getattr(sys, "frozen", False):  # its executable is the application: it would start that once more
        raise OSError(
            "this application is frozen, and has no Python interpreter for a relay. Set TRACKING_HOOKS=none in it, or "
            "train in a Python environment."
        )
    for ended in [process for process in list(_started) if process.poll() is not None]:
        _started.discard(ended)
    # From a working directory that was deleted, a tracker's client could not find its way back.
    folder = None if portable.has_working_folder() else log.parent
    output = portable.append_to(log)
    try:
        with _without_debugger():
            process = subprocess.Popen(
                isolated(code, arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                **portable.apart(),
                **portable.as_this_python(),
            )
    finally:
        os.close(output)
    _started.add(process)
    return process


def _without_debugger() -> AbstractContextManager[None]:
    """Keep the debugger of VS Code or PyCharm from following into a process: it would wait for the editor."""
    debugger = sys.modules.get("_pydev_bundle.pydev_monkey")
    skip: Callable[[], AbstractContextManager[None]] = getattr(debugger, "skip_subprocess_arg_patch", nullcontext)
    return skip()


def leave_running() -> None:
    """Let go of the processes that outlive this one, where Python warns of each child that was not waited for."""
    while _started:
        process = _started.pop()
        if process.returncode is None:
            process.returncode = DELIVERED  # not asked: to a forked process it is no child


def isolated(code: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs code as a relay is run: with this process's path, in which nothing is shadowed."""
    return [sys.executable, "-I", "-X", "utf8", "-c", _START + code, json.dumps(relay_path()), *arguments]


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End a relay: kindly, and if that does not help, by force."""
    process.terminate()
    try:
        process.wait(_KINDLY)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def relay_path() -> list[str]:
    """Return this process's ``sys.path`` for a relay: standard library first, the user's own folder last."""
    library = Path(sysconfig.get_path("stdlib"))
    here = portable.working_folder()
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    script = (here / main).parent if main else None
    first, middle, last = [], [], []
    for entry in dict.fromkeys(str(here / item) for item in sys.path):
        path = Path(entry)
        if path == library or (library in path.parents and "-packages" not in entry) or path.name == _LIBRARY_IN_ZIP:
            first.append(entry)
        elif path in (here, script):
            last.append(entry)
        else:
            middle.append(entry)
    return first + middle + last
