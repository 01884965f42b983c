"""Questions about a run, answered from what is on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tracking_hooks.events import Error
from tracking_hooks.run import journal
from tracking_hooks.run.layout import RunFolder, read_json
from tracking_hooks.run.liveness import is_alive

SILENCE = 300.0
"""Seconds without a sign of life after which a training on another machine is taken for dead."""


def is_running(folder: RunFolder, silence: float = SILENCE) -> bool:
    """Whether the training process of a run still lives."""
    return is_alive(folder.lock, heartbeat=folder.journal, silence=silence)


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
    """Whether a plugin has everything of a run that is over."""
    cursor = folder.relay(label).read_cursor()
    over = cursor.ended or cursor.seq == 0  # without a single event there is no end to write
    return over and cursor.offset >= folder.journal.stat().st_size and not is_running(folder)


def has_relay(folder: RunFolder, label: str) -> bool:
    """Whether a relay is at work on it."""
    lock = folder.relay(label).lock
    return lock.exists() and is_alive(lock, heartbeat=lock, silence=0)


def pending(folders: Iterable[RunFolder]) -> Iterator[tuple[RunFolder, str]]:
    """Return the runs, and for each the relays, that have something left to deliver.

    :raises JournalError, OSError: if a journal cannot be read
    """
    for folder in folders:
        for label in labels(folder):
            if not is_delivered(folder, label):
                yield folder, label
