"""Reads a journal that another machine is writing.

On a network file system, parts of a file may arrive in any order: until the rest is there, a reader sees zeros. A
damaged line near the end of such a journal is looked at again for a while before it counts as damaged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from tracking_hooks.run import journal, liveness
from tracking_hooks.run.journal import DAMAGED, Entry

_PATIENCE = 60.0
"""Seconds in which what another machine has written arrives here."""
_NEAR = 1 << 20
"""Bytes behind a damaged line from which on nothing more will arrive for it."""


class Tail:
    """The reading end of a journal that grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._damaged_at = -1  # offset in bytes
        self._until = -math.inf

    def read(
        self, offset: int, *, written_elsewhere: bool, max_calls: int | None = None, max_bytes: int | None = None
    ) -> Iterator[Entry]:
        """Read as ``journal.read`` does, but only up to a damaged line that may still become whole.

        :param written_elsewhere: whether a living process of another machine writes it
        """
        for entry in journal.read(self._path, offset, max_calls=max_calls, max_bytes=max_bytes):
            if written_elsewhere and entry.damage == DAMAGED and self._may_become_whole(entry):
                return
            yield entry

    def _may_become_whole(self, entry: Entry) -> bool:
        if self._path.stat().st_size - entry.end > _NEAR:
            return False
        if entry.start != self._damaged_at:
            self._damaged_at, self._until = entry.start, liveness.clock() + _PATIENCE
        return liveness.clock() < self._until
