"""Which row of W&B's run an event is.

Rows must rise, so an event's number is its step: behind the rows that the run had before, and around those that addenda
have put in between two parts of a training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

ADDENDA = "tracking_hooks_addenda"
"""The config value that says which steps are those of addenda: pairs of the first and the last."""


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


def with_step(taken: Iterable[Sequence[int]], step: int) -> list[list[int]]:
    """Return the steps of addenda with one more, the last."""
    known = [list(pair) for pair in taken]
    if known and known[-1][1] == step - 1:
        known[-1][1] = step
    else:
        known.append([step, step])
    return known
