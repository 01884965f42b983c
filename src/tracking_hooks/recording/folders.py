"""The run folders beside a new one: where it is made, and what is done for the older ones."""

from __future__ import annotations

import re
import secrets
import shlex
import tempfile
import time
import weakref
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from tracking_hooks.delivery.spawn import start_adopter
from tracking_hooks.events import Run
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.run import index, layout, orphans, state
from tracking_hooks.run.destinations import path_in
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings, is_off

_MADE_BY_MKDTEMP = re.compile(r"tmp[a-z0-9_]{8}(/|$)")


def new_uid() -> str:
    """Return a uid; they sort by the time of their making, also within a second."""
    now = time.time()
    fraction = f"{int(now % 1 * 0x1000):03x}"
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime(now)) + fraction + secrets.token_hex(3)[1:]


def make_folder(run: Run, home: Path | None, places: Collection[str], complain: Complaints) -> RunFolder:
    """Make the run folder, or one in the user's own folder where that cannot be written or does not stay.

    :param home: the folder to make it in; by default the one beside ``save_dir``
    :param places: where the run is delivered to, as URIs
    :raises OSError: if neither can be written
    """
    uid = run.addendum or run.uid
    folder = RunFolder(home / uid) if home else RunFolder.beside(run.save_dir, uid)
    other = RunFolder(layout.fallback_home() / uid)
    # Where all trackers go with it, nobody is left to deliver to.
    is_to_stay = not (places and all(map(_goes_with_it, places)))
    if home is None and is_to_stay and _is_removed_soon(run.save_dir) and not _is_removed_soon(other.path):
        folder, other = other, folder
    try:
        folder.create()
    except OSError as error:
        folder = other
        folder.create()
        complain(f"{error}; the run is recorded in {folder.path}")
    return folder


def _is_removed_soon(path: Path) -> bool:
    """Whether a path is in a folder that `tempfile` has made: whoever asked for it removes it, delivered or not."""
    try:
        path, temporary = path.resolve(), Path(tempfile.gettempdir()).resolve()
        made = [Path(name).resolve() for name in _temporary_directories()]
    except OSError:
        return False
    is_called_so = path.is_relative_to(temporary) and _MADE_BY_MKDTEMP.match(path.relative_to(temporary).as_posix())
    return bool(is_called_so) or any(path.is_relative_to(folder) for folder in made)


def _goes_with_it(place: str) -> bool:
    """Whether a tracker keeps its data in such a folder, too, as TensorBoard beside the weights."""
    path = path_in(place)
    return path is not None and _is_removed_soon(path)


def _temporary_directories() -> Iterator[str]:
    """Yield the names of what a `TemporaryDirectory` of this process is about to remove."""
    for info in list(getattr(weakref.finalize, "_registry", {}).values()):
        if getattr(info.func, "__qualname__", "") == "TemporaryDirectory._cleanup":
            yield info.args[0]


def secure_older(save_dir: Path, complain: Callable[[str], None]) -> float:
    """Copy what an older run in the same folder has not delivered yet. Never raises.

    :returns: when that run was over, in seconds since 1970; 0.0: there is none
    """
    over = 0.0
    try:
        for folder in layout.find_runs(save_dir) if (save_dir / layout.POINTER).exists() else []:
            if not state.is_running(folder):
                over = max(over, folder.journal.stat().st_mtime)  # before its end is made up for
            for one in (folder, *index.addenda([folder])):
                orphans.secure_files(one)
    except (JournalError, OSError) as error:
        complain(f"files of an older run may be overwritten before delivery: {error}")
    return over


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
