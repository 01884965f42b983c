"""Whether the process that wrote something is still alive.

On the machine that it runs on, a POSIX record lock answers: the kernel drops it when its process dies, and a
forked child does not inherit it (``flock``, which it would, was seen to outlive a killed trainer by half a
minute in its data-loader workers). Where there are no record locks, process id and start time answer. On
another boot of that machine the process is gone; from another machine only silence tells.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from msgspec import Struct

from tracking_hooks.run.layout import read_json, write_json

if sys.platform != "win32":
    import fcntl

_held: dict[tuple[int, int], int] = {}
# Locks of this process by device and inode, since a file has many paths, with the process's id. The kernel knows no
# more of them than this: it never refuses a record lock to the process that has it, and drops it when any descriptor
# of the file is closed, so the file must not be touched.

_TRIES = 3  # another process may be asking `is_alive` at the very moment, which takes the lock for an instant


class Holder(Struct, frozen=True, kw_only=True):
    """The process that took a lock."""

    host: str
    boot: str
    pid: int
    started: float
    """Seconds since the epoch."""

    @classmethod
    def this(cls) -> Holder:
        """Describe the calling process."""
        pid = os.getpid()
        return cls(host=socket.gethostname(), boot=this_boot(), pid=pid, started=psutil.Process(pid).create_time())


class Lock:
    """A lock that ends with its process, and a note beside it that says whose it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._file = (0, 0)  # device and inode

    def acquire(self) -> bool:
        """Take the lock, or return False if a living process has it.

        :raises OSError: if the lock file cannot be written
        """
        if _is_held_here(self.path):
            return False
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _try_lock(fd, self.path):
            os.close(fd)
            return False
        write_json(_note(self.path), Holder.this())
        self._fd = fd
        self._file = _identity(os.fstat(fd))
        _held[self._file] = os.getpid()
        return True

    def release(self) -> None:
        """Give the lock back; without effect if it is not held."""
        if self._fd is not None:
            _note(self.path).unlink(missing_ok=True)
            _held.pop(self._file, None)
            os.close(self._fd)
            self._fd = None


def read_holder(path: Path) -> Holder | None:
    """Return who took a lock last, or None if it was given back or never taken."""
    return read_json(_note(path), Holder)


def is_alive(path: Path, *, heartbeat: Path, silence: float) -> bool:
    """Whether the process that took a lock still runs.

    :param heartbeat: a file that it writes to while it runs; one that is not there is no sign of life
    :param silence: seconds after which a process on another machine is taken for dead
    """
    if _is_held_here(path):
        return True
    holder = read_holder(path)
    if holder is None:
        return False
    if holder.boot == this_boot():
        return _is_locked(path, holder)
    if holder.host == socket.gethostname():
        return False
    try:
        return time.time() - heartbeat.stat().st_mtime < silence
    except FileNotFoundError:
        return False


def request_release(path: Path, patience: float) -> bool:
    """End the process of this machine that has a lock: kindly, and if that does not help, by force.

    :param patience: seconds until force is used, and then until its end is not waited for any longer
    :returns: whether the lock is free; another process may have taken it, or the one that had it cannot be ended
    """
    holder = read_holder(path)
    if holder is None or holder.boot != this_boot() or not (_is_locked(path, holder) and _process_lives(holder)):
        return not (holder and holder.boot == this_boot() and _is_locked(path, holder))
    for end in (psutil.Process.terminate, psutil.Process.kill):
        with suppress(psutil.NoSuchProcess):
            end(psutil.Process(holder.pid))
        deadline = time.monotonic() + patience
        while _is_locked(path, holder) and time.monotonic() < deadline:
            time.sleep(0.01)
        if not _is_locked(path, holder):
            return True
    return False


def _note(path: Path) -> Path:
    # Not in the lock file itself: whoever reads a file also closes it.
    return path.with_suffix(".json")


def _identity(file: os.stat_result) -> tuple[int, int]:
    return file.st_dev, file.st_ino


def _is_held_here(path: Path) -> bool:
    try:
        return _held.get(_identity(path.stat())) == os.getpid()
    except FileNotFoundError:
        return False


def _process_lives(holder: Holder) -> bool:
    try:
        return abs(psutil.Process(holder.pid).create_time() - holder.started) < 1
    except psutil.NoSuchProcess:
        return False


def this_boot() -> str:
    """Return what tells this boot of the machine from all others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(int(psutil.boot_time()))


if sys.platform != "win32":
    _TAKEN = (errno.EACCES, errno.EAGAIN)

    def _try_lock(fd: int, path: Path) -> bool:
        for _ in range(_TRIES):
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _TAKEN:  # a file system without record locks
                    return _is_free(path)
                time.sleep(0.02)
            else:
                return True
        return False

    def _is_locked(path: Path, holder: Holder) -> bool:
        try:
            fd = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in _TAKEN or _process_lives(holder)
        else:
            return False
        finally:
            os.close(fd)

else:

    def _try_lock(fd: int, path: Path) -> bool:  # noqa: ARG001
        return _is_free(path)

    def _is_locked(path: Path, holder: Holder) -> bool:  # noqa: ARG001
        return _process_lives(holder)


def _is_free(path: Path) -> bool:
    """Whether nobody holds a lock, as far as the note tells."""
    holder = read_holder(path)
    return holder is None or not _process_lives(holder)
