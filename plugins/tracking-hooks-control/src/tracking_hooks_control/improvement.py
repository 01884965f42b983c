"""Whether a metric improves."""

from __future__ import annotations

import math
from typing import Literal

from tracking_hooks.direction import lower_is_better
from tracking_hooks.events import Metrics

Mode = Literal["auto", "min", "max"]


def sign(metric: str, mode: str) -> float:
    """Return 1 if a higher value of a metric is better, -1 if a lower one is.

    :param mode: "min", "max", or "auto": lower for a loss, an error, a time or memory, higher for everything else
    :raises ValueError: if it is any other word
    """
    if mode not in ("auto", "min", "max"):
        raise ValueError(f"mode={mode!r}: must be 'min', 'max' or 'auto'")
    if mode == "auto":
        mode = "min" if lower_is_better(metric) else "max"
    return 1.0 if mode == "max" else -1.0


def at_least(name: str, value: float, least: float) -> None:
    """Check an option that is a number.

    :raises ValueError: naming it and its limit
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name}={value!r}: must be a number")  # noqa: TRY004 all mistakes of an option are the same
    if not value >= least:
        raise ValueError(f"{name}={value!r}: must be at least {least}")


class Plateau:
    """Counts the epochs since a metric last improved on its best value."""

    def __init__(self, metric: str, min_delta: float, mode: str, warmup: int) -> None:
        """Set up the counter.

        :param min_delta: smaller improvements do not count, in the metric's own unit
        :param warmup: number of epochs at the start to ignore
        :raises ValueError: naming the invalid option
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
        """Take the metrics of an epoch into account. NaN is not an improvement.

        :returns: False if the epoch does not count, for example for lack of a validation
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
        """Say in a few words for how long the metric has not improved."""
        best = "it was never a number" if self.best is None else f"best {self.best:.5g} at epoch {self.best_epoch}"
        by = f" by more than {self._min_delta:g}" if self._min_delta else ""
        return f"{self.metric} has not improved{by} for {self.waited} epoch{'s' * (self.waited != 1)} ({best})"

    def _is_better(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        return self.best is None or self._sign * (value - self.best) > self._min_delta
