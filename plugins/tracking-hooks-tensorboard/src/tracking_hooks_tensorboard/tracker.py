"""The relay side: writes the events of a run to the event file.

``state`` holds what has to survive a restart: ``file`` and ``size`` (how much of the file counts), ``second`` (the last
step of the system metrics), ``layout`` (whether the layout of the custom scalars is written), ``pins`` (the curves that
a link shows on top), ``pictures`` (the epochs whose pictures are shown, and the best epoch), ``result`` (what the run
has come to) and ``incomplete`` (a checksum of what was said to be missing).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary

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
from tracking_hooks.predictions import SeenImage
from tracking_hooks_tensorboard import hparams, names, pins, predictions, tables, texts
from tracking_hooks_tensorboard.curves import pr_curves
from tracking_hooks_tensorboard.dashboard import copies, layout
from tracking_hooks_tensorboard.eventfile import EventFile, files, place
from tracking_hooks_tensorboard.markdown import code, table
from tracking_hooks_tensorboard.network import graph, histograms
from tracking_hooks_tensorboard.values import image, scalars, text

_PICTURES = {".png", ".jpg", ".jpeg"}
_GRAPH = "graph.json"
_HISTOGRAMS = re.compile(r"histograms/epoch\d+\.json")
_CONSOLE = "console.log"
_RESULT = "Result"
"""The first text in the tab, which sorts capitals before the small letters of the others."""
_MOST_LABELS = 100
"""Maximum number of classes for a confusion matrix that is readable as a table."""


class TensorBoardTracker:
    """Writes one event file for a run or an addendum to it, and continues it after a restart.

    The same calls give the same bytes, so TensorBoard does not notice when calls are repeated.
    """

    _file: EventFile
    _started: float
    """When the run started: the zero of the system metrics."""
    _epoch: int
    """The last one that was settled."""
    _charts: Collection[str] = ()
    """The names of that epoch's metrics."""

    @hookimpl
    def open(self, run: Run, epoch: int, time: float, state: State, destination: Destination) -> None:
        """Make the event file, or find the one that was written so far. An addendum has a file of its own."""
        self._started, self._epoch = time, epoch
        logdir, uid = place(Path(destination["logdir"]), run.uid), run.addendum or run.uid
        if run.addendum and not files(logdir, run.uid):
            raise Unavailable(f"{logdir} has no event file of the run {run.uid}", only_this_run=True)
        if "file" not in state:
            self._file = EventFile.create(logdir, uid, time)
            state.update(file=str(self._file.path), size=0)
            return
        # The folder may have been moved: look where it is now, and open no other file, whatever the state says.
        name = Path(state["file"]).name
        if not (name.startswith("events.out.tfevents.") and name.endswith(f".{uid}")):
            raise Unavailable(f"{name} is not an event file of this run")
        self._file = EventFile(logdir / name, state["size"])

    @hookimpl
    def on_run_start(self, params: Params, environment: Environment, run: Run, time: float) -> None:
        """Write the parameters and the environment."""
        values = [
            text("params", table(["parameter", "value"], params.items())),
            text("environment", texts.environment(run, environment)),
        ]
        self._file.append(time, 0, values)
        self._file.append(time, 0, hparams.start(params, run.task, time))

    @hookimpl
    def on_train_start(self, model: Model, dataset: Dataset, time: float) -> None:
        """Write the model and the data set."""
        self._file.append(time, 0, [text("model", texts.model(model)), text("dataset", texts.dataset(dataset))])

    @hookimpl
    def on_batch_end(self, step: int, metrics: Metrics, time: float) -> None:
        """Write the running means of the losses, over batches."""
        self._file.append(time, step, scalars(names.of_batch(metrics)))

    @hookimpl
    def on_epoch_end(
        self, epoch: int, metrics: Metrics, per_class: PerClass | None, run: Run, time: float, state: State
    ) -> None:
        """Write the curves over epochs; with the first ones, the layout of the charts."""
        metrics = names.of_epoch(metrics)
        values = scalars(metrics | copies(metrics))
        for label, of_class in (per_class or {}).items():
            plain = {names.without_brackets(name): value for name, value in of_class.items()}
            values += scalars(plain, f"per_class/{label}/")
        self._file.append(time, epoch, values)
        if "layout" not in state and (charts := layout(metrics, per_class, run.task)):
            self._file.append(time, 0, [charts])
            state["layout"] = True
        if metrics.keys() != self._charts:  # not every epoch is validated
            state["pins"] = pins.of(dict.fromkeys([*state.get("pins", []), *metrics]))
            self._charts = metrics.keys()
        self._epoch = max(self._epoch, epoch)
        state["result"] = texts.figures(f"epoch {epoch}", metrics)

    @hookimpl
    def on_artifact(self, artifact: Artifact, time: float) -> None:
        """Write plots that are pictures, the log, and the histograms and graph of the network."""
        name, step = artifact.name, artifact.epoch or 0
        is_picture = artifact.kind == "plot" and artifact.path.suffix.lower() in _PICTURES
        is_histogram = _HISTOGRAMS.fullmatch(name)
        if not (is_picture or is_histogram or name in {_CONSOLE, _GRAPH}):
            return
        data = artifact.path.read_bytes()
        with _shown(artifact):
            if name == _GRAPH:
                self._file.append_graph(time, graph(data))
                return
            if is_histogram:
                values = histograms(data)
            elif name == _CONSOLE:
                # As one text at the end: TensorBoard keeps ten texts of a tag, and would leave holes in a log in parts.
                values = [text("console", code(texts.shortened(data.decode(errors="replace"))))]
            else:
                values = [image(f"plots/{Path(name).with_suffix('').as_posix()}", data)]
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
    def on_params(self, params: Params, time: float, seq: int) -> None:
        """Write the user's own params: HParams takes a run's arguments once, at its start."""
        self._file.append(time, seq, [text("logged/params", table(["parameter", "value"], params.items()))])

    @hookimpl
    def on_tags(self, tags: dict[str, str], time: float, seq: int) -> None:
        """Write the user's own tags."""
        self._file.append(time, seq, [text("logged/tags", table(["tag", "value"], tags.items()))])

    @hookimpl
    def on_image(self, artifact: Artifact, step: int | None, time: float, seq: int) -> None:
        """Write the user's own picture."""
        with _shown(artifact):
            picture = image(artifact.name, artifact.path.read_bytes())
        self._file.append(time, seq if step is None else step, [picture])

    @hookimpl
    def on_predictions(
        self, artifact: Artifact, images: list[SeenImage], step: int | None, classes: dict[int, str], time: float,
        seq: int, state: State,
    ) -> None:  # fmt: skip
        """Write pictures of labels beside predictions."""
        at = seq if step is None else step
        with _shown(artifact):
            values = predictions.values(artifact, images, classes, at, state)
        if values:
            self._file.append(time, at, values)

    @hookimpl
    def on_table(self, artifact: Artifact, step: int | None, time: float, seq: int) -> None:
        """Write the first rows of the user's own table."""
        with _shown(artifact):
            rows = tables.shown(artifact.path.read_bytes())
        self._file.append(time, seq if step is None else step, [text(artifact.name, rows)])

    @hookimpl
    def on_final_validation(
        self, metrics: Metrics, per_class: PerClass | None, curves: list[Curve],
        confusion_matrix: ConfusionMatrix | None, checkpoint: Checkpoint, time: float, state: State,
    ) -> None:  # fmt: skip
        """Write the metrics of the best checkpoint apart from the curves, and its PR curves."""
        values = _validation(names.BEST, metrics, per_class, confusion_matrix)
        values += pr_curves(curves, confusion_matrix)
        self._file.append(time, self._epoch, values)
        state["result"] = texts.figures(checkpoint.path.name, names.of_epoch(metrics))

    @hookimpl
    def on_evaluation(
        self, split: str, metrics: Metrics, per_class: PerClass | None, curves: list[Curve],
        confusion_matrix: ConfusionMatrix | None, checkpoint: Checkpoint, time: float, seq: int,
    ) -> None:  # fmt: skip
        """Write the metrics of a checkpoint on a split, and its PR curves."""
        values = _validation(split, metrics, per_class, confusion_matrix)
        values += pr_curves(curves, confusion_matrix, f"{split}/")
        values.append(text(f"{split}/checkpoint", code(str(checkpoint.path))))
        self._file.append(time, seq, values)

    @hookimpl
    def on_export(self, artifact: Artifact, format: str, checkpoint: Checkpoint, time: float, seq: int) -> None:
        """Write what was exported; the file itself is not TensorBoard's to keep."""
        self._file.append(time, seq, [text("exports", texts.exported(artifact, format, checkpoint))])

    @hookimpl
    def on_run_end(self, status: Status, error: Error | None, time: float, state: State) -> None:
        """Write how the run ended, and what it came to."""
        result = texts.result(status, error, self._epoch, state.get("result", {}))
        values = [text(_RESULT, result), text("status", status)]
        if error:
            values.append(text("error", code(f"{error.type}: {error.message}\n\n{error.traceback}")))
        if status == "finished":
            values.append(hparams.success(time))
        self._file.append(time, self._epoch, values)

    @hookimpl
    def report_missing(self, missing: list[Missing], time: float, state: State) -> None:
        """Write what is missing here, or, behind such a text, that nothing is any more."""
        lines = [[line] for line in in_words(missing)]
        shown = table(["not in this event file"], lines) if lines else "Complete: what was missing was delivered later."
        if state.get("incomplete") == (digest := zlib.crc32(shown.encode())):
            return  # a text stands for ever, and this is the last one
        state["incomplete"] = digest
        self._file.append(time, self._epoch, [text("incomplete", shown)])
        self._file.write()

    @hookimpl
    def flush(self, state: State) -> None:
        """Make sure that everything is on disk."""
        self._file.sync()
        state["size"] = self._file.size


def _validation(
    name: str, metrics: Metrics, per_class: PerClass | None, confusion_matrix: ConfusionMatrix | None
) -> list[Summary.Value]:
    values = scalars(metrics, names.of_validation(name))
    if per_class:
        values.append(text(f"{name}/per_class", texts.per_class(per_class)))
    if confusion_matrix and len(confusion_matrix.labels) <= _MOST_LABELS:
        values.append(text(f"{name}/confusion_matrix", texts.confusion_matrix(confusion_matrix)))
    return values


@contextmanager
def _shown(artifact: Artifact) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise Rejected(f"{artifact.path} cannot be shown: {error}.") from error
