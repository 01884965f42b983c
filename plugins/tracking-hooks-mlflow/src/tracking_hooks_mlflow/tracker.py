"""The first part of the plugin: all of a training that MLflow keeps in its database."""

from __future__ import annotations

from functools import partial

from mlflow.entities import Metric

from tracking_hooks.events import (
    Action,
    Artifact,
    Checkpoint,
    Dataset,
    Destination,
    Environment,
    Error,
    Metrics,
    Missing,
    Model,
    Params,
    PerClass,
    Plan,
    Rejected,
    Run,
    State,
    Status,
    Stop,
)
from tracking_hooks.markers import hookimpl
from tracking_hooks_mlflow import datasets, incomplete, names, newest, note, opening, outcome, tags
from tracking_hooks_mlflow.run import BEGAN, MAX_METRICS, OURS, STOP, MLflowRun, began, milliseconds


class MLflowTracker:
    """Records one training as one MLflow run. It needs no artifact store: files are those of ``MLflowFiles``.

    ``state`` holds ``run_id``, ``experiment_id`` and ``url``; whether the experiment has our ``view``; the time at
    which this part of the run ``began``; the number of the event that ``ended`` it; the ``keys`` of metrics whose names
    MLflow refuses; what the run has come to, for the description (see ``outcome``); and for an addendum the last steps
    of metrics ``before`` it.
    """

    _run: MLflowRun

    def __init__(self) -> None:
        self._may_be_stopped = False
        self._epoch = 0
        self._buffer: list[Metric] = []

    @hookimpl
    def open(self, resumed: bool, epoch: int, run: Run, time: float, state: State, destination: Destination) -> None:
        """Find or make the run; find that of an addendum."""
        if run.addendum is None:
            self._run = opening.find_or_make(run, time, state, destination, resumed=resumed)
            self._may_be_stopped = True
        else:
            self._run = opening.find(run, state, destination, resumed=resumed)
            state["began"] = time
        self._epoch = epoch
        if url := opening.url(self._run):
            state["url"] = url

    @hookimpl
    def on_run_start(
        self, params: Params, environment: Environment, resumed: bool, plan: Plan | None, run: Run, time: float,
        seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Record params, and the environment as tags."""
        state["began"] = time
        known = self._run.known()
        if began(known) > time:
            return  # it was resumed elsewhere before this was delivered
        told = tags.of_run(run, environment, destination) | {BEGAN: str(time)}
        parts = {"command": note.command(environment)}
        if not self._run.is_joined:
            told |= tags.of_source(environment)
            if resumed and seq > state.get("ended", 0):  # otherwise this was set aside, and comes behind the end
                self._run.reopen(known)
                parts |= {"result": "", "figures": ""}
        told |= incomplete.described(self._run, known.tags, parts)
        self._run.write(known, tags=told, params=names.as_params(params))
        self._run.at_once(
            partial(self._run.nest, run, plan.members if plan else []),
            partial(incomplete.describe, self._run, **parts),
        )

    @hookimpl
    def on_train_start(self, model: Model, dataset: Dataset, run: Run) -> None:
        """Record the size of the network as params, the identity of the data set as tags."""
        summary = {
            "name": model.name,
            "parameters": model.parameters,
            "gradients": model.gradients,
            "layers": model.layers,
            "gflops_at_640": model.gflops_640,
        }
        params = names.as_params({"model": {name: value for name, value in summary.items() if value is not None}})
        parts = {"summary": note.summary(model, dataset)}
        known = self._run.known()
        told = {"dataset.name": dataset.name, "dataset.digest": dataset.digest}
        told |= incomplete.described(self._run, known.tags, parts)
        self._run.write(known, tags=told, params=params)
        self._run.at_once(
            partial(datasets.log, self._run, dataset, run.task),
            partial(incomplete.describe, self._run, **parts),
        )

    @hookimpl
    def on_batch_end(self, step: int, metrics: Metrics, time: float, state: State) -> None:
        """Record metrics named ``train_batch/…``, by batch."""
        self._record(names.of_batch(metrics), step, time, state)

    @hookimpl
    def on_epoch_end(self, epoch: int, metrics: Metrics, per_class: PerClass | None, time: float, state: State) -> None:
        """Record the curves, by epoch; those of a class are named ``val_per_class/…``."""
        self._epoch = max(self._epoch, epoch)
        self._record({**metrics, **names.per_class(per_class)}, epoch, time, state)
        outcome.note_epoch(state, epoch, metrics)

    @hookimpl
    def on_system_metrics(self, metrics: Metrics, time: float, seq: int, state: State) -> None:
        """Record metrics named ``system/…``, which MLflow shows on a page of their own."""
        self._record(metrics, seq, time, state)

    @hookimpl
    def on_log(self, metrics: Metrics, step: int | None, run: Run, time: float, seq: int, state: State) -> None:
        """Record the user's own metrics, or those of a tuning's trials and a group's runs."""
        if step is not None and not self._epoch and run.addendum is None:  # else they are of a training's script
            outcome.note_row(state, run, step, metrics)
            metrics = names.of_best_trial(metrics)
        is_behind = step is None and run.addendum is not None
        self._record(metrics, seq if step is None else step, time, state, is_behind=is_behind)

    @hookimpl
    def on_params(self, params: Params) -> None:
        """Record the user's own params; a tag for one that the run has with another value."""
        self._run.write(self._run.known(), params=names.as_params(params))

    @hookimpl
    def on_tags(self, tags: dict[str, str]) -> None:
        """Set the user's own tags; those by which we find a run are not theirs."""
        self._run.tag({name: text for name, text in tags.items() if not name.startswith(OURS)})
        if ours := sorted(name for name in tags if name.startswith(OURS)):
            raise Rejected(f"tags that begin with {OURS} are set by tracking-hooks alone: {', '.join(ours)}")

    @hookimpl
    def on_evaluation(self, split: str, metrics: Metrics, checkpoint: Checkpoint, time: float, state: State) -> None:
        """Record the metrics as ``test/…``, and which checkpoint they are of."""
        self._record(names.below(split, metrics), self._epoch, time, state)
        if newest.takes(self._run, f"{newest.EVALUATED}{split}", time):
            self._run.tag({f"{OURS}evaluation.{split}": checkpoint.path.name})

    @hookimpl
    def on_export(self, artifact: Artifact, format: str, checkpoint: Checkpoint, time: float) -> None:
        """Say in a tag what was exported."""
        if newest.takes(self._run, f"{newest.EXPORTED}{artifact.name}", time):
            about = f"{artifact.name}, {artifact.size} bytes, of {checkpoint.path.name}"
            self._run.tag({f"{OURS}export.{format}": about})

    @hookimpl
    def on_final_validation(self, metrics: Metrics, time: float, state: State) -> None:
        """Record the metrics of the best checkpoint as ``best/…``: they belong to the model, not to the curves."""
        self._record(names.below("best", metrics), names.OF_ALL, time, state)
        outcome.note_best(state, metrics)

    @hookimpl
    def on_action(self, action: Action, plugin: str, outcome: str, seq: int) -> None:
        """Record an action, who asked for it and why, as a tag."""
        text = f"{type(action).__name__} by {plugin}: {action.reason} ({outcome})"
        self._run.tag({f"tracking_hooks.action.{seq}": text})

    @hookimpl
    def on_run_end(
        self, status: Status, error: Error | None, run: Run, time: float, seq: int, state: State,
        destination: Destination,
    ) -> None:  # fmt: skip
        """Record the status and the error. A run that was joined is left open."""
        state["ended"] = seq
        known = self._run.known()
        parts = outcome.described(status, error, self._epoch, state)
        told = incomplete.described(self._run, known.tags, parts)
        if error is not None:
            told["tracking_hooks.error"] = f"{error.type}: {error.message}"
        if len(self._buffer) > MAX_METRICS:
            self._send()
        self._run.write(known, tags=told, metrics=self._buffer)  # a run that says it is over has all its numbers
        self._buffer = []
        rest = [partial(incomplete.describe, self._run, **parts)]
        if not self._run.is_joined and began(known) <= state.get("began", time):
            rest.append(partial(self._run.drop_others, run.uid))
            if status != "finished" or not destination.get("keep_active"):
                rest.append(partial(self._run.end, status, time))
        self._run.at_once(*rest)

    @hookimpl
    def report_missing(self, missing: list[Missing], run: Run) -> None:
        """Say in a tag, and in the description, what MLflow lacks; the tag is deleted when it has everything."""
        incomplete.say(self._run, incomplete.TAG, missing, run)

    @hookimpl
    def poll(self) -> Action | None:
        """End the training if somebody has set the tag ``tracking_hooks.stop`` in MLflow."""
        if not self._may_be_stopped:
            return None
        reason = self._run.tags().get(STOP)
        return None if reason is None else Stop(reason=reason or f"the tag {STOP} was set in MLflow")

    @hookimpl
    def flush(self) -> None:
        """Send the metrics."""
        self._send()

    def _record(self, metrics: Metrics, step: int, time: float, state: State, *, is_behind: bool = False) -> None:
        """Keep points until they are sent.

        :param is_behind: whether the steps are counted from the last one that the run has: MLflow shows the value at
            the highest step as the last one
        """
        keys = names.Names(state.setdefault("keys", {}))
        # The time of the event: by it, MLflow recognises a point that it already has.
        moment = milliseconds(time)
        for name, value in metrics.items():
            key = keys.key(name, beside=metrics)
            before = self._last_step(key, state) if is_behind else 0
            self._buffer.append(Metric(key, float(value), moment, before + step))

    def _last_step(self, key: str, state: State) -> int:
        known: dict[str, int] = state.setdefault("before", {})
        if key not in known:
            known[key] = self._run.last_step(key, before=milliseconds(state["began"]))
        return known[key]

    def _send(self) -> None:
        if self._buffer:
            self._run.log(self._buffer)
            self._buffer = []
