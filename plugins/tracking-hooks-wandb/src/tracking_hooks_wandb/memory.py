"""What this process has given to W&B's client, and how far this instance of the tracker is.

After an error, a fresh instance is given again what is not safe. The client, which stays open, is not.
"""

from __future__ import annotations

import time
from collections.abc import Container

from tracking_hooks.events import State


class Numbers:
    """Numbers from 0 on, a bit for each: a week of training has two hundred thousand events."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def __contains__(self, number: int) -> bool:
        return number >> 3 < len(self._bits) and bool(self._bits[number >> 3] >> (number & 7) & 1)

    def add(self, number: int) -> None:
        """Put a number in."""
        if (missing := (number >> 3) + 1 - len(self._bits)) > 0:
            self._bits += bytes(missing)
        self._bits[number >> 3] |= 1 << (number & 7)

    def remove(self, number: int) -> None:
        """Take a number out, if it is in."""
        if number in self:
            self._bits[number >> 3] ^= 1 << (number & 7)


class Memory:
    """Remembers events by what was made of them (such as ``"row"``) and their number."""

    def __init__(self) -> None:
        self.row = 0
        """The last row that this instance was given."""
        self.seq = 0
        """The last event that it was given."""
        self.unsafe: dict[tuple[str, int], float] = {}
        """What the client was given and may still lose, and when it was given."""
        self._given: dict[str, Numbers] = {}

    def open(self, state: State) -> None:
        """Begin a fresh instance, with what an earlier one has saved."""
        self.row, self.seq = state.get("row", 0), state.get("seq", 0)

    def is_new(self, what: str, seq: int) -> bool:
        """Take in that this instance was given an event; return whether the client was not."""
        self.seq = max(self.seq, seq)
        return not self.has(what, seq)

    def gave(self, what: str, seq: int, *, safe: bool = False) -> None:
        """Take in that the client was given an event."""
        self._given.setdefault(what, Numbers()).add(seq)
        if not safe:
            self.unsafe[what, seq] = time.monotonic()

    def has(self, what: str, seq: int) -> bool:
        """Return whether the client was given an event."""
        return seq in self._given.get(what, ())

    def is_behind(self) -> bool:
        """Return whether the client is ahead of this instance, which is given again what is not safe."""
        return any(seq > self.seq for _, seq in self.unsafe)

    def safe(self) -> int | None:
        """Return the last event before the first one that is not safe; None: all are."""
        return min(seq for _, seq in self.unsafe) - 1 if self.unsafe else None

    def save(self, events: Container[tuple[str, int]]) -> None:
        """Take in that events are safe."""
        self.unsafe = {event: given for event, given in self.unsafe.items() if event not in events}

    def lose(self) -> None:
        """Take in that the client is gone, with what was not safe."""
        for what, seq in self.unsafe:
            if what in self._given:  # an alert that waits was not given
                self._given[what].remove(seq)
        self.unsafe.clear()
