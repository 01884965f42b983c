"""Which tracked run the weights are from that a training starts with."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tracking_hooks.events import Origin
from tracking_hooks.run import checkpoints, journal
from tracking_hooks.run.journal import JournalError


def origin(weights: Path) -> Origin | None:
    """Return the run that a file of weights is from, if it is one of this user's; else None. Never raises."""
    with suppress(OSError, ValueError, JournalError):
        if weights.is_file() and (folder := checkpoints.run_of(weights)):
            head, _ = journal.read_head(folder.journal)
            return Origin(uid=folder.uid, name=head.run.name, checkpoint=weights.name)
    return None
