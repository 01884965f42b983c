"""The journal: the sequence of hook calls of one run, one JSON object a line, each with a checksum.

A line is written with one ``write()``, so that whatever was acknowledged survives the death of the process. Reading
goes on behind a damaged line. The first line is the head: format version, the run, and where each plugin delivers.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from tracking_hooks.events import Destination, Run
from tracking_hooks.run import lines, portable
from tracking_hooks.run.encoding import encode
from tracking_hooks.run.lines import COMMON, DAMAGED, EVENTS, Call

__all__ = [
    "COMMON", "DAMAGED", "EVENTS", "FORMAT", "Call", "Entry", "Head", "Journal", "JournalError", "calls", "read",
    "read_head",
]  # fmt: skip

FORMAT = 1

_SILENCE = 10.0
"""Seconds without a write behind which the file system is asked anew: nobody takes for dead who has just written."""


class Head(Struct, frozen=True, kw_only=True):
    """The first line."""

    format: int
    created: float
    run: Run
    plugins: dict[str, Destination]
    """Plugin, or part of one, to the destination captured when the run was started."""
    places: dict[str, str] = {}
    """Plugin to where its tracker is: see ``Capture.place``."""
    metrics: str = ""
    """``TRACKING_HOOKS_METRICS`` as it was then."""
    thin: bool = True
    """Whether ``TRACKING_HOOKS_THIN`` was on then."""
    per_class: int | None = None
    """Of how many classes trackers get curves where there are more, by ``TRACKING_HOOKS_PER_CLASS``. None: of all."""
    classes: list[str] = []
    """Which ones, if another journal has told it: of the run's part on another machine; for an addendum, the run's."""
    checkpoints: str = "best,last"
    """``TRACKING_HOOKS_CHECKPOINTS`` as it was then."""
    home: Path | None = None
    """The folder of run folders that this one was made in. None: beside ``save_dir``."""

    @property
    def uid(self) -> str:
        """What its folder is called: the run's uid, or that of an addendum to it."""
        return self.run.addendum or self.run.uid

    @property
    def root(self) -> Path:
        """The root folder when the run was started."""
        return self.home.parent if self.home else self.run.save_dir.parent


class Entry(NamedTuple):
    """What stands between two offsets (bytes) of a journal."""

    start: int
    end: int
    call: Call | None
    """None if it cannot be read. The arguments of an unknown hook are plain JSON."""
    damage: str = ""
    """Why there is no call, or none of a known hook."""


class JournalError(Exception):
    """A journal that cannot be read at all; the message names the file."""


def read_head(path: Path) -> tuple[Head, int]:
    """Read the first line.

    :returns: the head, and the offset in bytes of the first call
    :raises JournalError: if it is no journal, or one of a newer format
    :raises OSError: if it cannot be opened
    """
    with path.open("rb") as file:
        line = file.readline()
    body = lines.unseal(line)
    try:
        if body is None:
            raise JournalError(f"{path} does not begin like a journal: its first line is damaged")
        version = msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get("format", msgspec.Raw(b"0"))
        if int(bytes(version)) > FORMAT:
            raise JournalError(f"{path} was written by a newer tracking-hooks: upgrade it to read this journal")
        return msgspec.json.decode(body, type=Head, dec_hook=lines.decode_other), len(line)
    except (msgspec.MsgspecError, ValueError) as error:
        raise JournalError(f"{path} does not begin like a journal: {error}") from error


def read(
    path: Path,
    offset: int,
    *,
    max_calls: int | None = None,
    max_bytes: int | None = None,
    only: Container[str] | None = None,
) -> Iterator[Entry]:
    """Read calls from an offset on, in order, up to the last complete line.

    :param offset: bytes; the end of an entry read before, or what ``read_head`` returned
    :param only: the hooks whose arguments are wanted; calls of the others come without, which is faster
    """
    stop = None if max_bytes is None else offset + max_bytes
    calls = 0
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return  # still being written, or torn: a later writer ends this line
            start, offset = offset, offset + len(line)
            if line != b"\n":
                call, damage = lines.parse(line, only)
                calls += 1
                yield Entry(start, offset, call, damage)
            if (max_calls is not None and calls >= max_calls) or (stop is not None and offset >= stop):
                return


def calls(path: Path, hooks: Container[str]) -> Iterator[Call]:
    """Read the calls of some hooks from the beginning, one after the other.

    :raises JournalError, OSError: if the journal cannot be read
    """
    _, offset = read_head(path)
    return (entry.call for entry in read(path, offset, only=hooks) if entry.call and entry.call.hook in hooks)


class _End(Struct, frozen=True):
    """Where a journal ends, as far as this process knows: one value, which no interrupt divides."""

    seq: int
    size: int
    torn: bool = False
    """Whether the last line has no end: what follows must not be glued to it."""
    args: Mapping[str, Any] | None = None
    """What the last call was written with: this very object."""


class Journal:
    """The writing end. Safe to use from several threads of one process.

    An exception may come out of a signal handler at any point, before a line is written or behind it. What has become
    of the line is then read off the file.
    """

    def __init__(self, path: Path, seq: int) -> None:
        """Open for appending behind call number ``seq``; see ``create`` and ``open_behind``."""
        self.path = path
        self._lock = threading.RLock()  # a signal handler may come in between
        self._fd = portable.append_to(path)
        self._asked = 0.0
        self._end = _End(seq, self._size())
        self._sent: tuple[bytes, Mapping[str, Any] | None] | None = None  # a line that is being written, and its call
        self._was_ended = False

    @classmethod
    def create(cls, path: Path, head: Head) -> Journal:
        """Begin a new journal.

        :raises OSError: if the file cannot be written, or is another run's already
        """
        journal = cls(path, 0)
        if journal._end.size:
            journal.close()
            raise FileExistsError(f"{path} is the journal of another run")
        journal._write(lines.seal(encode(head)))
        return journal

    @classmethod
    def open_behind(cls, path: Path) -> Journal:
        """Open an existing journal behind what it holds; its ``seq`` is not known, see ``story.reopen``."""
        journal = cls(path, 0)
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        if torn:
            journal._write(b"\n")  # first: it may complete a line that lacked nothing else, with a number of its own
        return journal

    @property
    def seq(self) -> int:
        """The number of the last call."""
        return self._end.seq

    @seq.setter
    def seq(self, number: int) -> None:
        self._end = _End(number, self._end.size, self._end.torn)

    def has_written(self, args: Mapping[str, Any]) -> bool:
        """Whether the last call was written with these arguments: this very object."""
        if self._sent is not None:
            self._settle()
        return self._end.args is args

    def append(self, hook: str, time: float, args: Mapping[str, Any]) -> int:
        """Write one call.

        :param time: seconds since the epoch
        :returns: its number
        :raises OSError: if it could not be written
        """
        with self._lock:
            if self._sent is not None:
                self._settle()
            self._write(lines.line(self._end.seq + 1, time, hook, args), args)
            if hook == "on_run_start":
                self._was_ended = False
            return self._end.seq

    def was_ended_by_another(self) -> bool:
        """Whether somebody who took this process for dead has written the end of the run meanwhile.

        Numbering then goes on behind what was written. The answer is yes until a start of the run is appended.
        """
        with self._lock:
            if self._sent is not None:
                self._settle()
            if self._fd >= 0 and self._size() != self._end.size:
                calls = [entry.call for entry in read(self.path, self._end.size) if entry.call]
                self._was_ended = self._was_ended or any(call.hook == "on_run_end" for call in calls)
                seq = max([self.seq, *(call.seq for call in calls[-1:])])
                self._end = _End(seq, self._size())
            return self._was_ended

    def _size(self) -> int:
        # What is written is appended, so the place is free. lseek() takes a quarter of the time of fstat(), but on NFS
        # it only tells what this machine remembers, however long ago that was.
        if abs(time.time() - self._asked) > _SILENCE:
            self._asked = time.time()
            return os.fstat(self._fd).st_size
        return os.lseek(self._fd, 0, os.SEEK_END)

    def _write(self, line: bytes, args: Mapping[str, Any] | None = None) -> None:
        if self._fd < 0:
            raise OSError(f"{self.path} is closed")
        # When a line was torn there was no room for its end either.
        data = b"\n" + line if self._end.torn else line
        self._sent = (line, args)
        try:
            written = os.write(self._fd, data)
        except BaseException:
            self._settle()
            raise
        self._settle(written)
        if written != len(data):
            raise OSError(f"{self.path}: only {written} of {len(data)} bytes could be written")

    def _settle(self, written: int | None = None) -> None:
        """Note what has become of the line that was being written: by the file's size, if an exception came between."""
        if self._sent is None or self._fd < 0:
            return
        line, args = self._sent
        end = self._end
        if written is None:
            written = min(self._size() - end.size, end.torn + len(line))
        of_line = written - end.torn  # the end of a torn line is written before it
        if of_line > 0:
            # A part of a line counts, too; one that lacks nothing but its newline will be read.
            seq = end.seq + (args is not None)
            self._end = _End(seq, end.size + written, of_line < len(line), args if of_line >= len(line) - 1 else None)
        elif written > 0:
            self._end = _End(end.seq, end.size + written)
        self._sent = None

    def close(self) -> None:
        """Close the file; what is appended later is refused."""
        with self._lock:
            if self._fd >= 0 and self._end.torn:
                with suppress(OSError):  # it may lack nothing else, and nobody reads a line without an end
                    os.write(self._fd, b"\n")
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
