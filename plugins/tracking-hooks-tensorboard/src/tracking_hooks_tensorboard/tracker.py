"""The relay side: writes the events of a run to the event file.

``state`` holds what has to survive a restart: ``file`` and ``size`` (how much of the file counts), ``second`` (the last
step of the system metrics) and ``layout`` (whether the layout of the custom scalars is written).
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from tracking_hooks.events import (
    Action,
    Artifact,
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
    Unavailable,
    in_words,
)
from tracking_hooks.markers import hookimpl
from tracking_hooks_tensorboard import hparams
from tracking_hooks_tensorboard.curves import pr_curves
from tracking_hooks_tensorboard.dashboard import copies, layout, without_brackets
from tracking_hooks_tensorboard.eventfile import EventFile
from tracking_hooks_tensorboard.markdown import code, table
from tracking_hooks_tensorboard.network import graph, histograms
from tracking_hooks_tensorboard.values import image, scalars, text

_PICTURES = {".png", ".jpg", ".jpeg"}
_GRAPH = "graph.json"
_HISTOGRAMS = re.compile(r"histograms/epoch\d+\.json")
_CONSOLE = "console.log"
_CONSOLE_HEAD, _CONSOLE_TAIL = 20_000, 80_000
"""Characters of the trainer's log that are shown: of its start, with the model's layers, and of its end."""
_MOST_LABELS = 100
"""Maximum number of classes for a confusion matrix that is readable as a table."""


class TensorBoardTracker:
    """Writes one event file for a run, and continues it after a restart.

    The same calls give the same bytes, so TensorBoard does not notice when calls are repeated.
    """

    _file: EventFile
    _started: float
    """When the run started: the zero of the system metrics."""
    _epoch: int
    """The last one that was settled."""

    @hookimpl
    def open(self, run: Run, epoch: int, time: float, state: State, destination: Destination) -> None:
        """Make the event file, or find the one that was written so far."""
        self._started, self._epoch = time, epoch
        logdir = Path(destination["logdir"])
        if "file" not in state:
            self._file = EventFile.create(logdir, run.uid, time)
            state.update(file=str(self._file.path), size=0)
            return
        # The folder may have been moved: look where it is now, and open no other file, whatever the state says.
        name = Path(state["file"]).name
        if not (name.startswith("events.out.tfevents.") and name.endswith(run.uid)):
            raise Unavailable(f"{name} is not an event file of this run")
        self._file = EventFile(logdir / name, state["size"])

    @hookimpl
    def on_run_start(self, params: Params, environment: Environment, resumed: bool, run: Run, time: float) -> None:
        """Write the parameters and the environment."""
        if not resumed:  # epochs are settled once, so there is nothing to drop
            self._file.start_session(time, 0)  # an earlier run in the same folder (exist_ok) is overwritten
        texts = [
            text("params", table(["parameter", "value"], params.items())),
            text("environment", _environment(run, environment)),
        ]
        self._file.append(time, 0, texts)
        self._file.append(time, 0, hparams.start(params, run.task, time))

    @hookimpl
    def on_train_start(self, model: Model, dataset: Dataset, time: float) -> None:
        """Write the model and the data set."""
        self._file.append(time, 0, [text("model", _model(model)), text("dataset", _dataset(dataset))])

    @hookimpl
    def on_batch_end(self, step: int, metrics: Metrics, time: float) -> None:
        """Write the running means of the losses, over batches."""
        self._file.append(time, step, scalars(metrics))

    @hookimpl
    def on_epoch_end(self, epoch: int, metrics: Metrics, per_class: PerClass | None, time: float, state: State) -> None:
        """Write the curves over epochs; with the first ones, the layout of the charts."""
        values = scalars(metrics | copies(metrics))
        for label, of_class in (per_class or {}).items():
            values += scalars(without_brackets(of_class), f"per_class/{label}/")
        self._file.append(time, epoch, values)
        if "layout" not in state and (charts := layout(metrics, per_class)):
            self._file.append(time, 0, [charts])
            state["layout"] = True
        self._epoch = max(self._epoch, epoch)

    @hookimpl
    def on_artifact(self, artifact: Artifact, time: float) -> None:
        """Write plots that are pictures, the log, and the histograms and graph of the network."""
        name, step = artifact.name, artifact.epoch or 0
        is_picture = artifact.kind == "plot" and artifact.path.suffix.lower() in _PICTURES
        is_histogram = _HISTOGRAMS.fullmatch(name)
        if not (is_picture or is_histogram or name in {_CONSOLE, _GRAPH}):
            return
        data = artifact.path.read_bytes()
        try:
            if name == _GRAPH:
                self._file.append_graph(time, graph(data))
                return
            if is_histogram:
                values = histograms(data)
            elif name == _CONSOLE:
                # As one text at the end: TensorBoard keeps ten texts of a tag, and would leave holes in a log in parts.
                values = [text("console", code(_shortened(data.decode(errors="replace"))))]
            else:
                values = [image(f"plots/{Path(name).with_suffix('').as_posix()}", data)]
        except ValueError as error:
            raise Rejected(f"{artifact.path} cannot be shown: {error}.") from error
        self._file.append(time, step, values)

    @hookimpl
    def on_system_metrics(self, metrics: Metrics, time: float, state: State) -> None:
        """Write the resources that the training uses, over the seconds since its start."""
        # A clock that is set back must not make the curve go back.
        state["second"] = max(int(time - self._started), state.get("second", -1) + 1)
        self._file.append(time, state["second"], scalars(metrics))

    @hookimpl
    def on_log(self, metrics: Metrics, step: int | None, time: float, seq: int) -> None:
        """Write the user's own metrics."""
        self._file.append(time, seq if step is None else step, scalars(metrics))

    @hookimpl
    def on_action(self, action: Action, plugin: str, outcome: str, time: float, seq: int) -> None:
        """Write the action, who asked for it, and whether it was carried out."""
        shown = table(["action", "asked for by", "outcome"], [[action, plugin, outcome]])
        self._file.append(time, seq, [text("actions", shown)])

    @hookimpl
    def on_final_validation(
        self, metrics: Metrics, per_class: PerClass | None, curves: list[Curve],
        confusion_matrix: ConfusionMatrix | None, time: float,
    ) -> None:  # fmt: skip
        """Write the metrics of the best checkpoint apart from the curves, and its PR curves."""
        values = scalars(metrics, "best/")
        if per_class:
            values.append(text("best/per_class", _per_class(per_class)))
        if confusion_matrix and len(confusion_matrix.labels) <= _MOST_LABELS:
            values.append(text("best/confusion_matrix", _confusion_matrix(confusion_matrix)))
        values += pr_curves(curves, confusion_matrix)
        self._file.append(time, self._epoch, values)

    @hookimpl
    def on_run_end(self, status: Status, error: Error | None, time: float) -> None:
        """Write how the run ended."""
        texts = [text("status", status)]
        if error:
            texts.append(text("error", code(f"{error.type}: {error.message}\n\n{error.traceback}")))
        if status == "finished":
            texts.append(hparams.success(time))
        self._file.append(time, self._epoch, texts)

    @hookimpl
    def report_missing(self, missing: list[Missing], time: float) -> None:
        """Write what is missing here, or, behind such a text, that nothing is any more."""
        lines = [[line] for line in in_words(missing)]
        shown = table(["not in this event file"], lines) if lines else "Complete: what was missing was delivered later."
        self._file.append(time, self._epoch, [text("incomplete", shown)])

    @hookimpl
    def flush(self, state: State) -> None:
        """Make sure that everything is on disk."""
        self._file.sync()
        state["size"] = self._file.size


def _environment(run: Run, environment: Environment) -> str:
    rows: dict[str, Any] = {
        "command": shlex.join(environment.argv),
        "working directory": environment.cwd,
        "host": environment.host,
        "user": environment.user,
        "platform": environment.platform,
        "python": environment.python,
        "devices": ", ".join(environment.devices),
        **environment.versions,
        "run": run.uid,
        "project": run.project,
        "name": run.name,
        "save_dir": run.save_dir,
    }
    if git := environment.git:
        rows["git commit"] = f"{git.commit} (with uncommitted changes)" if git.dirty else git.commit
        rows["git branch"] = git.branch or ""
        rows["git remote"] = git.remote or ""
    if run.parent:
        rows["in the group of run" if run.group else "trial of"] = run.parent
    if run.group:
        rows["group"] = run.group
    if origin := run.started_from:
        rows["started from"] = f"{origin.checkpoint} of {origin.name}, run {origin.uid}"
    return table(["", "value"], [*rows.items(), *run.tags.items()])


def _model(model: Model) -> str:
    rows = {
        "name": model.name,
        "task": model.task,
        "parameters": f"{model.parameters:,}",
        "trained parameters": f"{model.gradients:,}",
        "layers": model.layers,
        "GFLOPs": "unknown" if model.gflops is None else model.gflops,
        "classes": ", ".join(model.classes.values()),
    }
    return table(["", "value"], rows.items())


def _dataset(dataset: Dataset) -> str:
    splits = dataset.splits
    rows = {"name": dataset.name, "yaml": dataset.yaml or "", "digest": dataset.digest}
    counts: list[list[object]] = [
        ["path", *(split.path for split in splits.values())],
        ["images", *(split.images for split in splits.values())],
        *([name, *(split.instances.get(name, 0) for split in splits.values())] for name in dataset.classes.values()),
    ]
    return table(["", "value"], rows.items()) + "\n" + table(["", *splits], counts)


def _per_class(per_class: PerClass) -> str:
    names = list(dict.fromkeys(name for metrics in per_class.values() for name in metrics))
    rows = (
        [label, *(f"{metrics[name]:.5g}" if name in metrics else "" for name in names)]
        for label, metrics in per_class.items()
    )
    return table(["class", *names], rows)


def _confusion_matrix(confusion: ConfusionMatrix) -> str:
    rows = ([label, *(f"{value:g}" for value in row)] for label, row in zip(confusion.labels, confusion.matrix))
    return table(["predicted, down; true, across", *confusion.labels], rows)


def _shortened(log: str) -> str:
    left_out = len(log) - _CONSOLE_HEAD - _CONSOLE_TAIL
    if left_out <= 0:
        return log
    return f"{log[:_CONSOLE_HEAD]}\n… {left_out:,} characters are left out here …\n{log[-_CONSOLE_TAIL:]}"
