"""A tracker, and relays that die when a test wants it."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from tracking_hooks import plugins
from tracking_hooks.delivery.instance import PluginInstance
from tracking_hooks.events import Destination, Missing, Rejected, State
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import relay
from tracking_hooks.testing.playing import Player, as_read, instance
from tracking_hooks.testing.recordings import Recorded
from tracking_hooks.testing.relay import Calls, Memory
from tracking_hooks.testing.trouble import Trouble


class Tracker:
    """A tracker of its own, with a run that is delivered to it by relays that live as long as a test wants."""

    def __init__(
        self,
        parts: Sequence[str],
        destination: Destination,
        observe: Callable[[Destination], list[Any]],
        restart: Callable[[], None],
        recorded: Recorded,
    ) -> None:
        """Take a run that was not delivered.

        :param restart: is called before each process
        :param parts: the parts of the plugin, as entry points or as ``package.module:Class``, the first one first
        """
        self.destination = destination
        self._run, self.calls = recorded
        self._parts = parts
        self._observe = observe
        self._restart = restart
        self._memories = {part: Memory() for part in parts}

    def observe(self) -> list[Any]:
        """Return what a reader sees, as JSON gives it back."""
        found = self._observe(copy.deepcopy(self.destination))
        assert isinstance(found, list), "observe returns a list, with an element for each run"
        content: list[Any] = json.loads(json.dumps(found, sort_keys=True, default=str))
        return content

    def name(self, number: int) -> str:
        """Return an event's name for a message."""
        call = self.calls[number - 1]
        artifact = call.args.get("artifact")
        return f"event {number}, {call.hook}" + (f" {artifact.name}" if artifact else "")

    def deliver(
        self,
        *parts: str,
        upto: int | None = None,
        batch: int | None = None,
        without: int | None = None,
        retry: bool = False,
        trouble: Trouble | None = None,
    ) -> None:
        """Have fresh processes of these parts, or of all, go on.

        :param upto: the number of the last event that there is
        :param batch: how many events are given before a flush; None: as many as a relay gives
        :param without: the number of an event that is set aside
        :param retry: try again what was set aside
        :param trouble: what goes wrong meanwhile
        """
        for part in parts or self._parts:
            self._restart()
            calls = Calls(self.calls[:upto], batch=batch, without=without)
            make = functools.partial(self._instance, part)
            relay.deliver(make, calls, self._memories[part], retry=retry, trouble=trouble)

    def deliver_before(self, part: str) -> None:
        """Have the parts in front of this one deliver everything: it relies on the run that the first one makes."""
        if before := self._parts[: self._parts.index(part)]:
            self.deliver(*before)

    def report(self, missing: Sequence[Missing], time: float) -> None:
        """Have fresh processes of all parts say what is missing."""
        for part in self._parts:
            self._restart()
            make = functools.partial(self._instance, part)
            relay.report(make, Calls(self.calls), self._memories[part], missing, time)

    def forget(self) -> None:
        """Forget what was delivered, and the state that the plugin has kept."""
        self._memories = {part: Memory() for part in self._parts}

    def die(self, part: str, upto: int) -> None:
        """Give an instance events up to this one; it dies when it has sent them, before that is noted down.

        What is kept is the state that its ``open`` has left.
        """
        cursor = self._memories[part].cursor
        calls = self.calls[cursor.offset : upto]
        if not calls:
            return
        state = copy.deepcopy(cursor.state)
        player = self._player(part, state, self.calls[: cursor.offset])
        player.open(as_read(calls[0]))
        cursor.state = copy.deepcopy(state)
        with suppress(Rejected):
            for call in calls:
                player.give(as_read(call))
            player.flush()

    def die_opening(self, part: str) -> None:
        """Open an instance that dies before its state is saved."""
        self._player(part, {}, []).open(as_read(self.calls[0]))

    def _player(self, part: str, state: State, before: Sequence[Call]) -> Player:
        self._restart()
        return Player(self._instance(part), state, before)

    def _instance(self, part: str) -> PluginInstance:
        return instance(plugins.load(part), self._run, copy.deepcopy(self.destination))
