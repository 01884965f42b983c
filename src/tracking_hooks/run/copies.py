"""A run's own copies, in ``files/``: what keeps the content of a file that was recorded, and when it is let go.

A file gets a second name there, a hard link. That costs nothing, and the content stays when the user deletes or moves
the file. Some trainers rewrite weights in place, which changes the link as well: so whoever is about to write into the
folder of an older run first turns the links that are still needed into copies.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from tracking_hooks.events import Artifact, Checkpoint
from tracking_hooks.run import journal, portable, state
from tracking_hooks.run.journal import Entry, JournalError
from tracking_hooks.run.layout import CONSOLE, POINTER, Pointer, RunFolder, read_json

File: TypeAlias = Artifact | Checkpoint

TEXTS = frozenset({".csv", ".ndjson", ".json", ".yaml"})
LARGE = 1_000_000
"""Bytes up to which a text is masked, which takes time and memory; a larger one is a matter of a setting."""
_GIVEN = 1_000_000_000
"""Bytes of a script's files that stay, of those that only the run folder has as they were when they were given."""

OF_FILES = frozenset({"on_artifact", "on_checkpoint_saved", "on_image", "on_predictions", "on_table", "on_export"})
"""The hooks that come with a file."""
_FICLONE = 0x40049409
"""What asks Linux to share the blocks of a file, where the file system can."""
_EVERY = 60.0
"""Seconds between two looks, while a plugin is delivered to, at what nobody needs any more."""


def of_call(args: Mapping[str, Any]) -> File | None:
    """Return the file of a call, if it has one that is final; an unknown hook's is plain data."""
    file = args.get("artifact") or ("metrics" not in args and args.get("checkpoint"))  # a validation just names weights
    return file if isinstance(file, (Artifact, Checkpoint)) and file.digest else None


def place(folder: RunFolder, file: File) -> Path:
    """Return where the content of a file is kept."""
    if isinstance(file, Checkpoint) and file.kind == "action":
        return folder.files / str(file.digest) / file.path.name  # by which it goes in the trackers
    return folder.files / f"{file.digest}{file.path.suffix}"


def is_outside(folder: RunFolder, file: File) -> bool:
    """Whether a file is where nobody looks for it later: outside of the root folder, perhaps by a link."""
    return not is_within(folder, folder.path.parent.parent, file.path.resolve())


def is_within(folder: RunFolder, root: Path, path: Path) -> bool:
    """Whether a path is below the root folder; where that is the top of the file system, in a folder of this run."""
    if not path.is_relative_to(root) and not path.is_relative_to(root.resolve()):
        return False
    if root != Path(root.anchor) or path.is_relative_to(folder.path):
        return True
    pointers = (read_json(above / POINTER, Pointer) for above in path.parents if above != root)
    return any(pointer is not None and pointer.uid == folder.uid for pointer in pointers)


def keep(folder: RunFolder, file: File) -> bool:
    """Keep a file's content, without copying a byte if it lies in the root folder.

    :returns: whether it is kept; False: only a copy would do, since no link can be made here
    :raises OSError: if it is outside of the root folder, and cannot be copied either
    """
    target = place(folder, file)
    if file.path.is_relative_to(folder.files) or _is_whole(target, file):
        return True
    if _link(file.path, target) or _share(file.path, target):
        return True
    if is_outside(folder, file):
        _copy(file.path, target)
        return True
    return not file.path.exists()  # a copy would not do either


def _is_whole(copy: Path, file: File) -> bool:
    """Whether a copy is there; one that a power failure has left empty is removed."""
    try:
        if copy.stat().st_size == file.size:
            return True
    except FileNotFoundError:
        return False
    copy.unlink(missing_ok=True)
    return False


def identity(file: File) -> tuple[str, str]:
    """Return what a later version of the same file has in common with it."""
    return ("artifact", file.name) if isinstance(file, Artifact) else (file.kind, str(file.path))


def latest(folder: RunFolder) -> dict[tuple[str, str], str | None]:
    """Return the digests of the files that are recorded, by ``identity``; of each, the last one counts.

    :raises JournalError, OSError: if the journal cannot be read
    """
    return {identity(file): file.digest for _, file in _recorded(folder, 0)}


def copy_owed(folder: RunFolder) -> None:
    """Copy what some plugin has not got yet, links too: somebody is about to overwrite or to delete it.

    A journal is data: no path in it leads out of the root folder.

    :raises JournalError, OSError: if that cannot be done
    """
    for file in _owed(folder):
        target = place(folder, file)
        if _is_whole(target, file):
            if target.stat().st_nlink > 1:
                _copy(target, target)
        elif not is_outside(folder, file) and file.path.is_file() and file.path.stat().st_size == file.size:
            _copy(file.path, target)


def copy_now(folder: RunFolder, path: Path) -> Path:
    """Copy a file that is about to be overwritten; return where it is, under a name for the time being.

    :raises OSError: if that cannot be done
    """
    target = folder.files / f".{path.name}.{os.getpid()}"
    _copy(path, target)
    return target


def held(folder: RunFolder) -> int:
    """Return how many bytes are freed with a run folder: not what has a second name elsewhere."""
    size = 0
    for path in folder.path.rglob("*"):
        with suppress(OSError):  # it may just be removed
            stat = path.lstat()
            size += stat.st_size * (stat.st_nlink == 1)
    return size


class Sweep:
    """Removes what every plugin has received, but not what a replay needs and nobody else has.

    That is the console's log, small texts, and what a script has given, up to a bound.

    What is called again and again reads the journal once.
    """

    def __init__(self, folder: RunFolder) -> None:
        """Sweep a run folder."""
        self._folder = folder
        self._events: dict[Path, list[int]] = {}  # copy to where the lines of its events begin
        self._given: set[Path] = set()
        self._given_size = 0
        self._read_to = 0
        self._next = 0.0

    def now_and_then(self) -> None:
        """Sweep if the last time is long enough ago. Never raises."""
        if time.monotonic() >= self._next:
            self.now()

    def now(self) -> None:
        """Sweep. Never raises: what cannot be read or removed stays."""
        self._next = time.monotonic() + _EVERY
        with suppress(JournalError, OSError):
            found = [path for path in self._folder.files.rglob("*") if path.is_file() and not _stays(path)]
            if not found:
                return
            marks = _marks(self._folder)  # first: what is recorded from now on is behind them
            self._read_on()
            for path in found:
                events = self._events.get(path, []) if path not in self._given else []
                if events and all(_has(mark, start) for mark in marks for start in events):
                    path.unlink(missing_ok=True)
                    if path.parent != self._folder.files:
                        path.parent.rmdir()

    def _read_on(self) -> None:
        for entry in _read(self._folder, self._read_to):
            self._read_to = entry.end  # also behind what has no file: that may be days of metrics
            if (file := _file_of(entry)) is None:
                continue
            path = place(self._folder, file)
            self._events.setdefault(path, []).append(entry.start)
            size = self._given_size + (file.size or 0)
            if _is_only_here(self._folder, file) and path not in self._given and size <= _GIVEN:
                self._given.add(path)
                self._given_size = size


_Mark: TypeAlias = tuple[int, set[int]]
"""How far a plugin has got: bytes of the journal, and where the lines begin that are set aside."""


def _marks(folder: RunFolder) -> list[_Mark]:
    marks = []
    for relay in map(folder.relay, state.labels(folder)):
        offset = relay.read_cursor().offset  # first: a relay writes it last
        marks.append((offset, {event.start for event in relay.read_aside()}))
    return marks


def _has(mark: _Mark, start: int) -> bool:
    offset, aside = mark
    return start < offset and start not in aside


def _owed(folder: RunFolder) -> list[File]:
    """Return the files that some plugin has not got yet, each once."""
    marks = _marks(folder)
    found = {}
    begin = min((min(offset, *aside) if aside else offset for offset, aside in marks), default=0)
    for entry, file in _recorded(folder, begin) if marks else ():
        if not all(_has(mark, entry.start) for mark in marks):
            found[place(folder, file)] = file
    return list(found.values())


def _recorded(folder: RunFolder, offset: int) -> Iterator[tuple[Entry, File]]:
    return ((entry, file) for entry in _read(folder, offset) if (file := _file_of(entry)))


def _read(folder: RunFolder, offset: int) -> Iterator[Entry]:
    if not offset:
        _, offset = journal.read_head(folder.journal)
    return journal.read(folder.journal, offset, only=OF_FILES)


def _file_of(entry: Entry) -> File | None:
    return of_call(entry.call.args) if entry.call and entry.call.hook in OF_FILES else None


def _is_only_here(folder: RunFolder, file: File) -> bool:
    """Whether a file was recorded as a copy in the run folder, and is none of weights: those are large, and many."""
    return isinstance(file, Artifact) and file.path.parts[-3:-1] == (folder.uid, folder.files.name)


def _stays(path: Path) -> bool:
    return path.suffix == Path(CONSOLE).suffix or (path.suffix.lower() in TEXTS and path.stat().st_size <= LARGE)


def _link(source: Path, target: Path) -> bool:
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.link(source, target)
    except OSError as error:
        return isinstance(error, FileExistsError)
    return True


def _share(source: Path, target: Path) -> bool:
    """Make a copy that shares its blocks with the original, where the file system can."""
    draft = _draft(target)
    try:
        import fcntl

        with source.open("rb") as original, draft.open("wb") as copy:
            draft.chmod(0o600)
            fcntl.ioctl(copy.fileno(), _FICLONE, original.fileno())
        portable.replace(draft, target)
    except (ImportError, OSError):
        draft.unlink(missing_ok=True)
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    """Copy a file, or put a copy in the place of a link; no byte of it comes to this process where the kernel copies.

    :raises OSError: if that cannot be done
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _share(source, target):
        return
    draft = _draft(target)
    try:
        draft.touch(mode=0o600)
        shutil.copyfile(source, draft)
        portable.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def _draft(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.part")
