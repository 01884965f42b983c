"""The files that a run leaves behind, as artifacts and checkpoints."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from msgspec import structs

from tracking_hooks import redact
from tracking_hooks.events import Artifact, Checkpoint, Rejected
from tracking_hooks.run.layout import CONSOLE, POINTER, Pointer, RunFolder, read_json
from tracking_hooks.run.story import Story

_KINDS: dict[str, Literal["plot", "table", "config"]] = {
    ".png": "plot",
    ".jpg": "plot",
    ".jpeg": "plot",
    ".csv": "table",
    ".ndjson": "table",
    ".json": "table",
    ".yaml": "config",
}

_TEXTS = frozenset({".csv", ".ndjson", ".json", ".yaml"})


def digest(path: Path) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 of a file.

    :raises OSError: if it cannot be read
    """
    with path.open("rb") as file:
        sha = hashlib.sha256()
        size = 0
        while chunk := file.read(1 << 20):
            sha.update(chunk)
            size += len(chunk)
    return size, sha.hexdigest()


def config(folder: RunFolder, path: Path, name: str) -> Artifact:
    """Describe a text file from anywhere, as it is now, by a copy without secrets.

    :raises OSError: if it cannot be read
    """
    source = _snapshot(folder, path)
    size, sha = digest(source)
    return Artifact(path=source, kind="config", name=name, size=size, digest=sha)


def artifact(folder: RunFolder, save_dir: Path, path: Path, epoch: int | None) -> Artifact:
    """Describe a file below ``save_dir`` as it is now; what it holds of secrets is not for a tracker.

    :raises OSError: if it cannot be read
    """
    source = _snapshot(folder, path) if path.suffix in _TEXTS else path
    size, sha = digest(source)
    name = path.relative_to(save_dir).as_posix()
    return Artifact(path=source, kind=_KINDS.get(path.suffix, "file"), name=name, size=size, digest=sha, epoch=epoch)


def _snapshot(folder: RunFolder, path: Path) -> Path:
    """Return the path of a copy, with secrets masked. A next training overwrites such files before it says a word."""
    content = path.read_text(encoding="utf-8", errors="surrogateescape")
    data = redact.text(content).encode("utf-8", errors="surrogateescape")
    folder.files.mkdir(mode=0o700, exist_ok=True)
    copy = _copy_of(folder, hashlib.sha256(data).hexdigest(), path)
    copy.touch(mode=0o600)
    copy.write_bytes(data)
    return copy


def _copy_of(folder: RunFolder, sha: str | None, path: Path) -> Path:
    return folder.files / f"{sha}{path.suffix}"


def locate(folder: RunFolder, recorded_in: Path, file: Artifact | Checkpoint) -> Path:
    """Find the content that was recorded, and nothing else.

    It may be where it was recorded, in the root folder that was moved since, or among the run's own copies. A
    journal is data: no path in it leads out of the root folder.

    :param recorded_in: where the root folder was then
    :raises Rejected: saying what has become of the file
    """
    root = folder.path.parent.parent
    candidates = [file.path, _copy_of(folder, file.digest, file.path)]
    if file.path.is_relative_to(recorded_in):
        candidates.append(root / file.path.relative_to(recorded_in))
    reason = f"{file.path} is gone"
    for path in candidates:
        real = path.resolve()
        if not real.is_relative_to(root.resolve()):
            reason = f"{file.path} is outside of the run's root folder"
            continue
        try:
            found = digest(real)
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = f"{file.path} cannot be read: {error.strerror}"
            continue
        if found == (file.size, file.digest):
            return path
        reason = f"{file.path} was overwritten after it was recorded"
    raise Rejected(reason)


def locate_for_call(folder: RunFolder, recorded_in: Path, args: Mapping[str, Any]) -> dict[str, Any]:
    """Return a hook's arguments with the path where a final file is now; see ``locate``.

    :raises Rejected: if the content that was recorded is no more
    """
    args = dict(args)
    for name in ("artifact", "checkpoint"):
        file = args.get(name)
        if isinstance(file, (Artifact, Checkpoint)) and file.digest is not None:  # an unknown hook's is plain data
            args[name] = structs.replace(file, path=locate(folder, recorded_in, file))
    return args


def secure(folder: RunFolder, file: Artifact | Checkpoint) -> None:
    """Copy a file into the run folder, before somebody overwrites it.

    :raises OSError: if that cannot be done
    """
    copy = _copy_of(folder, file.digest, file.path)
    if not _is_whole(copy, file.size) and digest(file.path) == (file.size, file.digest):
        folder.files.mkdir(mode=0o700, exist_ok=True)
        draft = copy.with_suffix(".part")
        shutil.copyfile(file.path, draft)
        draft.chmod(0o600)
        draft.replace(copy)


def _is_whole(copy: Path, size: int | None) -> bool:
    """Whether a copy is there; a power failure may have left it empty."""
    return copy.exists() and copy.stat().st_size == size


def secure_if_outside(folder: RunFolder, args: Mapping[str, Any]) -> None:
    """Copy the file of a call if it is outside of the root folder, where nobody looks for it later.

    :raises OSError: if that cannot be done
    """
    file = args.get("artifact") or args.get("checkpoint")
    if file and file.digest and not file.path.is_relative_to(folder.path.parent.parent):
        secure(folder, file)


def checkpoint_copy(folder: RunFolder, path: Path) -> Checkpoint:
    """Copy weights that are about to be overwritten.

    :raises OSError: if that cannot be done
    """
    size, sha = digest(path)
    secure(folder, Checkpoint(path=path, kind="periodic", size=size, digest=sha))
    return Checkpoint(path=_copy_of(folder, sha, path), kind="periodic", size=size, digest=sha)


def final_files(
    folder: RunFolder,
    save_dir: Path,
    story: Story,
    kinds: Container[str] = ("best", "last"),
    skip: Callable[[Path], bool] = lambda _: False,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Find what a run that is over has left in ``save_dir``, as (hook, arguments) to record; and its console log.

    Nothing is found if that folder belongs to another run by now.

    :param story: the run, whose plan says what is to be collected
    :param kinds: the checkpoints that are wanted; those of actions always are
    :param skip: says of a file that it is recorded already, as it is now
    """
    pointer = read_json(save_dir / POINTER, Pointer)
    if pointer is None or pointer.uid != folder.uid:
        return
    declared = {save_dir / path: kind for kind, path in story.plan.checkpoints.items()} | story.checkpoints
    for path, kind in declared.items():
        if kind != "action" and kind not in kinds:
            continue
        with suppress(FileNotFoundError):
            if _is_in(save_dir, path):
                size, sha = digest(path)
                checkpoint = Checkpoint(path=path, kind=kind, size=size, digest=sha)  # type: ignore[arg-type]
                yield "on_checkpoint_saved", {"epoch": story.last_epoch, "checkpoint": checkpoint}
    for path in sorted({path for pattern in story.plan.files for path in _matching(save_dir, pattern)}):
        with suppress(OSError):  # one that cannot be read does not keep the others back
            if path.suffix in _KINDS and path.name != POINTER and _is_in(save_dir, path) and not skip(path):
                yield "on_artifact", {"artifact": artifact(folder, save_dir, path, story.last_epoch)}
    with suppress(FileNotFoundError):
        path = folder.files / CONSOLE
        size, sha = digest(path)
        log = Artifact(path=path, kind="file", name=CONSOLE, size=size, digest=sha, epoch=story.last_epoch)
        yield "on_artifact", {"artifact": log}


def _matching(save_dir: Path, pattern: str) -> list[Path]:
    # A plan may have come with a copied folder: it is data, and leads to nothing outside.
    if ".." in Path(pattern).parts:
        return []
    try:
        return list(save_dir.glob(pattern))
    except (ValueError, NotImplementedError):  # it is no pattern, or an absolute one
        return []


def _is_in(save_dir: Path, path: Path) -> bool:
    """Whether a path is a file below ``save_dir``, and leads there by no link."""
    return (
        path.is_relative_to(save_dir)
        and path.is_file()
        and path.resolve() == save_dir.resolve() / path.relative_to(save_dir)  # with ".." it would not be
    )
