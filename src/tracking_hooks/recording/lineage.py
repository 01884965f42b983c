"""Which tracked run the weights are from that a training starts with."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tracking_hooks.events import Origin
from tracking_hooks.run import index, journal, layout
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import POINTER, Pointer, RunFolder


def origin(weights: Path) -> Origin | None:
    """Return the run that a file of weights is from, if it is one of this user's; else None. Never raises."""
    with suppress(OSError, ValueError, JournalError):
        if weights.is_file() and (folder := _run_of(weights.absolute())):
            head, _ = journal.read_head(folder.journal)
            return Origin(uid=folder.uid, name=head.run.name, checkpoint=weights.name)
    return None


def _run_of(weights: Path) -> RunFolder | None:
    save_dir = weights.parent.parent
    pointer = layout.read_json(save_dir / POINTER, Pointer)
    places = layout.candidates(save_dir, Path(pointer.uid).name) if pointer else []
    return next((folder for folder in places if folder.has_journal() and index.names(folder)), None)
