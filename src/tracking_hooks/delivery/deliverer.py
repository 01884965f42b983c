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
from collections.abc import Callable, Sequence

from tracking_hooks.delivery.batches import TRIES, Batches
from tracking_hooks.delivery.context import Context
from tracking_hooks.delivery.ledger import Ledger
from tracking_hooks.delivery.ports import Disk, Inflight, Instance, Source
from tracking_hooks.delivery.shelf import Shelf
from tracking_hooks.events import Rejected, State, Unavailable
from tracking_hooks.run.journal import Call, Entry
from tracking_hooks.run.layout import Cursor, SetAside, check_state

logger = logging.getLogger("tracking_hooks.delivery.relay")

_OUTAGE = (Unavailable, OSError)


class Down(Exception):
    """The tracker cannot be reached, or refuses the run as a whole; the message says why."""

    def __init__(self, error: Exception) -> None:
        """Say why.

        :param error: what the plugin raised
        """
        super().__init__(_said(error))
        self.only_this_run = bool(getattr(error, "only_this_run", False))


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
        self.shelf = Shelf(aside)
        self.given_at_all = 0
        """How many events the plugin was given by this process."""
        self._source = source
        self._disk = disk
        self._make = make
        self._between = between
        self._ledger = Ledger(cursor)
        self._instance: Instance | None = None
        self._context: Context | None = None  # the instance is open
        self._late: set[int] = set()  # given again, and not confirmed
        self._now = 0.0
        if left and left.late:
            self.shelf.died_over(left.start, left.deaths + 1, TRIES)
            self._disk.save_aside(self.shelf.events())
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
        if self._context and self._instance:
            self._between(self._instance, self._ledger.given.state)

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
        if not self.is_unconfirmed or self._instance is None:
            return False
        try:
            return self._flush(self._instance)
        except _OUTAGE as error:
            self._discard()
            raise Down(error) from error
        except Exception as error:
            logger.exception("flush failed")
            self._batches.suspect(self._ledger.safe.offset, self._ledger.given.offset)
            self._discard()
            raise Down(error) from error

    # -- giving -----------------------------------------------------------------------------------------------

    def _cut(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the first batch of what was read: a file stands alone."""
        for count, entry in enumerate(entries):
            if entry.call and _has_file(entry.call) and self._loaded().wants(entry.call.hook):
                return entries[: max(count, 1)]
        return entries

    def _give(self, batch: Sequence[Entry]) -> None:
        if self._is_open_question(batch[0]) and (reason := self._batches.verdict(batch)):
            self._set_aside(batch[0], reason, None)
            return
        try:
            self._give_in_order(batch)
        except Down:
            raise
        except _OUTAGE as error:
            self._discard()
            raise Down(error) from error
        except Rejected as error:
            self._discard()
            if len(batch) == 1:
                self._set_aside(batch[0], _said(error), error.retry_after)
            else:
                self._batches.failed(batch)
        except Exception as error:
            self._discard()
            has_failed_enough = self._batches.failed(batch)
            if len(batch) == 1:
                logger.exception("%s failed", _shown(batch[0]))
            if has_failed_enough:
                self._set_aside(batch[0], f"{type(error).__name__}: {error}", None)

    def _give_in_order(self, batch: Sequence[Entry]) -> None:
        plugin = self._loaded()
        wanted = {entry.call.seq for entry in batch if entry.call and self._is_wanted(plugin, entry.call)}
        is_noted = False
        for entry in batch:
            call = entry.call
            if entry.damage:
                logger.warning("journal, bytes %d to %d: %s", entry.start, entry.end, entry.damage)
            is_delivered = call is not None and call.seq not in self.shelf
            if call is not None and call.seq in wanted:
                self._open(plugin, call, entry.start).coming(call)
                if not is_noted:  # behind `open`: to die there is no event's fault
                    self._disk.note(self._batches.note(batch))
                    is_noted = True
                is_delivered = self._give_one(plugin, entry, call)
            self._ledger.dealt_with(entry, wanted=bool(call and call.seq in wanted), delivered=is_delivered)
            if call is not None:
                if self.shelf.replace(call):
                    self._disk.save_aside(self.shelf.events())
                if self._context:
                    self._context.passed(call)
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
            self._put(entry, _said(error), error.retry_after)
            return False
        self._between(plugin, self._ledger.given.state)
        plugin.give(call, args, self._ledger.given.state)
        self.given_at_all += 1
        return True

    def _give_late(self, event: SetAside) -> None:
        """Give an event again that was set aside, behind all others."""
        entry = next(iter(self._source.read(event.start, 1, event.end)), None)
        if entry is None or entry.call is None:
            self._put_off(event, "its line in the journal cannot be read any more", None)
            return
        plugin = self._loaded()
        call = entry.call
        try:
            args = self._source.arguments(call)
        except Rejected as error:
            self._put_off(event, _said(error), error.retry_after)
            return
        try:
            self._open(plugin, call, self._ledger.given.offset)
            self._disk.note(Inflight(entry.start, entry.end, event.deaths, late=True))
            plugin.give(call, args, self._ledger.given.state)
            self.given_at_all += 1
            self._late.add(event.seq)
            self._flush(plugin)
        except Down:
            raise
        except _OUTAGE as error:
            self._discard()
            raise Down(error) from error
        except Rejected as error:
            self._discard()
            self._put_off(event, _said(error), error.retry_after)
        except Exception as error:
            logger.exception("%s failed", _shown(entry))
            self._discard()
            self._put_off(event, f"{type(error).__name__}: {error}", None)
        finally:
            self._disk.clear_note()

    def _flush(self, plugin: Instance) -> bool:
        answer = plugin.flush(self._ledger.given.state)
        check_state(self._ledger.given.state)
        is_more = False
        if answer is None and self._late:  # a number tells nothing of them: they have lower ones
            self._ledger.given.delivered += len(self._late)
            for seq in self._late:
                self.shelf.drop(seq)
            self._late.clear()
            self._disk.save_aside(self.shelf.events())
            is_more = True
        if self._ledger.flushed(answer):
            self._disk.save_cursor(self._ledger.safe)
            is_more = True
        return is_more

    # -- setting aside ----------------------------------------------------------------------------------------

    def _set_aside(self, entry: Entry, reason: str, retry_after: float | None) -> None:
        """Set an event aside that is given again next: it is passed over then."""
        self._put(entry, reason, retry_after)
        self._discard()

    def _put(self, entry: Entry, reason: str, retry_after: float | None) -> None:
        if entry.call is None:
            return
        logger.error("%s is set aside: %s", _shown(entry), reason)
        retry_at = None if retry_after is None else self._now + retry_after
        self.shelf.put(entry, reason, retry_at)
        self._disk.save_aside(self.shelf.events())

    def _put_off(self, event: SetAside, reason: str, retry_after: float | None) -> None:
        logger.error("%s (event %d) stays set aside: %s", event.hook, event.seq, reason)
        event.reason = reason
        event.retry_at = None if retry_after is None else self._now + retry_after
        self._disk.save_aside(self.shelf.events())

    # -- the instance -----------------------------------------------------------------------------------------

    def _loaded(self) -> Instance:
        if self._instance is None:
            self._instance = self._make()
        return self._instance

    def _is_open_question(self, entry: Entry) -> bool:
        return entry.call is not None and entry.call.seq not in self.shelf

    def _is_wanted(self, plugin: Instance, call: Call) -> bool:
        return call.seq not in self.shelf and plugin.wants(call.hook)

    def _open(self, plugin: Instance, call: Call, offset: int) -> Context:
        """Open the instance unless it is.

        :param offset: of what is given next
        :raises Down: whatever ``open`` raises
        """
        if self._context is None:
            context = self._source.context(offset)
            context.coming(call)
            self._disk.clear_note()  # to die in `open` is no event's fault
            try:
                plugin.open(context, self._ledger.given.state)
                check_state(self._ledger.given.state)
            except Exception as error:
                if not isinstance(error, (*_OUTAGE, Rejected)):
                    logger.exception("open failed")
                self._discard()
                raise Down(error) from error
            self._context = context
            self._ledger.opened()
            self._disk.save_cursor(self._ledger.safe)
        return self._context

    def _discard(self) -> None:
        """Let go of the instance; go on from what is safe."""
        self._disk.clear_note()
        self._instance = None
        self._context = None
        self._late.clear()
        self._ledger.fall_back()


def _has_file(call: Call) -> bool:
    file = call.args.get("artifact") or call.args.get("checkpoint")
    return bool(file and file.digest)


def _said(error: Exception) -> str:
    if isinstance(error, (Unavailable, Rejected, OSError)):
        return str(error) or f"the plugin gave no reason ({type(error).__name__})"
    return f"{type(error).__name__}: {error}"


def _shown(entry: Entry) -> str:
    return f"{entry.call.hook} (event {entry.call.seq})" if entry.call else "a damaged line"
