"""The files that a run leaves behind, as artifacts and checkpoints."""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from msgspec import structs

from tracking_hooks import redact
from tracking_hooks.events import Artifact, Checkpoint, Rejected
from tracking_hooks.run import copies, portable
from tracking_hooks.run.copies import LARGE, TEXTS
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


class TooLarge(Exception):
    """A text is larger than what is masked. The message is for the user, and says what to do."""


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


def kind(path: Path) -> Literal["plot", "table", "config", "file"]:
    """Return what a file is, by its suffix."""
    return _KINDS.get(path.suffix.lower(), "file")


def config(folder: RunFolder, path: Path, name: str, *, large_texts: bool = False) -> Artifact:
    """Describe a text file from anywhere, as it is now, by a copy without secrets.

    :param large_texts: whether one that is too large for that is described as it is
    :raises OSError: if it cannot be read
    :raises TooLarge: if it is too large
    """
    masked = source(folder, path, large_texts=large_texts)
    size, sha = digest(masked)
    return Artifact(path=masked, kind="config", name=name, size=size, digest=sha)


def artifact(
    folder: RunFolder, save_dir: Path, path: Path, epoch: int | None, *, large_texts: bool = False
) -> Artifact:
    """Describe a file below ``save_dir`` as it is now; what it holds of secrets is not for a tracker.

    :param large_texts: whether a text that is too large to be masked is described as it is
    :raises OSError: if it cannot be read
    :raises TooLarge: if it is too large
    """
    masked = source(folder, path, large_texts=large_texts)
    size, sha = digest(masked)
    name = path.relative_to(save_dir).as_posix()
    return Artifact(path=masked, kind=kind(path), name=name, size=size, digest=sha, epoch=epoch)


def source(folder: RunFolder, path: Path, *, large_texts: bool) -> Path:
    """Return the file whose content goes to the trackers: for a text, a copy with secrets masked.

    :raises OSError: if it cannot be read
    :raises TooLarge: if it is a text that is too large for that
    """
    if kind(path) == "plot":
        return path
    with path.open("rb") as file:
        content = file.read(LARGE + 1)
    if not _is_text(path, content):
        return path
    if len(content) <= LARGE:
        return _snapshot(folder, path, content)
    if large_texts:
        return path
    raise TooLarge(
        f"{path} ({path.stat().st_size / 1e6:.1f} MB) is not delivered, since secrets are masked in texts of up to 1 "
        "MB only; with TRACKING_HOOKS_LARGE_TEXTS=on, larger ones are delivered as they are"
    )


def _is_text(path: Path, content: bytes) -> bool:
    """Whether a file is a text: by its content, of which this may be the beginning, or since it is called like one."""
    if path.suffix.lower() in TEXTS:
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)  # it may end within a character
    except UnicodeDecodeError:
        return False
    return b"\0" not in content


def _snapshot(folder: RunFolder, path: Path, content: bytes) -> Path:
    """Return the path of a copy, with secrets masked. A next training overwrites such files before it says a word."""
    text = content.decode(errors="surrogateescape")
    data = redact.text(text).encode(errors="surrogateescape")
    folder.files.mkdir(mode=0o700, exist_ok=True)
    copy = folder.files / f"{hashlib.sha256(data).hexdigest()}{path.suffix}"
    if not copy.exists() or copy.stat().st_size != len(data):  # one that is there may just be delivered
        draft = copy.with_name(f".{copy.name}.{os.getpid()}.part")
        draft.touch(mode=0o600)
        draft.write_bytes(data)
        portable.replace(draft, copy)
    return copy


def locate(folder: RunFolder, recorded_in: Path, file: Artifact | Checkpoint) -> Path:
    """Find the content that was recorded, and nothing else.

    It may be where it was recorded, in the root folder that was moved since, or among the run's own copies. A
    journal is data: no path in it leads out of the root folder.

    :param recorded_in: where the root folder was then
    :raises Rejected: saying what has become of the file
    """
    root = folder.path.parent.parent
    candidates = [copies.place(folder, file), file.path]  # the user may delete the latter while it is uploaded
    if file.path.is_relative_to(recorded_in):
        candidates.append(root / file.path.relative_to(recorded_in))
    reason = f"{file.path} is gone"
    for path in candidates:
        real = path.resolve()
        if not copies.is_within(folder, root, real):
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
    if file := copies.of_call(args):
        name = "artifact" if file is args.get("artifact") else "checkpoint"
        args[name] = structs.replace(file, path=locate(folder, recorded_in, file))
    return args


def checkpoint_copy(folder: RunFolder, path: Path) -> Checkpoint:
    """Copy weights that are about to be overwritten; they are read once, from the copy.

    :raises OSError: if that cannot be done
    """
    copy = copies.copy_now(folder, path)
    size, sha = digest(copy)
    checkpoint = Checkpoint(path=path, kind="periodic", size=size, digest=sha)
    target = copies.place(folder, checkpoint)
    portable.replace(copy, target)
    return structs.replace(checkpoint, path=target)


def final_files(
    folder: RunFolder,
    save_dir: Path,
    story: Story,
    kinds: Container[str] = ("best", "last"),
    skip: Callable[[Path], bool] = lambda _: False,
    complain: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Find what a run that is over has left in ``save_dir``, as (hook, arguments) to record.

    Nothing is found if that folder belongs to another run by now, and nothing that an earlier run has left there.

    :param story: the run, whose plan says what is to be collected
    :param kinds: the checkpoints that are wanted; those of actions always are
    :param skip: says of a file that it is recorded already, as it is now
    :param complain: is told, in a sentence, what is left out
    """
    pointer = read_json(save_dir / POINTER, Pointer)
    if pointer is None or pointer.uid != folder.uid:
        return

    def is_left_out(path: Path) -> bool:
        return path.stat().st_mtime < story.plan.since or skip(path)

    declared = {save_dir / path: kind for kind, path in story.plan.checkpoints.items()} | story.checkpoints
    for path, kind in declared.items():
        if kind != "action" and kind not in kinds:
            continue
        with suppress(FileNotFoundError):
            if _is_in(save_dir, path) and not is_left_out(path):
                size, sha = digest(path)
                checkpoint = Checkpoint(path=path, kind=kind, size=size, digest=sha)  # type: ignore[arg-type]
                yield "on_checkpoint_saved", {"epoch": story.last_epoch, "checkpoint": checkpoint}
    large_texts = story.plan.large_texts
    for path in sorted({path for pattern in story.plan.files for path in _matching(save_dir, pattern)}):
        try:
            if path.suffix in _KINDS and path.name != POINTER and _is_in(save_dir, path) and not is_left_out(path):
                found = artifact(folder, save_dir, path, story.last_epoch, large_texts=large_texts)
                yield "on_artifact", {"artifact": found}
        except TooLarge as error:
            complain(str(error))
        except OSError:  # one that cannot be read does not keep the others back
            continue


def console_log(folder: RunFolder, epoch: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Find the log of the console, which is complete, as (hook, arguments) to record."""
    path = folder.files / CONSOLE
    with suppress(FileNotFoundError):
        if not _is_in(folder.files, path):
            return
        size, sha = digest(path)
        log = Artifact(path=path, kind="file", name=CONSOLE, size=size, digest=sha, epoch=epoch)
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
