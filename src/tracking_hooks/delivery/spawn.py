"""Starts relays, adopters and copiers: processes of their own, out of reach of the terminal's Ctrl-C."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings

DELIVERED, PENDING, BUSY, IDLE, REFUSED, HANGING = 0, 75, 76, 77, 78, 79
"""Exit codes of a relay: all delivered; something is left for ``sync``; another relay is at it; nothing to do at the
moment, for a further part of a plugin; the plugin cannot be used as it is configured; ended by itself because a call
of the plugin did not return."""

_KINDLY = 5.0
"""Seconds that a relay has to end after it was asked to."""

# The interpreter is started isolated, so that nothing in the working directory (a user's `queue.py`) can
# shadow the standard library before the path is set.
_START = "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
_RELAY = "from tracking_hooks.delivery.main import main; sys.exit(main(sys.argv[1:]))"
_WORKER = "from tracking_hooks.delivery.worker import work; work(sys.argv[1:])"
_COPIER = (
    "from pathlib import Path; from tracking_hooks.run import copies, layout; "
    "copies.copy_owed(layout.RunFolder(Path(sys.argv[1])))"
)
_ADOPTER = "from pathlib import Path; from tracking_hooks.delivery.sync import adopt; adopt(Path(sys.argv[1]))"


def start_relay(
    folder: RunFolder,
    label: str,
    settings: Settings,
    *,
    drain: bool = False,
    check: bool = False,
    retry: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a relay; its output goes to ``relay.log``.

    :param label: the plugin's name, or that of a replay
    :param drain: deliver what is there and end, rather than follow the run
    :param check: check the plugin and end
    :param retry: try again whatever was set aside
    :raises OSError: if the process or its log file cannot be made
    """
    files = folder.relay(label)
    files.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    arguments = [str(folder.path), label]
    arguments += ["--linger", str(settings.linger), "--call-timeout", str(settings.call_timeout)]
    return _start(_RELAY, arguments + ["--drain"] * drain + ["--check"] * check + ["--retry"] * retry, files.log)


def start_worker(address: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a process that delivers the runs that it is told of.

    :param address: of the socket by which it is told
    :param log: where its output goes, until it is told of a run
    :raises OSError: if the process or its log file cannot be made
    """
    return _start(_WORKER, [address], log)


def start_adopter(home: Path) -> subprocess.Popen[bytes]:
    """Start a process that delivers what other trainings have left in a ``.tracking-hooks`` folder.

    :raises OSError: if the process or its log file cannot be made
    """
    return _start(_ADOPTER, [str(home)], home / "adopter.log")


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
    command = [sys.executable, "-I", "-X", "utf8", "-c", _START + code, json.dumps(relay_path()), *arguments]
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    finally:
        os.close(output)


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
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    script = Path(main).absolute().parent if main else None
    first, middle, last = [], [], []
    for entry in dict.fromkeys(str(Path(item).absolute()) for item in sys.path):
        path = Path(entry)
        if path == library or (library in path.parents and "-packages" not in entry) or path.suffix == ".zip":
            first.append(entry)
        elif path in (Path.cwd(), script):
            last.append(entry)
        else:
            middle.append(entry)
    return first + middle + last
