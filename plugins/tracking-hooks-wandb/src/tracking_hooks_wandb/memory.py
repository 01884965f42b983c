"""What this process has given to W&B's client, and how far this instance of the tracker is.

After an error, a fresh instance is given again what is not safe. The client, which stays open, is not.
"""

from __future__ import annotations

import time
from collections.abc import Container

from tracking_hooks.events import State


class Memory:
    """Remembers events by what was made of them (such as ``"row"``) and their number."""

    def __init__(self) -> None:
        self.row = 0
        """The last row that this instance was given."""
        self.seq = 0
        """The last event that it was given."""
        self.unsafe: dict[tuple[str, int], float] = {}
        """What the client was given and may still lose, and when it was given."""
        self._given: set[tuple[str, int]] = set()

    def open(self, state: State) -> None:
        """Begin a fresh instance, with what an earlier one has saved."""
        self.row, self.seq = state.get("row", 0), state.get("seq", 0)

    def is_new(self, what: str, seq: int) -> bool:
        """Take in that this instance was given an event; return whether the client was not."""
        self.seq = max(self.seq, seq)
        return (what, seq) not in self._given

    def gave(self, what: str, seq: int, *, safe: bool = False) -> None:
        """Take in that the client was given an event."""
        self._given.add((what, seq))
        if not safe:
            self.unsafe[what, seq] = time.monotonic()

    def has(self, what: str, seq: int) -> bool:
        """Return whether the client was given an event."""
        return (what, seq) in self._given

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
        self._given -= self.unsafe.keys()
        self.unsafe.clear()
