"""What can be asked of a training while it runs, and how far it has come: the words of rules. Plain data."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct


class Stop(Struct, frozen=True, kw_only=True, tag="stop"):
    """End the training when the current epoch is settled."""

    reason: str


class SaveCheckpoint(Struct, frozen=True, kw_only=True, tag="save_checkpoint"):
    """Keep the weights of the epoch as ``weights/<name>.pt``. Trackers receive those that exist at the run's end."""

    name: str
    reason: str
    replaces: str = ""
    """The name of an earlier checkpoint, whose file is then deleted."""


class ScaleLearningRate(Struct, frozen=True, kw_only=True, tag="scale_learning_rate"):
    """Multiply the learning rate of every parameter group."""

    factor: float
    reason: str


Action: TypeAlias = Stop | SaveCheckpoint | ScaleLearningRate
"""What a rule, a tracker or the user asks of a training."""


class Progress(Struct, frozen=True, kw_only=True):
    """How far a training has come."""

    epochs: int
    """Number of epochs that the training is set to run; a guess if it is to take so many hours."""
    seconds: float
    """Seconds spent training, including earlier parts of a resumed run."""
