"""The part of the contract about a tracker that is down, as a whole, in part, or for one call."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tracking_hooks.delivery.current import OUTAGE
from tracking_hooks.testing.seen import same
from tracking_hooks.testing.tested import Tested
from tracking_hooks.testing.trouble import Faults, Outages


class Breakdowns:
    """The rules."""

    def test_an_outage_doubles_nothing(self: Tested, tmp_path: Path) -> None:
        """The tracker goes away behind each batch, twice; what was given with it comes again, and stands there once."""
        whole = self._whole(tmp_path, "everything")
        tracker = self._tracker(tmp_path, "everything", "outages")
        tracker.deliver(batch=7 * self.stride, trouble=Outages())
        same(tracker.observe(), whole, "the tracker was down for a while behind each batch")

    def test_what_fails_is_not_lost(self: Tested, tmp_path: Path) -> None:
        """Now and then, a call to the system fails: the plugin raises, or everything is there all the same.

        Each process delivers a few events, so that none makes up for what another one has lost.
        """
        whole = self._whole(tmp_path, "everything")
        tracker = self._tracker(tmp_path, "everything", "faults")
        faults, few = Faults(self.stride), 7 * self.stride
        for number in range(few, len(tracker.calls) + few, few):
            tracker.deliver(upto=number, trouble=faults)
        same(tracker.observe(), whole, "now and then, a file could not be opened, or a server not be reached")

    def test_half_down(self: Tested, tmp_path: Path) -> None:
        """While a part of the tracker is down, the others get nothing twice; in the end, each has everything."""
        whole = self._whole(tmp_path, "everything")
        tracker = self._tracker(tmp_path, "everything", "half down")
        seen = []
        with self.half_down(tracker.destination):
            for _ in range(3):
                with suppress(*OUTAGE):
                    tracker.deliver(batch=7)
                seen.append(tracker.observe())
        same(seen[-1], seen[0], "a part of the tracker is down, and delivery was tried again")
        tracker.deliver()
        same(tracker.observe(), whole, "a part of the tracker was down for a while")
