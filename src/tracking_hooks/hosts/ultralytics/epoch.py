"""What is known of the epoch that a trainer is at, and of the batches in it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultralytics.engine.trainer import BaseTrainer

from tracking_hooks.hosts.ultralytics import data
from tracking_hooks.hosts.ultralytics.guard import guard


@dataclass
class Epoch:
    """One attempt at an epoch. When the next one begins it is replaced, so that nothing of it can be left over."""

    number: int = 0
    """Counts from 1; 0 before the first."""
    attempt: int = 1
    out_of_memory: int = 0
    """How often Ultralytics had begun an epoch again for that when this one began."""
    batches: int = 0
    seconds: float = 0.0
    """That its batches took."""
    trained: bool = False
    """Its batches are done."""
    table_size: int = 0
    """Bytes of ``results.csv`` then."""
    validated: bool = False
    saved: bool = False
    """``last.pt`` has its weights."""
    settled: bool = False
    """Its end is recorded."""

    def step(self, trainer: BaseTrainer) -> int:
        """Count the batches of all epochs."""
        return int((self.number - 1) * len(trainer.train_loader) + self.batches)

    def finish_training(self, trainer: BaseTrainer) -> None:
        """Note that the batches are done."""
        self.trained, self.table_size = True, _size(trainer.csv)

    def is_in_table(self, trainer: BaseTrainer) -> bool:
        """Whether Ultralytics has written its row of ``results.csv``."""
        return self.trained and _size(trainer.csv) > self.table_size

    def metrics(self, trainer: BaseTrainer) -> dict[str, Any]:
        """Read the metrics of the whole epoch; what cannot be read is left out."""
        metrics: dict[str, Any] = {}
        with guard(f"reading the losses of epoch {self.number}"):
            metrics.update(training_metrics(trainer))
        if self.validated:  # else they are placeholder zeros, or another epoch's
            with guard(f"reading the validation of epoch {self.number}"):
                metrics.update(trainer.metrics)
                metrics["fitness"] = trainer.fitness
        with guard(f"reading the times of epoch {self.number}"):
            if trainer.epoch_time is not None:
                metrics["time/epoch"] = trainer.epoch_time
            metrics["time/total"] = time.time() - trainer.train_time_start
            if self.batches:  # with time=, an epoch may end in its first batch
                metrics["time/images_per_s"] = self.batches * trainer.batch_size / max(self.seconds, 1e-9)
        return metrics

    def per_class(self, trainer: BaseTrainer) -> Any:
        """Read the validation's metrics of each class; None if there are none."""
        with guard(f"reading the metrics by class of epoch {self.number}"):
            return data.per_class(trainer.validator) if self.validated else None
        return None


class Batches:
    """Counts batches and the time they take, and says when they are to be recorded."""

    def __init__(self, every_batches: int | None, every_seconds: float | None) -> None:
        """Begin to count; both None: they are never recorded."""
        self._every_batches, self._every_seconds = every_batches, every_seconds
        self._count, self._seconds = 0, 0.0  # since the last record
        self._recorded_at = self._began = time.monotonic()

    def begin(self) -> None:
        """Note that the first batch of an epoch begins now; each other one begins when the one before it is done."""
        self._began = time.monotonic()

    def add(self) -> float:
        """Count a batch that is done; return the seconds that it took."""
        now = time.monotonic()
        seconds, self._began = now - self._began, now
        self._count += 1
        self._seconds += seconds
        return seconds

    def are_due(self) -> bool:
        """Whether it is time for a record."""
        if self._every_batches is not None:
            return self._count >= self._every_batches
        return self._every_seconds is not None and self._began - self._recorded_at >= self._every_seconds

    def take(self) -> float:
        """Return how many were trained a second since the last record, which is now."""
        speed = self._count / max(self._seconds, 1e-9)
        self._recorded_at, self._count, self._seconds = self._began, 0, 0.0
        return speed


def training_metrics(trainer: BaseTrainer) -> dict[str, Any]:
    """Read the mean losses of the epoch so far, and the learning rates."""
    losses = trainer.label_loss_items(trainer.tloss, prefix="train") if trainer.tloss is not None else {}
    return {**losses, **trainer.lr}


def without_placeholders(trainer: BaseTrainer, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of an epoch before a resume: with ``val=False``, none but the last one is validated."""
    is_validated = getattr(trainer.args, "val", True)
    # The losses of a validation have no names in `trainer.metrics` before the first batch.
    unknown = () if is_validated else (*trainer.metrics, *(name for name in metrics if name.startswith("val/")))
    return {name: value for name, value in metrics.items() if value is not None and name not in unknown}


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
