"""Asks a plugin what was asked for in its tracker, and passes that on to the training."""

from __future__ import annotations

import copy
import time

import pluggy

from tracking_hooks.events import Action, Destination, Run, State
from tracking_hooks.run import commands
from tracking_hooks.run.commands import Command
from tracking_hooks.run.layout import RunFolder

_EVERY = 5.0
"""Seconds between two calls of ``poll``."""


class Inquiry:
    """Calls ``poll`` every few seconds."""

    def __init__(self, folder: RunFolder, name: str) -> None:
        """Ask for a run.

        :param name: the plugin's, as whose the training is told
        """
        self.is_over = False
        self._folder = folder
        self._name = name
        self._next = 0.0
        self._asked: Action | None = None

    def is_due(self) -> bool:
        """Whether it is time to ask again."""
        return not self.is_over and time.monotonic() >= self._next

    def ask(self, manager: pluggy.PluginManager, run: Run, state: State, destination: Destination) -> None:
        """Ask, and pass on what is new."""
        self._next = time.monotonic() + _EVERY
        if not manager.hook.poll.get_hookimpls():
            self.is_over = True
            return
        action = manager.hook.poll(run=run, state=copy.deepcopy(state), destination=destination)
        if action is not None and action != self._asked:
            commands.send(self._folder.commands, Command(plugin=self._name, action=action))
            self._asked = action
