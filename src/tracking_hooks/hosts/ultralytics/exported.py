"""What an export or a benchmark of Ultralytics leaves behind, as files for the trackers."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any, Literal

from tracking_hooks.events import Artifact
from tracking_hooks.run import copies, files, portable
from tracking_hooks.run.layout import RunFolder

_LARGEST = 4 * 10**9
"""Bytes of an exported folder that are packed."""


def artifact(folder: RunFolder, path: Path) -> Artifact:
    """Describe an exported file; of an exported folder, an archive.

    :raises OSError: if it cannot be read
    """
    if path.is_dir():
        return _kept(folder, _archive(folder, path), f"{path.name}.zip", "file")
    return _kept(folder, copies.copy_now(folder, path), path.name, "file")


def plot(folder: RunFolder, path: Path, name: str) -> Artifact:
    """Describe a plot of a validation.

    :raises OSError: if it cannot be read
    """
    return _kept(folder, copies.copy_now(folder, path), name, "plot")


def _kept(folder: RunFolder, copy: Path, name: str, kind: Literal["file", "plot"]) -> Artifact:
    """Keep a copy: the next export or validation may rewrite the file in place, and a link with it."""
    size, sha = files.digest(copy)
    target = folder.files / f"{sha}{Path(name).suffix}"
    portable.replace(copy, target)
    return Artifact(path=target, kind=kind, name=name, size=size, digest=sha)


def table(folder: RunFolder, frame: Any, name: str) -> Artifact:
    """Write the table of a benchmark, a data frame of Polars or pandas, as ``on_table`` takes it."""
    rows = frame.rows() if hasattr(frame, "rows") else frame.values.tolist()
    columns = [str(column) for column in frame.columns]
    first = 1 if columns[0].strip() == "" else 0  # a number for each row
    content = {"columns": columns[first:], "data": [[_cell(cell) for cell in row[first:]] for row in rows]}
    text = json.dumps(content, ensure_ascii=False).encode()
    sha = hashlib.sha256(text).hexdigest()
    folder.files.mkdir(mode=0o700, exist_ok=True)
    path = folder.files / f"{sha}.json"
    path.write_bytes(text)
    return Artifact(path=path, kind="table", name=name, size=len(text), digest=sha)


def _cell(value: Any) -> Any:
    """Return what a cell says: Ultralytics gives its numbers as text, and a dash for none."""
    if value is None or value in ("-", "") or value != value:  # noqa: PLR0124 NaN
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def _archive(folder: RunFolder, path: Path) -> Path:
    """Pack an exported folder, without compressing: weights hardly get smaller."""
    members = sorted(member for member in path.rglob("*") if member.is_file())
    size = sum(member.stat().st_size for member in members)
    if size > _LARGEST:
        raise OSError(f"{path} has {size / 1e9:.1f} GB; folders of up to {_LARGEST / 1e9:.0f} GB are packed")
    folder.files.mkdir(mode=0o700, exist_ok=True)
    draft = folder.files / f".{path.name}.{os.getpid()}.part"
    try:
        with zipfile.ZipFile(draft, "w", strict_timestamps=False) as archive:
            for member in members:
                archive.write(member, Path(path.name) / member.relative_to(path))
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft
