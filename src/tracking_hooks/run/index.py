"""The runs that this user has recorded on this machine: a folder with one small file for each.

::

    <state folder>/runs/<uid>.json              where the run folder is, and whose
                        delivered/<uid>.json    the same of a run that every tracker has, with what `status` says of it

What is not named here is nobody's to deliver unasked, and a run that is delivered is not looked at again: so neither
the start of a training nor ``sync`` grows with what was delivered.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, structs

from tracking_hooks.events import Run
from tracking_hooks.run import glance, journal, missing, portable, state, story
from tracking_hooks.run.glance import Glance
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import FOLDER, LAUNCHER_INDEX, RunFolder, index_folder, read_json, write_json


class Delivered(Struct, frozen=True, kw_only=True):
    """A run that every tracker has."""

    size: int
    """Bytes of its journal: if it has others, there is more of the run."""
    name: str
    status: str
    events: dict[str, int]
    """Label to the number of events that the tracker has."""
    glance: Glance | None = None


class Entry(Struct, frozen=True, kw_only=True):
    """A run that this user has recorded."""

    uid: str
    folder: Path
    owner: int | None = None
    """Of the run folder when it was recorded, as its file system tells it; None: this user."""
    delivered: Delivered | None = None
    addendum_to: str | None = None
    """The uid of the run that it is an addendum to."""

    def is_there(self) -> bool:
        """Whether the run folder is still there, and still the one that was recorded."""
        try:
            info = self.folder.stat()
        except OSError:
            return False
        mine = self.owner if self.owner is not None else os.geteuid() if hasattr(os, "geteuid") else info.st_uid
        return info.st_uid == mine and RunFolder(self.folder).has_journal()


def enter(folder: RunFolder) -> None:
    """Name a run as this user's, and as one to look at; also to the ``tracking-hooks run`` that it was started by.

    :raises OSError: if the state folder cannot be written
    """
    entry = Entry(
        uid=folder.uid, folder=folder.path, owner=folder.path.stat().st_uid, addendum_to=_run_of_addendum(folder)
    )  # fmt: skip
    launcher = os.environ.get(LAUNCHER_INDEX)
    if launcher:
        _write(entry, Path(launcher))
    if not portable.has_state_folder():
        raise OSError("this user has no home folder: set HOME, or XDG_STATE_HOME to a folder that can be written")
    _write(entry, index_folder())
    _delivered(folder).unlink(missing_ok=True)


def _run_of_addendum(folder: RunFolder) -> str | None:
    with suppress(JournalError, OSError):
        run = journal.read_head(folder.journal)[0].run
        return run.uid if run.addendum else None
    return None


def title(run: Run) -> str:
    """Return what a run, or an addendum to it, is called in lists."""
    return f"addendum to {run.name}" if run.addendum else run.name


def addenda(folders: Iterable[RunFolder], *, with_delivered: bool = False) -> list[RunFolder]:
    """Return this user's addenda to these runs that some tracker may not have, oldest first.

    :param with_delivered: those that every tracker has, too
    """
    uids = {folder.uid for folder in folders}
    found = []
    for place in (index_folder(), index_folder() / _DELIVERED) if with_delivered else (index_folder(),):
        entries = (read_json(file, Entry) for file in place.glob("*.json"))
        found += [entry for entry in entries if entry and entry.addendum_to in uids and entry.is_there()]
    return [RunFolder(entry.folder) for entry in sorted(found, key=lambda entry: entry.uid)]


def is_elsewhere(folder: RunFolder) -> Path | None:
    """Return where else this user has a run of the same uid, if its folder is there: the source of a copy."""
    entry = read_json(index_folder() / f"{folder.uid}.json", Entry) or read_json(_delivered(folder), Entry)
    is_other = entry is not None and not _is_same(entry.folder, folder.path) and entry.is_there()
    return entry.folder if entry and is_other else None


def runs(index: Path) -> Iterator[RunFolder]:
    """Return the runs that an index has to look at and that are still there, oldest first."""
    for file in sorted(index.glob("*.json")):
        entry = read_json(file, Entry)
        if entry and entry.is_there():
            yield RunFolder(entry.folder)


def undelivered(home: Path | None = None) -> list[RunFolder]:
    """Return this user's runs that some tracker may not have, oldest first.

    :param home: only those in this folder
    """
    found = runs(index_folder())
    return [folder for folder in found if home is None or _is_same(folder.path.parent, home)]


def all_runs() -> list[RunFolder]:
    """Return all of this user's runs on this machine, oldest first."""
    found = [*undelivered(), *runs(index_folder() / _DELIVERED)]
    return sorted(found, key=lambda folder: folder.uid)


def count_delivered() -> int:
    """Return how many of this user's runs are delivered."""
    return sum(1 for _ in (index_folder() / _DELIVERED).glob("*.json"))


def names(folder: RunFolder) -> bool:
    """Whether this user has recorded a run: in this very folder, or in one that was moved here."""
    entry = read_json(index_folder() / f"{folder.uid}.json", Entry) or read_json(_delivered(folder), Entry)
    if entry is None:
        return False
    if _is_same(entry.folder, folder.path):
        return structs.replace(entry, folder=folder.path).is_there()
    return not RunFolder(entry.folder).has_journal()


def may_end(folder: RunFolder) -> bool:
    """Whether the end of a run may be written here by somebody else than its training, and its files be collected.

    Of a run that this user has not recorded, only where it was recorded: a copy tells nothing of the training, and a
    journal is data, so the folder that it calls its own may be anybody's.

    :raises JournalError, OSError: if the journal cannot be read
    """
    if names(folder):
        return True
    head, _ = journal.read_head(folder.journal)
    root = head.root.resolve()
    return (root / FOLDER) == folder.path.parent.resolve() and head.run.save_dir.resolve().is_relative_to(root)


def delivered(folder: RunFolder) -> Delivered | None:
    """Return what is known of a run that every tracker has; None of one that has to be looked at."""
    entry = read_json(_delivered(folder), Entry)
    if entry is None or entry.delivered is None or not _is_same(entry.folder, folder.path):
        return None
    with suppress(OSError):
        if folder.journal.stat().st_size == entry.delivered.size:
            return entry.delivered
    return None


def find(uid: str) -> RunFolder | None:
    """Return this user's run of a uid, if it is still where it was recorded."""
    entry = read_json(index_folder() / f"{uid}.json", Entry) or read_json(
        index_folder() / _DELIVERED / f"{uid}.json", Entry
    )
    return RunFolder(entry.folder) if entry and entry.is_there() else None


def note_delivered(folder: RunFolder) -> None:
    """Take a run of this user out of what is looked at, if there is nothing to do or to say of it. Never raises."""
    file = index_folder() / f"{folder.uid}.json"
    entry = read_json(file, Entry)
    if entry is None or not _is_same(entry.folder, folder.path):
        return
    with suppress(JournalError, OSError):
        owed = {label: state.owed(folder, label) for label in state.labels(folder)}
        is_whole = not any(what.is_pending or what.aside or what.packed for what in owed.values())
        if not is_whole or state.is_running(folder) or state.forgotten(folder):
            return
        if any(missing.missing(folder, label) or missing.unreported(folder, label) is not None for label in owed):
            return
        size = folder.journal.stat().st_size  # with a line that was torn by the end of its process
        head, told = story.read(folder.journal)
        if told.is_open:
            return
        events = {label: what.delivered for label, what in owed.items()}
        status = "closed" if head.run.addendum else told.status or "never began"
        seen = glance.at(head, told)
        what = Delivered(size=size, name=title(head.run), status=status, events=events, glance=seen)
        _write(structs.replace(entry, delivered=what), index_folder() / _DELIVERED)
        file.unlink(missing_ok=True)
        if state.is_running(folder) or state.labels(folder) != [*owed]:  # resumed or replayed before we took it out
            enter(folder)


def look_again(folder: RunFolder) -> None:
    """Look at a run again that was delivered: it goes to one more tracker.

    :raises OSError: if the state folder cannot be written
    """
    if _delivered(folder).exists() and names(folder):
        enter(folder)


def forget(folder: RunFolder) -> None:
    """Forget a run."""
    with suppress(OSError):
        for file in (index_folder() / f"{folder.uid}.json", _delivered(folder)):
            file.unlink(missing_ok=True)


def tidy() -> None:
    """Forget the runs that are no more."""
    for index in (index_folder(), index_folder() / _DELIVERED):
        for file in index.glob("*.json"):
            entry = read_json(file, Entry)
            if entry is None or not RunFolder(entry.folder).has_journal():
                file.unlink(missing_ok=True)


_DELIVERED = "delivered"


def _delivered(folder: RunFolder) -> Path:
    return index_folder() / _DELIVERED / f"{folder.uid}.json"


def _write(entry: Entry, index: Path) -> None:
    index.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(index / f"{entry.uid}.json", entry)


def _is_same(one: Path, other: Path) -> bool:
    return one == other or one.resolve() == other.resolve()
