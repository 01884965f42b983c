"""Who is alive: whether the process that took a lock still runs.

=================  ===============  ======================  =====================================================
The lock           Was taken in     On a file system        Its process is
=================  ===============  ======================  =====================================================
is held            any boot         of any kind             alive, on whatever machine
is not held        by nobody        of any kind             dead: the lock was given back, or never taken
is not held        this boot        of any kind             dead
is not held        another boot     of this machine alone   dead
is not held        another boot     of several machines     alive if its heartbeat is younger than ``SILENCE``
cannot be asked    this boot        of any kind             alive if one of that id and start time runs
cannot be asked    another boot     of any kind             as if it were not held
=================  ===============  ======================  =====================================================

The lock is a POSIX record lock: the kernel drops it when its process dies, and a forked child does not inherit it
(``flock``, which it would, was seen to outlive a killed trainer by half a minute in its data-loader workers). To ask
for it takes nothing. A heartbeat is a file that its process touches. Its age is told by one clock, that of the file
system: from its time, that of a file which is made beside it is subtracted. Names of hosts decide nothing.
"""

from __future__ import annotations

import functools
import math
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct

from tracking_hooks.run import filesystems, portable, recordlocks
from tracking_hooks.run.layout import read_json, write_json

SILENCE = 300.0
"""Seconds without a sign of life after which a process of another machine is taken for dead."""

clock = time.monotonic
"""This process's own clock."""

_BEAT = 15.0
"""Seconds between two signs of life."""
_WATCHED = 45.0
"""Seconds in which a heartbeat has to stand still before their watcher takes its process for dead."""
_AGAIN = 5.0
"""Seconds until a watcher looks at a heartbeat again."""

_held: dict[tuple[int, int], int] = {}
# Locks of this process by device and inode, since a file has many paths, with the process's id. The kernel knows no
# more of them than this: it never refuses a record lock to the process that has it, and drops it when any descriptor
# of the file is closed, so the file must not be touched.


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
        self._holder: Holder | None = None

    def acquire(self) -> bool:
        """Take the lock, or return False if a living process has it. One that this object has is taken anew.

        :raises OSError: if the lock file cannot be written
        """
        if self._fd is None and _is_held_here(self.path):
            return False
        fd = portable.open_file(self.path, os.O_RDWR | os.O_CREAT) if self._fd is None else self._fd
        if not _try_lock(fd, self.path):
            if self._fd is None:
                os.close(fd)
            return False
        self._fd, self._file, self._holder = fd, _identity(os.fstat(fd)), Holder.this()
        _held[self._file] = os.getpid()
        try:
            write_json(_note(self.path), self._holder)
        except BaseException:
            self.release()
            raise
        return True

    def take(self, patience: float = 0.0) -> None:
        """Take the lock of a run, which whoever records it has to have.

        :param patience: seconds in which the process that has it may give it back
        :raises OSError: if it does not, naming it
        """
        deadline = clock() + patience
        while not self.acquire():
            if clock() >= deadline:
                other = read_holder(self.path)
                who = f"process {other.pid} on {other.host}" if other else "another process"
                raise OSError(f"{who} is recording this run; end it first")
            time.sleep(0.05)

    def release(self) -> None:
        """Give the lock back; without effect if it is not held."""
        if self._fd is not None:
            if read_holder(self.path) == self._holder:  # else another one has taken it, where locks do not reach
                _note(self.path).unlink(missing_ok=True)
            _held.pop(self._file, None)
            os.close(self._fd)
            self._fd = None


class Heart:
    """The signs of life of this process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = -math.inf

    def beat(self) -> None:
        """Give a sign of life if one is due; to be called every few seconds. Never raises."""
        if clock() < self._next:
            return
        self._next = clock() + _BEAT
        with suppress(OSError):  # its folder was deleted
            filesystems.touch(self._path)


class Life(Struct, frozen=True, kw_only=True):
    """What is known of a process."""

    alive: bool
    elsewhere: bool = False
    """Whether it belongs to another boot: to another machine, or to this one before it was started anew."""
    silent_for: float | None = None
    """Seconds since its last sign of life, if these have decided; infinite if there was none."""


def read_holder(path: Path) -> Holder | None:
    """Return who took a lock last, or None if it was given back or never taken."""
    return read_json(_note(path), Holder)


def look(path: Path, *, heartbeat: Path, silence: float = SILENCE) -> Life:
    """Tell whether the process that took a lock still runs: by the table above, and by nothing else.

    :param heartbeat: the file that it touches while it runs; one that is not there is no sign of life
    :param silence: seconds after which a process on another machine is taken for dead; 0: it does not count as alive
    """
    holder = read_holder(path)  # first: who takes the lock meanwhile is found to have it
    elsewhere = holder is not None and holder.boot != this_boot()
    try:
        held: bool | None = _is_held_here(path) or recordlocks.locked_by(path) is not None
    except OSError:
        held = None
    if held or holder is None:
        return Life(alive=bool(held), elsewhere=elsewhere)
    if not elsewhere:
        return Life(alive=held is None and _process_lives(holder))
    if not silence or filesystems.is_local(path.parent):
        return Life(alive=False, elsewhere=True)
    age = _age(heartbeat)
    return Life(alive=age < silence, elsewhere=True, silent_for=age)


def is_alive(path: Path, *, heartbeat: Path, silence: float = SILENCE) -> bool:
    """Whether the process that took a lock still runs; see ``look``."""
    return look(path, heartbeat=heartbeat, silence=silence).alive


class Watch:
    """Asks about one process again and again: nobody is dead by two clocks whose heartbeat is not seen to stand still.

    Some shared file systems take the times of files from the machines that write them.
    """

    def __init__(self, path: Path, heartbeat: Path) -> None:
        self._path = path
        self._heartbeat = heartbeat
        self._last: float | None = None
        self._since = clock()
        self._life = Life(alive=True)
        self._next = -math.inf

    def look(self) -> Life:
        """Do as ``look`` does, but call dead by its heartbeat only whose heartbeat has stood still for a while."""
        if clock() < self._next:
            return self._life
        life = look(self._path, heartbeat=self._heartbeat)
        if life.silent_for is None:
            return life
        self._next = clock() + _AGAIN
        try:
            last = filesystems.last_change(self._heartbeat)
        except OSError:
            last = None
        if last != self._last:
            self._last, self._since = last, clock()
        still = clock() - self._since >= _WATCHED
        self._life = life if life.alive or still else msgspec.structs.replace(life, alive=True)
        return self._life


def request_release(path: Path, patience: float) -> bool:
    """End the process of this machine that has a lock: kindly, and if that does not help, by force.

    :param patience: seconds until force is used, and then until its end is not waited for any longer
    :returns: whether the lock is free; another process may have taken it, or the one that had it cannot be ended
    """
    holder = read_holder(path)
    if holder is None or not _has_lock(holder, path):
        return not _is_locked(path, holder)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        with suppress(psutil.NoSuchProcess):
            end(psutil.Process(holder.pid))
        deadline = clock() + patience
        while _is_locked(path, holder) and clock() < deadline:
            time.sleep(0.01)
        if not _is_locked(path, holder):
            return True
    return False


@functools.cache
def this_boot() -> str:
    """Return what tells this boot of the machine from all others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return _boot_session() or str(int(psutil.boot_time()))


def _boot_session() -> str:
    """Return macOS's own id of this boot, since its boot time moves with the clock; empty elsewhere."""
    if sys.platform != "darwin":
        return ""
    import ctypes

    size = ctypes.c_size_t(64)
    session = ctypes.create_string_buffer(size.value)
    failed = ctypes.CDLL(None).sysctlbyname(b"kern.bootsessionuuid", session, ctypes.byref(size), None, 0)
    return "" if failed else session.value.decode()


def _age(heartbeat: Path) -> float:
    try:
        return filesystems.age(heartbeat)
    except OSError:
        return math.inf


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


def _is_locked(path: Path, holder: Holder | None) -> bool:
    try:
        return _is_held_here(path) or recordlocks.locked_by(path) is not None
    except OSError:
        return holder is not None and holder.boot == this_boot() and _process_lives(holder)


def _has_lock(holder: Holder, path: Path) -> bool:
    """Whether a process of this machine has a lock: containers share a boot, but not the ids of processes."""
    try:
        has_it = recordlocks.locked_by(path) == holder.pid
    except OSError:
        has_it = holder.host == socket.gethostname()
    return has_it and holder.boot == this_boot() and _process_lives(holder)


def _process_lives(holder: Holder) -> bool:
    try:
        return abs(psutil.Process(holder.pid).create_time() - holder.started) < 1
    except psutil.NoSuchProcess:
        return False


def _try_lock(fd: int, path: Path) -> bool:
    try:
        return recordlocks.take(fd)
    except OSError:
        return _is_free(path)


def _is_free(path: Path) -> bool:
    """Whether nobody holds a lock, as far as the note tells."""
    holder = read_holder(path)
    return holder is None or not _process_lives(holder)
