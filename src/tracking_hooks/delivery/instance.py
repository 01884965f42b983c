"""A plugin's instance: its hooks, called under the eyes of the watchdog."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pluggy

from tracking_hooks.delivery.context import Context
from tracking_hooks.delivery.shelf import file_of
from tracking_hooks.events import Action, Destination, Missing, Run, State, Unavailable
from tracking_hooks.run import copies
from tracking_hooks.run.encoding import plain
from tracking_hooks.run.journal import EVENTS, Call

_BYTES_PER_SECOND = 100_000
"""What the slowest line is given credit for: a call with a file may take longer by this."""


class Watch(Protocol):
    """Looks at calls while they are made."""

    def watching(self, what: str, more: float = 0.0) -> AbstractContextManager[None]:
        """Look at what is done within."""


class PluginInstance:
    """One instance of a plugin, for one run."""

    def __init__(
        self, name: str, manager: pluggy.PluginManager, run: Run, destination: Destination, watchdog: Watch
    ) -> None:
        """Wrap an instance that is loaded and checked.

        :param name: the plugin's, for messages
        :param manager: holds this instance alone
        """
        self._name = name
        self._hooks = manager.hook
        self.files_together = any(getattr(plugin, "files_together", False) for plugin in manager.get_plugins())
        self._about = {"run": run, "destination": destination}
        self._watchdog = watchdog
        self._files: list[tuple[Mapping[str, Any], tuple[int, int, int]]] = []  # given, and not flushed
        self._more = 0.0  # seconds that their transfer may take

    @property
    def needs_open(self) -> bool:
        """Whether it has an ``open``."""
        return bool(self._hooks.open.get_hookimpls())

    def wants(self, hook: str) -> bool:
        """Whether it has anything to do for this event."""
        own = getattr(self._hooks, hook).get_hookimpls() if hook in EVENTS else []
        return bool(own or self._hooks.on_event.get_hookimpls())

    def open(self, context: Context, state: State) -> None:
        """Call its ``open``."""
        with self._watchdog.watching(f"{self._name}, open"):
            self._hooks.open(**context.arguments(), **self._about, state=state)

    def give(self, call: Call, args: Mapping[str, Any], state: State) -> None:
        """Call the event's hook, and ``on_event``."""
        file, before = file_of(call), _identity(args)
        more = (file.size or 0) / _BYTES_PER_SECOND if file else 0.0
        self._more += more
        about = {**self._about, "state": state, "time": call.time, "seq": call.seq}
        with self._watchdog.watching(f"{self._name}, {call.hook}", more):
            if call.hook in EVENTS:
                getattr(self._hooks, call.hook)(**args, **about)
            if self._hooks.on_event.get_hookimpls():
                self._hooks.on_event(hook=call.hook, args=plain(args), **about)
        if before:
            self._files.append((args, before))

    def flush(self, state: State) -> int | None:
        """Call its ``flush``.

        :raises TypeError: if the answer is neither a number nor None
        """
        with self._watchdog.watching(f"{self._name}, flush", self._more):
            answer = self._hooks.flush(**self._about, state=state)
        files, self._files, self._more = self._files, [], 0.0
        if any(_identity(args) not in (before, None) for args, before in files):
            # A later training writes into the same folder.
            raise Unavailable("a file was replaced while it was delivered: it is given again", only_this_run=True)
        if answer is not None and type(answer) is not int:
            raise TypeError(f"flush returned {answer!r}, which is neither the number of an event nor None")
        return answer

    def poll(self, state: State) -> Action | None:
        """Call its ``poll``."""
        with self._watchdog.watching(f"{self._name}, poll"):
            action: Action | None = self._hooks.poll(**self._about, state=copy.deepcopy(state))
        return action

    @property
    def can_report(self) -> bool:
        """Whether it has a ``report_missing``."""
        return bool(self._hooks.report_missing.get_hookimpls())

    def report(self, missing: Sequence[Missing], time: float, state: State) -> None:
        """Call its ``report_missing``."""
        with self._watchdog.watching(f"{self._name}, report_missing"):
            self._hooks.report_missing(**self._about, missing=list(missing), time=time, state=state)


def _identity(args: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Return what tells a final file from what is put or written in its place; None if there is none."""
    try:
        found = file.path.stat() if (file := copies.of_call(args)) else None
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found else None
