"""Follows Ultralytics trainers: their events become calls of the recorder.

What is added to a trainer's callbacks are plain module-level functions, since Ultralytics pickles callbacks to
its DDP workers; the session that belongs to a trainer is found again in each process. Ultralytics counts epochs
from 0 and we from 1: that is this module's secret, as are its events that fire twice or for something else.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER, RANK

from tracking_hooks.control.control import PAST, Control, describe, in_order
from tracking_hooks.events import DONE, Checkpoint, Params, Progress, SaveCheckpoint, Stop
from tracking_hooks.hosts.ultralytics import data, weights
from tracking_hooks.hosts.ultralytics.actions import (
    carry_out,
    end_epoch_as_it_is,
    is_safe_in_mid_epoch,
    restore_learning_rate,
)
from tracking_hooks.hosts.ultralytics.run import plan, ray_experiment, track_trainer
from tracking_hooks.recording.errors import raise_alone
from tracking_hooks.recording.tracking import Tracking
from tracking_hooks.run import files
from tracking_hooks.run.commands import Command
from tracking_hooks.settings import ConfigurationError

_sessions: weakref.WeakKeyDictionary[BaseTrainer, Session] = weakref.WeakKeyDictionary()
# Module state, since the callbacks are plain functions: the trainer is all that they are given.

_INTEGRATIONS = "ultralytics.utils.callbacks."
_PLOTTING_TIMEOUT = 10.0
_ASK_EVERY = 1.0
"""Seconds between two looks at what is asked of the training, within an epoch."""


def add_integration_callbacks(original: Callable[[Any], None], instance: Any) -> None:
    """Stand in for the function by which every trainer adds its integrations: it adds us, too."""
    original(instance)
    attach_to(instance)


def attach_to(trainer: object) -> None:
    """Track this trainer, if it is one and if ``TRACKING_HOOKS`` names a tracker.

    :raises ConfigurationError: if the configuration is at fault; nothing else of ours stops a training
    """
    if not isinstance(trainer, BaseTrainer) or RANK not in (-1, 0) or _only_launches_workers(trainer):
        return
    try:
        tracking = track_trainer(trainer, data.devices(trainer))
        if tracking is None:
            return
        session = Session(trainer, tracking)
    except ConfigurationError as error:
        raise_alone(error)
    except Exception as error:  # noqa: BLE001 nothing of ours may end a training
        LOGGER.warning(f"tracking-hooks: not active ({type(error).__name__}: {error})")
        return
    _sessions[trainer] = session
    for event, callback in _CALLBACKS.items():
        listeners = trainer.callbacks[event]
        if callback not in listeners:
            # First in teardown: a user's callback that raises there would keep ours from being called. Else before
            # Ultralytics' own: that of Ray Tune does not return when the scheduler stops the trial.
            listeners.insert(0 if event == "teardown" else _first_of_their_own(listeners), callback)


def _first_of_their_own(listeners: list[Any]) -> int:
    modules = [getattr(listener, "__module__", None) or "" for listener in listeners]
    theirs = (i for i, name in enumerate(modules) if name.startswith(_INTEGRATIONS) and not name.endswith(".base"))
    return next(theirs, len(listeners))


def _only_launches_workers(trainer: BaseTrainer) -> bool:
    world_size = getattr(trainer, "world_size", 1)
    return bool(getattr(trainer, "ddp", RANK == -1 and isinstance(world_size, int) and world_size > 1))


class Session:
    """What is known of one trainer's run between two of its events."""

    def __init__(self, trainer: BaseTrainer, tracking: Tracking) -> None:
        """Start recording.

        :raises ConfigurationError: if the run's files cannot be made
        """
        self.environment = tracking.environment
        self.every_batches, self.every_seconds = tracking.settings.batch_rule()
        self.epoch = 0  # the last one begun, counts from 1
        self.attempt = 0
        self.batch = 0  # within the epoch
        self.epoch_seconds = 0.0  # that its batches took
        self.unrecorded = 0  # batches since the last record
        self.training_time = 0.0  # seconds that they took
        self.batch_began = self.recorded_at = self.asked_at = time.monotonic()
        self.asked: list[Command] = []  # that wait for the end of the epoch
        self.stopping = False
        self.saved = 0  # the epoch whose weights were saved last
        self.open = False  # an epoch has begun and is not settled
        self.trained = False  # its batches are done
        self.validated = False
        self.finished = False
        self.plots: dict[Path, int] = {}  # recorded plots and their mtime in ns
        self.out_of_memory = 0
        self.control = Control(tracking.rules, lambda sentence: LOGGER.warning(f"tracking-hooks: {sentence}"))
        self.recorder = tracking.start(_params(trainer), plan(trainer))
        self.is_ray_trial = ray_experiment() is not None
        if self.is_ray_trial:
            self.recorder.status_at_exit = "interrupted"  # by its scheduler, which ends the thread or the process
        self.disabled = _take_off(trainer, self.recorder.supervisor.disabled)
        # A trainer whose constructor failed fires no further event.
        weakref.finalize(trainer, self.recorder.end, "failed").atexit = False

    def set_up(self, trainer: BaseTrainer) -> None:
        """Set-up is done: the last moment to refuse."""
        self.recorder.check(self.disabled, self.control.names)
        self.recorder.begin(params=_params(trainer), environment=self.environment)
        if trainer.start_epoch:
            self._settle_the_past(trainer)

    def _settle_the_past(self, trainer: BaseTrainer) -> None:
        """Record the epochs that the checkpoint is past and that were not settled.

        One, if the training was killed between saving the checkpoint and its epoch's end; all, if it was not
        tracked so far.
        """
        missing = range(self.recorder.epoch + 1, trainer.start_epoch + 1)
        if not missing:
            return
        past = data.past_epochs(Path(trainer.csv), Path(trainer.args.resume), trainer.start_epoch)
        for epoch in (epoch for epoch in missing if epoch in past):
            step = epoch * len(trainer.train_loader)
            self.recorder.record("on_epoch_end", epoch=epoch, step=step, metrics=past[epoch], per_class=None)

    def train_started(self, trainer: BaseTrainer) -> None:
        """Record model and data set."""
        if self.recorder.resumed:
            restore_learning_rate(trainer, self.recorder.calls("on_epoch_end", "on_action"))
            if self.control:
                deque(
                    self.control.past(self.recorder.run, self.recorder.calls(*PAST)), maxlen=0
                )  # so that they remember
        dataset = data.dataset(trainer)
        self.recorder.record("on_train_start", model=data.model(trainer), dataset=dataset)
        if dataset.yaml and dataset.yaml.is_file():
            artifact = files.config(self.recorder.folder, dataset.yaml, f"dataset/{dataset.yaml.name}")
            self.recorder.record("on_artifact", artifact=artifact)
        if self.recorder.settings.graph == "on" and (graph := weights.graph(self.recorder.folder, trainer.model)):
            self.recorder.record("on_artifact", artifact=graph)

    def epoch_started(self, trainer: BaseTrainer) -> None:
        """Record an epoch's start, or that it begins again."""
        epoch = trainer.epoch + 1
        if self.open and epoch == self.epoch:
            retries = getattr(trainer, "_oom_retries", 0)
            reason = "out of memory" if retries > self.out_of_memory else "NaN or infinite loss"
            self.out_of_memory = retries
            self.recorder.record("on_epoch_restart", epoch=epoch, attempt=self.attempt, reason=reason)
            self.attempt += 1
        else:
            self.attempt = 1
        self.epoch, self.batch, self.epoch_seconds = epoch, 0, 0.0
        self.open, self.trained, self.validated = True, False, False
        self.batch_began = time.monotonic()
        self.recorder.record("on_epoch_start", epoch=epoch, attempt=self.attempt)

    def batch_trained(self, trainer: BaseTrainer) -> None:
        """Record every so many batches or seconds."""
        now = time.monotonic()
        self.batch += 1
        self.unrecorded += 1
        if now - self.asked_at >= _ASK_EVERY:
            self.asked_at = now
            self._act(trainer, in_mid_epoch=True)
        self.training_time += now - self.batch_began
        self.epoch_seconds += now - self.batch_began
        self.batch_began = now
        if self.every_batches is not None:
            if self.unrecorded < self.every_batches:
                return
        elif self.every_seconds is None or now - self.recorded_at < self.every_seconds:
            return
        images, seconds = self.unrecorded * trainer.batch_size, max(self.training_time, 1e-9)
        self.recorded_at, self.unrecorded, self.training_time = now, 0, 0.0
        metrics = {
            # Ultralytics has just printed these losses: reading them makes the device wait for nothing more.
            **trainer.label_loss_items(trainer.tloss, prefix="batch"),
            **{f"batch/lr/pg{i}": group["lr"] for i, group in enumerate(trainer.optimizer.param_groups)},
            "batch/images_per_s": images / seconds,
        }
        step = self._step(trainer)
        self.recorder.record("on_batch_end", epoch=self.epoch, step=step, metrics=metrics)
        if self.control:
            self.asked += self.control.batch(self.recorder.run, self.epoch, step, _floats(metrics))
            self._act(trainer, in_mid_epoch=True)

    def batches_done(self, trainer: BaseTrainer) -> None:
        """Record the early view of an epoch's training."""
        self.trained = True
        if self.stopping:
            end_epoch_as_it_is(trainer)
        self.recorder.record(
            "on_train_epoch_end",
            epoch=self.epoch,
            attempt=self.attempt,
            metrics=self._training_metrics(trainer),
        )

    def validation_done(self, trainer: BaseTrainer) -> None:
        """Record the early view of an epoch's validation."""
        self.validated = True
        self.recorder.record(
            "on_validation_end",
            epoch=self.epoch,
            attempt=self.attempt,
            metrics=dict(trainer.validator.metrics.results_dict),
            per_class=data.per_class(trainer.validator),
        )

    def model_saved(self, trainer: BaseTrainer) -> None:
        """Record checkpoints; ``last`` and ``best`` are final only at the end."""
        self.saved = self.epoch
        saved = [Checkpoint(path=Path(trainer.last), kind="last")]
        if trainer.best_fitness == trainer.fitness:
            saved.append(Checkpoint(path=Path(trainer.best), kind="best"))
        rule = self.recorder.settings.checkpoint_rule()
        periodic = Path(trainer.wdir) / f"epoch{trainer.epoch}.pt"
        if trainer.save_period > 0 and trainer.epoch % trainer.save_period == 0 and periodic.is_file():
            size, digest = files.digest(periodic) if "periodic" in rule.kinds else (None, None)  # never rewritten
            saved.append(Checkpoint(path=periodic, kind="periodic", size=size, digest=digest))
        elif rule.every and self.epoch % rule.every == 0:
            saved.append(files.checkpoint_copy(self.recorder.folder, Path(trainer.last)))
        for checkpoint in saved:
            self.recorder.record("on_checkpoint_saved", epoch=self.epoch, checkpoint=checkpoint)

    def epoch_settled(self, trainer: BaseTrainer) -> None:
        """Record an epoch's end, or the final validation, which Ultralytics announces by the same event.

        The epoch number does not tell them apart (early stop); that no batches were trained since does.
        """
        if not self.trained:
            self._final_validation(trainer)
            return
        metrics, per_class = self._training_metrics(trainer), None
        if self.validated:  # else they are placeholder zeros, or another epoch's
            metrics.update(trainer.metrics)
            metrics["fitness"] = trainer.fitness
            per_class = data.per_class(trainer.validator)
        if trainer.epoch_time is not None:
            metrics["time/epoch"] = trainer.epoch_time
        metrics["time/total"] = time.time() - trainer.train_time_start
        metrics["time/images_per_s"] = self.batch * trainer.batch_size / max(self.epoch_seconds, 1e-9)
        self.open = self.trained = self.validated = False
        self.recorder.record(
            "on_epoch_end", epoch=self.epoch, step=self._step(trainer), metrics=metrics, per_class=per_class
        )
        if self.is_ray_trial and self.epoch >= trainer.epochs:
            self.recorder.status_at_exit = "finished"
        self._record_plots(trainer)
        if self.control:
            seconds = self.control.seconds_before + time.time() - trainer.train_time_start
            progress = Progress(epochs=int(trainer.epochs), seconds=seconds)
            self.asked += self.control.epoch(self.recorder.run, self.epoch, _floats(metrics), progress)
        self._act(trainer)
        self.recorder.look_after_relays()
        if self.recorder.settings.histograms == "on":
            artifact = weights.histograms(self.recorder.folder, trainer.model, self.epoch)
            self.recorder.record("on_artifact", artifact=artifact)

    def _final_validation(self, trainer: BaseTrainer) -> None:
        self.recorder.record(
            "on_final_validation",
            metrics=dict(trainer.metrics),
            per_class=data.per_class(trainer.validator),
            curves=data.curves(trainer.validator),
            confusion_matrix=data.confusion_matrix(trainer.validator),
            checkpoint=Checkpoint(path=Path(trainer.best), kind="best"),
        )

    def training_finished(self, _: BaseTrainer) -> None:
        """Note that the training came to its proper end."""
        self.finished = True

    def torn_down(self, _: BaseTrainer) -> None:
        """Record what is left, and the end. Ultralytics calls this in a ``finally``: see what is in flight."""
        error = None if self.finished else sys.exc_info()[1]
        try:
            _wait_for_plots(_PLOTTING_TIMEOUT)
            self.recorder.record_final_files(self._is_recorded)
        finally:
            if self.is_ray_trial and isinstance(error, SystemExit):
                self.recorder.end(self.recorder.status_at_exit)
            else:
                self.recorder.end(error=error)

    def _act(self, trainer: BaseTrainer, *, in_mid_epoch: bool = False) -> None:
        """Carry out what was asked for, as soon as that is safe."""
        waiting, self.asked = in_order([*self.asked, *self.recorder.take_commands()]), []
        for command in waiting:
            action = command.action
            if self.stopping and isinstance(action, Stop):
                continue  # the first reason is the reason
            if in_mid_epoch and not is_safe_in_mid_epoch(action):
                self.asked.append(command)
                continue
            outcome = carry_out(trainer, action, saved=self.saved == self.epoch)
            self.recorder.record("on_action", action=action, plugin=command.plugin, outcome=outcome)
            LOGGER.info(f"tracking-hooks: {command.plugin}: {describe(action)}: {action.reason} ({outcome})")
            self.stopping |= isinstance(action, Stop)
            if isinstance(action, SaveCheckpoint) and outcome == DONE:
                checkpoint = Checkpoint(path=Path(trainer.wdir) / f"{action.name}.pt", kind="action")
                self.recorder.record("on_checkpoint_saved", epoch=self.epoch, checkpoint=checkpoint)

    # -- helpers ----------------------------------------------------------------------------------------------

    def _step(self, trainer: BaseTrainer) -> int:
        return int((self.epoch - 1) * len(trainer.train_loader) + self.batch)

    @staticmethod
    def _training_metrics(trainer: BaseTrainer) -> dict[str, Any]:
        losses = trainer.label_loss_items(trainer.tloss, prefix="train") if trainer.tloss is not None else {}
        return {**losses, **trainer.lr}

    def _record_plots(self, trainer: BaseTrainer) -> None:
        """Record new plots, unless some are still being drawn: then at the next epoch's end."""
        if _plotting_threads():
            return
        for path in [*trainer.plots, *getattr(trainer.validator, "plots", ())]:
            if path.is_file() and not self._is_recorded(path):
                self.plots[path] = path.stat().st_mtime_ns
                recorder = self.recorder
                artifact = files.artifact(recorder.folder, recorder.run.save_dir, path.absolute(), self.epoch)
                recorder.record("on_artifact", artifact=artifact)

    def _is_recorded(self, path: Path) -> bool:
        return self.plots.get(path) == path.stat().st_mtime_ns


# -- callbacks ------------------------------------------------------------------------------------------------


def _callback(event: str, tell: Callable[[Session, BaseTrainer], None]) -> Callable[[Any], None]:
    """Make the function for an event, which lets nothing but a configuration error out."""

    def callback(trainer: Any) -> None:
        session = _sessions.get(trainer)
        if session is None:
            return
        try:
            tell(session, trainer)
        except ConfigurationError as error:
            raise_alone(error)
        except Exception as error:  # noqa: BLE001 nothing of ours may end a training
            LOGGER.warning(f"tracking-hooks: {event} failed and is left out: {type(error).__name__}: {error}")

    callback.__name__ = callback.__qualname__ = event  # by this name it is pickled
    return callback


on_pretrain_routine_end = _callback("on_pretrain_routine_end", Session.set_up)
on_train_start = _callback("on_train_start", Session.train_started)
on_train_epoch_start = _callback("on_train_epoch_start", Session.epoch_started)
on_train_batch_end = _callback("on_train_batch_end", Session.batch_trained)
on_train_epoch_end = _callback("on_train_epoch_end", Session.batches_done)
on_model_save = _callback("on_model_save", Session.model_saved)
on_fit_epoch_end = _callback("on_fit_epoch_end", Session.epoch_settled)
on_train_end = _callback("on_train_end", Session.training_finished)
_tear_down = _callback("_tear_down", Session.torn_down)
_validate = _callback("_validate", Session.validation_done)


def teardown(trainer: BaseTrainer) -> None:
    """Record the end, and forget the trainer."""
    _tear_down(trainer)
    _sessions.pop(trainer, None)


def on_val_end(validator: Any) -> None:
    """Find the trainer whose validation this is: Ultralytics gives this event a validator."""
    if not getattr(validator, "training", False):
        return  # the final validation, or one of the user's own
    for trainer in list(_sessions):
        if getattr(trainer, "validator", None) is validator:
            _validate(trainer)


_CALLBACKS: dict[str, Callable[[Any], None]] = {
    callback.__name__: callback
    for callback in (
        on_pretrain_routine_end,
        on_train_start,
        on_train_epoch_start,
        on_train_batch_end,
        on_train_epoch_end,
        on_val_end,
        on_model_save,
        on_fit_epoch_end,
        on_train_end,
        teardown,
    )
}


# -- what is read off a trainer -------------------------------------------------------------------------------


def _floats(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if value is not None}


def _params(trainer: BaseTrainer) -> Params:
    return dict(vars(trainer.args))


def _take_off(trainer: BaseTrainer, names: list[str]) -> list[str]:
    """Take Ultralytics' own integrations off this trainer; return those that were there."""
    modules = {f"{_INTEGRATIONS}{name}": name for name in names}
    found = []
    for event, listeners in trainer.callbacks.items():
        found += [modules[listener.__module__] for listener in listeners if listener.__module__ in modules]
        trainer.callbacks[event] = [listener for listener in listeners if listener.__module__ not in modules]
    return list(dict.fromkeys(found))


def _plotting_threads() -> list[threading.Thread]:
    # Ultralytics draws in threads that are named after the function, as in "Thread-7 (plot_images)".
    return [thread for thread in threading.enumerate() if "(plot_" in thread.name]


def _wait_for_plots(timeout: float) -> None:
    deadline = time.monotonic() + timeout
    for thread in _plotting_threads():
        thread.join(max(0.0, deadline - time.monotonic()))
