"""Rules that end a training."""

from __future__ import annotations

import math

from tracking_hooks import hookimpl
from tracking_hooks.events import Metrics, Progress, Stop
from tracking_hooks_control.improvement import Mode, Plateau, at_least, sign


class EarlyStop:
    """Stop when a metric has not improved for a number of epochs."""

    def __init__(
        self, metric: str, patience: int = 10, min_delta: float = 0.0, mode: Mode = "auto", warmup: int = 0
    ) -> None:
        """Set up the rule.

        :param patience: number of epochs without an improvement before the training stops
        :param min_delta: an improvement must be larger than this to count
        :param mode: whether a lower or a higher value is better, if the name does not tell
        :param warmup: number of epochs at the start to ignore
        """
        at_least("patience", patience, 1)
        self._patience = patience
        self._plateau = Plateau(metric, min_delta, mode, warmup)

    @hookimpl
    def watched_metrics(self) -> list[str]:
        """Return the name of the metric."""
        return [self._plateau.metric]

    @hookimpl
    def control_epoch(self, epoch: int, metrics: Metrics) -> Stop | None:
        """Stop when the patience is used up."""
        if self._plateau.look(epoch, metrics) and self._plateau.waited >= self._patience:
            return Stop(reason=self._plateau.describe())
        return None


class Threshold:
    """Stop when a metric has reached a value."""

    def __init__(self, metric: str, value: float, mode: Mode = "auto") -> None:
        """Set up the rule.

        :param value: the target: at least this, or at most this where a lower value is better
        :param mode: whether a lower or a higher value is better, if the name does not tell
        """
        at_least("value", value, -math.inf)
        self._metric = metric
        self._target = value
        self._sign = sign(metric, mode)

    @hookimpl
    def watched_metrics(self) -> list[str]:
        """Return the name of the metric."""
        return [self._metric]

    @hookimpl
    def control_epoch(self, metrics: Metrics) -> Stop | None:
        """Stop at the target."""
        value = metrics.get(self._metric, math.nan)
        if self._sign * (value - self._target) >= 0:
            return Stop(reason=f"{self._metric} is {value:.5g}: the target {self._target:g} is reached")
        return None


class NanGuard:
    """Stop when the training losses are NaN or infinite several times in a row.

    The rule looks at each recorded batch and at each epoch. Ultralytics itself returns to the last checkpoint at the
    end of an epoch, three times, and then fails; this rule stops the training within the epoch.
    """

    def __init__(self, losses: int = 3) -> None:
        """Set up the rule.

        :param losses: how many times in a row
        """
        at_least("losses", losses, 1)
        self._limit = losses
        self._count = 0

    @hookimpl
    def control_batch(self, metrics: Metrics) -> Stop | None:
        """Look at the running losses of a batch."""
        return self._look(metrics, "batch/")

    @hookimpl
    def control_epoch(self, metrics: Metrics) -> Stop | None:
        """Look at the losses of an epoch."""
        return self._look(metrics, "train/")

    def _look(self, metrics: Metrics, prefix: str) -> Stop | None:
        losses = {name: value for name, value in metrics.items() if name.startswith(prefix) and "loss" in name}
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        self._count = self._count + 1 if bad else 0
        if self._count < self._limit:
            return None
        return Stop(reason=f"{', '.join(bad)} not finite, {self._count} time{'s' * (self._count != 1)} in a row")


class Budget:
    """Stop when a training has used up its time or its epochs."""

    def __init__(self, hours: float | None = None, epochs: int | None = None) -> None:
        """Set up the rule.

        :param hours: hours of training, including earlier parts of a resumed run; an epoch that would exceed them is
            not started
        :param epochs: number of epochs
        :raises ValueError: if neither limit is given
        """
        if hours is None and epochs is None:
            raise ValueError("needs hours=… or epochs=…")
        at_least("hours", hours or 0, 0)
        at_least("epochs", epochs if epochs is not None else 1, 1)
        self._hours = hours
        self._epochs = epochs
        self._seconds = 0.0

    @hookimpl
    def control_epoch(self, epoch: int, progress: Progress) -> Stop | None:
        """Stop when another epoch like the last one would exceed the budget."""
        last, self._seconds = progress.seconds - self._seconds, progress.seconds
        if self._epochs is not None and epoch >= self._epochs:
            return Stop(reason=f"the budget of {self._epochs} epoch{'s' * (self._epochs != 1)} is used up")
        if self._hours is not None and progress.seconds + last > self._hours * 3600:
            used = progress.seconds / 3600
            return Stop(reason=f"{used:.2f} of {self._hours:g} h are used, another epoch takes {last:.0f} s")
        return None
