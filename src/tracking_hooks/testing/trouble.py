"""What a test has go wrong while a plugin is called: its tracker goes away, or a call to the system fails."""

from __future__ import annotations

import errno
import functools
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from tracking_hooks.events import Unavailable

_OUTAGES = 2
"""How often the tracker goes away behind the same event."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND


class Trouble(Protocol):
    """What goes wrong."""

    def calling(self) -> AbstractContextManager[None]:
        """Have a call of the plugin be made within."""

    def flushing(self, given: int) -> None:
        """Be told that ``flush`` comes next, and the number of the event before."""

    def explains(self, error: BaseException | None, /) -> bool:
        """Return whether an outage came of it."""


class Gone(Unavailable):
    """The test has taken the tracker away."""


class Outages:
    """The tracker goes away before each flush, twice."""

    def __init__(self) -> None:
        """Take nothing away yet."""
        self._behind: Counter[int] = Counter()

    def calling(self) -> AbstractContextManager[None]:
        """Change nothing."""
        return nullcontext()

    def flushing(self, given: int) -> None:
        """Take the tracker away."""
        if self._behind[given] < _OUTAGES:
            self._behind[given] += 1
            raise Gone

    def explains(self, error: BaseException | None) -> bool:
        """Return whether the tracker was taken away."""
        return isinstance(error, Gone)


class Faults:
    """Calls to the system fail: to open a file for writing, to rename one, to connect.

    The first one fails, the third, the sixth, the tenth: each stretch that works is longer than the one before, so what
    is tried again succeeds in the end. Only calls of the plugin's own thread are counted.
    """

    def __init__(self, stride: int = 1) -> None:
        """Let nothing fail yet.

        :param stride: by how much each stretch is longer
        """
        self._calls, self._next, self._gap, self._stride = 0, 1, 1, stride
        self._unexplained = 0

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Have calls to the system fail within."""
        _listen()
        _active.faults = self
        try:
            yield
        finally:
            _active.faults = None

    def flushing(self, given: int) -> None:
        """Change nothing."""

    def explains(self, _: BaseException | None) -> bool:
        """Return whether a call has failed since this was asked the last time."""
        failed, self._unexplained = self._unexplained, 0
        return bool(failed)

    def happens(self) -> None:
        """Count a call, and have it fail if it is its turn."""
        self._calls += 1
        if self._calls == self._next:
            self._gap += self._stride
            self._next += self._gap
            self._unexplained += 1
            raise OSError(errno.EIO, "the test has this call fail")


_active = threading.local()


@functools.cache
def _listen() -> None:
    """Hear of each call to the system from now on: an audit hook cannot be taken away again."""
    sys.addaudithook(_heard)


def _heard(event: str, args: tuple[Any, ...]) -> None:
    faults: Faults | None = getattr(_active, "faults", None)
    if faults and (event in {"os.rename", "socket.connect"} or (event == "open" and args[2] & _WRITING)):
        faults.happens()
