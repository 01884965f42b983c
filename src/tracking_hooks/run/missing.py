"""What a tracker lacks of a run: events that are set aside for good, and what the journal itself does not have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from tracking_hooks.events import Missing
from tracking_hooks.run import journal, receipt
from tracking_hooks.run.journal import Entry
from tracking_hooks.run.layout import Cursor, RelayFolder, RunFolder, SetAside, read_json, write_json

_UNWRITTEN = "not in the journal, which could not be written (a full disk?)"
_DAMAGED = "not in the journal, which is damaged there"


class Reported(Struct):
    """The file of what a tracker was last said to lack."""

    missing: list[Missing] = []


def missing(folder: RunFolder, label: str) -> list[Missing]:
    """Return what is missing in a tracker that has been given everything, in the order of the journal.

    :raises JournalError, OSError: if that cannot be read
    """
    files = folder.relay(label)
    return sorted(_found(folder.journal, files.read_cursor(), files.read_aside()), key=lambda item: item.first)


def lost(folder: RunFolder, label: str) -> list[Missing]:
    """Return what is missing because the journal itself lacks it.

    :raises JournalError, OSError: if that cannot be read
    """
    return [item for item in missing(folder, label) if not item.hook]


def unreported(folder: RunFolder, label: str) -> list[Missing] | None:
    """Return what is missing, if something else was said in the tracker; None if that is right.

    :raises JournalError, OSError: if it cannot be read
    """
    found = missing(folder, label)
    said = read_json(_file(folder.relay(label)), Reported)
    if said is None and receipt.is_from_a_pack(folder):  # what was said for its source is not known
        return found
    return None if found == (said or Reported()).missing else found


def note_reported(files: RelayFolder, said: list[Missing]) -> None:
    """Note what was said in the tracker.

    :raises OSError: if it cannot be written
    """
    write_json(_file(files), Reported(said))


def _file(files: RelayFolder) -> Path:
    return files.path / "reported.json"


def _found(path: Path, cursor: Cursor, aside: Sequence[SetAside]) -> list[Missing]:
    found = [
        Missing(hook=event.hook, name=event.name, reason=event.reason, first=event.seq, last=event.seq)
        for event in aside
        if event.retry_at is None
    ]
    if cursor.seq != cursor.delivered + cursor.aside:  # numbers are left out
        found += _gaps(path, cursor.offset)
    return found


def _gaps(path: Path, stop: int) -> Iterator[Missing]:
    """Return the stretches of numbers that no event has, up to an offset."""
    _, offset = journal.read_head(path)
    last = 0
    damaged: list[Entry] = []
    for entry in journal.read(path, offset, only=()):
        if entry.end > stop:
            return
        if entry.call is None:
            damaged.append(entry)
            continue
        numbers = range(last + 1, entry.call.seq)
        if numbers:
            again = _written_again(path, damaged, entry) if damaged else set()
            reason = _DAMAGED if len(damaged) > len(again) else _UNWRITTEN
            yield from _stretches([number for number in numbers if number not in again], reason)
        last = max(last, entry.call.seq)
        damaged.clear()


def _written_again(path: Path, damaged: Sequence[Entry], entry: Entry) -> set[int]:
    """Return the numbers of torn lines whose event was written once more, with the next number, when there was room.

    :param entry: the event behind them
    """
    with path.open("rb") as file:
        *torn, (_, whole) = [_line(file, damage) for damage in (*damaged, entry)]
    return {number for number, text in torn if whole.startswith(text.partition(b',"crc":"')[0])}


def _line(file: BinaryIO, entry: Entry) -> tuple[int, bytes]:
    """Return the number of an event, and what follows it."""
    file.seek(entry.start)
    line = file.read(entry.end - entry.start).rstrip(b"\n")
    number, _, text = line.removeprefix(b'{"seq":').partition(b",")
    return (int(number) if number.isdigit() else 0), text


def _stretches(numbers: Sequence[int], reason: str) -> Iterator[Missing]:
    for _, pairs in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        stretch = [number for _, number in pairs]
        yield Missing(reason=reason, first=stretch[0], last=stretch[-1])
