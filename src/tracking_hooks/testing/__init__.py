"""For the tests of a plugin: recorded runs, a function that plays them to it, and the contract as a suite of tests.

::

    from tracking_hooks.testing.contract import Contract  # needs pytest

    class TestContract(Contract):
        plugin = "acme"

        def observe(self, destination):
            return acme.Client(destination["server"]).runs()  # what somebody who looks at the tracker sees
"""

from __future__ import annotations

from tracking_hooks.testing.playing import as_read, play, poll
from tracking_hooks.testing.recordings import (
    KINDS,
    Kind,
    Recorded,
    recorded,
    recorded_addendum,
    recorded_run,
    sample_addendum,
    sample_run,
)
from tracking_hooks.testing.scribe import BATCHES, STARTED
from tracking_hooks.testing.writing import write_run

__all__ = [
    "BATCHES",
    "KINDS",
    "STARTED",
    "Kind",
    "Recorded",
    "as_read",
    "play",
    "poll",
    "recorded",
    "recorded_addendum",
    "recorded_run",
    "sample_addendum",
    "sample_run",
    "write_run",
]
