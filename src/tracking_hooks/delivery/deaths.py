"""Remembers what a relay's process died over, so that the next one finds the culprit."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from msgspec import Struct

from tracking_hooks.run.journal import Entry
from tracking_hooks.run.layout import RelayFolder, read_json, write_json
from tracking_hooks.run.liveness import this_boot

logger = logging.getLogger(__name__)

_TOO_MANY = 3
_BATCH_CALLS = (2000, 50, 1)
"""Largest batch after so many deaths over one batch."""


class Inflight(Struct):
    """What a relay is about to deliver; left behind if it dies over it."""

    start: int
    end: int
    deaths: int = 0
    boot: str = ""


class Deaths:
    """How often relays of one plugin have died over what comes next."""

    def __init__(self, files: RelayFolder) -> None:
        self._note = files.inflight
        self._count = 0
        self._suspect_until = 0

    def look(self, offset: int) -> None:
        """See whether an earlier relay died over what comes next; if so, go on a few events at a time.

        :param offset: of the journal, in bytes: what comes next
        """
        left = read_json(self._note, Inflight)
        if left and left.start == offset and left.boot == this_boot():  # else the machine went down
            self._count = left.deaths + 1
            self._suspect_until = left.end
            logger.warning("an earlier relay died while delivering bytes %d to %d", left.start, left.end)

    def batch_calls(self, offset: int) -> int:
        """Return how many calls to deliver at once: few where an earlier relay died, to find the culprit."""
        if offset >= self._suspect_until:
            self._count = 0
        return _BATCH_CALLS[min(self._count, len(_BATCH_CALLS) - 1)]

    def verdict(self) -> str:
        """Return why what comes next is not tried again; empty if it is."""
        return f"the relay process died {self._count} times at this event" if self._count >= _TOO_MANY else ""

    def note(self, entries: Sequence[Entry]) -> None:
        """Note what is being delivered now: to die from now on counts.

        :raises OSError: if it cannot be written
        """
        write_json(self._note, Inflight(entries[0].start, entries[-1].end, self._count, this_boot()))

    def clear(self) -> None:
        """Take it back: to die now is nobody's fault."""
        self._note.unlink(missing_ok=True)
