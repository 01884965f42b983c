"""What a relay does with the W&B plugin, without a process and without a journal.

It opens a fresh instance for each delivery, flushes behind each event, and remembers what is safe: a fresh instance
is given again everything behind that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from tests.support.processes import wait_for
from tracking_hooks.events import Destination, Missing, Run, State
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import play
from tracking_hooks_wandb.tracker import WandbTracker


class WandbRelay:
    """Delivers the calls of a run."""

    def __init__(self, calls: Iterable[Call], run: Run, destination: Destination, safe: int = 0) -> None:
        self.calls = list(calls)
        self.run = run
        self.destination = destination
        self.safe = safe
        self.given = safe
        self.saved: State = {}
        self._state: State = {}
        self._marks: list[tuple[int, State]] = []
        self.tracker = WandbTracker()

    def deliver(self, upto: int | None = None, *, skip: Iterable[int] = (), settle: bool = True) -> WandbRelay:
        """Give a fresh instance what is not safe.

        :param upto: the last event; None: all
        :param skip: events that are set aside
        :param settle: flush until all is safe
        """
        upto = self.calls[-1].seq if upto is None else upto
        before = [call for call in self.calls if call.seq <= self.safe]
        given = [call for call in self.calls if self.safe < call.seq <= upto and call.seq not in set(skip)]
        self._begin()
        play(self.tracker, self._flushing(given), self.run, **self._options(), before=before)
        if settle:
            self.settle()
        return self

    def late(self, *events: int) -> None:
        """Give events that were set aside, after the later ones, to the same instance if there is one."""
        calls = [call for call in self.calls if call.seq in events]
        before = [call for call in self.calls if call.seq <= self.given and call.seq not in events]
        self._begin()
        play(self.tracker, self._flushing(calls), self.run, **self._options(), before=before)

    def report(self, *missing: Missing) -> None:
        """Have it said what is missing, when all that was given is safe."""
        before = [call for call in self.calls if call.seq <= self.given]
        self._begin()
        play(self.tracker, [], self.run, **self._options(), before=before, missing=missing)
        self.saved = _copy(self._state)

    def settle(self) -> None:
        """Flush until all is safe."""
        wait_for(lambda: self.flush() is None, "the confirmation of all events")

    def flush(self) -> int | None:
        """Flush once more; return the answer."""
        return self._flush(self.given)

    def _begin(self) -> None:
        self.tracker = WandbTracker()
        self._state = _copy(self.saved)
        self._marks = [(self.safe, _copy(self.saved))]

    def _options(self) -> dict[str, Any]:
        return {"destination": self.destination, "state": self._state, "flush": False}

    def _flushing(self, calls: Iterable[Call]) -> Iterator[Call]:
        for call in calls:
            yield call
            if not self.saved:
                self.saved = _copy(self._state)  # behind `open`
                self._marks = [(self.safe, self.saved)]
            self._flush(max(call.seq, self.given))

    def _flush(self, given: int) -> int | None:
        self.given = given
        answer = self.tracker.flush(state=self._state)
        self._marks.append((given, _copy(self._state)))
        safe = given if answer is None else answer
        for mark, state in self._marks:
            if self.safe <= mark <= safe:
                self.safe, self.saved = mark, state
        return answer


def _copy(state: State) -> State:
    """The state as it comes back from disk."""
    return msgspec.json.decode(msgspec.json.encode(state))
