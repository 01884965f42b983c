"""Plays recorded calls to a plugin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

import pluggy

from tracking_hooks import plugins
from tracking_hooks.delivery.context import Context
from tracking_hooks.delivery.instance import PluginInstance
from tracking_hooks.events import Action, Destination, Missing, Run, State
from tracking_hooks.hookspecs import LifecycleSpecs
from tracking_hooks.run import lines
from tracking_hooks.run.journal import Call
from tracking_hooks.run.plain import check_state
from tracking_hooks.testing.scribe import STARTED


def as_read(call: Call) -> Call:
    """Return a call as it comes back from a journal, which is how a relay has it.

    :raises ValueError: a journal could not give it back, as with a status that there is not
    """
    read, damage = lines.parse(lines.line(call.seq, call.time, call.hook, call.args))
    if read is None:
        raise ValueError(f"{call.hook} {call.seq}: {damage}")
    return read


class _Unwatched:
    """Lets a call take as long as it takes."""

    def watching(self, *_: object, **__: object) -> AbstractContextManager[None]:
        """Look at nothing."""
        return nullcontext()


def instance(manager: pluggy.PluginManager, run: Run, destination: Destination) -> PluginInstance:
    """Return an instance as a relay has it.

    :param manager: holds it alone
    """
    return PluginInstance("plugin", manager, run, destination, _Unwatched())


class Player:
    """One instance of a plugin, which is given calls as a relay gives them."""

    def __init__(self, instance: PluginInstance, state: State, before: Iterable[Call]) -> None:
        """Take a fresh instance.

        :param before: the calls that an earlier instance was given
        """
        self._instance = instance
        self._state = state
        self._context = Context()
        self._is_open = False
        for call in before:
            self._context.coming(call)
            self._context.passed(call)

    def open(self, coming: Call | None = None) -> None:
        """Open the instance, if it was not.

        :param coming: the event that comes next
        """
        if not self._is_open:
            if coming:
                self._context.coming(coming)
            self._instance.open(self._context, self._state)
            check_state(self._state)
            self._is_open = True

    def give(self, call: Call) -> None:
        """Give one event."""
        self.open(call)
        self._instance.give(call, call.args, self._state)

    def flush(self) -> None:
        """Have what was given sent."""
        if self._is_open:
            self._instance.flush(self._state)
            check_state(self._state)

    def report(self, missing: Sequence[Missing], time: float) -> None:
        """Have it say what is missing."""
        self.open()
        self._instance.report(missing, time, self._state)
        self.flush()


def play(
    plugin: object,
    calls: Iterable[Call],
    run: Run,
    *,
    destination: Destination | None = None,
    state: State | None = None,
    before: Iterable[Call] = (),
    batch: int | None = None,
    flush: bool = True,
    missing: Sequence[Missing] | None = None,
) -> State:
    """Deliver calls to a plugin as a relay does, by way of the journal's encoding, without catching exceptions.

    :param plugin: a fresh instance with ``@hookimpl`` methods: it is opened before the first call
    :param run: the run of these calls: ``sample_run(folder)`` for those of ``recorded_run(folder)``
    :param destination: what the plugin's ``capture`` would have returned
    :param state: what an earlier ``play`` returned, to continue after a restart
    :param before: the calls that an earlier instance was given, which ``open`` is told of
    :param batch: after how many calls to flush; None: at the end only
    :param flush: whether to flush at the end, as a relay does after each batch
    :param missing: what the plugin is told behind these calls, by ``report_missing``
    :returns: the plugin's state
    :raises ConfigurationError: what ``tracking-hooks plugins`` would say of the plugin
    :raises ValueError: a journal could not give a call back
    :raises TypeError: the state is not what JSON gives back equal
    """
    state = {} if state is None else state
    manager = plugins.check(type(plugin).__name__, plugin, LifecycleSpecs)
    player = Player(instance(manager, run, destination or {}), state, before)
    for number, call in enumerate(calls, 1):
        player.give(as_read(call))
        if batch and number % batch == 0:
            player.flush()
    if flush:
        player.flush()
    if missing is not None:
        player.report(missing, STARTED + 1000)
    return state


def poll(
    plugin: object, run: Run, *, destination: Destination | None = None, state: State | None = None
) -> Action | None:
    """Ask a plugin what was asked for in its tracker, as a relay does between two events.

    :param plugin: an instance: a fresh one, which is not opened for it, or one that ``play`` has given calls to
    :param state: what ``play`` returned; the plugin gets a copy of it
    :returns: what a training would be asked to do
    :raises ConfigurationError: what ``tracking-hooks plugins`` would say of the plugin
    :raises TypeError: what it returned is no action
    """
    manager = plugins.check(type(plugin).__name__, plugin, LifecycleSpecs)
    action = instance(manager, run, destination or {}).poll(state or {})
    if action is not None and not isinstance(action, Action):
        raise TypeError(f"poll returned {action!r}, which is neither an action nor None")
    return action
