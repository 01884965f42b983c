"""Questions about a run, answered from what is on disk."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from tracking_hooks.events import Error
from tracking_hooks.run import journal
from tracking_hooks.run.layout import RunFolder, read_json
from tracking_hooks.run.liveness import SILENCE, Life, Watch, look

_PATIENCE = 2.0
"""Seconds in which a relay that is writing a run's end gives its lock back."""
_POLL = 0.02


def life(folder: RunFolder, silence: float = SILENCE) -> Life:
    """Return what is known of the training process of a run; see ``liveness.look``."""
    return look(folder.lock, heartbeat=folder.heartbeat, silence=silence)


def is_running(folder: RunFolder, silence: float = SILENCE) -> bool:
    """Whether the training process of a run still lives, as far as anybody can know."""
    return life(folder, silence).alive


def watch(folder: RunFolder) -> Watch:
    """Return what asks for the training process again and again."""
    return Watch(folder.lock, folder.heartbeat)


def is_over(folder: RunFolder, silence: float = SILENCE) -> bool:
    """Whether nobody records a run; a relay that is just writing its end is given the time for that."""
    deadline = time.monotonic() + _PATIENCE
    while is_running(folder, silence):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def first_crash(folder: RunFolder) -> Error | None:
    """Return what ended another process of a distributed training, and so all of it."""
    return next((crash for path in folder.crashes() if (crash := read_json(path, Error))), None)


def labels(folder: RunFolder) -> list[str]:
    """Return the relays that a run has or should have: one for each plugin, one for each replay.

    :raises JournalError, OSError: if the journal cannot be read
    """
    head, _ = journal.read_head(folder.journal)
    return [*head.plugins, *folder.replays()]


def is_delivered(folder: RunFolder, label: str) -> bool:
    """Whether a plugin has everything of a run that is over.

    :raises OSError: if it cannot be told
    """
    cursor = folder.relay(label).read_cursor()
    over = cursor.ended or cursor.seq == 0  # without a single event there is no end to write
    return over and cursor.offset >= folder.journal.stat().st_size and not is_running(folder)


def has_relay(folder: RunFolder, label: str) -> bool:
    """Whether a relay is at work on it."""
    files = folder.relay(label)
    return look(files.lock, heartbeat=files.heartbeat).alive


def pending(folders: Iterable[RunFolder]) -> Iterator[tuple[RunFolder, str]]:
    """Return the runs, and for each the relays, that have something left to deliver.

    :raises JournalError, OSError: if that cannot be read
    """
    for folder in folders:
        for label in labels(folder):
            if not is_delivered(folder, label):
                yield folder, label
