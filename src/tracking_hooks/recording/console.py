"""Records the trainer's log: the lines of one thread, without secrets and terminal colours."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections import deque
from pathlib import Path

from tracking_hooks import redact
from tracking_hooks.run import portable

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LONGEST = 4000  # characters
_MOST = 2000
"""Lines held until they are taken; older lines are in the file only."""


class ConsoleLog(logging.Handler):
    """Follows a logger for one run: writes its lines to a file and holds them for ``take``.

    Progress bars are not recorded, since they bypass the logger.
    """

    def __init__(self, path: Path) -> None:
        """Follow the log of the calling thread.

        :raises OSError: if the file cannot be written
        """
        super().__init__(logging.INFO)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = portable.append_to(path)
        self._thread = threading.get_ident()
        self._lines: deque[str] = deque(maxlen=_MOST)

    def emit(self, record: logging.LogRecord) -> None:
        """Add the lines of a log record."""
        if record.thread != self._thread or self._fd < 0:
            return
        try:
            text = redact.text(_COLOURS.sub("", record.getMessage()))
            lines = [line.rstrip()[:_LONGEST] for line in text.splitlines()]
            os.write(self._fd, "".join(f"{line}\n" for line in lines).encode(errors="replace"))
            self._lines.extend(lines)
        except Exception:  # noqa: BLE001 a log line is no reason to disturb a training
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 logging's own name
        """Drop the line: reporting the error would log again."""

    def take(self) -> list[str]:
        """Return the lines since the last call."""
        fresh: deque[str] = deque(maxlen=_MOST)
        assert self.lock
        with self.lock:  # `emit` is called with it held; `acquire()` could be interrupted behind it
            lines, self._lines = self._lines, fresh
        return list(lines)

    def end(self) -> None:
        """Close the file; later log lines are ignored."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        super().close()

    def close(self) -> None:
        """Go on: ``logging.config.dictConfig``, as an import of MLflow calls it, closes the handlers of all loggers."""
