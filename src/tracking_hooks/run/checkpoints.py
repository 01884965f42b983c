"""Which of my runs a file of weights is of: by the pointer above it and its age, or by its SHA-256.

The pointer stays when an untracked training overwrites the weights beside it. So it counts only for weights that were
written while its run was recorded.

::

    <state folder>/checkpoints/<size>.<sha256>.<kind>.<uid>     empty: the name tells all

So nobody reads a file of 50 MB for its SHA-256 unless a checkpoint of that very size was recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from tracking_hooks.events import Checkpoint, Plan
from tracking_hooks.run import files, index, journal, layout, portable, state, story
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import POINTER, Pointer, RunFolder

_ABOVE = 4
"""How many folders above a file a pointer is looked for: an exported model may be a folder of folders."""
_SLACK = 1.0
"""Seconds by which the clock of a file system may differ from ours."""


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
        return _by_pointer(path) or next(_known(path), None)
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
    weights = _weights(near[0], path)
    if weights is None or not _has_written(folder, weights):
        return None
    kind = places.get(weights, "periodic")
    return Found(folder=folder, checkpoint=Checkpoint(path=path, kind=kind))  # type: ignore[arg-type]


def _weights(place: Path, path: Path) -> Path | None:
    """Return the weights beside ``place`` that a file is, or is exported from: best.onnx, best_saved_model/… are."""
    name = path.relative_to(place.parent).parts[0]
    here = [file for file in place.parent.glob(f"*{place.suffix}") if re.match(rf"{re.escape(file.stem)}[._]", name)]
    return max(here, key=lambda file: len(file.stem), default=None)


def _has_written(folder: RunFolder, weights: Path) -> bool:
    """Whether a run has written the weights in its place: another one's are older or younger, unless it knows them."""
    written = weights.stat().st_mtime
    head, _ = journal.read_head(folder.journal)
    is_of_its_time = head.created - _SLACK <= written and (
        written <= story.last_time(folder.journal) + _SLACK or state.is_running(folder)
    )
    return is_of_its_time or any(found.folder.uid == folder.uid for found in _known(weights))


def _known(path: Path) -> Iterator[Found]:
    """Return the runs that have recorded a file of this content, "best" before "last"."""
    known = sorted(_home().glob(f"{path.stat().st_size}.*")) if path.is_file() else []
    sha = files.digest(path)[1] if known else ""
    for file in known:
        _, digest, kind, uid = file.name.split(".", 3)
        folder = index.find(uid)
        if digest == sha and folder:
            yield Found(folder=folder, checkpoint=Checkpoint(path=path, kind=kind))  # type: ignore[arg-type]


def _home() -> Path:
    return portable.state_folder() / "checkpoints"
