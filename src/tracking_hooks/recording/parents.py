"""The tuning that a training is a trial of: the process that tunes hands it on to its trials by environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from tracking_hooks.events import Destination, Run
from tracking_hooks.run import journal
from tracking_hooks.run.layout import FOLDER, RunFolder, find_runs

PARENT = "TRACKING_HOOKS_PARENT"
"""The run folder of the tuning, set while it lasts."""

TRIAL = "TRACKING_HOOKS_TRIAL"
"""The name of the trial that is next; an asterisk stands for the name that it would have had without."""


class Parent(Struct, frozen=True):
    """A tuning, as its trials need to know it."""

    folder: RunFolder
    run: Run
    destinations: dict[str, Destination]
    """Plugin name to what was captured for the tuning."""


def read(folder: RunFolder) -> Parent:
    """Read what a tuning's journal says of it.

    :raises JournalError, OSError: if it cannot be read
    """
    head, _ = journal.read_head(folder.journal)
    return Parent(folder, head.run, head.plugins)


def current() -> Parent | None:
    """Return the tuning that this process trains for, if any.

    :raises JournalError, OSError: if its journal cannot be read, as on another machine
    """
    folder = os.environ.get(PARENT)
    return read(RunFolder(Path(folder))) if folder else None


def saved_to(save_dir: Path) -> Parent | None:
    """Find the tuning that keeps its results in a folder: the last one, if there were several.

    :raises JournalError, OSError: if a journal beside it cannot be read
    """
    home = save_dir.parent / FOLDER
    found = (read(folder) for folder in reversed(find_runs(home))) if home.is_dir() else iter(())
    return next((parent for parent in found if parent.run.save_dir == save_dir and not parent.run.addendum), None)


def trial_name(name: str) -> str:
    """Return the name of a trial.

    :param name: what it would be called without
    """
    return os.environ.get(TRIAL, "*").replace("*", name)


@contextmanager
def handed_on(folder: RunFolder) -> Iterator[None]:
    """Make the trainings that are started meanwhile, here and in child processes, trials of this run."""
    os.environ[PARENT] = str(folder.path)
    try:
        yield
    finally:
        os.environ.pop(PARENT, None)
        os.environ.pop(TRIAL, None)
