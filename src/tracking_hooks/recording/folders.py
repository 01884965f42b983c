"""The run folders beside a new one: where it is made, and what is done for the older ones."""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Callable
from pathlib import Path

from tracking_hooks.delivery.spawn import start_adopter
from tracking_hooks.events import Run
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.run import index, layout, orphans, state
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings, is_off


def new_uid() -> str:
    """Return a uid; they sort by the time of their making."""
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(4)


def make_folder(run: Run, home: Path | None, complain: Complaints) -> RunFolder:
    """Make the run folder, or one in the user's own folder where that cannot be written.

    :param home: the folder to make it in; by default the one beside ``save_dir``
    :raises OSError: if neither can be written
    """
    uid = run.addendum or run.uid
    folder = RunFolder(home / uid) if home else RunFolder.beside(run.save_dir, uid)
    try:
        folder.create()
    except OSError as error:
        folder = RunFolder(layout.fallback_home() / uid)
        folder.create()
        complain(f"{error}; the run is recorded in {folder.path}")
    return folder


def secure_older(save_dir: Path, complain: Callable[[str], None]) -> None:
    """Copy what an older run in the same folder has not delivered yet. Never raises."""
    try:
        for folder in layout.find_runs(save_dir) if (save_dir / layout.POINTER).exists() else []:
            for one in (folder, *index.addenda([folder])):
                orphans.secure_files(one)
    except (JournalError, OSError) as error:
        complain(f"files of an older run may be overwritten before delivery: {error}")


def enter_in_index(folder: RunFolder, complain: Callable[[str], None]) -> None:
    """Name a run in the index of this user's runs. Never raises."""
    try:
        index.enter(folder)
    except OSError as error:
        later = f"if anything is left to deliver: tracking-hooks sync {shlex.quote(str(folder.path))}"
        complain(f"the run cannot be entered in the list of your runs ({error}); {later}")


def adopt(home: Path, settings: Settings, complain: Complaints) -> None:
    """Have delivered what this user's other trainings have left in a folder of run folders. Never raises."""
    if settings.mode != "offline":
        complain.guard(lambda: _adopt(home, "" if is_off(settings.keep) else settings.keep), "adopting other runs")


def _adopt(home: Path, keep: str) -> None:
    others = index.undelivered(home)
    if keep or any(not state.is_running(folder) and _is_to_look_at(folder) for folder in others):
        start_adopter(home, keep)


def _is_to_look_at(folder: RunFolder) -> bool:
    """Whether something is pending, or all is delivered, which the adopter notes; not what waits for the user."""
    try:
        owed = [state.owed(folder, label) for label in state.labels(folder)]
        stays = state.forgotten(folder) or any(what.aside or what.packed for what in owed)
        return any(what.is_pending for what in owed) or not stays
    except (JournalError, OSError):
        return False  # it cannot be read: `status` says so
