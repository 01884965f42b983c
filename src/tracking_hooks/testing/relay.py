"""A relay without a process: the deliverer of a real one, between the calls of a test and a disk in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from tracking_hooks.delivery.batches import MOST, PATIENCE
from tracking_hooks.delivery.context import Context
from tracking_hooks.delivery.current import OUTAGE, Down
from tracking_hooks.delivery.deliverer import Deliverer
from tracking_hooks.delivery.ports import Inflight, Instance
from tracking_hooks.events import Action, Missing, Rejected, State
from tracking_hooks.run.journal import Call, Entry
from tracking_hooks.run.layout import Cursor, SetAside
from tracking_hooks.run.plain import check_state
from tracking_hooks.testing.playing import as_read
from tracking_hooks.testing.trouble import Trouble

_IN_VAIN = 2
"""How often in a row nothing happens where nothing is left to do: what waits for a confirmation comes behind it."""


class _Mistake(BaseException):
    """What a plugin has raised that says nothing of its tracker: a relay would set the event aside, a test fails."""


class Memory:
    """What a relay has written down: the deliverer's disk."""

    def __init__(self) -> None:
        self.cursor = Cursor()
        self.aside: list[SetAside] = []

    def save_cursor(self, cursor: Cursor) -> None:
        """Replace the cursor."""
        self.cursor = copy.deepcopy(cursor)

    def save_aside(self, events: list[SetAside]) -> None:
        """Replace the list of what is set aside."""
        self.aside = copy.deepcopy(events)

    def note(self, inflight: Inflight) -> None:
        """Nothing dies here over what it is given."""

    def clear_note(self) -> None:
        """There is none."""


class Calls:
    """What a run has come to: the deliverer's source. The n-th call is the n-th byte."""

    def __init__(self, calls: Sequence[Call], *, batch: int | None = None, without: int | None = None) -> None:
        """Take calls.

        :param batch: how many are given at once
        :param without: the number of one whose content is gone
        """
        self._calls = calls
        self._batch = batch or MOST
        self._without = without

    def read(self, offset: int, max_calls: int, stop: int | None) -> list[Entry]:
        """Return what comes next."""
        end = min(offset + min(max_calls, self._batch), len(self._calls) if stop is None else stop)
        return [Entry(n, n + 1, as_read(self._calls[n]), "") for n in range(offset, end)]

    def context(self, offset: int) -> Context:
        """Return what the calls before an offset tell of the run."""
        context = Context()
        for call in self._calls[:offset]:
            context.coming(call)
            context.passed(call)
        return context

    def keeps(self, *_: object, **__: object) -> bool:
        """Keep each: the run is short."""
        return True

    def arguments(self, call: Call) -> Mapping[str, Any]:
        """Return the arguments of a call."""
        if call.seq == self._without:
            raise Rejected("the test has taken it away")
        return call.args


class Checked:
    """An instance whose mistakes are not set aside, and that is called with what a test has go wrong."""

    def __init__(self, instance: Instance, trouble: Trouble | None) -> None:
        """Take an instance.

        :param trouble: what goes wrong; None: nothing
        """
        self._instance = instance
        self._trouble = trouble
        self._given = 0

    @property
    def needs_open(self) -> bool:
        """Whether it has an ``open``."""
        return self._instance.needs_open

    @property
    def files_together(self) -> bool:
        """Whether it takes several files at once."""
        return self._instance.files_together

    def wants(self, hook: str) -> bool:
        """Whether it has anything to do for this event."""
        return self._instance.wants(hook)

    def open(self, context: Context, state: State) -> None:
        """Call its ``open``."""
        if self._trouble:  # whatever it raises then is a state of the tracker
            with self._trouble.calling():
                return self._instance.open(context, state)
        with self._calling(state):
            return self._instance.open(context, state)

    def give(self, call: Call, args: Mapping[str, Any], state: State) -> None:
        """Call the event's hook, and ``on_event``."""
        self._given = call.seq
        with self._calling(state):
            self._instance.give(call, args, state)

    def flush(self, state: State) -> int | None:
        """Call its ``flush``."""
        if self._trouble:
            self._trouble.flushing(self._given)
        with self._calling(state):
            return self._instance.flush(state)

    def poll(self, state: State) -> Action | None:
        """Call its ``poll``."""
        return self._instance.poll(state)

    @property
    def can_report(self) -> bool:
        """Whether it has a ``report_missing``."""
        return self._instance.can_report

    def report(self, missing: Sequence[Missing], time: float, state: State) -> None:
        """Call its ``report_missing``."""
        with self._calling(state):
            self._instance.report(missing, time, state)

    @contextmanager
    def _calling(self, state: State) -> Iterator[None]:
        try:
            with self._trouble.calling() if self._trouble else nullcontext():
                yield
            check_state(state)
        except (Rejected, *OUTAGE):
            raise
        except Exception as error:
            raise _Mistake from error


def deliver(
    make: Callable[[], Instance], calls: Calls, memory: Memory, *, retry: bool = False, trouble: Trouble | None = None
) -> None:
    """Deliver what there is to what ``make`` returns, until all of it is confirmed or set aside.

    :param memory: where to go on, and where that is written down
    :param retry: try again whatever was set aside
    :param trouble: what goes wrong meanwhile
    :raises Unavailable: or an ``OSError``: the tracker is down
    :raises Exception: a mistake of the plugin's
    """
    deliverer = _deliverer(make, calls, memory, trouble)
    deliverer.shelf.retry(everything=retry)
    now, in_vain = 0.0, 0
    while in_vain < _IN_VAIN:
        try:
            if deliverer.step(now):
                in_vain = 0
                continue
            now += PATIENCE + 1  # nothing is waited for any longer
            in_vain = 0 if deliverer.confirm() else in_vain + 1
        except (Down, _Mistake) as error:
            if not (isinstance(error, Down) and trouble and trouble.explains(error.__cause__)):
                raise (error.__cause__ or error) from None


def report(make: Callable[[], Instance], calls: Calls, memory: Memory, missing: Sequence[Missing], time: float) -> None:
    """Say what is missing of what was delivered.

    :raises Exception: whatever the plugin raises
    """
    try:
        _deliverer(make, calls, memory).report(missing, time)
    except (Down, _Mistake) as error:
        raise (error.__cause__ or error) from None


def _deliverer(make: Callable[[], Instance], calls: Calls, memory: Memory, trouble: Trouble | None = None) -> Deliverer:
    cursor, aside = copy.deepcopy(memory.cursor), copy.deepcopy(memory.aside)
    return Deliverer(calls, memory, lambda: Checked(make(), trouble), cursor=cursor, aside=aside)
