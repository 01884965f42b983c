"""The deliverer's source and disk: a run folder."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from tracking_hooks import redact
from tracking_hooks.delivery import thinning
from tracking_hooks.delivery.context import Context
from tracking_hooks.delivery.ports import Inflight
from tracking_hooks.metricrules import MetricRules
from tracking_hooks.run import copies, files, journal
from tracking_hooks.run.journal import Call, Entry, Head
from tracking_hooks.run.landmarks import TOLD_BY
from tracking_hooks.run.layout import Cursor, RelayFolder, RunFolder, SetAside, read_json, write_json
from tracking_hooks.run.liveness import this_boot
from tracking_hooks.run.perclass import Choice
from tracking_hooks.run.tail import Tail

logger = logging.getLogger(__name__)

_BATCH_BYTES = 4 << 20


class RunSource:
    """The journal of a run and its files."""

    def __init__(self, folder: RunFolder, head: Head, start: int, cursor: Cursor | None = None) -> None:
        """Read from a run folder.

        :param start: the offset of the first event
        :param cursor: where it is gone on
        """
        self._folder = folder
        self._head = head
        self._start = start
        self.is_written_elsewhere = False
        """Whether a living process of another machine writes the journal."""
        self._tail = Tail(folder.journal)
        self._rules = MetricRules(head.metrics)
        self._choice = Choice(folder.journal, head)
        self._synced = 0
        # While a tracker is down, it is asked for again and again: of a long run, that would be much to read.
        self._told, self._told_up_to = Context(), start
        if cursor and cursor.landmarks.start:
            self._recall(cursor)

    def _recall(self, cursor: Cursor) -> None:
        """Be told by the landmarks of a cursor what stands before it."""
        path, marks = self._folder.journal, cursor.landmarks
        first, start = (next(journal.read(path, offset, max_calls=1), None) for offset in (self._start, marks.start))
        if first and first.call and start and start.call and start.call.hook == "on_run_start":
            self._told.recall(first.call, start.call, marks)
            self._told_up_to = cursor.offset

    def read(self, offset: int, max_calls: int, stop: int | None) -> Sequence[Entry]:
        """Return what comes next."""
        limit = _BATCH_BYTES if stop is None else min(_BATCH_BYTES, stop - offset)
        entries = list(
            self._tail.read(offset, written_elsewhere=self.is_written_elsewhere, max_calls=max_calls, max_bytes=limit)
        )
        if entries and entries[-1].end > self._synced:
            self._synced = self._folder.journal.stat().st_size
            _sync(self._folder.journal)
        return entries

    def context(self, offset: int) -> Context:
        """Return what the events before an offset tell of the run."""
        if offset < self._told_up_to:
            self._told, self._told_up_to = Context(), self._start
        for entry in journal.read(self._folder.journal, self._told_up_to, only=TOLD_BY):
            if entry.start >= offset:
                break
            self._told_up_to = entry.end
            if entry.call:
                self._told.coming(entry.call)
                self._told.passed(entry.call)
        return copy.deepcopy(self._told)  # whoever opens goes on with it

    def keeps(self, hook: str, nth: int) -> bool:
        """Whether an event is given that is the n-th of its hook."""
        return not self._head.thin or thinning.keeps(hook, nth)

    def arguments(self, call: Call) -> Mapping[str, Any]:
        """Return a call's arguments: the metrics and curves that are wanted, the path where a final file is now."""
        args = self._choice.narrow(call, self._rules.apply_to_call(call.args))
        return files.locate_for_call(self._folder, self._head.root, args)


class Note(Struct):
    """The file of what is being given; the machine may have gone down since."""

    inflight: Inflight
    boot: str


class RunDisk:
    """The folder of a relay."""

    def __init__(self, relay: RelayFolder) -> None:
        self._relay = relay
        self.sweep = copies.Sweep(RunFolder(relay.path.parents[1]))

    def left(self) -> Inflight | None:
        """Return what a process that died was giving; nothing if it was the machine that went down."""
        note = read_json(self._relay.inflight, Note)
        return note.inflight if note and note.boot == this_boot() else None

    def save_cursor(self, cursor: Cursor) -> None:
        """Replace the cursor, and let go what nobody needs any more."""
        write_json(self._relay.cursor, cursor, durable=True)
        self.sweep.now_and_then()

    def save_aside(self, events: list[SetAside]) -> None:
        """Replace the list of what is set aside, with secrets masked in its reasons."""
        for event in events:
            event.reason = redact.text(event.reason)
        self._relay.write_aside(events)

    def note(self, inflight: Inflight) -> None:
        """Note what is being given."""
        write_json(self._relay.inflight, Note(inflight, this_boot()))

    def clear_note(self) -> None:
        """Take the note back."""
        self._relay.inflight.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    # The recorder does not wait for the disk; this process can.
    with suppress(OSError), path.open("rb") as file:
        os.fsync(file.fileno())
