"""Carries out actions on an Ultralytics trainer, where that is safe."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import RANK

from tracking_hooks.events import DONE, Action, SaveCheckpoint, ScaleLearningRate, Stop
from tracking_hooks.run.journal import Call

_THEIRS = re.compile(r"best|last|epoch\d+")
"""Checkpoints that Ultralytics writes itself."""


def is_safe_in_mid_epoch(action: Action) -> bool:
    """Whether an action need not wait for the end of the epoch.

    A stop that only rank 0 knows of leaves the other ranks waiting for it; at the end of an epoch it is broadcast.
    """
    return isinstance(action, Stop) and RANK == -1


def carry_out(trainer: BaseTrainer, action: Action, *, saved: bool) -> str:
    """Do it; return ``DONE``, or why it was refused. To be called at the end of a batch or of an epoch.

    :param saved: whether ``last.pt`` has this epoch's weights
    """
    if isinstance(action, Stop):
        trainer.stop = True
        return DONE
    if isinstance(action, SaveCheckpoint):
        return _save(trainer, action, saved=saved)
    return _scale_learning_rate(trainer, action.factor)


def _save(trainer: BaseTrainer, action: SaveCheckpoint, *, saved: bool) -> str:
    folder = Path(trainer.wdir)
    for name in filter(None, (action.name, action.replaces)):
        if Path(name).name != name or _THEIRS.fullmatch(name):
            return f"refused: {name!r} is no name of a checkpoint of one's own"
    if not action.name:
        return "refused: the checkpoint has no name"
    if not saved:
        return "refused: this epoch's weights were not saved (save=False, or they are not finite)"
    draft = folder / f"{action.name}.part"
    shutil.copyfile(trainer.last, draft)
    draft.replace(folder / f"{action.name}.pt")
    if action.replaces and action.replaces != action.name:
        (folder / f"{action.replaces}.pt").unlink(missing_ok=True)
    return DONE


def _scale_learning_rate(trainer: BaseTrainer, factor: float) -> str:
    if RANK != -1:
        return "refused: each process has an optimizer of its own, and only this one would be changed"
    if not 0 < factor < float("inf"):
        return f"refused: a learning rate cannot be multiplied by {factor}"
    for group in trainer.optimizer.param_groups:
        group["lr"] *= factor
        group["initial_lr"] *= factor  # warm-up begins here
    trainer.scheduler.base_lrs = [rate * factor for rate in trainer.scheduler.base_lrs]
    return DONE


def end_epoch_as_it_is(trainer: BaseTrainer) -> None:
    """Keep Ultralytics from repeating an epoch whose loss is NaN: the training was asked to stop."""
    # It decides that by this loss, and takes it, negated, for the fitness of a model that has no other.
    if not trainer.loss.isfinite():
        trainer.loss = trainer.loss.new_full((), 1e30)


def restore_learning_rate(trainer: BaseTrainer, past: Iterable[Call]) -> None:
    """After a resume, let the learning rates be what actions have made them.

    The scheduler was made before the rates in the checkpoint were read. And what was done at the end of the
    checkpoint's own epoch came after it was written.
    """
    trainer.scheduler.base_lrs = [group["initial_lr"] for group in trainer.optimizer.param_groups]
    settled = 0
    for call in past:
        if call.hook == "on_epoch_end":
            settled = call.args["epoch"]
        elif call.hook == "on_action" and settled == trainer.start_epoch and call.args["outcome"] == DONE:
            action = call.args["action"]
            if isinstance(action, ScaleLearningRate):
                _scale_learning_rate(trainer, action.factor)
