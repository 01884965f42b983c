"""What a run tells of the images in which its best checkpoint makes the most mistakes: names, forms, how to read it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from tracking_hooks.events import Artifact, Rejected
from tracking_hooks.predictions import SeenImage
from tracking_hooks.run import files, journal
from tracking_hooks.run.copies import LARGE
from tracking_hooks.run.journal import Head
from tracking_hooks.run.layout import RunFolder

IMAGES, PAIRS, LIST = "worst", "mistakes", "label_next.csv"
"""The names of the images, of the table of pairs of classes, and of the list of all images with a mistake."""


class Wrong(NamedTuple):
    """An image with a mistake: a row of the list."""

    filepath: str
    """Of the file on disk, absolute: the column by which FiftyOne finds an image."""
    score: float
    reason: str
    path: str
    """Below the root of the data set, as in trackers."""


def listed(rows: Iterable[Wrong]) -> bytes:
    """Return the list as CSV, without what is more than a text file that is delivered may have.

    :param rows: the worst first
    """
    lines = [_line(Wrong._fields)]
    size = len(lines[0])
    for row in rows:
        line = _line((row.filepath, f"{row.score:.4f}", row.reason, row.path))
        size += len(line)
        if size > LARGE:
            break
        lines.append(line)
    return b"".join(lines)


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors="surrogateescape")


def read_list(path: Path) -> list[Wrong]:
    """Read such a list.

    :raises OSError, KeyError, ValueError: if it is none
    """
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return [Wrong(row["filepath"], float(row["score"]), row["reason"], row["path"]) for row in csv.DictReader(file)]


class Told(Struct, frozen=True, kw_only=True):
    """What is recorded of the worst images."""

    head: Head
    folder: RunFolder
    step: int | None
    """The epoch that the weights are of."""
    images: list[SeenImage]
    pairs: list[dict[str, Any]] = []
    """The rows of the table, column to cell."""
    list_file: Path | None = None
    """Where the list is."""
    error: str = ""
    """Why it is nowhere."""


def read(folder: RunFolder) -> Told | None:
    """Read what a run tells of them, the last time that it does; None if it does not.

    :raises JournalError, OSError: if it cannot be read
    """
    head, _ = journal.read_head(folder.journal)
    seen: dict[str, Any] | None = None
    artifacts: dict[tuple[str, str], Artifact] = {}
    for call in journal.calls(folder.journal, ("on_predictions", "on_table", "on_artifact")):
        artifact = call.args["artifact"]
        artifacts[call.hook, artifact.name] = artifact
        if (call.hook, artifact.name) == ("on_predictions", IMAGES):
            seen = call.args
    if seen is None:
        return None
    list_file, error = _located(folder, head, artifacts.get(("on_artifact", LIST)))
    table, _ = _located(folder, head, artifacts.get(("on_table", PAIRS)))
    return Told(
        head=head, folder=folder, step=seen.get("step"), images=seen["images"], pairs=_rows(table) if table else [],
        list_file=list_file, error=error,
    )  # fmt: skip


def _located(folder: RunFolder, head: Head, artifact: Artifact | None) -> tuple[Path | None, str]:
    try:
        return (files.locate(folder, head.root, artifact) if artifact else None), ""
    except Rejected as error:
        return None, str(error)


def _rows(table: Path) -> list[dict[str, Any]]:
    content = json.loads(table.read_text(encoding="utf-8"))
    return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
