"""The run that a training is below, that of a tuning or a group: it is handed on by environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from tracking_hooks.events import Destination, Run
from tracking_hooks.recording.errors import raise_alone
from tracking_hooks.recording.folders import adopt
from tracking_hooks.recording.returning import before_return, tell_it_is_over
from tracking_hooks.run import journal
from tracking_hooks.run.group import TASK
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import FOLDER, RunFolder, fallback_home, find_runs
from tracking_hooks.settings import ConfigurationError

if TYPE_CHECKING:
    from tracking_hooks.recording.recorder import Recorder

PARENT = "TRACKING_HOOKS_PARENT"
"""The run folder of the tuning or group, set while it lasts."""

TRIAL = "TRACKING_HOOKS_TRIAL"
"""The name of the trial that is next; an asterisk stands for the name that it would have had without."""


class Parent(Struct, frozen=True):
    """A tuning or a group, as the runs below it need to know it."""

    folder: RunFolder
    run: Run
    destinations: dict[str, Destination]
    """Plugin name to what was captured for it."""

    @property
    def is_group(self) -> bool:
        """Whether it is a group, whose runs are trainings or tunings of their own."""
        return self.run.task == TASK

    @property
    def home(self) -> Path | None:
        """Where the run folders below it are made: trials lose the folders that they save to. None: as without it."""
        return None if self.is_group else self.folder.path.parent

    def take_in(self, run: Run) -> Run:
        """Return a run as one below this one."""
        if self.is_group:
            return structs.replace(run, parent=self.run.uid, group=self.run.name)
        return structs.replace(run, name=trial_name(run.name), project=self.run.project, parent=self.run.uid)


def read(folder: RunFolder) -> Parent:
    """Read what the journal of a tuning or a group says of it.

    :raises JournalError, OSError: if it cannot be read
    """
    head, _ = journal.read_head(folder.journal)
    return Parent(folder, head.run, head.plugins)


def current() -> Parent | None:
    """Return the tuning or group that this process trains for, if any.

    :raises JournalError, OSError: if its journal cannot be read, as on another machine
    """
    folder = os.environ.get(PARENT)
    return read(RunFolder(Path(folder))) if folder else None


def group() -> Parent | None:
    """Return the group that this process trains for, if any and if it can be read."""
    try:
        found = current()
    except (JournalError, OSError):
        return None
    return found if found and found.is_group else None


def is_trial() -> bool:
    """Whether this process trains for a tuning."""
    return PARENT in os.environ and group() is None


def saved_to(save_dir: Path) -> Parent | None:
    """Find the tuning that keeps its results in a folder: the last one, if there were several.

    :raises JournalError, OSError: if one of the journals that may be its cannot be read
    """
    homes = (save_dir.parent / FOLDER, fallback_home())
    found = (read(folder) for home in homes if home.is_dir() for folder in reversed(find_runs(home)))
    return next((parent for parent in found if parent.run.save_dir == save_dir and not parent.run.addendum), None)


def trial_name(name: str) -> str:
    """Return the name of a trial.

    :param name: what it would be called without
    """
    return os.environ.get(TRIAL, "*").replace("*", name)


@contextmanager
def recorded(begin: Callable[[], Recorder | None], logger: logging.Logger, what: str) -> Iterator[Recorder | None]:
    """Record a run for the time of a tuning or a group, and hand it on; None if no tracker is asked for.

    :param what: such as "the tuning itself"
    :raises ConfigurationError: if the configuration is at fault; nothing else of ours ends a tuning or a group
    """
    recorder = None
    with ExitStack() as stack:
        try:
            recorder = begin()
        except ConfigurationError as error:
            raise_alone(error)
        except Exception as error:  # noqa: BLE001 see above
            logger.warning(f"tracking-hooks: {what} is not recorded ({type(error).__name__}: {error})")
        if recorder is not None:
            stack.enter_context(handed_on(recorder.folder))
        try:
            yield recorder
        except BaseException as error:
            if recorder is not None:
                _end(recorder, error)
            raise
        if recorder is not None:
            _end(recorder, None)
            before_return(recorder)


def _end(recorder: Recorder, error: BaseException | None) -> None:
    recorder.record_final_files()
    recorder.end(error=error)
    # What the processes below it have left to do.
    adopt(recorder.folder.path.parent, recorder.settings, recorder.complain)
    tell_it_is_over(recorder.run, recorder.supervisor.captures, recorder.complain)


@contextmanager
def handed_on(folder: RunFolder) -> Iterator[None]:
    """Put the trainings that are started meanwhile, here and in child processes, below this run."""
    before = {name: os.environ.get(name) for name in (PARENT, TRIAL)}  # a tuning may be in a group
    os.environ[PARENT] = str(folder.path)
    os.environ.pop(TRIAL, None)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
