"""What the deliverer needs of the world: it opens no file, waits for nothing and knows no process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from tracking_hooks.delivery.context import Context
from tracking_hooks.events import Action, Missing, State
from tracking_hooks.run.journal import Call, Entry
from tracking_hooks.run.layout import Cursor, SetAside


class Inflight(Struct):
    """What is being given right now; found by the next process if this one dies over it."""

    start: int
    end: int
    """A stretch of the journal, in bytes."""
    events: int = 1
    """How many are in it."""
    deaths: int = 0
    """How often a process has died over it before."""
    late: bool = False
    """Whether it had been set aside."""


class Source(Protocol):
    """Where events come from."""

    def read(self, offset: int, max_calls: int, stop: int | None) -> Sequence[Entry]:
        """Return what comes next, at most up to the offset ``stop``; nothing if there is nothing new."""

    def context(self, offset: int) -> Context:
        """Return what the events before an offset tell of the run."""

    def keeps(self, hook: str, nth: int) -> bool:
        """Whether an event is given that is the n-th of its hook: of a long run, not all are."""

    def arguments(self, call: Call) -> Mapping[str, Any]:
        """Return the arguments of a call as the plugin is to get them.

        :raises Rejected: if the content that was recorded is no more
        """


class Disk(Protocol):
    """What outlives the process."""

    def save_cursor(self, cursor: Cursor) -> None:
        """Replace the cursor."""

    def save_aside(self, events: list[SetAside]) -> None:
        """Replace the list of what is set aside."""

    def note(self, inflight: Inflight) -> None:
        """Note what is being given: to die from now on counts."""

    def clear_note(self) -> None:
        """Take the note back: to die now is nobody's fault."""


class Instance(Protocol):
    """One instance of a plugin, loaded and checked."""

    @property
    def needs_open(self) -> bool:
        """Whether it has an ``open``."""

    @property
    def files_together(self) -> bool:
        """Whether its hooks send nothing, so files are given together, and with other events."""

    def wants(self, hook: str) -> bool:
        """Whether it has anything to do for this event."""

    def open(self, context: Context, state: State) -> None:
        """Call its ``open``."""

    def give(self, call: Call, args: Mapping[str, Any], state: State) -> None:
        """Call the event's hook, and ``on_event``."""

    def flush(self, state: State) -> int | None:
        """Call its ``flush``."""

    def poll(self, state: State) -> Action | None:
        """Call its ``poll``."""

    @property
    def can_report(self) -> bool:
        """Whether it has a ``report_missing``."""

    def report(self, missing: Sequence[Missing], time: float, state: State) -> None:
        """Call its ``report_missing``."""
