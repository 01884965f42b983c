"""The hooks: where in a W&B run the data of a training are stored.

The step of a row is the event's number in the journal. It rises, is unique, and is the same in a replay, so rows that
W&B has are recognised. Charts are drawn over values in the row: the epoch, the batch, the second.

``state`` holds what has to survive a restart: ``best`` (epoch and metrics of the best checkpoint), ``row`` and ``seq``
(the last row and the last event that W&B's client was given) and ``url``; for a run that others have written to
``first_step``; for an offline run ``size`` (how much of its log counts) and ``part`` (the number of its folder).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracking_hooks.events import (
    DONE,
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
    SaveCheckpoint,
    State,
    Status,
    Stop,
    in_words,
)
from tracking_hooks.markers import hookimpl
from tracking_hooks.predictions import SeenImage
from tracking_hooks_wandb import content, names, overlays
from tracking_hooks_wandb.addenda import OfflineAddendum, OnlineAddendum, SharedAddendum
from tracking_hooks_wandb.client import Client, Start, key
from tracking_hooks_wandb.offline import OfflineClient
from tracking_hooks_wandb.online import OnlineClient, SharedClient
from tracking_hooks_wandb.service import EXIT_CODES

_PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".bmp"}

_KINDS: dict[str, type[Client]] = {
    "online": OnlineClient,
    "offline": OfflineClient,
    "shared": SharedClient,
    "disabled": Client,
}
_ADDENDA: dict[str, type[Client]] = {
    "online": OnlineAddendum,
    "offline": OfflineAddendum,
    "shared": SharedAddendum,
    "disabled": Client,
}
_clients: dict[str, Client] = {}
# Module state, since W&B's client is one per process: instances of the tracker find its runs here.


class WandbTracker:
    """Records one training as one W&B run, which stays open in this process when the instance is replaced."""

    one_run_per_process = True

    @hookimpl
    def open(
        self, params: Params, environment: Environment, resumed: bool, epoch: int, status: Status | None,
        run: Run, time: float, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """Open W&B's run."""
        self._epoch = epoch
        self._started = time
        # A training that is resumed on another machine has a new journal, whose numbers start again.
        is_joined = bool(destination.get("joined")) or (resumed and not state)
        exit_code = None if status is None else EXIT_CODES[status]
        start = Start(run, params, environment, time, is_joined, exit_code)
        self._client = _client(start, destination)
        self._client.open(start, state)

    @hookimpl
    def on_run_start(self, params: Params, environment: Environment, resumed: bool, seq: int) -> None:
        """Record params as the config."""
        self._client.start(params, environment, seq)
        if resumed:
            self._client.print("The training is resumed.", seq)
            if self._client.exit_code is None:
                self._client.replace_summary("status", "")  # of the part before

    @hookimpl
    def on_train_start(self, model: Model, dataset: Dataset, time: float, seq: int) -> None:
        """Record the size of the network, and the data set as the run's input."""
        self._client.add(content.dataset(dataset), [names.artifact(dataset.digest)], seq, is_input=True)
        size = {
            "model/parameters": model.parameters,
            "model/gradients": model.gradients,
            "model/layers": model.layers,
            "model/GFLOPs": model.gflops,
            "model/GFLOPs at 640": model.gflops_640,
        }
        self._client.log({name: value for name, value in size.items() if value is not None}, seq, time)

    @hookimpl
    def on_batch_end(self, step: int, metrics: Metrics, time: float, seq: int) -> None:
        """Record metrics named ``train_batch/…``, over batches."""
        self._client.log({**names.of_batch(metrics), "global_step": step}, seq, time)

    @hookimpl
    def on_epoch_end(self, epoch: int, metrics: Metrics, per_class: PerClass | None, time: float, seq: int) -> None:
        """Record the curves over epochs; those of a class are named ``per_class/…``."""
        self._epoch = epoch
        classes = (per_class or {}).items()
        of_classes = {f"per_class/{label}/{name}": value for label, found in classes for name, value in found.items()}
        self._client.log({**metrics, **of_classes, "epoch": epoch}, seq, time)

    @hookimpl
    def on_system_metrics(self, metrics: Metrics, time: float, seq: int) -> None:
        """Record the resources that the training (not this process) uses, over the seconds since its start."""
        if metrics:
            seconds = max(time - self._started, 0.0)
            self._client.log({**metrics, "seconds": round(seconds, 1)}, seq, time)

    @hookimpl
    def on_log(self, metrics: Metrics, step: int | None, time: float, seq: int) -> None:
        """Record the user's own metrics, over the user's own steps if there are any."""
        self._log_users({names.metric(name): value for name, value in metrics.items()}, step, seq, time)

    def _log_users(self, row: Mapping[str, Any], step: int | None, seq: int, time: float) -> None:
        axis = {} if step is None else {"log_step": step}
        self._client.log({**row, **axis}, seq, time)
        if axis:
            self._client.x_axis("log_step", *row)

    @hookimpl
    def on_params(self, params: Params, seq: int) -> None:
        """Record the user's own params in the config."""
        self._client.configure(params, seq)

    @hookimpl
    def on_tags(self, tags: dict[str, str], seq: int) -> None:
        """Record the user's own tags as the run's, as those of ``TRACKING_HOOKS_TAGS``: ``name=value``."""
        self._client.tag(tags, seq)

    @hookimpl
    def on_image(self, artifact: Artifact, step: int | None, time: float, seq: int) -> None:
        """Record the user's own image as media; one that comes when the run has passed its step, as a file."""
        if self._client.is_late(seq):
            self._client.save(artifact.path, f"{artifact.name}{artifact.path.suffix}", seq)
        else:
            self._log_users({names.metric(artifact.name): content.picture(artifact.path)}, step, seq, time)

    @hookimpl
    def on_predictions(
        self, artifact: Artifact, images: list[SeenImage], step: int | None, classes: dict[int, str],
        run: Run, time: float, seq: int,
    ) -> None:  # fmt: skip
        """Record images with boxes and masks as media; those of a training with a table, over epochs.

        What comes when the run has passed its step is a file.
        """
        if self._client.is_late(seq):
            self._client.save(artifact.path, f"{artifact.name}{artifact.path.suffix}", seq)
        elif images:
            self._show(artifact, images, step, classes, run.task, seq, time)

    def _show(
        self, artifact: Artifact, images: list[SeenImage], step: int | None, classes: dict[int, str], task: str,
        seq: int, time: float,
    ) -> None:  # fmt: skip
        name = names.metric(artifact.name)
        with overlays.unpacked(artifact.path, images, classes, task) as pictures:
            row = pictures.row(name)
            if name in overlays.OF_TRAINING and step is not None:
                self._client.log({**row, "epoch": step}, seq, time)
            else:
                self._log_users(row, step, seq, time)

    @hookimpl
    def on_table(self, artifact: Artifact, step: int | None, time: float, seq: int) -> None:
        """Record the user's own table as one of W&B's; one that comes when the run has passed its step, as a file."""
        if self._client.is_late(seq):
            self._client.save(artifact.path, f"{artifact.name}{artifact.path.suffix}", seq)
        else:
            self._log_users({names.metric(artifact.name): content.table(artifact.path)}, step, seq, time)

    @hookimpl
    def on_evaluation(
        self, split: str, metrics: Metrics, per_class: PerClass | None, curves: list[Curve],
        confusion_matrix: ConfusionMatrix | None, checkpoint: Checkpoint, time: float, seq: int,
    ) -> None:  # fmt: skip
        """Record the metrics of a checkpoint as ``<split>/…``, with their tables and charts."""
        row = _validation(split, metrics, per_class, curves, confusion_matrix, curves_as=f"{split}/curves")
        self._client.log({**row, f"{split}/checkpoint": checkpoint.path.name}, seq, time)
        self._client.x_axis("_step", *(f"{split}/{name}" for name in metrics))

    @hookimpl
    def on_export(
        self, artifact: Artifact, format: str, checkpoint: Checkpoint, run: Run, seq: int, destination: Destination
    ) -> None:
        """Upload an exported model as a version, with its format as alias."""
        collection = f"run_{destination.get('id', run.uid)}_export"
        source = {"format": format, "checkpoint": checkpoint.path.name, "checkpoint_sha256": checkpoint.digest}
        exported = content.model(run, collection, artifact, Path(artifact.name).name, source)
        self._client.add(exported, [names.artifact(format)], seq)

    @hookimpl
    def on_console(self, lines: list[str], seq: int) -> None:
        """Record the trainer's log, on W&B's page "Logs"."""
        self._client.print("\n".join(lines), seq)

    @hookimpl
    def on_artifact(self, artifact: Artifact, time: float, seq: int) -> None:
        """Record plots as media, named as by Ultralytics' own integration; other files on W&B's page "Files".

        A plot that comes when the run has passed its step is a file, too.
        """
        if not artifact.path.is_file():
            raise Rejected(f"{artifact.path} is gone, so {artifact.name} cannot be added to W&B")
        if artifact.name.startswith("/") or ".." in artifact.name.split("/"):
            raise Rejected(f"{artifact.name} is not the name of a file below the run's folder")
        is_picture = artifact.kind == "plot" and artifact.path.suffix.lower() in _PICTURES
        if is_picture and not self._client.is_late(seq):
            row: dict[str, Any] = {artifact.name.rpartition(".")[0]: content.picture(artifact.path)}
            if artifact.epoch is not None:
                row["epoch"] = artifact.epoch
            self._client.log(row, seq, time)
        else:
            self._client.save(artifact.path, artifact.name, seq)

    @hookimpl
    def on_checkpoint_saved(
        self, epoch: int, checkpoint: Checkpoint, run: Run, seq: int, state: State, destination: Destination
    ) -> None:
        """Upload final weights as versions of one model; W&B calls the newest version ``latest``."""
        best = state.setdefault("best", {})
        if checkpoint.digest is None:
            if checkpoint.kind == "best":
                best["epoch"] = epoch  # by the time it is final, the training may be some epochs further
            return
        metadata = {"kind": checkpoint.kind, "epoch": epoch, **(best if checkpoint.kind == "best" else {})}
        name = checkpoint.name(epoch)
        aliases = [] if checkpoint.kind == "periodic" else [names.artifact(Path(name).stem)]
        if not metadata["epoch"]:
            del metadata["epoch"]  # of a tuning: its best weights are those of a trial
        elif checkpoint.kind != "last" or epoch != best.get("epoch"):
            aliases.append(f"epoch_{metadata['epoch']}")
        collection = f"run_{destination.get('id', run.uid)}_model"
        self._client.add(content.model(run, collection, checkpoint, name, metadata), aliases, seq)

    @hookimpl
    def on_action(self, action: Action, plugin: str, outcome: str, run: Run, seq: int) -> None:
        """Record an action and its outcome; send an alert unless it only saved a checkpoint."""
        what = type(action).__name__
        text = f"{plugin}: {action.reason}\n{outcome}"
        if isinstance(action, SaveCheckpoint) and outcome == DONE:
            self._client.print(f"{what} {action.name}, {text}", seq)
        else:
            self._client.alert_when_safe(f"{what} of {run.name}", text, "INFO" if outcome == DONE else "WARN", seq)

    @hookimpl
    def on_final_validation(
        self, metrics: Metrics, per_class: PerClass | None, curves: list[Curve],
        confusion_matrix: ConfusionMatrix | None, time: float, seq: int, state: State,
    ) -> None:  # fmt: skip
        """Record the metrics of the best checkpoint as ``best/…``, apart from the curves."""
        # `state` is JSON, which has no NaN.
        shown = {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}
        state.setdefault("best", {})["metrics"] = shown
        row = _validation("best", metrics, per_class, curves, confusion_matrix, curves_as="curves")
        self._client.log({**row, "epoch": self._epoch}, seq, time)

    @hookimpl
    def on_run_end(self, status: Status, error: Error | None, run: Run, time: float, seq: int) -> None:
        """Record the status and the error. A run that the user's process has opened is left open."""
        client = self._client
        if not client.memory.is_new("end", seq):
            return
        summary: dict[str, str] = {"status": status}
        if error is not None:
            summary["error"] = f"{error.type}: {error.message}"
            client.write(error.traceback, "traceback.txt", seq)
        if status in {"failed", "killed"} and not client.has_row(seq):  # the alert went before the row
            text = summary.get("error", "its process died without saying why")
            client.alert(f"{run.name} {status}", text, "ERROR", seq)
        client.summarize(summary, seq)
        # The last row: if the service has it, it has all of them.
        client.log({"epoch": self._epoch}, seq, time)
        client.finish(EXIT_CODES[status])
        client.memory.gave("end", seq, safe=True)

    @hookimpl
    def flush(self, state: State) -> int | None:
        """Say what is safe."""
        return self._client.flush(state)

    @hookimpl
    def report_missing(self, missing: list[Missing]) -> None:
        """Say in the summary, as ``incomplete``, what W&B lacks; nothing is left of it when W&B has everything."""
        self._client.replace_summary("incomplete", "\n".join(in_words(missing)))

    @hookimpl
    def poll(self, destination: Destination) -> Stop | None:
        """End the training if somebody has pressed "Stop run" on W&B's page."""
        client = _clients.get(key(destination))
        if client is None or not client.stop_asked.is_set():
            return None
        client.stop_asked.clear()
        return Stop(reason="stopped on W&B's page")


def _validation(
    name: str, metrics: Metrics, per_class: PerClass | None, curves: list[Curve],
    confusion_matrix: ConfusionMatrix | None, *, curves_as: str,
) -> dict[str, Any]:  # fmt: skip
    row: dict[str, Any] = {f"{name}/{metric}": value for metric, value in metrics.items()}
    row |= {f"{curves_as}/{curve.name}": content.curve(curve) for curve in curves}
    if per_class:
        row[f"{name}/per_class"] = content.per_class(per_class)
    if confusion_matrix:
        row[f"{name}/confusion_matrix"] = content.confusion(confusion_matrix)
    return row


def _client(start: Start, destination: Destination) -> Client:
    """Return the client of a run; a new one for another journal, whose numbers are others."""
    found = _clients.get(key(destination))
    if found is not None and found.journal == start.journal:
        return found
    if found is not None:
        found.close()
    kind = (_ADDENDA if start.run.addendum else _KINDS)[destination["mode"]]
    with_id = {"id": names.run_id(start.run.uid), **destination}  # a run that was switched off at first has none
    client = _clients[key(destination)] = kind(with_id, start.journal)
    return client


def forget() -> None:
    """Know of no client any more, as in a process that has just begun."""
    _clients.clear()
