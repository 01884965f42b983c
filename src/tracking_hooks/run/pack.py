"""Packs runs up: their journals as far as they go, and the files that their events name."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from tracking_hooks.events import Artifact, Checkpoint, Rejected
from tracking_hooks.run import copies, files, journal, orphans, packfile, receipt, state
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.packfile import Content, Manifest, PackedRun
from tracking_hooks.run.receipt import Packed

_TOLD_BY = copies.OF_FILES | {"on_run_start", "on_run_end"}
_CHUNK = 1 << 20


class Parcel(Struct, kw_only=True):
    """A run that is about to be packed, as far as it goes at the moment."""

    folder: RunFolder
    labels: list[str]
    size: int
    """Bytes of the journal: whole lines."""
    events: int = 0
    ended: bool = False
    """Whether its end is the last that was recorded of its beginnings and ends."""
    files: dict[str, tuple[Content, Path]] = {}
    """Name among the run's own copies, to what is in it and where it is."""
    gone: list[str] = []
    """What has become of files that are no more, in sentences."""

    @classmethod
    def of(cls, folder: RunFolder) -> Parcel:
        """Read a journal up to its last complete line, and find its files.

        :raises JournalError, OSError: if it cannot be read
        """
        head, offset = journal.read_head(folder.journal)
        parcel = cls(folder=folder, labels=state.labels(folder), size=offset)
        gone: dict[tuple[str, str, int | None], str] = {}
        for entry in journal.read(folder.journal, offset, only=_TOLD_BY):
            parcel.size = entry.end
            parcel.events += 1
            if entry.call is None:
                continue
            if entry.call.hook in {"on_run_start", "on_run_end"}:
                parcel.ended = entry.call.hook == "on_run_end"
            file = copies.of_call(entry.call.args)
            if file and file.digest is not None and file.size is not None:
                # Only the last of a name matters: an older one would be replaced where it is delivered.
                name = file.name if isinstance(file, Artifact) else f"{file.kind} {file.path.name}"
                key = entry.call.hook, name, entry.call.args.get("step")
                gone.pop(key, None)
                if reason := parcel._find(head.root, file, Content(sha256=file.digest, size=file.size)):
                    gone[key] = reason
        parcel.gone = list(gone.values())
        return parcel

    def _find(self, recorded_in: Path, file: Artifact | Checkpoint, content: Content) -> str:
        """Take in a file; return why that is not possible, or nothing."""
        name = copies.place(self.folder, file).relative_to(self.folder.files).as_posix()
        if name not in self.files:
            try:
                self.files[name] = content, files.locate(self.folder, recorded_in, file)
            except Rejected as error:
                return str(error)
        return ""


def owes(folder: RunFolder) -> bool:
    """Whether some tracker has not got all that was recorded, and no earlier pack has it either.

    The end of a run whose process is gone is written first: the copy is not ended where it is unpacked.

    :raises JournalError, OSError: if it cannot be told
    """
    owed = [state.owed(folder, label) for label in state.labels(folder)]
    if not all(one.is_over for one in owed) and orphans.end_orphan(folder):
        owed = [state.owed(folder, label) for label in state.labels(folder)]
    return any(one.pending or one.aside for one in owed)


def pack(parcels: Iterable[Parcel], path: Path) -> Manifest:
    """Write runs to one file.

    :raises PackError: if a file was changed meanwhile
    :raises OSError: if that file cannot be written
    """
    runs = []
    contents: dict[str, Content] = {}
    sources: dict[str, Path] = {}
    for parcel in parcels:
        uid, replays = parcel.folder.uid, parcel.folder.replays()
        sources[packfile.journal_name(uid)] = parcel.folder.journal
        for content, place in parcel.files.values():
            contents[content.sha256] = content
            sources[packfile.file_name(content.sha256)] = place
        runs.append(
            PackedRun(
                uid=uid,
                journal=Content(sha256=_digest(parcel.folder.journal, parcel.size), size=parcel.size),
                events=parcel.events,
                files=list(parcel.files),
                replays=[replay for label, replay in replays.items() if "@" in label],
                redirects=[replay for label, replay in replays.items() if "@" not in label],
                forgotten=state.forgotten(parcel.folder),
            )
        )
    manifest = Manifest(format=packfile.FORMAT, created=time.time(), runs=runs, files=list(contents.values()))
    packfile.write(path, manifest, sources)
    return manifest


def leave_receipt(parcel: Parcel, path: Path) -> None:
    """Note at the source that a run was packed into a file.

    :raises OSError: if that cannot be written
    """
    packed = Packed(
        at=time.time(),
        size=parcel.size,
        events=parcel.events,
        ended=parcel.ended,
        labels=parcel.labels,
        file=path.absolute(),
    )
    receipt.write(parcel.folder, packed)


def _digest(path: Path, size: int) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(min(_CHUNK, size)):
            sha.update(chunk)
            size -= len(chunk)
    return sha.hexdigest()
