"""The hooks: where in an MLflow run the data of a training are stored."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping

from mlflow.entities import Metric

from tracking_hooks.events import (
    Action,
    Artifact,
    Checkpoint,
    ConfusionMatrix,
    Curve,
    Dataset,
    Destination,
    Environment,
    Error,
    Metrics,
    Model,
    Params,
    PerClass,
    Run,
    State,
    Status,
    Stop,
)
from tracking_hooks.hookspecs import hookimpl
from tracking_hooks_mlflow import datasets, models, note, registration, tables
from tracking_hooks_mlflow.names import Names
from tracking_hooks_mlflow.run import BEGAN, PARENT_UID, RUN_UID, STOP, MLflowRun, milliseconds

METRICS_PER_BATCH = 1000


class MLflowTracker:
    """Records one training as one MLflow run.

    A fresh instance finds its run by ``state``, or by the tag with our uid, so its first call may be any hook.
    ``state`` holds ``run_id``, ``model_id`` and ``url``; the time at which this part of the run ``began``; the last
    ``epoch`` and the ``best_epoch``; the ``keys`` of metrics whose names MLflow refuses; and for the description its
    parts (``note``) and the figures of the ``best`` checkpoint.
    """

    def __init__(self) -> None:
        self._run: MLflowRun | None = None
        self._buffer: list[Metric] = []

    @hookimpl
    def on_run_start(
        self, params: Params, environment: Environment, resumed: bool, run: Run, time: float, state: State,
        destination: Destination,
    ) -> None:  # fmt: skip
        """Record params, and the environment as tags."""
        self._run = mlflow_run = MLflowRun.open(run, time, state, destination, resumed=resumed)
        state["began"] = time
        if mlflow_run.began() > time:
            return  # it was resumed elsewhere before this was delivered
        tags = _tags(run, environment, destination) | {BEGAN: str(time)}
        if not _is_joined(destination):
            tags |= _source(environment)
            if resumed:
                mlflow_run.reopen()
        mlflow_run.tag(tags)
        mlflow_run.set_params(params)
        mlflow_run.nest(run)
        self._describe(mlflow_run, state, destination, command=note.command(environment))

    @hookimpl
    def on_train_start(
        self, model: Model, dataset: Dataset, run: Run, time: float, state: State, destination: Destination
    ) -> None:
        """Record the size of the network as params, the identity of the data set as tags."""
        mlflow_run = self._open(run, time, state, destination)
        mlflow_run.tag({"dataset.name": dataset.name, "dataset.digest": dataset.digest})
        summary = {
            "name": model.name,
            "parameters": model.parameters,
            "gradients": model.gradients,
            "layers": model.layers,
            "gflops": model.gflops,
        }
        mlflow_run.set_params({"model": summary})
        self._describe(mlflow_run, state, destination, summary=note.summary(model, dataset))
        datasets.log(mlflow_run, dataset, run.task)

    @hookimpl
    def on_batch_end(
        self, step: int, metrics: Metrics, run: Run, time: float, state: State, destination: Destination
    ) -> None:
        """Record metrics named ``batch/…``, by batch."""
        self._record(metrics, step, run, time, state, destination)

    @hookimpl
    def on_epoch_end(
        self, epoch: int, metrics: Metrics, per_class: PerClass | None, run: Run, time: float, state: State,
        destination: Destination,
    ) -> None:  # fmt: skip
        """Record the curves, by epoch; those of a class are named ``per_class/…``."""
        state["epoch"] = epoch
        self._record({**metrics, **_flat(per_class)}, epoch, run, time, state, destination)

    @hookimpl
    def on_system_metrics(
        self, metrics: Metrics, run: Run, time: float, seq: int, state: State, destination: Destination
    ) -> None:
        """Record metrics named ``system/…``, which MLflow shows on a page of their own."""
        self._record(metrics, seq, run, time, state, destination)

    @hookimpl
    def on_log(
        self, metrics: Metrics, step: int | None, run: Run, time: float, seq: int, state: State,
        destination: Destination,
    ) -> None:  # fmt: skip
        """Record the user's own metrics."""
        self._record(metrics, seq if step is None else step, run, time, state, destination)

    @hookimpl
    def on_final_validation(
        self, metrics: Metrics, per_class: PerClass | None, curves: list[Curve],
        confusion_matrix: ConfusionMatrix | None, run: Run, time: float, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Record the metrics of the best checkpoint as ``best/…``: they belong to the model, not to the curves."""
        mlflow_run = self._open(run, time, state, destination)
        model, epoch = models.begin(mlflow_run, run, state), state.get("epoch", 0)
        self._record(_best(metrics), epoch, run, time, state, destination, model)
        # Not for the model: eighty classes would hide the metrics that compare models on its page.
        self._record(_best(_flat(per_class)), epoch, run, time, state, destination)
        state["best"] = {name: note.figure(value) for name, value in metrics.items()}
        texts = {f"tables/{_file_name(curve.name)}.json": tables.curve(curve) for curve in curves}
        if confusion_matrix:
            texts["tables/confusion_matrix.json"] = tables.confusion_matrix(confusion_matrix)
        for name, text in texts.items():
            mlflow_run.write(text, name)
        if texts:
            mlflow_run.tag({tables.LOGGED: tables.logged(texts)})

    @hookimpl
    def on_checkpoint_saved(
        self, epoch: int, checkpoint: Checkpoint, run: Run, time: float, state: State, destination: Destination
    ) -> None:
        """Upload final weights as ``weights/best.pt``, ``weights/epoch5.pt``; the best weights also as a model."""
        if checkpoint.digest is None and checkpoint.kind == "best":
            state["best_epoch"] = epoch
        if checkpoint.digest is not None:
            mlflow_run = self._open(run, time, state, destination)
            mlflow_run.upload(checkpoint.path, f"weights/{checkpoint.name(epoch)}")
            if checkpoint.kind == "best":
                models.complete(mlflow_run, run, checkpoint, time, state)

    @hookimpl
    def on_artifact(self, artifact: Artifact, run: Run, time: float, state: State, destination: Destination) -> None:
        """Upload plots, tables and other files."""
        self._open(run, time, state, destination).upload(artifact.path, artifact.name)

    @hookimpl
    def on_run_end(
        self,
        status: Status,
        error: Error | None,
        run: Run,
        time: float,
        state: State,
        destination: Destination,
    ) -> None:
        """Record the status and the error. A run that was joined is left open."""
        mlflow_run = self._open(run, time, state, destination)
        self._send()  # a run that says it is over must be complete
        if error is not None:
            mlflow_run.write(error.traceback, "traceback.txt")
            mlflow_run.tag({"tracking_hooks.error": f"{error.type}: {error.message}"})
        text = note.result(status, state.get("epoch", 0), state.get("best", {}))
        self._describe(mlflow_run, state, destination, result=text)
        if not _is_joined(destination) and mlflow_run.began() <= state.get("began", time):
            mlflow_run.drop_others(run.uid)
            if status != "finished" or not destination.get("keep_active"):
                mlflow_run.end(status, time)
        # Neither an unfinished run nor a trial of a tuning becomes a version.
        wish = destination.get("register") if status == "finished" and run.parent is None else None
        models.finish(mlflow_run, run, state, registration.parse(wish) if wish else None)

    @hookimpl
    def poll(self, run: Run, state: State, destination: Destination) -> Action | None:
        """End the training if somebody has set the tag ``tracking_hooks.stop`` in MLflow."""
        if "run_id" not in state:
            return None
        reason = self._open(run, 0.0, state, destination).stop_asked_for()
        return None if reason is None else Stop(reason=reason or f"the tag {STOP} was set in MLflow")

    @hookimpl
    def on_action(
        self, action: Action, plugin: str, outcome: str, run: Run, time: float, seq: int, state: State,
        destination: Destination,
    ) -> None:  # fmt: skip
        """Record an action, who asked for it and why, as a tag."""
        text = f"{type(action).__name__} by {plugin}: {action.reason} ({outcome})"
        self._open(run, time, state, destination).tag({f"tracking_hooks.action.{seq}": text})

    @hookimpl
    def flush(self) -> None:
        """Send the metrics."""
        self._send()

    def _describe(self, mlflow_run: MLflowRun, state: State, destination: Destination, **parts: str) -> None:
        state["note"] = {**state.get("note", {}), **parts}
        if not _is_joined(destination):
            mlflow_run.tag({note.DESCRIPTION: note.whole(state["note"])})

    def _open(self, run: Run, time: float, state: State, destination: Destination) -> MLflowRun:
        if self._run is None:
            self._run = MLflowRun.open(run, time, state, destination)
        return self._run

    def _record(
        self, metrics: Metrics, step: int, run: Run, time: float, state: State, destination: Destination,
        links: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._open(run, time, state, destination)
        names = Names(state.setdefault("keys", {}))
        # The time of the event: by it, MLflow recognises a point that it already has.
        moment = milliseconds(time)
        for name, value in metrics.items():
            known = links if links and math.isfinite(value) else {}  # MLflow turns NaN into zero for a model
            self._buffer.append(Metric(names.key(name, beside=metrics), float(value), moment, step, **known))
        if len(self._buffer) >= METRICS_PER_BATCH:
            self._send()

    def _send(self) -> None:
        if self._buffer:
            assert self._run is not None, "opened before anything is recorded"
            self._run.log(metrics=self._buffer)
            self._buffer = []


def _flat(per_class: PerClass | None) -> Metrics:
    classes = (per_class or {}).items()
    return {f"per_class/{label}/{name}": value for label, metrics in classes for name, value in metrics.items()}


def _best(metrics: Metrics) -> Metrics:
    return {f"best/{name}": value for name, value in metrics.items()}


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text).strip("_")


def _is_joined(destination: Destination) -> bool:
    """Whether the run is the user's own, which we neither close nor rename."""
    return "run_id" in destination


def _tags(run: Run, environment: Environment, destination: Destination) -> dict[str, str]:
    tags = {
        RUN_UID: run.uid,
        "tracking_hooks.save_dir": str(run.save_dir),
        "tracking_hooks.command": shlex.join(environment.argv),
        "task": run.task,
        "host": environment.host,
        "devices": ", ".join(environment.devices),
        "version.python": environment.python,
        **{f"version.{name}": version for name, version in environment.versions.items()},
        **run.tags,
    }
    if run.parent is not None:
        tags[PARENT_UID] = run.parent
    if "project" in destination:
        tags["tracking_hooks.project"] = destination["project"]
    return tags


def _source(environment: Environment) -> Mapping[str, str]:
    """Return MLflow's own tags for who started what."""
    tags = {
        "mlflow.user": environment.user,
        "mlflow.source.type": "LOCAL",
        # Only the program: MLflow's pages show what follows the last slash.
        "mlflow.source.name": next(iter(environment.argv), ""),
    }
    if git := environment.git:
        tags["mlflow.source.git.commit"] = git.commit
        tags["mlflow.source.git.dirty"] = str(git.dirty).lower()
        if git.branch:
            tags["mlflow.source.git.branch"] = git.branch
        if git.remote:
            tags["mlflow.source.git.repoURL"] = git.remote
    return tags
