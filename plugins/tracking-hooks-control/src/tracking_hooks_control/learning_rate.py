"""Rules for the learning rate."""

from __future__ import annotations

from tracking_hooks import hookimpl
from tracking_hooks.events import Metrics, ScaleLearningRate
from tracking_hooks_control.improvement import Mode, Plateau, at_least


class ReduceOnPlateau:
    """Lower the learning rates when a metric has not improved for a number of epochs.

    They stay lowered: from then on, the rates of Ultralytics' schedule are multiplied by the factor.
    """

    def __init__(
        self, metric: str, factor: float = 0.1, patience: int = 5, min_delta: float = 0.0, mode: Mode = "auto",
        warmup: int = 0, cooldown: int = 0, min_lr: float = 0.0,
    ) -> None:  # fmt: skip
        """Set up the rule.

        :param factor: what to multiply the rates by, between 0 and 1
        :param patience: number of epochs without an improvement before the rates are lowered
        :param min_delta: an improvement must be larger than this to count
        :param mode: whether a lower or a higher value is better, if the name does not tell
        :param warmup: number of epochs at the start to ignore
        :param cooldown: number of epochs after a reduction that do not count
        :param min_lr: skip a reduction that would take the highest rate below this
        """
        at_least("patience", patience, 1)
        at_least("cooldown", cooldown, 0)
        at_least("min_lr", min_lr, 0)
        at_least("factor", factor, 0)
        if not 0 < factor < 1:
            raise ValueError(f"factor={factor!r}: must be between 0 and 1")
        self._factor = factor
        self._patience = patience
        self._cooldown = cooldown
        self._min_lr = min_lr
        self._plateau = Plateau(metric, min_delta, mode, warmup)
        self._resting = 0

    @hookimpl
    def watched_metrics(self) -> list[str]:
        """Return the name of the metric."""
        return [self._plateau.metric]

    @hookimpl
    def control_epoch(self, epoch: int, metrics: Metrics) -> ScaleLearningRate | None:
        """Lower the rates when the patience is used up."""
        if not self._plateau.look(epoch, metrics):
            return None
        if self._resting:
            self._resting -= 1
            self._plateau.waited = 0
        if self._plateau.waited < self._patience:
            return None
        rates = [value for name, value in metrics.items() if name.startswith("lr/")]
        if rates and max(rates) * self._factor < self._min_lr:
            return None
        reason = self._plateau.describe()
        self._plateau.waited, self._resting = 0, self._cooldown
        return ScaleLearningRate(factor=self._factor, reason=reason)
