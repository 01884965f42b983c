"""How many events are given at once: few where something has failed before, to find the one that is at fault."""

from __future__ import annotations

from collections.abc import Sequence

from tracking_hooks.delivery.ports import Inflight
from tracking_hooks.run.journal import Entry

TRIES = 3
"""How often an event is tried before it is set aside; also how often a process may die over one."""

_MOST = 2000
_AFTER_DEATHS = (_MOST, 50, 1)


class Batches:
    """Narrows down a stretch of the journal in which a call has failed, or over which a process has died."""

    def __init__(self, left: Inflight | None) -> None:
        """Begin with what an earlier process has left behind, if it died over it."""
        self._start = self._end = 0
        self._size = _MOST
        self._deaths = 0
        self._failures: dict[int, int] = {}
        if left:
            self._start, self._end, self._deaths = left.start, left.end, left.deaths + 1
            self._size = _AFTER_DEATHS[min(self._deaths, len(_AFTER_DEATHS) - 1)]

    def bounds(self, offset: int) -> tuple[int, int | None]:
        """Return how many events to give at once from an offset on, and the offset to stop at."""
        if offset >= self._end:
            return _MOST, None
        if offset < self._start:
            return _MOST, self._start
        return self._size, self._end

    def note(self, batch: Sequence[Entry]) -> Inflight:
        """Return what is noted while a batch is given."""
        is_suspect = self._start <= batch[0].start < self._end
        return Inflight(batch[0].start, batch[-1].end, self._deaths if is_suspect else 0)

    def verdict(self, batch: Sequence[Entry]) -> str:
        """Return why a batch is not given any more; empty if it is."""
        is_culprit = len(batch) == 1 and batch[0].start == self._start
        if is_culprit and self._deaths >= TRIES:
            return f"the relay process died {self._deaths} times at this event"
        return ""

    def failed(self, batch: Sequence[Entry]) -> bool:
        """Take in that a batch has failed; return whether it is one event that has failed often enough."""
        self._start, self._end, self._deaths = batch[0].start, batch[-1].end, 0
        self._size = max(1, len(batch) // 2)
        if len(batch) > 1:
            return False
        self._failures[self._start] = self._failures.get(self._start, 0) + 1
        return self._failures[self._start] >= TRIES

    def suspect(self, start: int, end: int) -> None:
        """Have the events between two offsets given one at a time: one of them is at fault, nobody knows which."""
        self._start, self._end, self._deaths, self._size = start, end, 0, 1
