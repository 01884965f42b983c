"""Follows an Ultralytics trainer: its events become calls of the recorder.

Ultralytics counts epochs from 0 and we from 1: that is this module's secret, as are its events that fire twice or for
something else.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER

from tracking_hooks.control.control import PAST, Control
from tracking_hooks.events import Dataset, Params, Progress
from tracking_hooks.hosts.ultralytics import checkpoints, data, weights
from tracking_hooks.hosts.ultralytics.actions import Agenda, end_epoch_as_it_is, restore_learning_rate
from tracking_hooks.hosts.ultralytics.epoch import Batches, Epoch, training_metrics, without_placeholders
from tracking_hooks.hosts.ultralytics.final import FinalValidation
from tracking_hooks.hosts.ultralytics.guard import guard
from tracking_hooks.hosts.ultralytics.plots import Plots, wait_until_drawn
from tracking_hooks.hosts.ultralytics.releases import resumed_from
from tracking_hooks.hosts.ultralytics.run import plan, ray_experiment
from tracking_hooks.hosts.ultralytics.sightings import Sightings
from tracking_hooks.recording.tracking import Tracking
from tracking_hooks.run import files

_PLOTTING_TIMEOUT = 10.0
_RELAYS_EVERY = 5.0
"""Seconds between two looks at the relays, within an epoch: files of each are read."""


class Session:
    """What is known of one trainer's run between two of its events."""

    def __init__(self, trainer: BaseTrainer, tracking: Tracking) -> None:
        """Start recording.

        :raises ConfigurationError: if the run's files cannot be made
        """
        self.environment = tracking.environment
        self.epoch = Epoch()
        self.batches = Batches(*tracking.settings.batch_rule())
        self.finished = False
        self._error_before: BaseException | None = None
        self.disabled: list[str] = []  # Ultralytics' own integrations that were taken off the trainer
        self.control = Control(tracking.rules, lambda sentence: LOGGER.warning(f"tracking-hooks: {sentence}"))
        self.recorder = tracking.start(_params(trainer), plan(trainer))
        self.is_ray_trial = ray_experiment() is not None
        if self.is_ray_trial:
            self.recorder.status_at_exit = "interrupted"  # by its scheduler, which ends the thread or the process
        self.agenda = Agenda(self.recorder)
        self._relays_seen = time.monotonic()
        self.plots = Plots(self.recorder)
        self.sightings = Sightings(self.recorder)
        self.final = FinalValidation(self.recorder, self.sightings.album)
        # A trainer whose constructor failed fires no further event.
        weakref.finalize(trainer, self.recorder.end, "failed").atexit = False

    def check(self) -> None:
        """See whether every plugin can be used.

        :raises ConfigurationError: if one cannot
        """
        self.recorder.check(self.disabled, self.control.names)

    def set_up(self, trainer: BaseTrainer) -> None:
        """Begin the run: set-up is done."""
        gpus: list[str] | None = None
        with guard("naming the GPU"):
            gpus = data.gpus(trainer)
        self.recorder.begin(params=_params(trainer), environment=self.environment, gpus=gpus)
        with guard("looking at what is saved"):
            checkpoints.warn(self.recorder, trainer)
        if trainer.start_epoch:
            self._settle_the_past(trainer)

    def _settle_the_past(self, trainer: BaseTrainer) -> None:
        """Record the epochs that the checkpoint is past and that were not settled.

        One, if the training was killed between saving the checkpoint and its epoch's end; all, if it was not
        tracked so far.
        """
        missing = range(self.recorder.epoch + 1, trainer.start_epoch + 1)
        if not missing or not trainer.resume:  # older releases count on, too, from weights that they start with
            return
        past = data.past_epochs(Path(trainer.csv), resumed_from(trainer), trainer.start_epoch)
        for epoch in (epoch for epoch in missing if epoch in past):
            step = epoch * len(trainer.train_loader)
            metrics = without_placeholders(trainer, past[epoch])
            self.recorder.record("on_epoch_end", epoch=epoch, step=step, metrics=metrics, per_class=None)

    def train_started(self, trainer: BaseTrainer) -> None:
        """Record model and data set."""
        if self.recorder.resumed:
            with guard("restoring the learning rate"):
                restore_learning_rate(trainer, self.recorder.calls("on_epoch_end", "on_action"))
            if self.control:
                with guard("telling the rules what was"):
                    calls = self.recorder.calls(*PAST)
                    deque(self.control.past(self.recorder.run, calls, int(trainer.epochs)), maxlen=0)
        dataset: Dataset | None = None
        with guard("recording model and data set"):
            dataset = data.dataset(trainer)
            self.recorder.record("on_train_start", model=data.model(trainer), dataset=dataset)
        with guard("recording the data set's YAML"):
            if dataset and dataset.yaml and dataset.yaml.is_file():
                artifact = files.config(
                    self.recorder.folder, dataset.yaml, f"dataset/{dataset.yaml.name}",
                    large_texts=self.recorder.plan.large_texts,
                )  # fmt: skip
                self.recorder.record("on_artifact", artifact=artifact)
        if self.recorder.settings.graph == "on":
            with guard("recording the graph"):
                if graph := weights.graph(self.recorder.folder, trainer.model, self.recorder.complain):
                    self.recorder.record("on_artifact", artifact=graph)

    def epoch_started(self, trainer: BaseTrainer) -> None:
        """Record an epoch's start, or that it begins again."""
        before, number, attempt = self.epoch, trainer.epoch + 1, 1
        out_of_memory = getattr(trainer, "_oom_retries", 0)
        if number == before.number and not before.settled:
            reason = "out of memory" if out_of_memory > before.out_of_memory else "NaN or infinite loss"
            self.recorder.record("on_epoch_restart", epoch=number, attempt=before.attempt, reason=reason)
            attempt = before.attempt + 1
        self.epoch = Epoch(number, attempt, out_of_memory)
        self.batches.begin()
        self.recorder.record("on_epoch_start", epoch=number, attempt=attempt)

    def batch_trained(self, trainer: BaseTrainer) -> None:
        """Record every so many batches or seconds."""
        self.epoch.seconds += self.batches.add()
        self.epoch.batches += 1
        if self.agenda.is_time_to_look():
            with guard("carrying out what is asked"):
                self.agenda.carry_out(trainer, self.epoch, in_mid_epoch=True)
            if time.monotonic() - self._relays_seen >= _RELAYS_EVERY:  # an epoch may take hours
                self._look_after_relays(console=False)
        if not self.batches.are_due():
            return
        images_per_s = self.batches.take() * trainer.batch_size
        metrics = {
            # Ultralytics has just printed these losses: reading them makes the device wait for nothing more.
            **trainer.label_loss_items(trainer.tloss, prefix="batch"),
            **{f"batch/lr/pg{i}": group["lr"] for i, group in enumerate(trainer.optimizer.param_groups)},
            "batch/images_per_s": images_per_s,
        }
        epoch, step = self.epoch.number, self.epoch.step(trainer)
        self.recorder.record("on_batch_end", epoch=epoch, step=step, metrics=metrics)
        if self.control:
            self.agenda.add(self.control.batch(self.recorder.run, epoch, step, _floats(metrics)))
            self.agenda.carry_out(trainer, self.epoch, in_mid_epoch=True)

    def batches_done(self, trainer: BaseTrainer) -> None:
        """Record the early view of an epoch's training."""
        self.epoch.finish_training(trainer)
        if self.agenda.stopping:
            with guard("keeping Ultralytics from repeating this epoch"):
                end_epoch_as_it_is(trainer)
        epoch, attempt = self.epoch.number, self.epoch.attempt
        metrics = training_metrics(trainer)
        self.recorder.record("on_train_epoch_end", epoch=epoch, attempt=attempt, metrics=metrics)

    def validation_done(self, trainer: BaseTrainer) -> None:
        """Record the early view of an epoch's validation."""
        self.epoch.validated = True
        self.recorder.record(
            "on_validation_end",
            epoch=self.epoch.number,
            attempt=self.epoch.attempt,
            metrics=dict(trainer.validator.metrics.results_dict),
            per_class=self.epoch.per_class(trainer),
        )

    def model_saved(self, trainer: BaseTrainer) -> None:
        """Record checkpoints."""
        self.epoch.saved = True
        checkpoints.record(self.recorder, trainer, self.epoch.number)

    def fit_epoch_ended(self, trainer: BaseTrainer) -> None:
        """Do what an epoch's end brings, or record the final validation, which Ultralytics announces by the same event.

        The epoch number does not tell them apart (early stop); that no batches were trained since does.
        """
        if self.epoch.settled or not self.epoch.trained:
            self.final.record(trainer)
            return
        epoch = self.epoch.number
        metrics = self._settle_epoch(trainer)
        with guard(f"recording the plots of epoch {epoch}"):
            self.plots.record(trainer, epoch)
        if self.control:
            with guard(f"asking the rules about epoch {epoch}"):
                seconds = self.control.seconds_before + time.time() - trainer.train_time_start
                progress = Progress(epochs=int(trainer.epochs), seconds=seconds)
                self.agenda.add(self.control.epoch(self.recorder.run, epoch, _floats(metrics), progress))
        with guard("carrying out what is asked"):
            self.agenda.carry_out(trainer, self.epoch)
        self._look_after_relays()
        if self.recorder.settings.histograms == "on":
            with guard(f"recording the histograms of epoch {epoch}"):
                artifact = weights.histograms(self.recorder.folder, trainer.model, epoch, self.recorder.complain)
                self.recorder.record("on_artifact", artifact=artifact)

    def _look_after_relays(self, *, console: bool = True) -> None:
        self._relays_seen = time.monotonic()
        with guard("looking after the relays"):
            self.recorder.look_after_relays(console=console)

    def _settle_epoch(self, trainer: BaseTrainer) -> dict[str, Any]:
        """Record the epoch's end; return its metrics."""
        self.epoch.settled = True
        epoch, metrics = self.epoch.number, self.epoch.metrics(trainer)
        with guard(f"recording the end of epoch {epoch}"):
            step, per_class = self.epoch.step(trainer), self.epoch.per_class(trainer)
            self.recorder.record("on_epoch_end", epoch=epoch, step=step, metrics=metrics, per_class=per_class)
            if self.is_ray_trial and epoch >= trainer.epochs:
                self.recorder.status_at_exit = "finished"
        with guard(f"recording what the model sees in epoch {epoch}"):
            self.sightings.epoch_ended(trainer, epoch)
        return metrics

    def training_finished(self, _: BaseTrainer) -> None:
        """Note that the training came to its proper end; keep its files from what users do at this event."""
        self.finished = True
        self._error_before = sys.exc_info()[1]  # of whoever trains while handling it
        self._record_final_files(is_last=False)

    def _record_final_files(self, *, is_last: bool) -> None:
        with guard("waiting for the last plots"):
            wait_until_drawn(_PLOTTING_TIMEOUT)
        self.recorder.record_final_files(self.plots.is_recorded, is_last=is_last)

    def torn_down(self, trainer: BaseTrainer) -> None:
        """Record what is left, and the end. Ultralytics calls this in a ``finally``: see what is in flight."""
        error = sys.exc_info()[1]
        if self.finished and error is self._error_before:  # else, a user's callback raised at the end
            error = None
        try:
            with guard("making up for the last epoch"):
                # A user's callback raised behind that, or Ctrl-C came before the end of the epoch was recorded.
                if self.recorder.epoch < self.epoch.number and self.epoch.is_in_table(trainer):
                    self._settle_epoch(trainer)
            with guard("recording what the model sees in the best epoch and the last one"):
                self.sightings.finish()
            self._record_final_files(is_last=True)
        finally:
            if self.is_ray_trial and isinstance(error, SystemExit):
                self.recorder.end(self.recorder.status_at_exit)
            else:
                self.recorder.end(error=error)


def _floats(metrics: dict[str, Any]) -> dict[str, float]:
    """Return what rules are asked with: what is a number. The recorder says what is none."""
    floats = {}
    for name, value in metrics.items():
        with suppress(Exception):  # a tensor of two elements says RuntimeError, a large int OverflowError
            if not isinstance(value, str):
                floats[str(name)] = float(value)
    return floats


def _params(trainer: BaseTrainer) -> Params:
    return dict(vars(trainer.args))
