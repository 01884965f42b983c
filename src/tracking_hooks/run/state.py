"""Questions about a run, answered from what is on disk."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from tracking_hooks.counts import counted
from tracking_hooks.events import Error
from tracking_hooks.run import journal, receipt
from tracking_hooks.run.journal import Head
from tracking_hooks.run.layout import Cursor, RunFolder, SetAside, read_json
from tracking_hooks.run.liveness import SILENCE, Life, Watch, look, request_release
from tracking_hooks.run.receipt import Packed

_PATIENCE = 2.0
"""Seconds in which a relay that is writing a run's end gives its lock back."""
_POLL = 0.02
_FORGOTTEN = "forgotten"
"""In the folder of a relay: a file that says it."""


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


def labels(folder: RunFolder, head: Head | None = None) -> list[str]:
    """Return the relays that a run has or should have: one for each plugin, one for each replay.

    :param head: that of its journal, if it was read already
    :raises JournalError, OSError: if the journal cannot be read
    """
    head = head or journal.read_head(folder.journal)[0]
    found = dict.fromkeys([*head.plugins, *folder.replays()])
    return [label for label in found if not is_forgotten(folder, label)]


def forgotten(folder: RunFolder, head: Head | None = None) -> list[str]:
    """Return the plugins that the user wants a run not to be delivered to any more, where it was recorded for.

    :param head: that of its journal, if it was read already
    :raises JournalError, OSError: if the journal cannot be read
    """
    head = head or journal.read_head(folder.journal)[0]
    return [label for label in head.plugins if is_forgotten(folder, label)]


def is_forgotten(folder: RunFolder, label: str) -> bool:
    """Whether the user wants no more to be delivered there."""
    return (folder.relay(label).path / _FORGOTTEN).exists()


def forget(folder: RunFolder, label: str) -> None:
    """Owe a plugin nothing any more; what its tracker has stays there.

    :raises OSError: if that cannot be written
    """
    files = folder.relay(label)
    files.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    (files.path / _FORGOTTEN).touch(mode=0o600)
    request_release(files.lock, patience=5.0)  # a relay that waits for it


class Owed(Struct, frozen=True, kw_only=True):
    """What a plugin still owes of a run."""

    delivered: int
    """Events that its tracker has."""
    pending: int
    """Events that were not given yet, or are not confirmed."""
    aside: list[SetAside]
    """Events that it did not take."""
    is_over: bool
    """Whether nothing more is recorded."""
    packed: int = 0
    """Events that it has not got and that were packed up: the copy delivers them."""
    receipt: Packed | None = None
    """What says so."""

    @property
    def recorded(self) -> int:
        """How many events there are."""
        return self.delivered + self.packed + self.pending + len(self.aside)

    @property
    def is_pending(self) -> bool:
        """Whether there is something to deliver now."""
        now = time.time()
        due = any(event.retry_at is not None and event.retry_at <= now for event in self.aside)
        return self.pending > 0 or not self.is_over or due

    @property
    def is_worth_a_try(self) -> bool:
        """Whether somebody who asks for delivery can hope for some: also for what is refused for now."""
        return self.is_pending or any(event.retry_at is not None for event in self.aside)

    def in_words(self) -> str:
        """Say what was delivered, where nothing is pending or set aside."""
        if self.packed:
            return f"{counted(self.delivered, 'event')} delivered, {self.packed} packed"
        return f"{'all ' * (self.delivered != 1)}{counted(self.delivered, 'event')} delivered"


def owed(folder: RunFolder, label: str) -> Owed:
    """Return what a plugin still owes: the one answer for all who want to know.

    :raises OSError: if the journal or the cursor cannot be read
    """
    files = folder.relay(label)
    cursor = files.read_cursor()
    aside = files.read_aside()
    lines, end = _count_events(folder.journal, cursor.offset), cursor.offset
    delivered, pending = settled(cursor, aside, lines)
    has_end = cursor.ended or cursor.seq == 0  # without a single event there is no end to write
    packed = 0
    copy = receipt.read(folder)
    if copy and label not in copy.labels:
        copy = None  # a destination that was added since
    if copy:
        left = [event for event in aside if event.end > copy.size]
        packed, aside = len(aside) - len(left), left
        if copy.size > end:
            end, has_end = copy.size, copy.ended or not copy.events
            lines = _count_events(folder.journal, end)
            behind = lines - len(left)
            packed, pending = packed + pending - behind, behind
    # Of whole lines: one that its process has torn by its death is no event, and nobody goes on with it.
    is_over = not lines and not is_running(folder) and (has_end or _has_no_end(folder))
    return Owed(delivered=delivered, pending=pending, aside=aside, is_over=is_over, packed=packed, receipt=copy)


def _has_no_end(folder: RunFolder) -> bool:
    """Whether no end of it is recorded here: that of a copy is recorded elsewhere, and an addendum just stops."""
    if receipt.is_recorded_elsewhere(folder):
        return True
    with suppress(journal.JournalError):
        return journal.read_head(folder.journal)[0].run.addendum is not None
    return False


def nothing_owed(events: int) -> Owed:
    """Return what a plugin owes that has given all events of a run that is over."""
    return Owed(delivered=events, pending=0, aside=[], is_over=True)


def settled(cursor: Cursor, aside: Sequence[SetAside], lines: int) -> tuple[int, int]:
    """Return how many events are delivered, and how many pending; a replaced one counts as delivered.

    Cursor and list are two files, and a relay may have died between writing the two.

    :param aside: what is set aside
    :param lines: what stands behind the cursor
    """
    before = sum(event.start < cursor.offset for event in aside)
    return cursor.delivered + cursor.aside - before, lines - (len(aside) - before)


def is_delivered(folder: RunFolder, label: str) -> bool:
    """Whether there is nothing to deliver to a plugin: of a run that is over, it has everything, or has refused it.

    :raises OSError: if it cannot be told
    """
    return not owed(folder, label).is_pending


def _count_events(path: Path, offset: int) -> int:
    with path.open("rb") as file:
        file.seek(offset)
        lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    return lines if offset else max(lines - 1, 0)  # the head is no event


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
