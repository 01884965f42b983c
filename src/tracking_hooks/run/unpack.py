"""Unpacks runs where the network is: first all of it to one side, then, if nothing is wrong, each run to its place."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path

from msgspec import Struct

from tracking_hooks.run import journal, packfile, receipt, state
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import FOLDER, RunFolder, write_json
from tracking_hooks.run.liveness import Lock
from tracking_hooks.run.packfile import Manifest, PackedRun, PackError

_CHUNK = 1 << 20


class Arrival(Struct, frozen=True, kw_only=True):
    """A run that was unpacked."""

    folder: RunFolder
    is_new: bool
    events: int
    """How many have come."""
    files: int


def unpack(path: Path, into: Path) -> tuple[Manifest, list[Arrival]]:
    """Unpack a file into a folder, below which ``sync`` finds the runs. If it is refused, nothing is left there.

    :raises PackError: if it is not what was packed, or does not fit to what is there
    :raises OSError: if it cannot be read, or the folder cannot be written
    """
    home = into.absolute() / FOLDER
    made = [folder for folder in home.parents if not folder.exists()]
    staging = RunFolder(home / f".unpacking-{secrets.token_hex(4)}")
    try:
        staging.create()
        manifest = packfile.unfold(path, staging.path)
        folders = [RunFolder(home / run.uid) for run in manifest.runs]
        with ExitStack() as held:
            try:
                for folder in folders:
                    _hold(folder, held)
                before = [_check(staging, folder, run) for folder, run in zip(folders, manifest.runs, strict=True)]
            except PackError as error:
                raise PackError(f"{path}: {error}") from error
            return manifest, [
                _place(staging, folder, run, there)
                for folder, run, there in zip(folders, manifest.runs, before, strict=True)
            ]
    finally:
        staging.remove()  # and with it the folder that it is in, if no run is there
        for parent in made:
            with suppress(OSError):
                parent.rmdir()  # refuses if something is in it


def _hold(folder: RunFolder, held: ExitStack) -> None:
    """Keep others from extending a run that is there already.

    :raises PackError: if somebody does
    """
    if folder.has_journal():
        lock = Lock(folder.lock)
        if not lock.acquire():
            raise PackError(f"{folder.path} is being recorded or unpacked: try again when that is over")
        held.callback(lock.release)


def _check(staging: RunFolder, folder: RunFolder, run: PackedRun) -> int:
    """Return how many bytes of a journal are there already.

    :raises PackError: if what is packed does not go on with what is there
    """
    packed = staging.path / packfile.journal_name(run.uid)
    try:
        head, _ = journal.read_head(packed)
    except JournalError as error:
        reason = str(error).removeprefix(f"{packed} ")
        raise PackError(f"the journal of {run.uid} cannot be unpacked: it {reason}") from error
    if head.uid != run.uid:
        raise PackError(f"the journal of {run.uid} is that of another run, {head.uid}")
    if folder.path.exists() and not folder.journal.exists():
        raise PackError(f"{folder.path} is there already, without a journal: remove it, or unpack elsewhere")
    there = folder.journal.stat().st_size if folder.journal.exists() else 0
    if not _is_same(packed, folder.journal, min(there, run.journal.size)):
        raise PackError(f"{folder.path} has gone another way than what is packed of this run: unpack it elsewhere")
    if 0 < there < run.journal.size and not receipt.is_from_a_pack(folder):
        raise PackError(f"{folder.path} was recorded there and not unpacked: unpack it elsewhere")
    return there


def _is_same(one: Path, other: Path, size: int) -> bool:
    if not size:
        return True
    with one.open("rb") as first, other.open("rb") as second:
        while size:
            length = min(_CHUNK, size)
            if first.read(length) != second.read(length):
                return False
            size -= length
    return True


def _place(staging: RunFolder, folder: RunFolder, run: PackedRun, there: int) -> Arrival:
    """Put a run where it belongs, or extend the one that is there."""
    packed = staging.path / packfile.journal_name(run.uid)
    target = folder if there else RunFolder(staging.path / run.uid)
    target.path.mkdir(mode=0o700, exist_ok=True)
    count = sum(_put_file(staging, target, name) for name in run.files)
    recorded = journal.read_head(packed)[0].plugins
    for label in (label for label in run.forgotten if label in recorded):
        state.forget(target, label)
    for redirect in (one for one in run.redirects if one.plugin in recorded and not there):
        files = target.relay(redirect.plugin)
        files.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(files.destination, redirect)
    for replay in run.replays:
        target.add_replay(replay.plugin, replay.destination, replay.place)
    events = _lines_behind(packed, there) - (not there)  # the head is no event
    if not there:
        receipt.mark_copy(target, run.journal.size)
        packed.rename(target.journal)
        target.path.rename(folder.path)
    elif there < run.journal.size:
        receipt.mark_copy(target, run.journal.size)  # first: it is a copy also while it is only half extended
        _append(packed, there, target.journal)
    return Arrival(folder=folder, is_new=not there, events=events, files=count)


def _put_file(staging: RunFolder, folder: RunFolder, name: str) -> bool:
    """Put a file among a run's own copies; return whether it is new there."""
    copy = folder.files / name
    if copy.exists():
        return False
    copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    source = staging.path / packfile.file_name(name[:64])
    try:
        os.link(source, copy)  # nobody rewrites what is named by its content
    except OSError:
        draft = copy.with_name(f".{copy.name}.part")
        draft.touch(mode=0o600)
        shutil.copyfile(source, draft)
        draft.replace(copy)
    return True


def _append(packed: Path, start: int, target: Path) -> None:
    with packed.open("rb") as source, target.open("ab") as file:
        source.seek(start)
        shutil.copyfileobj(source, file, _CHUNK)


def _lines_behind(path: Path, offset: int) -> int:
    with path.open("rb") as file:
        file.seek(offset)
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_CHUNK), b""))
