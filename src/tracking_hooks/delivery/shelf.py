"""The events that a tracker did not take: why, and when each is tried again."""

from __future__ import annotations

from collections.abc import Iterable

from tracking_hooks.run.journal import Call, Entry
from tracking_hooks.run.layout import SetAside


def name_of(call: Call) -> str:
    """Return what an event is about, among those of its hook: a later one of that name replaces it; empty: nothing."""
    if artifact := call.args.get("artifact"):
        return str(artifact.name)
    if checkpoint := call.args.get("checkpoint"):
        epoch = call.args.get("epoch") or 0
        return f"{checkpoint.kind} {checkpoint.name(epoch)}" if checkpoint.digest else ""
    return ""


class Shelf:
    """What is set aside, by number."""

    def __init__(self, events: Iterable[SetAside]) -> None:
        self._events = {event.seq: event for event in events}

    def __contains__(self, seq: int) -> bool:
        return seq in self._events

    def events(self) -> list[SetAside]:
        """Return all, the oldest first."""
        return [self._events[seq] for seq in sorted(self._events)]

    def put(self, entry: Entry, reason: str, retry_at: float | None) -> None:
        """Set an event aside, or say anew why it is.

        :param retry_at: when it is tried again, in seconds since 1970; None: not by itself
        """
        call = entry.call
        if call is None:
            return  # a damaged line is nobody's to take
        known = self._events.get(call.seq)
        self._events[call.seq] = SetAside(
            seq=call.seq, start=entry.start, end=entry.end, hook=call.hook, name=name_of(call), reason=reason,
            retry_at=retry_at, deaths=known.deaths if known else 0,
        )  # fmt: skip

    def drop(self, seq: int) -> None:
        """Take an event off: it was delivered."""
        self._events.pop(seq, None)

    def replace(self, call: Call) -> bool:
        """Drop what a later event replaces; return whether there was something: an old file overwrites no newer one."""
        name = name_of(call)
        old = [
            event.seq
            for event in self._events.values()
            if name and event.seq < call.seq and (event.hook, event.name) == (call.hook, name)
        ]
        for seq in old:
            del self._events[seq]
        return bool(old)

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

        :param deaths: how often
        :param most: after so many it is not tried again by itself
        """
        for event in self._events.values():
            if event.start == start:
                event.deaths = deaths
                if deaths >= most:
                    event.retry_at, event.reason = None, f"the relay process died {deaths} times at this event"
