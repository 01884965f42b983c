"""Two marks in a journal: what a plugin was given, and what its tracker has for certain."""

from __future__ import annotations

import copy
from collections import deque
from typing import NamedTuple

from tracking_hooks.run.journal import Entry
from tracking_hooks.run.layout import Cursor


class _Mark(NamedTuple):
    """A point behind a flush."""

    wanted: int
    """The last event up to here that the plugin had something to do for."""
    cursor: Cursor


class Ledger:
    """How far a plugin has got: ``given`` runs ahead of ``safe`` until a flush confirms it."""

    def __init__(self, safe: Cursor) -> None:
        self.safe = safe
        self.given = copy.deepcopy(safe)
        self._wanted = safe.seq
        self._marks: deque[_Mark] = deque()

    @property
    def is_unconfirmed(self) -> bool:
        """Whether the plugin was given something that is not safe yet."""
        return bool(self._marks)

    def dealt_with(self, entry: Entry, *, wanted: bool, delivered: bool) -> None:
        """Go on behind an entry.

        :param wanted: whether the plugin was given it
        :param delivered: whether it counts as delivered: not if it was set aside
        """
        self.given.offset = entry.end
        if entry.call is None:
            self.given.damaged += 1
            return
        self.given.seq = entry.call.seq
        self.given.delivered += delivered
        self.given.ended = entry.call.hook == "on_run_end"
        if wanted:
            self._wanted = entry.call.seq

    def flushed(self, answer: int | None) -> bool:
        """Take in a flush; return whether more is safe than before.

        :param answer: the last event that is confirmed, rounded down to a point behind a flush; None: all of them
        """
        self._marks.append(_Mark(self._wanted, copy.deepcopy(self.given)))
        confirmed = None
        while self._marks and (answer is None or self._marks[0].wanted <= answer):
            confirmed = self._marks.popleft()
        if confirmed is None:
            return False
        has_moved = confirmed.cursor != self.safe
        self.safe = confirmed.cursor
        return has_moved

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

    def fall_back(self) -> None:
        """Go on from what is safe: the instance that was given more is gone."""
        self.given = copy.deepcopy(self.safe)
        self._wanted = self.safe.seq
        self._marks.clear()
