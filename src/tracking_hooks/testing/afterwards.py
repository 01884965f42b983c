"""The part of the contract about the end of a run: what comes behind it changes nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tracking_hooks import plugins
from tracking_hooks.delivery.current import OUTAGE
from tracking_hooks.events import Missing, Status
from tracking_hooks.run.journal import Call
from tracking_hooks.testing.playing import instance
from tracking_hooks.testing.recordings import Recorded, recorded_addendum, sample_addendum, sample_run
from tracking_hooks.testing.scribe import STARTED
from tracking_hooks.testing.seen import lacking, values
from tracking_hooks.testing.tested import Tested, passes_on
from tracking_hooks.testing.tracker import Tracker

_MISSING = [
    Missing(hook="on_artifact", name="results.png", reason="too large", first=27, last=27),
    Missing(reason="the journal has a gap", first=12, last=14),
]


class Afterwards:
    """The rules."""

    def test_an_addendum_makes_no_run(self: Tested, tmp_path: Path) -> None:
        """What comes after the end of a run waits until the run is there, and is added to it, once."""
        tracker = self._tracker(tmp_path, "finished")
        added = addendum(self, tracker, tmp_path)
        with suppress(*OUTAGE):
            added.deliver()
        if not (passes_on(self) or self._setting("at_least_once", default=False)):
            runs = len(added.observe())
            assert not runs, "an addendum makes a run where its run is not there: raise Unavailable in open"
        tracker.deliver()
        added.deliver()
        once = added.observe()
        assert len(once) == 1, f"with an addendum, a run is {len(once)} runs in the tracker"
        added.forget()
        added.deliver()
        self._same_but_twice(added.observe(), once, "an addendum was delivered twice")

    def test_an_addendum_changes_no_ending(self: Tested, tmp_path: Path) -> None:
        """What tells a run that has failed or was killed from one that has finished does so with an addendum, too."""
        before, after = {}, {}
        statuses: tuple[Status, ...] = ("finished", "failed", "killed")
        for status in statuses:
            tracker = _ended(self, tmp_path, status)
            before[status] = tracker.observe()
            addendum(self, tracker, tmp_path).deliver()
            after[status] = tracker.observe()
        _see_the_same_endings(after, before, "with an addendum")

    def test_what_is_missing_is_said_beside_the_ending(self: Tested, tmp_path: Path) -> None:
        """``report_missing`` says the same twice, takes it back when nothing is missing, and changes no status."""
        if not any(instance(plugins.load(part), sample_run(tmp_path), {}).can_report for part in self._parts()):
            pytest.skip("it has no report_missing")
        before, said, after = {}, {}, {}
        statuses: tuple[Status, ...] = ("finished", "failed")
        for status in statuses:
            tracker = _ended(self, tmp_path, status)
            before[status] = tracker.observe()
            tracker.report(_MISSING, STARTED + 1000)
            said[status] = tracker.observe()
            tracker.report(_MISSING, STARTED + 1000)
            self._same_but_twice(tracker.observe(), said[status], "report_missing was called twice with the same list")
            tracker.report([], STARTED + 1060)
            after[status] = tracker.observe()
            is_left = after[status] == said[status] != before[status]
            assert not is_left, "what was missing is still shown when report_missing is told that nothing is"
        _see_the_same_endings(said, before, "when report_missing was called")
        _see_the_same_endings(after, before, "when report_missing was called with nothing")

    def test_a_resumed_run_is_shown_as_running(self: Tested, tmp_path: Path) -> None:
        """While a run goes on that was killed, a reader does not see the ending that it had."""
        if self._setting("keeps_values", "all") == "none":
            pytest.skip("what it shows is a history")
        tracker = self._tracker(tmp_path, "resumed")
        first, second = (call for call in tracker.calls if call.hook == "on_run_start")
        again = Call(second.seq, second.time, second.hook, {**first.args, "resumed": True})  # only the status is new
        tracker.calls = [*tracker.calls[: second.seq - 1], again]
        tracker.deliver(upto=second.seq - 1)
        ended = tracker.observe()
        tracker.deliver()
        assert tracker.observe() != ended, "a run that was killed still looks like one when it is resumed"


def addendum(tested: Tested, tracker: Tracker, folder: Path) -> Tracker:
    """Return the tracker as the relays of an addendum have it."""
    later = Recorded(sample_addendum(folder / "run"), recorded_addendum(folder / "run"))
    return Tracker(tested._parts(), tracker.destination, tested.observe, tested.restart, later)


def _ended(tested: Tested, folder: Path, status: Status) -> Tracker:
    """Deliver a run, the same but for its ending, to a tracker of its own."""
    tracker = tested._tracker(folder, "failed", status)
    tracker.calls = _with_end(tracker.calls, status)
    tracker.deliver()
    return tracker


def _with_end(calls: list[Call], status: Status) -> list[Call]:
    *others, end = calls
    error = end.args["error"] if status == "failed" else None
    return [*others, Call(end.seq, end.time, end.hook, {"status": status, "error": error})]


def _see_the_same_endings(now: Mapping[Status, list[Any]], before: Mapping[Status, list[Any]], when: str) -> None:
    """See that whatever tells a run from one that has finished, or that one from it, is there as before."""
    for status in now:
        assert len(now[status]) == 1, f"{when}, a run is {len(now[status])} runs in the tracker"
        pairs: tuple[tuple[Status, Status], ...] = (("finished", status), (status, "finished"))
        for one, other in pairs:
            lost = lacking(now[one], values(before[one]) - values(before[other]))
            assert not lost, f"{when}, it is not seen any more that a run was {one}: {lost}"
