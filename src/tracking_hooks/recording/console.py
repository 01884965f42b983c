"""The trainer's log: the lines of one thread, without secrets and without the colours of a terminal."""

from __future__ import annotations

import logging
import os
import re
import threading
from pathlib import Path

from tracking_hooks import redact

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LONGEST = 4000  # characters
_MOST = 2000
"""Lines kept until they are taken; older ones are in the file only."""


class ConsoleLog(logging.Handler):
    """Follows a logger for one run: to a file, and to whoever takes the lines.

    Progress bars are not in it, since they are written past the logger.
    """

    def __init__(self, path: Path) -> None:
        """Follow what the calling thread logs.

        :raises OSError: if the file cannot be written
        """
        super().__init__(logging.INFO)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._thread = threading.get_ident()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note down the lines of a record."""
        if record.thread != self._thread or self._fd < 0:
            return
        try:
            text = redact.text(_COLOURS.sub("", record.getMessage()))
            lines = [line.rstrip()[:_LONGEST] for line in text.splitlines()]
            os.write(self._fd, "".join(f"{line}\n" for line in lines).encode(errors="replace"))
            self._lines = [*self._lines, *lines][-_MOST:]
        except Exception:  # noqa: BLE001 a log line is no reason to disturb a training
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 logging's own name
        """Leave the line out: to report it would mean to log it."""

    def take(self) -> list[str]:
        """Return the lines since the last call."""
        self.acquire()  # `emit` is called with the lock held
        try:
            lines, self._lines = self._lines, []
        finally:
            self.release()
        return lines

    def close(self) -> None:
        """Close the file; what is logged later is ignored."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        super().close()
