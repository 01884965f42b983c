"""Carries out actions on an Ultralytics trainer, where that is safe."""

from __future__ import annotations

import shutil
from pathlib import Path

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import RANK

from tracking_hooks.events import Action, SaveCheckpoint, ScaleLearningRate, Stop

DONE = "done"


def is_safe_in_mid_epoch(action: Action) -> bool:
    """Whether an action need not wait for the end of the epoch.

    A stop that only rank 0 knows of leaves the other ranks waiting for it; at the end of an epoch it is broadcast.
    """
    return isinstance(action, Stop) and RANK == -1


def carry_out(trainer: BaseTrainer, action: Action) -> str:
    """Do it; return ``DONE``, or why it was refused. To be called at the end of a batch or of an epoch."""
    if isinstance(action, Stop):
        trainer.stop = True
        return DONE
    if isinstance(action, SaveCheckpoint):
        return _save(trainer, action.name)
    return _scale_learning_rate(trainer, action)


def _save(trainer: BaseTrainer, name: str) -> str:
    if not name or Path(name).name != name:
        return f"refused: {name!r} is no file name"
    if not trainer.args.save:
        return "refused: the training saves no checkpoints (save=False)"
    shutil.copyfile(trainer.last, Path(trainer.wdir) / f"{name}.pt")  # written just before, with this epoch's weights
    return DONE


def _scale_learning_rate(trainer: BaseTrainer, action: ScaleLearningRate) -> str:
    if RANK != -1:
        return "refused: each process has an optimizer of its own, and only this one would be changed"
    if action.factor <= 0:
        return f"refused: a learning rate cannot be multiplied by {action.factor}"
    for group in trainer.optimizer.param_groups:
        group["lr"] *= action.factor
        group["initial_lr"] *= action.factor  # warm-up begins here
    trainer.scheduler.base_lrs = [rate * action.factor for rate in trainer.scheduler.base_lrs]
    return DONE


def keep_learning_rate(trainer: BaseTrainer) -> None:
    """After a resume, let the scheduler go on from the rates in the checkpoint: it was made before these were read."""
    trainer.scheduler.base_lrs = [group["initial_lr"] for group in trainer.optimizer.param_groups]
