"""The events that a tracker did not take: why, and when each is tried again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from tracking_hooks.delivery.current import said
from tracking_hooks.delivery.ports import Inflight, Source
from tracking_hooks.events import Artifact, Checkpoint, Rejected
from tracking_hooks.run import copies
from tracking_hooks.run.journal import Call, Entry
from tracking_hooks.run.layout import SetAside

logger = logging.getLogger("tracking_hooks.delivery.relay")

_SOONEST = 1.0
"""Seconds after which an event is tried again at the earliest."""

_AT_ONCE = 2000
"""How many events are read at once where one is looked for."""


def file_of(call: Call) -> Artifact | Checkpoint | None:
    """Return the file that an event comes with, if its content is final."""
    return copies.of_call(call.args)


def name_of(call: Call) -> str:
    """Return what an event is about, among those of its hook: a later one of that name replaces it; empty: nothing."""
    file = file_of(call)
    if isinstance(file, Checkpoint):
        return f"{file.kind} {file.name(call.args.get('epoch') or 0)}"
    if file is None:
        return ""
    step = call.args.get("step")
    return file.name if step is None else f"{file.name} at {step}"


def log_failure(event: Entry | SetAside, fault: Exception) -> None:
    """Say in the log where a plugin has failed; a rejection is no failure."""
    if not isinstance(fault, Rejected):
        logger.error("%s failed", _shown(event), exc_info=fault)


def _shown(event: Entry | SetAside) -> str:
    """Return an event as the log names it."""
    if isinstance(event, SetAside):
        return f"{event.hook} (event {event.seq})"
    return f"{event.call.hook} (event {event.call.seq})" if event.call else "a damaged line"


class Shelf:
    """What is set aside, by number. To be saved before what is safe: an event that is in neither is lost."""

    def __init__(self, events: Iterable[SetAside], write: Callable[[list[SetAside]], None]) -> None:
        """Begin with what was set aside before.

        :param write: replaces the list on disk
        """
        self._events = {event.seq: event for event in events}
        self._write = write
        self.is_saved = True
        self._newer: dict[int, int] = {}  # event to the one that replaces it, once that is settled

    def __contains__(self, seq: int) -> bool:
        return seq in self._events

    def events(self) -> list[SetAside]:
        """Return all, the oldest first."""
        return [self._events[seq] for seq in sorted(self._events)]

    def count(self, offset: int) -> int:
        """Return how many there are before an offset of the journal."""
        return sum(event.start < offset for event in self._events.values())

    def save(self) -> None:
        """Write down what has changed.

        :raises OSError: if that fails; what has changed is kept for the next time
        """
        if not self.is_saved:
            self._write(self.events())
            self.is_saved = True

    def put(self, entry: Entry, fault: Exception, now: float) -> None:
        """Set an event aside.

        :param fault: what was raised; a ``Rejected`` says when the event is tried again
        """
        call = entry.call
        if call is None:
            return  # a damaged line is nobody's to take
        reason = said(fault)
        logger.error("%s is set aside: %s", _shown(entry), reason)
        self._events[call.seq] = SetAside(
            seq=call.seq, start=entry.start, end=entry.end, hook=call.hook, name=name_of(call), reason=reason,
            retry_at=_retry_at(fault, now),
        )  # fmt: skip
        self.is_saved = False
        self.save()

    def put_named(self, fault: Rejected, source: Source, stretch: Inflight, now: float) -> bool:
        """Set aside the event that is rejected by its number; return whether it is one of these.

        :param stretch: what is on its way
        """
        events = _events_from(source, stretch, fault.seq)
        entry = None if fault.seq in self._events else next(events, None)
        if entry is None:
            return False
        self.put(entry, fault, now)
        for later in events:  # they were given before it was known that this one is set aside
            self.passed(later.call)
        return True

    def put_off(self, event: SetAside, fault: Exception, now: float) -> None:
        """Say anew why an event is set aside, which was tried again."""
        log_failure(event, fault)
        event.reason, event.retry_at = said(fault), _retry_at(fault, now)
        logger.error("%s stays set aside: %s", _shown(event), event.reason)
        self.is_saved = False
        self.save()

    def drop(self, seq: int) -> None:
        """Take an event off: it was delivered, or is replaced."""
        if self._events.pop(seq, None):
            self.is_saved = False

    def passed(self, call: Call | None) -> None:
        """Take in an event that may replace others: an old file overwrites no newer one."""
        if call and (name := name_of(call)):
            for event in self._events.values():
                if (event.hook, event.name) == (call.hook, name) and event.seq < call.seq:
                    self._newer[event.seq] = call.seq

    def settle(self, seq: int) -> None:
        """Drop what is replaced by an event up to this one: those are delivered, or set aside themselves."""
        for old in [old for old, newer in self._newer.items() if newer <= seq]:
            del self._newer[old]
            self.drop(old)

    def due(self, now: float) -> SetAside | None:
        """Return the one that has waited longest, of those that are to be tried again by now."""
        due = [(event.retry_at, seq) for seq, event in self._events.items() if event.retry_at is not None]
        when, seq = min(due, default=(now + 1, 0))
        return self._events[seq] if when <= now else None

    def retry(self, *, everything: bool) -> None:
        """Have events tried again at once: those that are refused for now, or everything."""
        for event in self._events.values():
            if everything:
                event.retry_at, event.deaths = 0.0, 0
            elif event.retry_at is not None:
                event.retry_at = 0.0

    def died_over(self, start: int, deaths: int, most: int) -> None:
        """Take in that a process has died over an event that was set aside.

        :param start: where its line begins, in bytes
        :param deaths: how often
        :param most: after so many it is not tried again by itself
        """
        for event in self._events.values():
            if event.start == start:
                event.deaths = deaths
                if deaths >= most:
                    event.retry_at, event.reason = None, f"the relay process died {deaths} times at this event"
        self.is_saved = False
        self.save()


def _events_from(source: Source, stretch: Inflight, seq: int | None) -> Iterator[Entry]:
    """Return the events of a stretch of the journal from this one on; nothing if it is in no such place."""
    offset, is_there = stretch.start, False
    while seq is not None and offset < stretch.end and (entries := source.read(offset, _AT_ONCE, stretch.end)):
        offset = entries[-1].end
        for entry in entries:
            is_there |= entry.call is not None and entry.call.seq == seq
            if is_there:
                yield entry


def _retry_at(fault: Exception, now: float) -> float | None:
    after = fault.retry_after if isinstance(fault, Rejected) else None
    return None if after is None else now + max(after, _SOONEST)
