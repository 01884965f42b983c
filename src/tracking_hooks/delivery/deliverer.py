"""Gives the events of a journal to a plugin, in order, until the tracker has them or has said why it has not.

A batch of events is given, ``flush`` is called behind it, and what that confirms is safe: it is not given again. After
any exception the instance is discarded, and a fresh one goes on behind what is safe. ``Unavailable``, any ``OSError``
and whatever ``open`` raises mean that the tracker is down: ``Down`` is raised, and the caller tries again. Any other
exception means that an event of the batch is at fault. The batch is narrowed down to it, and it is set aside when it
was rejected, or has failed three times. A file is a batch of its own, so that it is not sent again for something else.

Nothing here opens a file, waits, or knows of processes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tracking_hooks.delivery.batches import TRIES, Batches
from tracking_hooks.delivery.context import Context
from tracking_hooks.delivery.current import OUTAGE, Current, Down, said
from tracking_hooks.delivery.ledger import Ledger
from tracking_hooks.delivery.ports import Disk, Inflight, Instance, Source
from tracking_hooks.delivery.shelf import Shelf, shown
from tracking_hooks.events import Rejected, State
from tracking_hooks.run.journal import Call, Entry
from tracking_hooks.run.layout import Cursor, SetAside
from tracking_hooks.run.plain import check_state

logger = logging.getLogger("tracking_hooks.delivery.relay")


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

        :param make: returns a fresh instance of the plugin
        :param cursor: what is safe
        :param aside: what is set aside
        :param left: what a process that died was giving
        :param between: called between two events, with the open instance and its state
        """
        self.shelf = Shelf(aside, disk.save_aside)
        self.given_at_all = 0
        """How many events the plugin was given by this process."""
        self._source = source
        self._disk = disk
        self._current = Current(make)
        self._between = between
        self._ledger = Ledger(cursor)
        self._late: set[int] = set()  # given again, and not confirmed
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
        return self._ledger.is_unconfirmed or bool(self._late)

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
        offset = self._ledger.given.offset
        entries = self._source.read(offset, *self._batches.bounds(offset))
        if entries:
            self._give(self._cut(entries))
            return True
        if self.is_unconfirmed:
            return False
        if event := self.shelf.due(now):
            self._give_late(event)
            return True
        return False

    def confirm(self) -> bool:
        """Ask again what is safe; return whether more is than before.

        :raises Down: if the tracker is down
        """
        if not self.is_unconfirmed:
            return False
        before, until = (self._ledger.safe, len(self._late)), self._ledger.given.offset
        if fault := self._fault(lambda: self._flush(self._current.instance)):
            self._batches.suspect(self._ledger.safe.offset, until)
            raise Down(fault)
        return before != (self._ledger.safe, len(self._late))

    # -- giving -----------------------------------------------------------------------------------------------

    def _cut(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the first batch of what was read: a file stands alone."""
        for count, entry in enumerate(entries):
            if entry.call and _has_file(entry.call) and self._current.instance.wants(entry.call.hook):
                return entries[: max(count, 1)]
        return entries

    def _give(self, batch: Sequence[Entry]) -> None:
        first = batch[0]
        if self._is_open_question(first) and (reason := self._batches.verdict(batch)):
            self._discard()
            self.shelf.put(first, Rejected(), reason, self._now)
            return
        fault = self._fault(lambda: self._give_in_order(batch))
        if fault is None:
            return
        is_alone = len(batch) == 1
        if is_alone and not isinstance(fault, Rejected):
            logger.error("%s failed", shown(first), exc_info=fault)
        if (is_alone and isinstance(fault, Rejected)) or self._batches.failed(batch):
            self.shelf.put(first, fault, said(fault), self._now)

    def _fault(self, call: Callable[[], object]) -> Exception | None:
        """Do what calls the plugin; return what it raised if an event is at fault: the instance is gone then.

        :raises Down: if the tracker is down
        """
        try:
            call()
        except Down:
            raise
        except OUTAGE as error:
            self._discard()
            raise Down(error) from error
        except Exception as error:  # noqa: BLE001 a plugin may raise anything
            self._discard()
            return error
        return None

    def _give_in_order(self, batch: Sequence[Entry]) -> None:
        plugin = self._current.instance
        wanted = {entry.call.seq for entry in batch if entry.call and self._is_wanted(plugin, entry.call)}
        is_noted = False
        for entry in batch:
            call = entry.call
            if entry.damage:
                logger.warning("journal, bytes %d to %d: %s", entry.start, entry.end, entry.damage)
            is_delivered = call is not None and call.seq not in self.shelf
            if call is not None and call.seq in wanted:
                self._open(call, entry.start).coming(call)
                if not is_noted:  # behind `open`: to die there is no event's fault
                    self._disk.note(self._batches.note(batch))
                    is_noted = True
                is_delivered = self._give_one(plugin, entry, call)
            self._ledger.dealt_with(entry, wanted=bool(call and call.seq in wanted), delivered=is_delivered)
            if call is not None:
                self.shelf.replace(call)
                if self._current.context:
                    self._current.context.passed(call)
        if not wanted:
            if self._ledger.passed_over():
                self._disk.save_cursor(self._ledger.safe)
            return
        self._flush(plugin)

    def _give_one(self, plugin: Instance, entry: Entry, call: Call) -> bool:
        """Give an event; return whether it was given."""
        try:
            args = self._source.arguments(call)
        except Rejected as error:  # what it names is gone: the plugin is not asked
            self.shelf.put(entry, error, said(error), self._now)
            return False
        self._between(plugin, self._ledger.given.state)
        plugin.give(call, args, self._ledger.given.state)
        self.given_at_all += 1
        return True

    def _give_late(self, event: SetAside) -> None:
        """Give an event again that was set aside, behind all others."""
        entry = next(iter(self._source.read(event.start, 1, event.end)), None)
        call = entry.call if entry else None
        if entry is None or call is None:
            self.shelf.put_off(event, Rejected(), "its line in the journal cannot be read any more", self._now)
            return
        fault: Exception | None
        try:
            args = self._source.arguments(call)
            fault = self._fault(lambda: self._give_once_more(entry, call, args, event.deaths))
        except Rejected as error:
            fault = error
        finally:
            self._disk.clear_note()
        if fault and not isinstance(fault, Rejected):
            logger.error("%s failed", shown(event), exc_info=fault)
        if fault:
            self.shelf.put_off(event, fault, said(fault), self._now)

    def _give_once_more(self, entry: Entry, call: Call, args: Mapping[str, Any], deaths: int) -> None:
        self._open(None, self._ledger.given.offset)
        self._disk.note(Inflight(entry.start, entry.end, deaths, late=True))
        self._current.instance.give(call, args, self._ledger.given.state)
        self.given_at_all += 1
        self._late.add(call.seq)
        self._flush(self._current.instance)

    def _flush(self, plugin: Instance) -> None:
        answer = plugin.flush(self._ledger.given.state)
        check_state(self._ledger.given.state)
        if answer is None and self._late:  # a number tells nothing of them: they have lower ones
            self._ledger.given.delivered += len(self._late)
            self.shelf.drop(self._late)
            self._late.clear()
        if self._ledger.flushed(answer):
            self._disk.save_cursor(self._ledger.safe)

    # -- the instance -----------------------------------------------------------------------------------------

    def _is_open_question(self, entry: Entry) -> bool:
        return entry.call is not None and entry.call.seq not in self.shelf

    def _is_wanted(self, plugin: Instance, call: Call) -> bool:
        return call.seq not in self.shelf and plugin.wants(call.hook)

    def _open(self, coming: Call | None, offset: int) -> Context:
        """Open the instance unless it is; return what it knows of the run.

        :param coming: the event that comes next, unless that is given late
        :param offset: what stands before it is told
        :raises Down: whatever ``open`` raises
        """
        if self._current.context:
            return self._current.context
        context = self._source.context(offset)
        self._disk.clear_note()  # to die in `open` is no event's fault
        try:
            self._current.open(context, coming, self._ledger.given.state)
        except Down:
            self._discard()
            raise
        self._ledger.opened()
        self._disk.save_cursor(self._ledger.safe)
        return context

    def _discard(self) -> None:
        """Let go of the instance; go on from what is safe."""
        self._disk.clear_note()
        self._current.discard()
        self._late.clear()
        self._ledger.fall_back()


def _has_file(call: Call) -> bool:
    file = call.args.get("artifact") or call.args.get("checkpoint")
    return bool(file and file.digest)
