"""Whether a metric gets better."""

from __future__ import annotations

import math
import re
from typing import Literal

from tracking_hooks.events import Metrics

Mode = Literal["auto", "min", "max"]

_TO_MINIMISE = re.compile(r"loss|error|time|memory|_ms\b", re.IGNORECASE)


def sign(metric: str, mode: str) -> float:
    """Return 1 if more of a metric is better, -1 if less is.

    :param mode: "min", "max", or "auto": less of what is named a loss, an error, a time or memory, more of all else
    :raises ValueError: if it is another word
    """
    if mode not in ("auto", "min", "max"):
        raise ValueError(f"mode={mode!r}: it is 'min', 'max' or 'auto'")
    if mode == "auto":
        mode = "min" if _TO_MINIMISE.search(metric) else "max"
    return 1.0 if mode == "max" else -1.0


def at_least(name: str, value: float, least: float) -> None:
    """Check an option that is a number.

    :raises ValueError: naming it and its limit
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name}={value!r}: it is a number")  # noqa: TRY004 all mistakes of an option are the same
    if not value >= least:
        raise ValueError(f"{name}={value!r}: it is at least {least}")


class Plateau:
    """Counts the epochs since a metric was last better than ever before."""

    def __init__(self, metric: str, min_delta: float, mode: str, warmup: int) -> None:
        """Begin.

        :param min_delta: what it must be better by, in the metric's own unit, to count
        :param warmup: epochs at the start that are not looked at
        :raises ValueError: naming the option that is at fault
        """
        at_least("min_delta", min_delta, 0)
        at_least("warmup", warmup, 0)
        self.metric = metric
        self.best: float | None = None
        self.best_epoch = 0
        self.waited = 0
        self._min_delta = min_delta
        self._sign = sign(metric, mode)
        self._warmup = warmup

    def look(self, epoch: int, metrics: Metrics) -> bool:
        """Take an epoch's metrics into account; NaN is no improvement.

        :returns: False if there is nothing to look at, as in an epoch without validation
        """
        value = metrics.get(self.metric)
        if value is None or epoch <= self._warmup:
            return False
        if self._is_better(value):
            self.best, self.best_epoch, self.waited = value, epoch, 0
        else:
            self.waited += 1
        return True

    def describe(self) -> str:
        """Say in a few words for how long nothing has become better."""
        best = "it was never a number" if self.best is None else f"best {self.best:.5g} at epoch {self.best_epoch}"
        by = f" by more than {self._min_delta:g}" if self._min_delta else ""
        return f"{self.metric} has not become better{by} for {self.waited} epochs ({best})"

    def _is_better(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        return self.best is None or self._sign * (value - self.best) > self._min_delta
