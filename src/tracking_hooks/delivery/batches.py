"""How many events are given at once: few where something has failed before, to find the one that is at fault."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from tracking_hooks.delivery.ports import Inflight, Instance
from tracking_hooks.delivery.shelf import file_of
from tracking_hooks.run.journal import Entry

TRIES = 3
"""How often an event is tried before it is set aside; also how often a process may die over one."""

MOST = 2000
"""How many events are given at once where nothing is suspected."""

PATIENCE = 30.0
"""Seconds in which an event is to be confirmed that others wait for: some trackers confirm at the end of a run only."""

_BYTES = 16 << 20
"""How much is given at once in files: it is sent again if something else in the batch fails."""

_PARTS = 40
"""Into how many parts a stretch is divided over which a process has died: each death costs a start."""


class Batches:
    """Narrows down a stretch of the journal in which a call has failed, or over which a process has died."""

    def __init__(self, left: Inflight | None) -> None:
        """Begin with what an earlier process has left behind, if it died over it."""
        self._suspects = Inflight(0, 0, 0)
        self._size = MOST
        self._waited_for = ((0, 0), 0.0)
        self._failures: dict[int, int] = {}  # by where an event ends
        self.alone_until = 0
        """The offset up to which each file is a batch of its own: together, something kept them from being safe."""
        if left:
            self._suspects = structs.replace(left, deaths=left.deaths + 1)
            self._size = max(1, left.events // _PARTS)

    def bounds(self, offset: int) -> tuple[int, int | None]:
        """Return how many events to give at once from an offset on, and the offset to stop at."""
        if offset >= self._suspects.end:
            return MOST, None
        if offset < self._suspects.start:
            return MOST, self._suspects.start
        return self._size, self._suspects.end

    def is_near(self, safe: int, given: int, now: float) -> bool:
        """Whether what was given has to be confirmed first: else nobody could tell which event is at fault.

        :param safe: the offset behind what is confirmed
        :param given: the offset behind what was given
        :param now: seconds since 1970
        """
        if not (given >= self._suspects.start and safe < self._suspects.end):
            return False
        if (safe, given) != self._waited_for[0]:
            self._waited_for = (safe, given), now
        return now - self._waited_for[1] <= PATIENCE

    def fall_back(self, given: int) -> None:
        """Wait anew for what is given again: the instance that was waited for is gone.

        :param given: the offset behind what it was given
        """
        self._waited_for = ((0, 0), 0.0)
        self.alone_until = max(self.alone_until, given)

    def note(self, stretch: Inflight) -> Inflight:
        """Return what is noted while a stretch is on its way."""
        is_suspect = self._suspects.start <= stretch.start < self._suspects.end
        return structs.replace(stretch, deaths=self._suspects.deaths) if is_suspect else stretch

    def verdict(self, batch: Sequence[Entry]) -> str:
        """Return why a batch is not given any more; empty if it is."""
        suspects = self._suspects
        is_culprit = len(batch) == suspects.events == 1 and batch[0].end == suspects.end
        if is_culprit and suspects.deaths >= TRIES:
            return f"the relay process died {suspects.deaths} times at this event"
        return ""

    def failed(self, stretch: Inflight) -> bool:
        """Take in that something in a stretch has failed; return whether it is one event that has failed often enough.

        :param stretch: all that was on its way: one of these events is at fault
        """
        self._suspects = structs.replace(stretch, deaths=0)
        self._size = max(1, min(stretch.events, MOST) // 2)
        if stretch.events > 1:
            return False
        self._failures[stretch.end] = self._failures.get(stretch.end, 0) + 1
        return self._failures[stretch.end] >= TRIES


def first_batch(entries: Sequence[Entry], instance: Instance, alone_until: int) -> Sequence[Entry]:
    """Return what is given at once: a file stands alone; together, they have only so many bytes.

    :param alone_until: the offset up to which files stand alone in any case
    """
    size = 0
    for count, entry in enumerate(entries):
        if entry.call and instance.wants(entry.call.hook) and (file := file_of(entry.call)):
            size += file.size or 0
            if size > _BYTES or not instance.files_together or entry.start < alone_until:
                return entries[: max(count, 1)]
    return entries
