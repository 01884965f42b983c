"""The relay side: keeps a training as a task in ClearML."""

import hashlib
import json
import math
import re
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tracking_hooks import Run, Unavailable, drawing, events, hookimpl
from tracking_hooks.predictions import SeenImage
from tracking_hooks_clearml.stores import Changes, Fields, Offline, Server, key

_STATUS = {"running": "in_progress", "finished": "completed", "interrupted": "stopped"}
_SINGLE = -(2**31)  # the iteration of single values, as the client has it
_MOST_IMAGES = 24  # of an event: all that are among the worst, and of a training as many; each is drawn and uploaded
_MOST_LABELS = 100  # of a confusion matrix: one of 1,000 is an event of 4 MB


class ClearmlTracker:
    """Collects what happens, and sends it in ``flush``; files are sent at once."""

    one_run_per_process = True  # the client keeps connections and the server's address in its modules

    @hookimpl
    def open(self, run: Run, destination: events.Destination, state: events.State, time: float) -> None:
        """Find the task, or make it."""
        self._store: Any = (Offline if "folder" in destination else Server)(destination, run, state)
        if not self._store.exists and (run.addendum or state):
            raise Unavailable(f"the task of the run {run.uid} is not there", only_this_run=True)
        task = {"name": run.name, "project_name": destination["project"], "type": "training", "tags": [run.uid]}
        if not self._store.exists:
            self._store.create(task)
        state.update(id=self._store.id, url=self._store.url)
        self._place = f"{_plain(destination['project'])}/{_plain(run.name)}.{self._store.id}/artifacts"
        self._is_late, self._start = bool(run.addendum), time
        self._changes: Changes = defaultdict(list)
        self._events: dict[Any, Fields] = {}

    @hookimpl
    def on_run_start(
        self, run: Run, params: events.Params, environment: events.Environment, seq: int, state: events.State
    ) -> None:
        """Write what is known at the start. A task that was resumed is running again."""
        names = ("host", "user", "cwd", "argv", "python", "platform", "devices")
        origin = run.started_from and f"{run.started_from.uid} {run.started_from.checkpoint}"
        about = {"run": run.uid, "group": run.group, "parent": run.parent, "started_from": origin}
        self._set("Args", params)
        self._set("environment", {name: getattr(environment, name) for name in names} | environment.versions)
        if git := environment.git:
            self._set("git", {"commit": git.commit, "branch": git.branch, "dirty": git.dirty, "remote": git.remote})
        self._set("properties", {name: text for name, text in about.items() if text} | run.tags)
        if seq > state.get("ended", 0):  # else it was set aside, and comes behind the end
            self._end("running", None)

    @hookimpl
    def on_epoch_end(self, epoch: int, metrics: events.Metrics, per_class: Any, time: float) -> None:
        """Add the points of the curves."""
        pairs = (per_class or {}).items()
        more = {f"per class, {name}/{label}": value for label, values in pairs for name, value in values.items()}
        self._scalars({**metrics, **more}, epoch, time)

    @hookimpl
    def on_batch_end(self, step: int, metrics: events.Metrics, time: float) -> None:
        """Add points over batches."""
        self._scalars(metrics, step, time)

    @hookimpl
    def on_system_metrics(self, metrics: events.Metrics, time: float) -> None:
        """Add points over seconds."""
        self._scalars(metrics, int(time - self._start), time)

    @hookimpl
    def on_log(self, metrics: events.Metrics, step: int | None, seq: int, time: float) -> None:
        """Add what the script logs."""
        self._scalars(metrics, self._step(step, seq, time), time)

    @hookimpl
    def on_params(self, params: events.Params) -> None:
        """Add the script's own params."""
        self._set("logged", params)

    @hookimpl
    def on_tags(self, tags: dict[str, str]) -> None:
        """Add the script's own tags."""
        self._set("properties", tags)

    @hookimpl
    def on_console(self, lines: list[str], time: float) -> None:
        """Add lines of the log."""
        self._add("log", time, level="info", worker="training", msg="\n".join(lines))

    @hookimpl
    def on_action(self, action: Any, plugin: str, outcome: str, time: float) -> None:
        """Say what was done, and why."""
        self.on_console([f"{plugin}: {type(action).__name__}, {outcome}: {action.reason}"], time)

    @hookimpl
    def on_image(self, artifact: events.Artifact, step: int | None, seq: int, time: float) -> None:
        """Add a debug sample."""
        self._image(artifact.name, self._upload(artifact.name, artifact, time), self._step(step, seq, time), time)

    @hookimpl
    def on_predictions(
        self, artifact: events.Artifact, images: list[SeenImage], step: int | None, classes: dict[int, str],
        seq: int, time: float,
    ) -> None:  # fmt: skip
        """Add a debug sample for each image: labels beside predictions."""
        at = self._step(step, seq, time)
        with TemporaryDirectory(prefix="tracking-hooks-") as folder:
            for image, name in zip(images[:_MOST_IMAGES], drawing.names(images)):
                (path := Path(folder, "seen.jpg")).write_bytes(drawn := drawing.draw(image, artifact.path, classes))
                shown, digest = f"{artifact.name}/{name}", hashlib.sha256(drawn).hexdigest()
                file = events.Artifact(path=path, kind="plot", name=shown, size=len(drawn), digest=digest)
                self._image(shown, self._upload(shown, file, time), at, time)

    @hookimpl
    def on_table(self, artifact: events.Artifact, step: int | None, seq: int, time: float) -> None:
        """Add a table to the plots."""
        table = json.loads(artifact.path.read_text())
        cells = {"header": {"values": table["columns"]}, "cells": {"values": list(zip(*table["data"]))}}
        self._plot(artifact.name, [{"type": "table", **cells}], self._step(step, seq, time), time)

    @hookimpl
    def on_artifact(self, artifact: events.Artifact, time: float) -> None:
        """Upload a file; a picture is a debug sample, too."""
        self._changes["files"].append(file := self._upload(artifact.name, artifact, time))
        if artifact.path.suffix in {".png", ".jpg", ".jpeg"}:
            self._image(f"plots/{artifact.name}", file, artifact.epoch or 0, time)

    @hookimpl
    def on_checkpoint_saved(self, epoch: int, checkpoint: events.Checkpoint, time: float) -> None:
        """Upload weights that are final."""
        if checkpoint.digest:
            self._changes["models"].append(self._upload(checkpoint.name(epoch), checkpoint, time))

    @hookimpl
    def on_export(self, artifact: events.Artifact, time: float) -> None:
        """Upload an exported model."""
        self._changes["models"].append(self._upload(artifact.name, artifact, time))

    @hookimpl
    def on_final_validation(self, metrics: events.Metrics, curves: Any, confusion_matrix: Any, time: float) -> None:
        """Add single values and plots of the best checkpoint."""
        self.on_evaluation("best", metrics, curves, confusion_matrix, time)

    @hookimpl
    def on_evaluation(
        self, split: str, metrics: events.Metrics, curves: Any, confusion_matrix: Any, time: float
    ) -> None:
        """Add single values and plots of a validation."""
        self._scalars({f"Summary/{split} {name}": value for name, value in metrics.items()}, _SINGLE, time)
        for curve in curves:
            named = {**({"mean": curve.mean} if curve.mean else {}), **curve.y}
            lines = [{"x": curve.x, "y": y, "name": label} for label, y in named.items()]
            self._plot(f"{split}/{curve.name}", lines, 0, time)
        if (matrix := confusion_matrix) and len(matrix.labels) <= _MOST_LABELS:  # of more, the picture is there
            cells = {"type": "heatmap", "z": matrix.matrix, "x": matrix.labels, "y": matrix.labels}
            self._plot(f"{split}/confusion matrix (true, predicted)", [cells], 0, time)

    @hookimpl
    def on_run_end(self, status: str, error: events.Error | None, time: float, seq: int, state: events.State) -> None:
        """End the task."""
        state["ended"] = seq
        self._end(status, error)
        self.on_console([error.traceback if error else status], time)

    @hookimpl
    def report_missing(self, missing: list[events.Missing]) -> None:
        """Say what the task lacks."""
        self._set("properties", {"incomplete": "\n".join(events.in_words(missing))})

    @hookimpl
    def flush(self) -> None:
        """Send what was collected."""
        if new := [event for name, event in self._events.items() if name not in self._store.known]:
            self._store.send(new)
        self._store.known |= self._events.keys()
        self._store.write(self._changes)
        self._changes, self._events = defaultdict(list), {}

    def _set(self, section: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            self._changes["params"].append({"section": section, "name": name, "value": text})

    def _end(self, status: str, error: events.Error | None) -> None:
        self._set("properties", {"status": status})  # an import of an offline session says "completed" to all
        about = {"status": _STATUS.get(status, "failed"), "status_reason": status}
        message = f"{error.type}: {error.message}" if error else ""
        self._changes["status"].append({**about, "status_message": message})

    def _step(self, step: int | None, seq: int, time: float) -> int:
        return step if step is not None else int(time) if self._is_late else seq

    def _add(self, kind: str, time: float, name: str = "", **more: Any) -> None:
        title, _, series = name.partition("/")
        event = {"type": kind, "task": self._store.id, "timestamp": int(time * 1000), **more}
        event |= {"metric": title, "variant": series or title} if name else {}
        self._events[key(event)] = event

    def _scalars(self, metrics: dict[str, float], iteration: int, time: float) -> None:
        for name, value in metrics.items():
            if math.isfinite(value):
                self._add("training_stats_scalar", time, name, iter=iteration, value=value)
            else:
                self.on_console([f"{name} is {value} at {iteration}"], time)

    def _plot(self, name: str, data: Any, iteration: int, time: float) -> None:
        self._add("plot", time, name, iter=iteration, plot_str=json.dumps({"data": data, "layout": {}}))

    def _image(self, name: str, file: Fields, iteration: int, time: float) -> None:
        uri = str(file["uri"])
        self._add("training_debug_image", time, name, iter=iteration, url=uri, key=uri[uri.index(self._place) :])

    def _upload(self, name: str, file: Any, time: float) -> Fields:
        place = f"{self._place}/{file.digest[:12]}/{_plain(Path(name).stem)}{_plain(file.path.suffix)}"
        about = {"key": name, "uri": self._store.upload(file.path, place), "hash": file.digest}
        return {**about, "type": "custom", "mode": "output", "content_size": file.size, "timestamp": int(time)}


def _plain(name: str) -> str:
    """Return a name as part of an address."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:60]
