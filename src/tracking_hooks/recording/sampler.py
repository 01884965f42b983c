"""Records, every few seconds and from a thread of its own, what the machine does and what the trainer logs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from tracking_hooks.recording.complaints import Complaints, describe
from tracking_hooks.recording.console import ConsoleLog
from tracking_hooks.recording.system import SystemMonitor


class Sampler:
    """System metrics, and the lines of the console."""

    def __init__(self, record: Callable[..., None], complain: Complaints, every: float) -> None:
        """Make a sampler that is at rest.

        :param every: seconds; 0: no system metrics
        """
        self._record = record
        self._complain = complain
        self._every = every
        self._stopped = threading.Event()
        self.records = False
        """Whether the run has begun, so that lines of the console can be recorded."""
        self._console: ConsoleLog | None = None
        self._logger: logging.Logger | None = None

    def follow(self, logger: logging.Logger, path: Path) -> None:
        """Note down what the calling thread logs, from now on.

        :param path: the file that it goes to, too
        :raises OSError: if that cannot be written
        """
        self._console, self._logger = ConsoleLog(path), logger
        logger.addHandler(self._console)

    def start(self) -> None:
        """Begin to sample system metrics."""
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
            self._console.close()
            self._console = None

    def _run(self) -> None:
        monitor: SystemMonitor | None = None
        while not self._stopped.wait(self._every):
            try:
                monitor = monitor or SystemMonitor()
                metrics = monitor.sample()
            except Exception as error:  # noqa: BLE001 whatever the machine refuses, the training goes on
                self._complain(f"system metrics are left out: {describe(error)}")
                metrics = {}  # still a sign of life
            self._record("on_system_metrics", metrics=metrics)
            self._complain.guard(self.record_console, "recording the console")
