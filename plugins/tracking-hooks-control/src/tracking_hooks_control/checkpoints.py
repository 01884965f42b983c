"""Rules for checkpoints."""

from __future__ import annotations

import math
import re

from tracking_hooks import hookimpl
from tracking_hooks.events import Metrics, SaveCheckpoint
from tracking_hooks_control.improvement import Mode, at_least, sign


class KeepBest:
    """Keep the checkpoints of the best epochs, as ``weights/top-METRIC-epochN.pt``."""

    def __init__(self, metric: str, k: int = 3, mode: Mode = "auto") -> None:
        """Set up the rule.

        :param k: how many checkpoints to keep
        :param mode: whether a lower or a higher value is better, if the name does not tell
        """
        at_least("k", k, 1)
        self._metric = metric
        self._k = k
        self._sign = sign(metric, mode)
        self._kept: list[tuple[float, str]] = []  # the best first; among equals, the earlier

    @hookimpl
    def watched_metrics(self) -> list[str]:
        """Return the name of the metric."""
        return [self._metric]

    @hookimpl
    def control_epoch(self, epoch: int, metrics: Metrics) -> SaveCheckpoint | None:
        """Save an epoch that is among the best, in place of the one that no longer is."""
        value = metrics.get(self._metric, math.nan)
        if not math.isfinite(value):
            return None
        name = f"top-{_slug(self._metric)}-epoch{epoch}"
        ranked = sorted([*self._kept, (self._sign * value, name)], key=lambda entry: -entry[0])
        self._kept, dropped = ranked[: self._k], "".join(name for _, name in ranked[self._k :])
        if dropped == name:
            return None
        rank = [name for _, name in self._kept].index(name) + 1
        return SaveCheckpoint(name=name, reason=f"{self._metric} {value:.5g} is number {rank}", replaces=dropped)


def _slug(metric: str) -> str:
    """Return the last part of a metric's name, for use in a file name."""
    return re.sub(r"[^\w-]+", "", metric.rpartition("/")[2].removesuffix("(B)")) or "metric"
