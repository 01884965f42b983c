"""Ends a relay's process when one of the plugin's calls does not return: nothing else can. Until then, it is alive."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tracking_hooks.delivery.spawn import HANGING
from tracking_hooks.run.liveness import Heart

logger = logging.getLogger(__name__)


class Watchdog:
    """Looks from a thread of its own at the call that is being made."""

    def __init__(self, timeout: float, heart: Heart | None = None) -> None:
        """Make a watchdog that is at rest.

        :param timeout: seconds that a call may take
        :param heart: beats for this process
        """
        self._heart = heart
        self._timeout = timeout
        self._call: tuple[str, float] | None = None

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """End the process if what is done within takes too long.

        :param what: the call, for the log
        """
        self._call = (what, time.monotonic())
        try:
            yield
        finally:
            self._call = None

    def _run(self) -> None:
        while True:
            if self._heart:
                self._heart.beat()
            time.sleep(min(1.0, self._timeout / 4))
            call = self._call
            if call and time.monotonic() - call[1] > self._timeout:
                logger.error("%s has not returned for %.0f s: this relay ends itself", call[0], self._timeout)
                os._exit(HANGING)
