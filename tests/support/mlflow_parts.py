"""Plays a run to both parts of the MLflow plugin, as its two relays do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any

from tracking_hooks.events import Destination, Rejected, Run, State
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import play
from tracking_hooks_mlflow.files import MLflowFiles
from tracking_hooks_mlflow.tracker import MLflowTracker


def play_to_mlflow(
    calls: Iterable[Call],
    run: Run,
    *,
    destination: Destination,
    state: State | None = None,
    before: Iterable[Call] = (),
    **options: Any,
) -> State:
    """Play calls to both parts, to the one that makes the run first.

    :param state: what an earlier call returned
    :param before: the calls that earlier instances were given
    :param options: more parameters of ``play``
    :returns: the state of the first part, with that of the other as ``"files"``
    """
    calls, before = list(calls), list(before)
    state = {} if state is None else state
    files = state.pop("files", {})
    common = {"destination": destination, "before": before, **options}
    try:
        play(MLflowTracker(), calls, run, state=state, **common)
        play(MLflowFiles(), calls, run, state=files, **common)
    finally:
        state["files"] = files
    return state


class Relay:
    """Delivers to one part event by event, each to a fresh instance: what is refused is set aside."""

    def __init__(self, part: type, run: Run, destination: Destination) -> None:
        self.state: State = {}
        self.given: list[Call] = []
        self.set_aside: list[tuple[Call, Rejected]] = []
        self._part = part
        self._run = run
        self._destination = destination

    def deliver(self, calls: Sequence[Call]) -> None:
        """Deliver calls; what an exception other than ``Rejected`` stops can be delivered again."""
        for call in calls:
            state = deepcopy(self.state)
            try:
                play(self._part(), [call], self._run, destination=self._destination, state=state, before=self.given)
            except Rejected as error:
                self.set_aside.append((call, error))
            else:
                self.state = state
            self.given.append(call)

    def retry(self) -> None:
        """Deliver again what was set aside."""
        again, self.set_aside = self.set_aside, []
        self.deliver([call for call, _ in again])
