"""Two marks in a journal: what a plugin was given, and what its tracker has for certain."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tracking_hooks.delivery.ports import Inflight
from tracking_hooks.delivery.thinning import THINNED
from tracking_hooks.run.journal import Entry
from tracking_hooks.run.landmarks import TOLD_BY
from tracking_hooks.run.layout import Cursor
from tracking_hooks.run.plain import is_plain

SENT = "sent"
"""The key of a plugin's state that never falls back: what a receiver has, it keeps."""

_MARKS = 1000
"""The most that are kept, the last one among them: a tracker may confirm nothing for days."""


class _Mark(NamedTuple):
    """A point behind a flush."""

    wanted: int
    """The last event up to here that the plugin was given."""
    cursor: Cursor


class Ledger:
    """How far a plugin has got: ``given`` runs ahead of ``safe`` until a flush confirms it."""

    def __init__(self, safe: Cursor, keeps: Callable[[str, int], bool]) -> None:
        """Begin behind what is safe.

        :param keeps: whether an event of a hook is given that is the n-th of it
        """
        self.safe = safe
        self._keeps = keeps
        self.given = copy.deepcopy(safe)
        self._wanted = safe.seq
        self._marks: deque[_Mark] = deque()

    @property
    def is_unconfirmed(self) -> bool:
        """Whether the plugin was given something that is not safe yet."""
        return bool(self._marks)

    def thins(self, hook: str) -> bool:
        """Whether the event that comes next is passed over: there are many of its hook."""
        return hook in THINNED and not self._keeps(hook, self._count(hook) + 1)

    def _count(self, hook: str) -> int:
        return self.given.counts.get(hook, 0)

    def on_its_way(self, batch: Sequence[Entry] = ()) -> Inflight:
        """Return the stretch of what is not safe, with a batch that comes next."""
        end = batch[-1].end if batch else self.given.offset
        return Inflight(self.safe.offset, end, _lines(self.given) - _lines(self.safe) + len(batch))

    def dealt_with(self, entry: Entry, *, is_given: bool) -> None:
        """Go on behind an entry.

        :param is_given: whether the plugin was given it
        """
        self.given.offset = entry.end
        if entry.call is None:
            self.given.damaged += 1
            return
        if entry.call.hook in TOLD_BY:
            is_first = self.given.seq == 0
            self.given.landmarks = self.given.landmarks.behind(
                entry.call.hook, entry.call.args, entry.start, is_first=is_first
            )
        self.given.seq = entry.call.seq
        self.given.delivered += 1  # until it is known what is set aside, see `count`
        self.given.ended = entry.call.hook == "on_run_end"
        if entry.call.hook in THINNED:
            self.given.counts[entry.call.hook] = self._count(entry.call.hook) + 1
        if is_given:
            self._wanted = entry.call.seq

    def flushed(self, answer: int | None) -> bool:
        """Take in a flush; return whether there is something new to write down.

        :param answer: the last event that is confirmed, rounded down to a point behind a flush; None: all of them
        """
        if self._marks and self._marks[-1].cursor.offset == self.given.offset:
            self._marks.pop()  # asked once more
        self._marks.append(_Mark(self._wanted, copy.deepcopy(self.given)))
        if len(self._marks) > _MARKS:
            del self._marks[-2]
        confirmed = None
        while self._marks and (answer is None or self._marks[0].wanted <= answer):
            confirmed = self._marks.popleft()
        before, self.safe = self.safe, confirmed.cursor if confirmed else self.safe
        return self._keep_sent() or self.safe != before

    def passed_over(self) -> bool:
        """Take in that nothing behind the last flush concerned the plugin; return whether more is safe than before."""
        if self._marks:  # what was given before is still on its way
            last = self._marks.pop()
            self._marks.append(_Mark(last.wanted, copy.deepcopy(self.given)))
            return False
        self.safe = copy.deepcopy(self.given)
        return True

    def opened(self) -> None:
        """Take in the state that ``open`` has left: it counts at once."""
        self.safe.state = copy.deepcopy(self.given.state)

    def count(self, aside: int) -> None:
        """Take in how many of the events up to ``safe`` are set aside; the others are delivered."""
        events = self.safe.delivered + self.safe.aside
        self.safe.delivered, self.safe.aside = events - aside, aside

    def _keep_sent(self) -> bool:
        """Take in what was sent of events that are not safe; return whether that is news."""
        sent = self.given.state.get(SENT)
        if sent in (None, self.safe.state.get(SENT)) or not is_plain(sent):
            return False
        self.safe.state[SENT] = copy.deepcopy(sent)
        return True

    def fall_back(self) -> bool:
        """Go on from what is safe: the instance that was given more is gone. Return whether something was sent."""
        is_sent = self._keep_sent()
        self.given = copy.deepcopy(self.safe)
        self._wanted = self.safe.seq
        self._marks.clear()
        return is_sent


def _lines(cursor: Cursor) -> int:
    return cursor.delivered + cursor.aside + cursor.damaged
