"""The second part of the plugin: all of a training that MLflow keeps in its artifact store, and the model made of it.

It has a relay of its own, so a store that is out of reach holds up neither numbers nor the run's end. It may come
before or after the first part with anything, so it asks the run for nothing that the first part writes.

The hooks only say what is to be done. ``flush`` sends the files, up to eight at the same time, and then takes the steps
that rely on them, in the order of the events: tables are listed, the model is made. What is refused is told by the
number of its event, and costs no other one anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

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
from tracking_hooks.predictions import SeenImage
from tracking_hooks_mlflow import (
    artifacts,
    datasets,
    images,
    incomplete,
    listing,
    models,
    names,
    newest,
    opening,
    predictions,
    registration,
    tables,
)
from tracking_hooks_mlflow.run import MAX_PARAM, MLflowRun, milliseconds
from tracking_hooks_mlflow.transfers import Transfers


class MLflowFiles:
    """Records the files of one training in the run that ``MLflowTracker`` has made.

    ``state`` holds ``run_id`` and ``model_id`` (None: the store knows no models); what a model says of its training
    (``network``, ``best_epoch``; ``dataset``: its name and the digest of its validation data); what it is made of, the
    metrics of the ``final`` validation and the ``weights``; the digest of those that it was ``made_of``; how and by
    which event the run has ``ended``; and in ``sent`` the model that was begun, which the next attempt goes on with.
    """

    files_together = True

    _run: MLflowRun
    _training: models.Training

    def __init__(self) -> None:
        self._status: Status | None = None
        self._wish: registration.Registration | None = None
        self._transfers = Transfers()
        self._steps: list[tuple[int, Callable[[State], None]]] = []
        self._tables: dict[str, int] = {}  # what is sent, with the number of its event
        self._sent: list[str] = []  # of these
        self._refused: dict[int, Rejected] = {}
        self._has_announced_images = False
        self._wants_view = True

    @hookimpl
    def open(
        self, params: Params, environment: Environment, resumed: bool, status: Status | None, run: Run, state: State,
        destination: Destination,
    ) -> None:  # fmt: skip
        """Find the run, which the first part makes."""
        self._run = opening.find(run, state, destination, resumed=resumed)
        self._training = models.Training(run=run, params=params, environment=environment)
        self._wants_view = destination.get("view") != "off"
        self._status = status or (state["ended"][1] if "ended" in state else None)
        if not run.is_trial and "register" in destination:  # a trial becomes no version
            self._wish = registration.parse(destination["register"])

    @hookimpl
    def on_run_start(self, params: Params, environment: Environment, run: Run, seq: int) -> None:
        """Record params that are too long for MLflow."""
        self._write_long(params, seq)
        self._then(seq, self._begin, models.Training(run=run, params=params, environment=environment), seq)

    @hookimpl
    def on_train_start(self, model: Model, dataset: Dataset, seq: int) -> None:
        """Note what the model will say."""
        about = {"network": model.name, "dataset": [dataset.name, datasets.digest(dataset, "val")]}
        self._then(seq, _note, about)

    @hookimpl
    def on_artifact(self, artifact: Artifact, time: float, seq: int) -> None:
        """Upload plots, tables and other files."""
        if newest.takes_file(self._run, artifact.name, time):
            self._upload(artifact, artifact.name, seq)

    @hookimpl
    def on_params(self, params: Params, seq: int) -> None:
        """Record params of the user's own that are too long for MLflow."""
        self._write_long(params, seq)

    @hookimpl
    def on_image(self, artifact: Artifact, step: int | None, time: float, seq: int) -> None:
        """Upload an image for MLflow's grid."""
        at = seq if step is None else step
        self._transfers.add(
            seq, f"{artifact.name} at {at}", partial(images.upload, self._run, artifact, at, milliseconds(time))
        )
        self._then(seq, self._announce_image, seq)

    @hookimpl
    def on_predictions(
        self, artifact: Artifact, images: list[SeenImage], step: int | None, classes: dict[int, str], run: Run,
        time: float, seq: int, state: State,
    ) -> None:  # fmt: skip
        """Upload pictures of labels beside predictions for MLflow's grid."""
        source = run.addendum or run.uid  # whose numbers of events these are
        cards = predictions.Cards(self._run, source, artifact, images, classes, step=step, at=seq, time=time)
        for name, send in cards.uploads(state):
            self._transfers.add(seq, name, send)
        self._then(seq, self._remove, cards.outdated(state))
        self._then(seq, self._announce_image, seq)
        if self._wants_view:
            self._then(seq, self._show_cards, cards, seq)

    @hookimpl
    def on_table(self, artifact: Artifact, step: int | None, seq: int) -> None:
        """Upload a table, and tell MLflow that it is one."""
        name = tables.name(artifact.name, step)
        self._send_table(name, seq, partial(artifacts.upload, self._run, artifact.path, name))

    @hookimpl
    def on_evaluation(
        self, split: str, per_class: PerClass | None, curves: list[Curve], confusion_matrix: ConfusionMatrix | None,
        time: float, seq: int,
    ) -> None:  # fmt: skip
        """Record metrics by class, curves and confusion matrix as tables below ``evaluation/<split>``."""
        if newest.takes(self._run, f"{newest.EVALUATED}{split}", time):
            self._write_tables(tables.of_validation(tables.of_split(split), per_class, curves, confusion_matrix), seq)

    @hookimpl
    def on_export(self, artifact: Artifact, time: float, seq: int) -> None:
        """Upload what was exported."""
        if newest.takes(self._run, f"{newest.EXPORTED}{artifact.name}", time):
            self._upload(artifact, f"exports/{artifact.name}", seq)

    @hookimpl
    def on_final_validation(
        self, metrics: Metrics, per_class: PerClass | None, curves: list[Curve],
        confusion_matrix: ConfusionMatrix | None, time: float, seq: int,
    ) -> None:  # fmt: skip
        """Record metrics by class, curves and confusion matrix as tables, and the metrics as those of the model."""
        self._write_tables(tables.of_validation(tables.BEST, per_class, curves, confusion_matrix), seq)
        keys, known = names.Names({}), names.below("best", metrics)
        final = {
            "metrics": {keys.key(name, known): value for name, value in known.items() if math.isfinite(value)},
            "time": milliseconds(time),
        }
        self._then(seq, self._go_on_with_model, {"final": final})

    @hookimpl
    def on_checkpoint_saved(self, epoch: int, checkpoint: Checkpoint, time: float, seq: int, state: State) -> None:
        """Upload final weights as ``weights/best.pt``, ``weights/epoch5.pt``; the best weights also as a model."""
        is_best = checkpoint.kind == "best"
        if checkpoint.digest is None:
            if is_best:
                predictions.note_best(state, epoch)
                self._then(seq, _note, {"best_epoch": epoch})
            return
        weights = {"path": str(checkpoint.path), "digest": checkpoint.digest, "time": time}
        # Where a model was made of these weights, they were uploaded before.
        if not (is_best and models.is_complete(self._run, self._training, {**state, "weights": weights})):
            self._upload(checkpoint, f"weights/{checkpoint.name(epoch)}", seq)
        if is_best:
            self._then(seq, self._take_weights, weights, seq)

    @hookimpl
    def on_run_end(self, status: Status, error: Error | None, seq: int) -> None:
        """Record a traceback, and finish the model."""
        if error is not None:
            self._write("traceback.txt", error.traceback, seq)
        self._then(seq, self._end, status, seq)

    @hookimpl
    def flush(self, run: Run, state: State) -> None:
        """Send the files, and do what relies on them.

        :raises Rejected: with the number of an event; called again, it goes on with the next one
        """
        self._refused |= self._transfers.send()
        self._run.at_once(partial(self._list_tables, run), partial(self._take_steps, state))
        if self._refused:
            seq = min(self._refused)
            refused = self._refused.pop(seq)
            refused.seq = seq
            raise refused

    @hookimpl
    def report_missing(self, missing: list[Missing], run: Run) -> None:
        """Say in a tag of this part's own, and in the description, what MLflow lacks."""
        incomplete.say(self._run, incomplete.FILES_TAG, missing, run)

    # -- what is to be sent -----------------------------------------------------------------------------------

    def _upload(self, file: Artifact | Checkpoint, name: str, seq: int) -> None:
        self._transfers.add(seq, name, partial(artifacts.upload, self._run, file.path, name))

    def _write(self, name: str, text: str, seq: int) -> None:
        self._transfers.add(seq, name, partial(artifacts.write, self._run, text, name))

    def _write_long(self, params: Params, seq: int) -> None:
        for key, value in names.as_params(params).items():
            if len(value) > MAX_PARAM:
                self._write(f"params/{key}.txt", value, seq)

    def _write_tables(self, texts: dict[str, str], seq: int) -> None:
        for name, text in texts.items():
            self._send_table(name, seq, partial(artifacts.write, self._run, text, name))

    def _send_table(self, name: str, seq: int, send: Callable[[], None]) -> None:
        def send_and_note() -> None:
            send()
            self._sent.append(name)

        self._tables[name] = seq
        self._transfers.add(seq, name, send_and_note)

    def _remove(self, names: Sequence[str], _: State) -> None:
        for name in names:
            artifacts.remove(self._run, name)

    # -- what is to be done then ------------------------------------------------------------------------------

    def _then(self, seq: int, step: Callable[..., None], *args: Any) -> None:
        self._steps.append((seq, partial(step, *args)))

    def _take_steps(self, state: State) -> None:
        while self._steps:
            seq, step = self._steps[0]
            try:
                step(state)
            except Rejected as error:
                self._refused.setdefault(seq, error)
            del self._steps[0]

    def _list_tables(self, of: Run) -> None:
        sent = [name for name in self._tables if name in self._sent]
        try:
            if sent:
                listing.add(self._run, sent, of)
        except Rejected as error:
            self._refused.setdefault(self._tables[sent[-1]], error)
        self._tables, self._sent = {}, []

    def _begin(self, training: models.Training, seq: int, state: State) -> None:
        self._training = training
        if "ended" in state and state["ended"][0] < seq:  # otherwise this was set aside, and comes behind the end
            self._status = None
            for name in ("ended", "final", "weights", "made_of"):
                state.pop(name, None)

    def _announce_image(self, seq: int, _: State) -> None:
        if not self._has_announced_images and seq not in self._refused:
            self._run.tag({images.LOGGED: "True"})
            self._has_announced_images = True

    def _show_cards(self, cards: predictions.Cards, seq: int, state: State) -> None:
        if seq not in self._refused:
            cards.show(state)

    def _take_weights(self, weights: dict[str, Any], seq: int, state: State) -> None:
        if seq not in self._refused:
            self._go_on_with_model({"weights": weights}, state)

    def _go_on_with_model(self, about: dict[str, Any], state: State) -> None:
        """Make the model once its weights and its metrics are known; finish it if the run is over."""
        state |= about
        models.complete(self._run, self._training, state)
        if self._status is not None:
            self._finish_model(state)

    def _end(self, status: Status, seq: int, state: State) -> None:
        self._status = status
        state["ended"] = [seq, status]
        self._finish_model(state)

    def _finish_model(self, state: State) -> None:
        models.finish(self._run, self._training, state, self._wish if self._status == "finished" else None)


def _note(about: dict[str, Any], state: State) -> None:
    state |= about
