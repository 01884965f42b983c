"""Gives the events of a journal to a plugin, in order, until the tracker has them or has said why it has not.

A batch of events is given, ``flush`` is called behind it, and what that confirms is safe: it is not given again. After
any exception the instance is discarded, and a fresh one goes on behind what is safe, with the state of that point; only
what it has noted under ``sent`` stays, since receivers keep what they have. ``Unavailable``, most ``OSError``s and
whatever ``open`` raises mean that the tracker is down: ``Down`` is raised, and the caller tries again. Any other
exception means that one of the events is at fault that were on their way: given, and not safe. They are given again, in
smaller batches, each when the one before it is safe, until one event is left. That is set aside when it was rejected,
or has failed three times. What a process died over is narrowed down in the same way. A file is a batch of its own, so
that it is not sent again for something else, unless the plugin takes files together. A ``flush`` that names the event
which it rejects has that set aside, goes on with the same instance, and sends nothing again.

Nothing here opens a file, waits, or knows of processes.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tracking_hooks.delivery.batches import PATIENCE, TRIES, Batches, first_batch
from tracking_hooks.delivery.current import Current, Down, is_outage
from tracking_hooks.delivery.ledger import Ledger
from tracking_hooks.delivery.ports import Disk, Inflight, Instance, Source
from tracking_hooks.delivery.shelf import Shelf, log_failure
from tracking_hooks.events import Missing, Rejected, State
from tracking_hooks.run.journal import Call, Entry
from tracking_hooks.run.layout import Cursor, SetAside

logger = logging.getLogger("tracking_hooks.delivery.relay")

_RETRY = 3600.0
"""Seconds after which an event is tried again that was given late and not confirmed."""


class Deliverer:
    """Delivers to one plugin. ``step`` is called again and again; ``confirm`` every few seconds."""

    def __init__(
        self,
        source: Source,
        disk: Disk,
        make: Callable[[], Instance],
        *,
        cursor: Cursor,
        aside: Sequence[SetAside] = (),
        left: Inflight | None = None,
        between: Callable[[Instance, State], None] = lambda _, __: None,
    ) -> None:
        """Go on where an earlier process has stopped.

        :param cursor: what is safe
        :param aside: what is set aside
        :param left: what a process that died was giving
        :param between: called between two events, with the open instance and its state
        """
        self.shelf = Shelf(aside, disk.save_aside)
        self.given_at_all = 0  # events that the plugin was given by this process
        self._source = source
        self._disk = disk
        self._current = Current(make)
        self._between = between
        self._ledger = Ledger(cursor, source.keeps)
        self._late: SetAside | None = None  # given again, and not confirmed
        self._late_since = 0.0
        self._asked: Entry | None = None  # whose hook is being called
        self._is_saved = True
        self._now = 0.0
        if left and left.late:
            self.shelf.died_over(left.start, left.deaths + 1, TRIES)
            self._disk.clear_note()
        self._batches = Batches(None if left and left.late else left)

    @property
    def cursor(self) -> Cursor:
        """What is safe."""
        return self._ledger.safe

    @property
    def offset(self) -> int:
        """Where the events begin that were not given, in bytes of the journal."""
        return self._ledger.given.offset

    @property
    def is_unconfirmed(self) -> bool:
        """Whether the plugin was given something that is not safe yet."""
        return self._ledger.is_unconfirmed or self._late is not None

    @property
    def is_waiting(self) -> bool:
        """Whether nothing more is given until that is safe: if it fails, it is known what has."""
        return self.is_unconfirmed and (
            self._late is not None or self._batches.is_near(self.cursor.offset, self.offset, self._now)
        )

    def pause(self) -> None:
        """Do what is done between two events, where none is given at the moment."""
        if self._current.is_usable:
            self._between(self._current.instance, self._ledger.given.state)

    def step(self, now: float) -> bool:
        """Give what comes next; return whether there was something.

        :param now: seconds since 1970
        :raises Down: if the tracker is down
        """
        self._now = now
        if not (self._is_saved and self.shelf.is_saved):
            self._save()
        if self._late and now - self._late_since > PATIENCE:
            self.shelf.put_off(self._late, Rejected("the tracker has not confirmed it", retry_after=_RETRY), self._now)
            self._late = None
        if self.is_waiting:
            return False
        if entries := self._source.read(self.offset, *self._batches.bounds(self.offset)):
            self._give(first_batch(entries, self._current.instance, self._batches.alone_until))
            return True
        if self.is_unconfirmed or not (event := self.shelf.due(now)):
            return False
        self._give_late(event)
        return True

    def confirm(self) -> bool:
        """Ask again what is safe; return whether more is than before.

        :raises Down: if the tracker is down
        """
        if not self.is_unconfirmed:
            return False
        before, late, stretch = self.cursor, self._late, self._ledger.on_its_way()
        fault = self._fault(self._flush)
        if fault and late:
            self.shelf.put_off(late, fault, self._now)
        elif fault:
            self._blame(stretch, fault)
        return fault is None and (before, late) != (self.cursor, self._late)

    def report(self, missing: Sequence[Missing], now: float) -> None:
        """Say what the tracker lacks, now that nothing is on its way.

        :raises Exception: whatever the plugin raises
        """
        if self._current.instance.can_report and (fault := self._fault(lambda: self._report(missing, now))):
            raise fault

    def _report(self, missing: Sequence[Missing], now: float) -> None:
        self._open(None, self.offset)
        self._current.report(missing, now, self._ledger.given.state)
        self._ledger.opened()
        self._save()

    # -- giving -----------------------------------------------------------------------------------------------

    def _give(self, batch: Sequence[Entry]) -> None:
        first = batch[0]
        if first.call and first.call.seq not in self.shelf and (reason := self._batches.verdict(batch)):
            self.shelf.put(first, Rejected(reason), self._now)
            return
        stretch = self._ledger.on_its_way(batch)
        if fault := self._fault(lambda: self._give_in_order(batch, self._batches.note(stretch))):
            self._blame(stretch, fault)

    def _fault(self, call: Callable[[], object]) -> Exception | None:
        """Do what calls the plugin; return what it raised if an event is at fault: the instance is gone then.

        :raises Down: if the tracker is down
        """
        self._asked = None
        try:
            call()
        except Exception as error:
            self._discard()
            if isinstance(error, Down):
                raise
            if is_outage(error):
                raise Down(error) from error
            return error
        return None

    def _blame(self, stretch: Inflight, fault: Exception) -> None:
        """Set aside what has failed, if it is one event and that is enough; else look closer."""
        if self._asked and isinstance(fault, Rejected):  # by its own hook: what is on its way has no part in that
            self.shelf.put(self._asked, fault, self._now)
            return
        is_enough = self._batches.failed(stretch) or isinstance(fault, Rejected)
        if stretch.events > 1:
            return
        entry = self._source.read(stretch.start, 1, stretch.end)[0]
        log_failure(entry, fault)
        if is_enough:
            self.shelf.put(entry, fault, self._now)

    def _give_in_order(self, batch: Sequence[Entry], note: Inflight) -> None:
        is_anything_given = False
        for entry in batch:
            if entry.damage:
                logger.warning("journal, bytes %d to %d: %s", entry.start, entry.end, entry.damage)
            is_given = bool(entry.call and self._give_one(entry, entry.call, None if is_anything_given else note))
            is_anything_given |= is_given
            self._ledger.dealt_with(entry, is_given=is_given)
            if entry.call:
                self.shelf.passed(entry.call)
        if is_anything_given:
            self._flush()
        elif self._ledger.passed_over():
            self._save()

    def _give_one(self, entry: Entry, call: Call, note: Inflight | None) -> bool:
        """Give an event if it is wanted; return whether it was given. The first of a batch is given with a note."""
        if call.seq in self.shelf or self._ledger.thins(call.hook) or not self._current.instance.wants(call.hook):
            return False
        try:
            args = self._source.arguments(call)
        except Rejected as error:  # what it names is gone: the plugin is not asked
            self.shelf.put(entry, error, self._now)
            return False
        self._open(call, entry.start)
        if note:
            self._disk.note(note)
        self._between(self._current.instance, self._ledger.given.state)
        self._asked = entry
        self._current.instance.give(call, args, self._ledger.given.state)
        self._asked = None
        self.given_at_all += 1
        return True

    def _give_late(self, event: SetAside) -> None:
        """Give an event again that was set aside, behind all others."""
        try:
            call, args = _recorded(self._source, event)
        except Rejected as error:
            self.shelf.put_off(event, error, self._now)
            return
        if fault := self._fault(lambda: self._give_once_more(event, call, args)):
            self.shelf.put_off(event, fault, self._now)

    def _give_once_more(self, event: SetAside, call: Call, args: Mapping[str, Any]) -> None:
        self._open(None, self.offset)
        self._disk.note(Inflight(event.start, event.end, deaths=event.deaths, late=True))
        self._late, self._late_since = event, self._now
        self._current.instance.give(call, args, self._ledger.given.state)
        self.given_at_all += 1
        self._flush()

    def _flush(self) -> None:
        late, ours = self._late, self._ledger.on_its_way()  # nothing is, while one is given late
        refused = functools.partial(self.shelf.put_named, source=self._source, stretch=ours, now=self._now)
        answer = self._current.flush(self._ledger.given.state, refused)
        if late and answer not in (None, late.seq):
            return  # a higher number tells nothing of it
        if self._ledger.flushed(None if late else answer):
            self._save()
        if late:  # behind its state: to give it twice is better than to forget what came of it
            self._late = None
            self.shelf.drop(late.seq)
            self._save()

    def _save(self) -> None:
        """Write down what is safe."""
        self._is_saved = False  # should it fail, the next step tries again
        self.shelf.settle(self.cursor.seq)
        self.shelf.save()
        self._ledger.count(self.shelf.count(self.cursor.offset))
        self._disk.save_cursor(self.cursor)
        self._is_saved = True

    def _open(self, coming: Call | None, offset: int) -> None:
        """Open the instance unless it is; tell it what stands before an offset, and what comes unless that is late."""
        if self._current.is_open:
            return
        context = self._source.context(offset)
        self._disk.clear_note()  # to die in `open` is no event's fault
        self._current.open(context, coming, self._ledger.given.state)
        self._ledger.opened()
        self._save()

    def _discard(self) -> None:
        """Let go of the instance; go on from what is safe."""
        self._current.discard()
        self._late = None
        self._batches.fall_back(self.offset)
        if self._ledger.fall_back():
            with suppress(OSError):  # the next step tries again
                self._save()
        self._disk.clear_note()


def _recorded(source: Source, event: SetAside) -> tuple[Call, Mapping[str, Any]]:
    """Return an event that is set aside, with the arguments that the plugin is to get.

    :raises Rejected: if that is not possible any more
    """
    call = next((entry.call for entry in source.read(event.start, 1, event.end)), None)
    if call is None:
        raise Rejected("its line in the journal cannot be read any more")
    return call, source.arguments(call)
