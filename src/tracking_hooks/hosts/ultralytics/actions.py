"""What is asked of an Ultralytics trainer: it waits for the moment when it is safe, and is carried out."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER, RANK

from tracking_hooks.control.control import describe, in_order
from tracking_hooks.events import DONE, Action, Checkpoint, SaveCheckpoint, ScaleLearningRate, Stop
from tracking_hooks.hosts.ultralytics.epoch import Epoch
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run.commands import Command
from tracking_hooks.run.journal import Call

_LOOK_EVERY = 1.0
"""Seconds between two looks at what is asked of the training, within an epoch."""

_THEIRS = re.compile(r"best|last|epoch\d+")
"""Checkpoints that Ultralytics writes itself."""


class Agenda:
    """What is asked of a training, until it is carried out. Nothing that is asked for is lost."""

    def __init__(self, recorder: Recorder) -> None:
        """Begin with an empty one."""
        self.stopping = False
        self._recorder = recorder
        self._waiting: list[Command] = []
        self._looked_at = time.monotonic()

    def add(self, commands: Iterable[Command]) -> None:
        """Put what rules ask for on it."""
        self._waiting += commands

    def is_time_to_look(self) -> bool:
        """Whether to look, within an epoch, if something is asked from outside."""
        if time.monotonic() - self._looked_at < _LOOK_EVERY:
            return False
        self._looked_at = time.monotonic()
        return True

    def carry_out(self, trainer: BaseTrainer, epoch: Epoch, *, in_mid_epoch: bool = False) -> None:
        """Carry out what was asked for, also from outside, as far as it is safe now; the rest goes on waiting."""
        self._waiting += self._recorder.take_commands()
        for command in in_order(self._waiting):
            if in_mid_epoch and not _is_safe_in_mid_epoch(command.action):
                continue
            self._waiting.remove(command)
            if not (self.stopping and isinstance(command.action, Stop)):  # the first reason is the reason
                self._do(trainer, epoch, command)

    def _do(self, trainer: BaseTrainer, epoch: Epoch, command: Command) -> None:
        action = command.action
        try:
            outcome = _carry_out(trainer, action, saved=epoch.saved)
        except Exception as error:  # noqa: BLE001 a full disk must not cost the stop behind it
            outcome = f"failed: {type(error).__name__}: {error}"
        self.stopping |= isinstance(action, Stop)
        if isinstance(action, SaveCheckpoint) and outcome == DONE:
            path = Path(trainer.wdir).absolute() / f"{action.name}.pt"
            checkpoint = Checkpoint(path=path, kind="action")
            self._recorder.record("on_checkpoint_saved", epoch=epoch.number, checkpoint=checkpoint)
        self._recorder.record("on_action", action=action, plugin=command.plugin, outcome=outcome)
        LOGGER.info(f"tracking-hooks: {command.plugin}: {describe(action)}: {action.reason} ({outcome})")


def _is_safe_in_mid_epoch(action: Action) -> bool:
    """Whether an action need not wait for the end of the epoch.

    A stop that only rank 0 knows of leaves the other ranks waiting for it; at the end of an epoch it is broadcast.
    """
    return isinstance(action, Stop) and RANK == -1


def _carry_out(trainer: BaseTrainer, action: Action, *, saved: bool) -> str:
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
    try:
        shutil.copyfile(trainer.last, draft)
        draft.replace(folder / f"{action.name}.pt")
    finally:
        draft.unlink(missing_ok=True)
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
