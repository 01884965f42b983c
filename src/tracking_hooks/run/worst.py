"""What a run tells of the images in which its best checkpoint makes the most mistakes: names, forms, how to read it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from tracking_hooks.events import Rejected
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

    :raises OSError: if it cannot be read
    :raises DamagedError: if it is none
    """
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file, _damage(path, "list of images"):
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or ()) != Wrong._fields:
            raise ValueError(f"its columns are not {', '.join(Wrong._fields)}")
        return [Wrong(row["filepath"], float(row["score"]), row["reason"], row["path"]) for row in rows]


class DamagedError(ValueError):
    """A file is not what was recorded under its name. The message is for the user."""


@contextmanager
def _damage(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, ValueError, csv.Error) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DamagedError(f"{path} is no {what} with mistakes, or is damaged ({reason})") from error


class Told(Struct, frozen=True, kw_only=True):
    """What is recorded of the worst images."""

    head: Head
    folder: RunFolder
    step: int | None
    """The epoch that the weights are of."""
    images: list[SeenImage]
    pairs: list[dict[str, Any]] = []
    """The rows of the table, column to cell."""
    pairs_error: str = ""
    """Why there are none."""
    list_file: Path | None = None
    """Where the list is."""
    error: str = ""
    """Why it is nowhere."""


def read(folder: RunFolder) -> Told | None:
    """Read what a run tells of them, the last time that it does; None if it does not.

    :raises JournalError, OSError: if it cannot be read
    """
    head, _ = journal.read_head(folder.journal)
    told: dict[tuple[str, str], dict[str, Any]] = {}
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for call in journal.calls(folder.journal, ("on_final_validation", "on_predictions", "on_table", "on_artifact")):
        if call.hook == "on_final_validation":
            latest = {}
            continue
        artifact = call.args["artifact"]
        if artifact.epoch is not None:  # what a script logs under such a name has none
            latest.setdefault((call.hook, artifact.name), call.args)  # a file of save_dir has one, and comes later
        if ("on_predictions", IMAGES) in latest:
            told = latest
    if not told:
        return None
    seen = told["on_predictions", IMAGES]
    list_file, error = _located(folder, head, told.get(("on_artifact", LIST)))
    table, pairs_error = _located(folder, head, told.get(("on_table", PAIRS)))
    pairs: list[dict[str, Any]] = []
    try:
        pairs = _rows(table) if table else []
    except DamagedError as damaged:
        pairs_error = str(damaged)
    return Told(
        head=head, folder=folder, step=seen.get("step"), images=seen["images"], pairs=pairs, pairs_error=pairs_error,
        list_file=list_file, error=error,
    )  # fmt: skip


def _located(folder: RunFolder, head: Head, args: Mapping[str, Any] | None) -> tuple[Path | None, str]:
    try:
        return (files.locate(folder, head.root, args["artifact"]) if args else None), ""
    except Rejected as error:
        return None, str(error)


def _rows(table: Path) -> list[dict[str, Any]]:
    with _damage(table, "table of pairs"):
        content = json.loads(table.read_text(encoding="utf-8"))
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
