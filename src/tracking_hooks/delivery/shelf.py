"""The events that a tracker did not take: why, and when each is tried again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from tracking_hooks.events import Rejected
from tracking_hooks.run.journal import Call, Entry
from tracking_hooks.run.layout import SetAside

logger = logging.getLogger("tracking_hooks.delivery.relay")

_SOONEST = 60.0
"""Seconds after which an event is tried again at the earliest."""


def name_of(call: Call) -> str:
    """Return what an event is about, among those of its hook: a later one of that name replaces it; empty: nothing."""
    if artifact := call.args.get("artifact"):
        return str(artifact.name)
    if checkpoint := call.args.get("checkpoint"):
        epoch = call.args.get("epoch") or 0
        return f"{checkpoint.kind} {checkpoint.name(epoch)}" if checkpoint.digest else ""
    return ""


def shown(event: Entry | SetAside) -> str:
    """Return an event as the log names it."""
    if isinstance(event, SetAside):
        return f"{event.hook} (event {event.seq})"
    return f"{event.call.hook} (event {event.call.seq})" if event.call else "a damaged line"


class Shelf:
    """What is set aside, by number; each change is saved at once."""

    def __init__(self, events: Iterable[SetAside], save: Callable[[list[SetAside]], None]) -> None:
        """Begin with what was set aside before.

        :param save: replaces the list on disk
        """
        self._events = {event.seq: event for event in events}
        self._save = save

    def __contains__(self, seq: int) -> bool:
        return seq in self._events

    def events(self) -> list[SetAside]:
        """Return all, the oldest first."""
        return [self._events[seq] for seq in sorted(self._events)]

    def put(self, entry: Entry, fault: Exception, reason: str, now: float) -> None:
        """Set an event aside.

        :param fault: what was raised; a ``Rejected`` says when the event is tried again
        """
        call = entry.call
        if call is None:
            return  # a damaged line is nobody's to take
        logger.error("%s is set aside: %s", shown(entry), reason)
        self._events[call.seq] = SetAside(
            seq=call.seq, start=entry.start, end=entry.end, hook=call.hook, name=name_of(call), reason=reason,
            retry_at=_retry_at(fault, now),
        )  # fmt: skip
        self._save(self.events())

    def put_off(self, event: SetAside, fault: Exception, reason: str, now: float) -> None:
        """Say anew why an event is set aside, which was tried again."""
        logger.error("%s stays set aside: %s", shown(event), reason)
        event.reason, event.retry_at = reason, _retry_at(fault, now)
        self._save(self.events())

    def drop(self, numbers: Iterable[int]) -> None:
        """Take events off: they were delivered, or are replaced."""
        for seq in numbers:
            self._events.pop(seq, None)
        self._save(self.events())

    def replace(self, call: Call) -> None:
        """Drop what a later event replaces: an old file overwrites no newer one."""
        name = name_of(call)
        same = [event for event in self._events.values() if (event.hook, event.name) == (call.hook, name)]
        if name and (old := [event.seq for event in same if event.seq < call.seq]):
            self.drop(old)

    def due(self, now: float) -> SetAside | None:
        """Return the first that is to be tried again by now."""
        for event in self.events():
            if event.retry_at is not None and event.retry_at <= now:
                return event
        return None

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
        self._save(self.events())


def _retry_at(fault: Exception, now: float) -> float | None:
    after = fault.retry_after if isinstance(fault, Rejected) else None
    return None if after is None else now + max(after, _SOONEST)
