"""Runs on disk, as the recorder writes them, without a training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tracking_hooks.events import Run
from tracking_hooks.run import journal
from tracking_hooks.run.journal import Call, Head, Journal
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.story import reopen
from tracking_hooks.testing import writing


def write_run(
    run: Run, calls: Iterable[Call], plugins: Mapping[str, Any] | None = None, *, home: Path | None = None, **head: Any
) -> RunFolder:
    """Write a run whose training is gone, and the pointer to it.

    :param plugins: the destination of each, whether it is installed or not
    :param home: the folder of its run folder; None: the one beside ``save_dir``
    :param head: more of the journal's head
    """
    return writing.write(run, calls, plugins or {}, home=home, **head)


def write_journal(path: Path, head: Head, calls: Iterable[Call]) -> None:
    """Write a journal as the recorder does."""
    writing.append(Journal.create(path, head), calls)


def append(path: Path, calls: Iterable[Call]) -> None:
    """Go on with a journal."""
    writing.append(reopen(path)[0], calls)


def read_calls(path: Path) -> list[Call]:
    """Return what can be read of a journal."""
    _, offset = journal.read_head(path)
    return [entry.call for entry in journal.read(path, offset) if entry.call]
