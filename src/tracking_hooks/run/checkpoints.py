"""Which of my runs a file of weights is of: by the pointer above it, or, of a copy, by its SHA-256.

::

    <state folder>/checkpoints/<size>.<sha256>.<kind>.<uid>     empty: the name tells all

So nobody reads a file of 50 MB for its SHA-256 unless a checkpoint of that very size was recorded.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from tracking_hooks.events import Checkpoint, Plan
from tracking_hooks.run import files, index, journal, layout, portable
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import POINTER, Pointer, RunFolder

_ABOVE = 4
"""How many folders above a file a pointer is looked for: an exported model may be a folder of folders."""


class Found(Struct, frozen=True, kw_only=True):
    """The run that a file is of."""

    folder: RunFolder
    checkpoint: Checkpoint
    """The file, without digest."""


def note(folder: RunFolder, checkpoint: Checkpoint) -> None:
    """Remember of which run a checkpoint with a digest is, for those who copy it.

    :raises OSError: if the state folder cannot be written
    """
    if checkpoint.digest and portable.has_state_folder():
        home = _home()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / f"{checkpoint.size}.{checkpoint.digest}.{checkpoint.kind}.{folder.uid}").touch(mode=0o600)


def run_of(path: Path) -> RunFolder | None:
    """Return the run that a checkpoint is of, or that a file is of which was exported beside it. Never raises."""
    found = find(path)
    return found.folder if found else None


def find(path: Path) -> Found | None:
    """Return the run that a file is of, if it is one of mine. Never raises."""
    with suppress(OSError, JournalError, ValueError):
        path = path.absolute()
        return _by_pointer(path) or _by_digest(path)
    return None


def tidy() -> None:
    """Forget the checkpoints of runs that are no more."""
    with suppress(OSError):
        for file in _home().iterdir():
            if index.find(file.name.rpartition(".")[2]) is None:
                file.unlink(missing_ok=True)


def forget(folder: RunFolder) -> None:
    """Forget the checkpoints of a run."""
    with suppress(OSError):
        for file in _home().glob(f"*.{folder.uid}"):
            file.unlink(missing_ok=True)


def _by_pointer(path: Path) -> Found | None:
    for save_dir in path.parents[:_ABOVE]:
        pointer = layout.read_json(save_dir / POINTER, Pointer)
        if pointer is None:
            continue
        for folder in layout.candidates(save_dir, Path(pointer.uid).name):
            if folder.has_journal() and index.names(folder):
                return _named(folder, path, save_dir)
        return None
    return None


def _named(folder: RunFolder, path: Path, save_dir: Path) -> Found | None:
    """Say what a file is, if it lies where the run has its checkpoints; else it was only put into its folder."""
    start = next(iter(journal.calls(folder.journal, ("on_run_start",))), None)
    plan = start.args.get("plan") if start else None
    places = {save_dir / place: kind for kind, place in (plan or Plan()).checkpoints.items()}
    near = [place for place in places if path.is_relative_to(place.parent)]
    if not near or not path.exists():
        return None
    first = path.relative_to(near[0].parent).parts[0]  # best.pt, best.onnx, best_saved_model/…
    kind = next((places[place] for place in near if re.match(rf"{re.escape(place.stem)}[._]", first)), "periodic")
    return Found(folder=folder, checkpoint=Checkpoint(path=path, kind=kind))  # type: ignore[arg-type]


def _by_digest(path: Path) -> Found | None:
    known = list(_home().glob(f"{path.stat().st_size}.*")) if path.is_file() else []
    if not known:
        return None
    _, sha = files.digest(path)
    for file in sorted(known):  # "best" before "last"
        _, digest, kind, uid = file.name.split(".", 3)
        folder = index.find(uid)
        if digest == sha and folder:
            return Found(folder=folder, checkpoint=Checkpoint(path=path, kind=kind))  # type: ignore[arg-type]
    return None


def _home() -> Path:
    return portable.state_folder() / "checkpoints"
