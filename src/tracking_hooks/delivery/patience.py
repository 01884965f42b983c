"""How long a tracker that is down is waited for, and when it is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable

_FIRST, _LONGEST = 0.5, 15.0


class Patience:
    """Counts the tries since something was last delivered."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin.

        :param clock: seconds of a clock that only goes forward
        """
        self._clock = clock
        self._tries = 0
        self._since = clock()

    @property
    def waited(self) -> float:
        """Seconds since something was last delivered, or somebody was there who records more."""
        return self._clock() - self._since

    def note_progress(self) -> None:
        """Something was delivered."""
        self._tries = 0
        self._since = self._clock()

    def hold(self) -> None:
        """The time does not count: the training goes on."""
        self._since = self._clock()

    def pause(self) -> float:
        """Return the seconds until the next try: longer each time."""
        self._tries += 1
        longest = min(_LONGEST, _FIRST * 2 ** (self._tries - 1))
        return float(longest + random.uniform(0, min(1.0, longest)))  # noqa: S311 many relays do not come all at once
