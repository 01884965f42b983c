"""What happens to a run folder: another user's beside it, a power failure, an upgrade, a copy on another machine."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from tests.support.processes import relay_pid, send, wait_for
from tests.support.runs import read_calls
from tests.support.users import hand_over
from tracking_hooks.delivery.disk import Note
from tracking_hooks.run import filesystems, journal
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import RunFolder, read_json, write_json
from tracking_hooks.run.liveness import Lock, read_holder

GOLDEN = Path(__file__).parents[1] / "data/journal-1"
_EARLIER = "the boot before"


# -- another user ---------------------------------------------------------------------------------------------------

STRANGER = "99991231-235959-another-user"
"""Later than every other run: a relay looks at later runs before it waits for its tracker."""


def leave_a_strangers_folder(home: Path, dice: random.Random) -> Path:
    """Make the run folder of somebody else, unreadable where this process has no power over it, with junk in it."""
    folder = RunFolder(home / STRANGER)
    for path in (folder.files, folder.relay("mlflow").path):
        path.mkdir(parents=True)
    if dice.random() < 0.5:
        os.mkfifo(folder.journal)  # who opens it to read waits for ever
    else:
        folder.journal.write_bytes(dice.randbytes(500))
    for path in (folder.lock, folder.heartbeat, folder.relay("mlflow").cursor, folder.files / "x.csv"):
        path.write_bytes(dice.randbytes(50))
    hand_over(folder.path)
    return folder.path


def listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return what is in a folder: path to mode, size and time."""
    stats = {str(path.relative_to(folder)): path.lstat() for path in folder.rglob("*")}
    return {path: (stat.st_mode, stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


# -- power ------------------------------------------------------------------------------------------------------------


def lose_power(run: RunFolder, labels: Sequence[str], dice: random.Random) -> Call | None:
    """Let the machine go down whose training is dead already: relays die, and what the disk has not got is gone.

    :returns: the last event that is left
    """
    locks = [Lock(run.lock), *(Lock(run.relay(label).lock) for label in labels)]
    holders = []
    for lock in locks:
        lock.path.parent.mkdir(parents=True, exist_ok=True)
        holders.append(read_holder(lock.path))
        wait_for(lambda lock=lock: lock.acquire() or _kill(lock), f"the end of the process that has {lock.path}")
    _cut(run.journal, _durable(run, labels), dice)
    for label in labels:
        files = run.relay(label)
        (files.path / ".cursor.json.1").touch()  # a draft, never put in place
        if note := read_json(files.inflight, Note):
            write_json(files.inflight, Note(note.inflight, _EARLIER))
    for lock, holder in zip(locks, holders):
        lock.release()
        if holder and filesystems.is_local(run.path):  # elsewhere it would be waited for
            write_json(lock.path.with_suffix(".json"), msgspec.structs.replace(holder, boot=_EARLIER))
    calls = read_calls(run.journal)
    return calls[-1] if calls else None


def _kill(lock: Lock) -> bool:
    holder = read_holder(lock.path)
    if holder and holder.pid != os.getpid():
        send(holder.pid, signal.SIGKILL)
    return False


def _durable(run: RunFolder, labels: Sequence[str]) -> int:
    """Return how far a relay has made the journal durable: what it has given, it had made so."""
    _, first = journal.read_head(run.journal)
    ends = [first]
    for label in labels:
        files = run.relay(label)
        ends.append(files.read_cursor().offset)
        if note := read_json(files.inflight, Note):
            ends.append(note.inflight.end)
    return max(ends)


def _cut(path: Path, durable: int, dice: random.Random) -> None:
    """Drop a part of what is not durable; its place may be there all the same, with zeros in it."""
    size = path.stat().st_size
    end = dice.randint(min(durable, size), size)
    os.truncate(path, end)
    if dice.random() < 0.3:
        os.truncate(path, size)


# -- an upgrade -------------------------------------------------------------------------------------------------------


def upgrade(run: RunFolder, label: str) -> bool:
    """Leave a relay's cursor as the release wrote it that has recorded the golden journal; return whether it could."""
    files = run.relay(label)
    if not files.path.exists() or files.read_aside():
        return False
    lock = Lock(files.lock)
    if not lock.acquire():
        return False
    try:
        return write_old_cursor(run, label)
    finally:
        lock.release()


def write_old_cursor(run: RunFolder, label: str) -> bool:
    """Write a relay's cursor with the fields that it had then."""
    files = run.relay(label)
    cursor = msgspec.to_builtins(files.read_cursor())
    known = json.loads((GOLDEN / "run/relays/notes/cursor.json").read_bytes())
    new = cursor.keys() - known.keys() - {"counts", "landmarks"}  # which that release did not keep
    if not files.cursor.exists() or any(cursor[name] for name in new):
        return False
    files.cursor.write_text(json.dumps({name: cursor[name] for name in known}) + "\n")
    files.heartbeat.unlink(missing_ok=True)
    return True


def ask_to_leave(run: RunFolder, label: str) -> int | None:
    """Ask a relay to end, as a shutdown does; return its id, if there is one."""
    pid = relay_pid(run, label)
    if pid is not None:
        send(pid, signal.SIGTERM)
    return pid


# -- a copy -----------------------------------------------------------------------------------------------------------


def _copy(source: str, target: str) -> None:
    with suppress(FileNotFoundError):  # relays are at work there
        shutil.copy2(source, target)


def copy_to_another_machine(run: RunFolder, root: Path, labels: Sequence[str]) -> RunFolder:
    """Copy a project with a run in it to a place where the processes that work on it are those of another machine."""
    project = run.path.parent.parent
    shutil.copytree(project, root, ignore=shutil.ignore_patterns(STRANGER, "adopter.*"), copy_function=_copy)
    copy = RunFolder(root / run.path.relative_to(project))
    for lock in (copy.lock, *(copy.relay(label).lock for label in labels)):
        if holder := read_holder(lock):
            write_json(lock.with_suffix(".json"), msgspec.structs.replace(holder, host="another", boot="its own"))
    return copy
