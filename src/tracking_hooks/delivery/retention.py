"""``TRACKING_HOOKS_KEEP``: removes my run folders that are delivered, after some days or beyond a size in all.

What a tracker has not received stays, whatever its age and size. The pointer in ``save_dir`` stays, too: by it, a
training that is resumed later goes on in the same run.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator

from msgspec import Struct

from tracking_hooks.run import checkpoints, copies, index, journal, layout, removal, state
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.liveness import Lock
from tracking_hooks.settings import Settings, variable

_DAY = 86_400.0
_REST = 3600.0
"""Seconds for which a run stays in any case: its process may still be telling what was delivered."""


class _Delivered(Struct, frozen=True):
    """A run that every tracker has received."""

    folder: RunFolder
    time: float
    """When it was recorded and delivered, in seconds since 1970."""
    size: int
    """Bytes that are free when it is gone."""


def remove(keep: str) -> Iterator[str]:
    """Remove what is delivered and more than is to be kept; yield a sentence for each run.

    :param keep: as ``TRACKING_HOOKS_KEEP`` has it
    """
    days, most = Settings(keep=keep).keep_rule()
    if days is None and most is None:
        return
    total = 0
    for run in sorted(_delivered(), key=lambda run: run.time, reverse=True):
        total += run.size
        age = time.time() - run.time
        is_old = days is not None and age > days * _DAY
        is_beyond = most is not None and total > most
        if age > _REST and (is_old or is_beyond) and _remove(run):
            yield (
                f"{run.folder.uid} removed, as {variable('keep')}={keep} says: {run.folder.path}, "
                f"{run.size / 1e6:.1f} MB, delivered {age / _DAY:.1f} days ago"
            )


def _delivered() -> Iterator[_Delivered]:
    """Yield the runs of mine that may be removed."""
    for folder in index.all_runs():
        try:
            if _is_mine(folder) and not removal.reason_to_keep(folder) and not _is_in_use(folder):
                yield _Delivered(folder, _last_change(folder), copies.held(folder))
        except (JournalError, OSError):
            continue  # it cannot be read, or was removed a moment ago


def _is_mine(folder: RunFolder) -> bool:
    """Whether it is a run folder, and this user's: what an index names may be anything by now."""
    own = folder.path.lstat()
    if not stat.S_ISDIR(own.st_mode) or (hasattr(os, "getuid") and own.st_uid != os.getuid()):
        return False
    head, _ = journal.read_head(folder.journal)
    return (folder.path.parent.name, folder.uid) == (layout.FOLDER, head.uid)


def _is_in_use(folder: RunFolder) -> bool:
    """Whether somebody may come back to it.

    A relay is at it, it belongs to a tuning or a group that goes on, no tracker has it at all, or it was packed up: the
    pack may get lost.
    """
    labels = state.labels(folder)
    head, _ = journal.read_head(folder.journal)
    uid = head.run.parent
    parent = index.find(uid) or RunFolder(folder.path.with_name(uid)) if uid else None
    is_busy = any(state.has_relay(folder, label) or state.owed(folder, label).packed for label in labels)
    return not labels or is_busy or (parent is not None and state.is_running(parent))


def _last_change(folder: RunFolder) -> float:
    cursors = [folder.relay(label).cursor for label in state.labels(folder)]
    return max(path.stat().st_mtime for path in [folder.journal, *cursors])


def _remove(run: _Delivered) -> bool:
    """Remove a run folder, unless somebody has gone on with the run meanwhile; return whether it is gone."""
    folder, lock = run.folder, Lock(run.folder.lock)
    try:
        if not lock.acquire():
            return False
        if _last_change(folder) == run.time:
            folder.remove()
            index.forget(folder)
            checkpoints.forget(folder)
    except (JournalError, OSError):
        return False  # another one has removed it, or it cannot be written to
    finally:
        lock.release()
    return not folder.path.exists()
