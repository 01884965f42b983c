"""Records, every few seconds and from a thread of its own, what the machine does and what the trainer logs.

A thread more gives the signs of life, whatever is recorded, and however long it takes to ask a driver.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from tracking_hooks.recording.complaints import Complaints, describe
from tracking_hooks.recording.console import ConsoleLog
from tracking_hooks.recording.system import SystemMonitor
from tracking_hooks.run.layout import CONSOLE

_LOOK = 5.0
"""Seconds until the heart is asked to beat again, which it does when it is due."""


class _Stop:
    """What ends the threads. An interrupt in ``threading.Event.set`` would leave it locked for ever."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Let nobody wait any longer."""
        with suppress(RuntimeError):  # it is free already
            self._lock.release()

    def wait(self, seconds: float) -> bool:
        """Wait for so long; return whether it was ended."""
        was_set = self._lock.acquire(timeout=seconds)
        if was_set:
            self.set()  # for the next one who waits
        return was_set


class Beating(Protocol):
    """What gives the signs of life."""

    def beat(self) -> None:
        """Give one if it is due. Never raises."""


class Sampler:
    """System metrics, the lines of the console, and the signs of life."""

    def __init__(self, record: Callable[..., None], complain: Complaints, every: float, heart: Beating) -> None:
        """Make a sampler that is at rest.

        :param every: seconds; 0: no system metrics
        :param heart: beats for the process that records the run
        """
        self._heart = heart
        self._record = record
        self._complain = complain
        self._every = every
        self._stopped = _Stop()
        self.records = False
        """Whether the run has begun, so that lines of the console can be recorded."""
        self._monitored: dict[str, Any] = {}
        self._console: ConsoleLog | None = None
        self._logger: logging.Logger | None = None

    def follow(self, logger: logging.Logger, files: Path) -> None:
        """Note down what the calling thread logs, from now on.

        :param files: the run's own copies; it goes to a file there, too
        :raises OSError: if that cannot be written
        """
        self._console, self._logger = ConsoleLog(files / CONSOLE), logger
        logger.addHandler(self._console)

    def live(self) -> None:
        """Begin to give signs of life."""
        threading.Thread(target=self._live, name="tracking-hooks-heart", daemon=True).start()

    def start(self, gpus: Sequence[str] | None = None) -> None:
        """Begin to sample system metrics.

        :param gpus: the devices that the training uses, as ``Gpus`` takes them; None: not known
        """
        self._monitored = {} if gpus is None else {"gpus": gpus}
        if self._every:
            threading.Thread(target=self._run, name="tracking-hooks-system", daemon=True).start()

    def stop(self) -> None:
        """Record nothing more."""
        self._stopped.set()
        self.close_console()

    def record_console(self) -> None:
        """Record the lines since the last call."""
        console = self._console
        if console and self.records and (lines := console.take()):
            self._record("on_console", lines=lines)

    def close_console(self) -> None:
        """Record the last lines, and follow the log no more."""
        if self._console and self._logger:
            self._logger.removeHandler(self._console)
            self.record_console()
            self._console.end()
            self._console = None

    def _live(self) -> None:
        while not self._stopped.wait(_LOOK):
            self._heart.beat()

    def _run(self) -> None:
        monitor: SystemMonitor | None = None
        while not self._stopped.wait(self._every):
            try:
                monitor = monitor or SystemMonitor(**self._monitored)
                metrics = monitor.sample()
                self._complain.each(monitor.remarks)
            except Exception as error:  # noqa: BLE001 whatever the machine refuses, the training goes on
                self._complain(f"system metrics are left out: {describe(error)}")
                metrics = {}
            self._record("on_system_metrics", metrics=metrics)
            self._complain.guard(self.record_console, "recording the console")
