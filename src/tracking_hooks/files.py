"""The files that a run leaves behind, as artifacts and checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from tracking_hooks.events import Artifact, Checkpoint
from tracking_hooks.layout import POINTER, Pointer, read_json

_KINDS: dict[str, Literal["plot", "table", "config"]] = {
    ".png": "plot",
    ".jpg": "plot",
    ".jpeg": "plot",
    ".csv": "table",
    ".yaml": "config",
}


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


def artifact(save_dir: Path, path: Path, epoch: int | None) -> Artifact:
    """Describe a file below ``save_dir`` as it is now.

    :raises OSError: if it cannot be read
    """
    size, sha = digest(path)
    name = path.relative_to(save_dir).as_posix()
    return Artifact(path=path, kind=_KINDS.get(path.suffix, "file"), name=name, size=size, digest=sha, epoch=epoch)


def final_files(
    save_dir: Path, uid: str, epoch: int, skip: Callable[[Path], bool] = lambda _: False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Find what a run that is over has left in ``save_dir``, as (hook, arguments) to record.

    :param uid: nothing is found if the folder belongs to another run by now
    :param skip: says of a file that it is recorded already, as it is now
    """
    pointer = read_json(save_dir / POINTER, Pointer)
    if pointer is None or pointer.uid != uid:
        return
    for kind in ("best", "last"):
        path = save_dir / "weights" / f"{kind}.pt"
        if path.is_file():
            size, sha = digest(path)
            yield (
                "on_checkpoint_saved",
                {
                    "epoch": epoch,
                    "checkpoint": Checkpoint(path=path, kind=kind, size=size, digest=sha),
                },
            )
    for path in sorted(save_dir.iterdir()):
        if path.suffix in _KINDS and path.is_file() and not skip(path):
            yield "on_artifact", {"artifact": artifact(save_dir, path, epoch)}
