"""Which row of W&B's run an event is.

Rows must rise, so an event's number is its step: behind the rows that the run had before, and around those that addenda
have put in between two parts of a training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

_ADDENDA = "tracking_hooks_addenda"

EVENT = "_tracking_hooks_event"
"""In the row of an addendum: whose row it is, and of which event."""


class Addenda(NamedTuple):
    """What the config of a run says of its addenda."""

    steps: list[list[int]]
    """The steps that are theirs: pairs of the first and the last."""
    open_by: str
    """The uid of the one that has opened the run and not ended it; empty: none."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Addenda:
        """Read it from the config."""
        found = config.get(_ADDENDA) or {}
        return cls([list(pair) for pair in found.get("steps", ())], found.get("open_by", ""))

    def config(self) -> dict[str, Any]:
        """Return it as the config's values: all of them, since the client merges a dict into the one that is there."""
        return {_ADDENDA: self._asdict()}

    def with_steps(self, *steps: int) -> Addenda:
        """Return it with more steps."""
        stretches: list[list[int]] = []
        for step in sorted({*steps, *(step for first, last in self.steps for step in range(first, last + 1))}):
            if stretches and stretches[-1][1] == step - 1:
                stretches[-1][1] = step
            else:
                stretches.append([step, step])
        return self._replace(steps=stretches)


class Steps:
    """The steps of a journal's events.

    :param base: the step of the first event, minus one; more than 0 in a run that others have written to
    :param taken: the steps of addenda, in their order
    """

    def __init__(self, base: int = 0, taken: Iterable[Sequence[int]] = ()) -> None:
        self.base = base
        self._taken = [(first, last) for first, last in taken if first > base]

    def of(self, seq: int) -> int:
        """Return the step of an event."""
        step = self.base + seq
        for first, last in self._taken:
            if step >= first:
                step += last - first + 1
        return step

    def event(self, step: int) -> int:
        """Return the last event that is not behind a step."""
        for first, last in reversed(self._taken):
            if step >= first:
                step = max(step - (last - first + 1), first - 1)
        return max(step - self.base, 0)
