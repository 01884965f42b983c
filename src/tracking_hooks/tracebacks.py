"""Leaves our frames out of the tracebacks of errors that are not ours: those of a training that runs below us."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


def leave_out_ours(error: BaseException) -> None:
    """Take our frames out of what an error has come through. Those at the end, where it was raised, stay.

    For a function that raises the error anew by a bare ``raise``, which adds no frame.
    """
    entries = []
    entry = error.__traceback__
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    theirs = [i for i, entry in enumerate(entries) if not _is_ours(entry)]
    if not theirs:
        return
    kept = [entries[i] for i in theirs] + entries[theirs[-1] + 1 :]
    for entry, following in pairwise(kept):
        entry.tb_next = following
    error.__traceback__ = kept[0]
    if kept[0] is not entries[0]:
        entries[0].tb_next = kept[0]  # with Python 3.10, a bare ``raise`` begins there, so one frame of ours stays


def _is_ours(entry: TracebackType) -> bool:
    return str(entry.tb_frame.f_globals.get("__name__")).partition(".")[0] == __package__
