"""What a relay says of itself: ready, refused, or that its tracker is down."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import Literal

from tracking_hooks import redact
from tracking_hooks.run.layout import Health, RelayFolder, write_json

logger = logging.getLogger(__name__)


class Condition:
    """Kept in a file, for the training process and for ``status``."""

    def __init__(self, name: str, files: RelayFolder) -> None:
        self.was_down = False
        self._name = name
        self._files = files
        self._is_down = False
        self._said = ""

    def say(self, state: Literal["ready", "refused", "down"], error: str = "", **about: bool) -> None:
        """Write it down.

        :param about: what else ``Health`` has of one that is down
        """
        health = Health(state=state, pid=os.getpid(), error=redact.text(error), **about)
        with suppress(OSError):  # a full disk does not keep a relay from delivering
            write_json(self._files.health, health)

    def note_outage(self, error: Exception) -> None:
        """Say that the tracker is down and why; each time, since it was tried again."""
        if self._said != str(error):
            self._is_down, self._said = True, str(error)
            logger.warning("%s is down, trying again until it is back: %s", self._name, error)
        about = {name: getattr(error, name, False) for name in ("only_this_run", "is_of_code")}
        self.say("down", str(error), **about)

    def note_recovery(self) -> None:
        """Say that the tracker is back, if it was down."""
        if self._is_down:
            self._is_down, self._said = False, ""
            self.was_down = True
            logger.warning("%s is back", self._name)
            self.say("ready")
