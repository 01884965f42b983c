"""Ends a relay's process when one of the plugin's calls does not return: nothing else can. Until then, it is alive."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tracking_hooks.delivery.spawn import HANGING
from tracking_hooks.run.liveness import Heart

logger = logging.getLogger(__name__)


class Watchdog:
    """Looks from a thread of its own at the call that is being made."""

    def __init__(self, timeout: float, at_last: Callable[[str], None], heart: Heart) -> None:
        """Make a watchdog that is at rest.

        :param timeout: seconds that a call may take
        :param at_last: called with a sentence before the process is ended
        :param heart: beats for this process
        """
        self._heart = heart
        self._timeout = timeout
        self._at_last = at_last
        self._call: tuple[str, float] | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to look, and to give signs of life."""
        self._heart.beat()
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no longer."""
        self._stopped.set()

    @contextmanager
    def watching(self, what: str, more: float = 0.0) -> Iterator[None]:
        """End the process if what is done within takes too long.

        :param what: the call, for the log
        :param more: seconds that it may take on top
        """
        self._call = (what, time.monotonic() + self._timeout + more)
        try:
            yield
        finally:
            self._call = None

    def _run(self) -> None:
        while not self._stopped.wait(min(1.0, self._timeout / 4)):
            self._heart.beat()
            call = self._call
            if call and time.monotonic() > call[1]:
                sentence = f"{call[0]} has not returned for {self._timeout:.0f} s or more"
                logger.error("%s: this relay ends itself", sentence)
                self._at_last(sentence)
                os._exit(HANGING)
