"""Asks a plugin what was asked for in its tracker, and passes that on to the training."""

from __future__ import annotations

import logging
import time

from tracking_hooks.delivery.ports import Instance
from tracking_hooks.events import Action, State, Unavailable
from tracking_hooks.run import commands
from tracking_hooks.run.commands import Command
from tracking_hooks.run.layout import RunFolder

logger = logging.getLogger("tracking_hooks.delivery.relay")

_EVERY = 5.0
"""Seconds between two calls of ``poll``."""


class Inquiry:
    """Calls ``poll`` every few seconds, as long as the training runs."""

    def __init__(self, folder: RunFolder, name: str) -> None:
        """Ask for a run.

        :param name: the plugin's, as whose the training is told
        """
        self.is_on = False
        self._folder = folder
        self._name = name
        self._next = 0.0
        self._asked: Action | None = None

    def ask(self, instance: Instance, state: State) -> None:
        """Ask if it is time to, and pass on what is new. Never raises."""
        if not self.is_on or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY
        try:
            action = instance.poll(state)
            if action is not None and action != self._asked:
                commands.send(self._folder.commands, Command(plugin=self._name, action=action))
                self._asked = action
        except (Unavailable, OSError) as error:  # the next event tells of it
            logger.debug("poll: %s", error)
        except Exception:
            self._next = float("inf")
            logger.exception("plugin %r failed in poll, and is not asked any more in this run", self._name)
