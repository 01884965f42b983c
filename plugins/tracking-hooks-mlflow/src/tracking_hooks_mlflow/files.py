"""The second part of the plugin: all of a training that MLflow keeps in its artifact store, and the model made of it.

It has a relay of its own, so a store that is out of reach holds up neither numbers nor the run's end. It may come
before or after the first part with anything, so it asks the run for nothing that the first part writes.
"""

from __future__ import annotations

import math

from tracking_hooks.events import (
    Artifact,
    Checkpoint,
    ConfusionMatrix,
    Curve,
    Dataset,
    Destination,
    Environment,
    Error,
    Metrics,
    Missing,
    Model,
    Params,
    PerClass,
    Rejected,
    Run,
    State,
    Status,
)
from tracking_hooks.markers import hookimpl
from tracking_hooks_mlflow import artifacts, images, incomplete, models, names, opening, registration, tables
from tracking_hooks_mlflow.run import MAX_PARAM, MLflowRun, milliseconds


class MLflowFiles:
    """Records the files of one training in the run that ``MLflowTracker`` has made.

    ``state`` holds ``run_id`` and ``model_id`` (None: the store knows no models); what a model says of its training
    (``network``, ``dataset``, ``best_epoch``); what it is made of, the metrics of the ``final`` validation and the
    ``weights``; and how the run has ``ended``, with the number of that event.
    """

    _run: MLflowRun
    _training: models.Training

    def __init__(self) -> None:
        self._epoch = 0
        self._status: Status | None = None
        self._wish: registration.Registration | None = None

    @hookimpl
    def open(
        self, params: Params, environment: Environment, resumed: bool, epoch: int, status: Status | None, run: Run,
        state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Find the run, which the first part makes."""
        self._run = opening.find(run, state, destination, resumed=resumed)
        self._training = models.Training(run=run, params=params, environment=environment)
        self._epoch = epoch
        self._status = status or (state["ended"][1] if "ended" in state else None)
        if (run.parent is None or run.group) and "register" in destination:  # a trial becomes no version
            self._wish = registration.parse(destination["register"])

    @hookimpl
    def on_run_start(self, params: Params, environment: Environment, run: Run, seq: int, state: State) -> None:
        """Record params that are too long for MLflow."""
        self._training = models.Training(run=run, params=params, environment=environment)
        if "ended" in state and state["ended"][0] < seq:  # otherwise this was set aside, and comes behind the end
            self._status = None
            for name in ("ended", "final", "weights"):
                state.pop(name, None)
        self._write_long(params)

    @hookimpl
    def on_train_start(self, model: Model, dataset: Dataset, state: State) -> None:
        """Note what the model will say."""
        state["network"] = model.name
        state["dataset"] = [dataset.name, dataset.digest]

    @hookimpl
    def on_epoch_end(self, epoch: int) -> None:
        """Note the epoch."""
        self._epoch = max(self._epoch, epoch)

    @hookimpl
    def on_artifact(self, artifact: Artifact) -> None:
        """Upload plots, tables and other files."""
        artifacts.upload(self._run, artifact.path, artifact.name)

    @hookimpl
    def on_params(self, params: Params) -> None:
        """Record params of the user's own that are too long for MLflow."""
        self._write_long(params)

    @hookimpl
    def on_image(self, artifact: Artifact, step: int | None, time: float, seq: int) -> None:
        """Upload an image for MLflow's grid."""
        images.upload(self._run, artifact, seq if step is None else step, milliseconds(time))

    @hookimpl
    def on_table(self, artifact: Artifact, step: int | None) -> None:
        """Upload a table, and tell MLflow that it is one."""
        name = tables.name(artifact.name, step)
        artifacts.upload(self._run, artifact.path, name)
        self._list_tables([name])

    @hookimpl
    def on_evaluation(
        self, split: str, per_class: PerClass | None, curves: list[Curve], confusion_matrix: ConfusionMatrix | None
    ) -> None:
        """Record metrics by class, curves and confusion matrix as tables below ``evaluation/<split>``."""
        if refused := self._write_tables(tables.of_evaluation(split, per_class, curves, confusion_matrix)):
            raise refused

    @hookimpl
    def on_export(self, artifact: Artifact) -> None:
        """Upload what was exported."""
        artifacts.upload(self._run, artifact.path, f"exports/{artifact.name}")

    @hookimpl
    def on_final_validation(
        self, metrics: Metrics, curves: list[Curve], confusion_matrix: ConfusionMatrix | None, time: float, state: State
    ) -> None:
        """Record curves and confusion matrix as tables, and the metrics as those of the model."""
        keys, known = names.Names({}), names.below("best", metrics)
        state["final"] = {
            # MLflow turns NaN into zero for a model. Those of classes are left out, too: eighty of them would hide the
            # metrics that compare models on its page.
            "metrics": {keys.key(name, known): value for name, value in known.items() if math.isfinite(value)},
            "step": self._epoch,
            "time": milliseconds(time),
        }
        refused = self._write_tables(tables.of_validation(curves, confusion_matrix))
        self._go_on_with_model(state)
        if refused:
            raise refused

    @hookimpl
    def on_checkpoint_saved(self, epoch: int, checkpoint: Checkpoint, time: float, state: State) -> None:
        """Upload final weights as ``weights/best.pt``, ``weights/epoch5.pt``; the best weights also as a model."""
        is_best = checkpoint.kind == "best"
        if checkpoint.digest is None:
            if is_best:
                state["best_epoch"] = epoch
            return
        if is_best:
            state["weights"] = {"path": str(checkpoint.path), "digest": checkpoint.digest, "time": time}
        # Where a model was made of these weights, they were uploaded before.
        if not (is_best and models.is_complete(self._run, self._training, state)):
            artifacts.upload(self._run, checkpoint.path, f"weights/{checkpoint.name(epoch)}")
        if is_best:
            self._go_on_with_model(state)

    @hookimpl
    def on_run_end(self, status: Status, error: Error | None, seq: int, state: State) -> None:
        """Record a traceback, and finish the model."""
        self._status = status
        state["ended"] = [seq, status]
        if error is not None:
            artifacts.write(self._run, error.traceback, "traceback.txt")
        self._finish_model(state)

    @hookimpl
    def report_missing(self, missing: list[Missing], run: Run) -> None:
        """Say in a tag of this part's own, and in the description, what MLflow lacks."""
        incomplete.say(self._run, incomplete.FILES_TAG, missing, run)

    def _write_long(self, params: Params) -> None:
        for key, value in names.as_params(params).items():
            if len(value) > MAX_PARAM:
                artifacts.write(self._run, value, f"params/{key}.txt")

    def _write_tables(self, texts: dict[str, str]) -> Rejected | None:
        """Write those that are taken; return why one is not."""
        written, refused = [], None
        for name, text in texts.items():
            try:
                artifacts.write(self._run, text, name)
            except Rejected as error:
                refused = error
            else:
                written.append(name)
        if written:
            self._list_tables(written)
        return refused

    def _list_tables(self, paths: list[str]) -> None:
        self._run.tag({tables.LOGGED: tables.logged(paths, self._run.tags().get(tables.LOGGED))})

    def _go_on_with_model(self, state: State) -> None:
        """Make the model once its weights and its metrics are known; finish it if the run is over."""
        models.complete(self._run, self._training, state)
        if self._status is not None:
            self._finish_model(state)

    def _finish_model(self, state: State) -> None:
        models.finish(self._run, self._training, state, self._wish if self._status == "finished" else None)
