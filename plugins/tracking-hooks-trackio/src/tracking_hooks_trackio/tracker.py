"""The relay side: keeps a training as a run in Trackio's local store.

The client's ``log()`` gives each row an id at random. Here the id is made of the run and the number of the event, and
the run's id is its uid. So a row or an alert that is written again is ignored, and a config or a file replaces itself.
"""

import hashlib
import json
import re
import shlex
import shutil
import sqlite3
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import trackio
from trackio import fragments, media, utils
from trackio.sqlite_storage import SQLiteStorage

from tracking_hooks import Run, Unavailable, drawing, events, hookimpl
from tracking_hooks.predictions import SeenImage
from tracking_hooks_trackio.trainer import show

Values = dict[str, Any]

_MOST_IMAGES = 24  # of an event: all that are among the worst, and of a training as many; each is drawn and kept
_CHANGES = {True: ", changed", False: "", None: ", perhaps changed"}


class TrackioTracker:
    """Copies files at once, and collects what is in the database: ``flush`` writes that."""

    @hookimpl
    def open(self, run: Run, epoch: int, time: float, state: Values, destination: Values) -> None:
        """Find the run, which may have another name by now."""
        use(Path(destination["folder"]))
        self.rows: list[Values] = []
        self.files: list[Values] = []
        self.config: Values = {}
        self.project, self.epoch, self.created = destination["project"], epoch, _iso(time)
        self.uid, self.source = run.uid, run.addendum or run.uid
        SQLiteStorage.validate_project_name(self.project)
        if utils.get_storage_mode() == "jsonl":
            hint = "set TRACKIO_STORAGE_MODE=sqlite if only one machine writes there"
            raise Unavailable(f"{destination['folder']} is on a network, where Trackio does not trust SQLite: {hint}")
        names = [record["name"] for record in SQLiteStorage.get_run_records(self.project) if record["id"] == run.uid]
        if not names and (run.addendum or "id" in state):
            raise Unavailable(f"the run {run.uid} is not in Trackio's project {self.project}", only_this_run=True)
        self.name = names[-1] if names else destination["name"]

    @hookimpl
    def on_run_start(
        self, params: Values, environment: events.Environment, run: Run, destination: Values, seq: int, state: Values
    ) -> None:
        """The training's arguments are the config, and what is known of its machine, as ``run/…``."""
        origin, git = run.started_from, environment.git
        self.config |= params | {f"tag/{name}": value for name, value in run.tags.items()}
        self.config |= {"_Group": destination["group"], "run/uid": run.uid, "run/command": shlex.join(environment.argv)}
        if seq > state.get("ended", 0):  # else it was set aside, and comes behind the end
            self.config["run/status"] = "running"
        self.config |= {f"run/{name}": getattr(environment, name) for name in ("host", "user", "devices", "versions")}
        self.config["run/git"] = git and f"{git.commit}{_CHANGES[git.dirty]}"
        self.config["run/started_from"] = origin and f"{origin.checkpoint} of {origin.name} ({origin.uid})"

    @hookimpl
    def on_train_start(self, model: events.Model, dataset: events.Dataset) -> None:
        """Model and data set are in the config."""
        self.config |= {f"model/{name}": getattr(model, name) for name in ("name", "parameters", "layers", "gflops")}
        images = {f"dataset/{name}_images": split.images for name, split in dataset.splits.items()}
        self.config |= {"dataset/name": dataset.name, "dataset/digest": dataset.digest} | images

    @hookimpl
    def on_batch_end(self, step: int, metrics: Values, seq: int, time: float) -> None:
        """Curves over batches."""
        self._row(seq, time, step, metrics)

    @hookimpl
    def on_epoch_end(self, epoch: int, metrics: Values, per_class: Values | None, seq: int, time: float) -> None:
        """Curves over epochs."""
        self.epoch = epoch
        classes = {f"per_class/{name}/{key}": v for name, of in (per_class or {}).items() for key, v in of.items()}
        self._row(seq, time, epoch, metrics | classes)

    @hookimpl
    def on_system_metrics(self, metrics: Values, seq: int, time: float) -> None:
        """Curves over time."""
        self.rows.append(fragments.system_metric_record(self._entry(seq, time, metrics=metrics)))

    @hookimpl
    def on_log(self, metrics: Values, step: int | None, seq: int, time: float) -> None:
        """What the user logs."""
        self._row(seq, time, step, metrics)

    @hookimpl
    def on_final_validation(self, metrics: Values, per_class: Values | None, seq: int, time: float) -> None:
        """The best checkpoint: numbers, and a table of the classes."""
        self._row(seq, time, self.epoch, _validation("best", metrics, per_class))

    @hookimpl
    def on_evaluation(self, split: str, metrics: Values, per_class: Values | None, seq: int, time: float) -> None:
        """The same of a validation outside of the training."""
        self._row(seq, time, None, _validation(split, metrics, per_class))

    @hookimpl
    def on_params(self, params: Values) -> None:
        """The user's params replace arguments of the same name."""
        self.config |= params

    @hookimpl
    def on_tags(self, tags: dict[str, str]) -> None:
        """Trackio has no tags: they are in the config."""
        self.config |= {f"tag/{name}": value for name, value in tags.items()}

    @hookimpl
    def on_image(self, artifact: events.Artifact, step: int | None, seq: int, time: float) -> None:
        """Copy a picture to Trackio's media, under its digest: the client's own name is another one each time."""
        step = seq if step is None else step
        shutil.copyfile(artifact.path, path := self._media(step, f"{artifact.digest}{artifact.path.suffix}"))
        self._row(seq, time, step, {artifact.name: _shown(path)})

    @hookimpl
    def on_predictions(
        self, artifact: events.Artifact, images: list[SeenImage], step: int | None, classes: dict[int, str],
        seq: int, time: float,
    ) -> None:  # fmt: skip
        """Labels beside predictions are media, a picture for each image."""
        step, row = seq if step is None else step, {}
        for image, name in zip(images[:_MOST_IMAGES], drawing.names(images)):
            drawn = drawing.draw(image, artifact.path, classes)
            (path := self._media(step, f"{hashlib.sha256(drawn).hexdigest()}.jpg")).write_bytes(drawn)
            row[f"{artifact.name}/{name}"] = _shown(path)
        self._row(seq, time, step, row)

    @hookimpl
    def on_table(self, artifact: events.Artifact, step: int | None, seq: int, time: float) -> None:
        """The user's tables."""
        table = json.loads(artifact.path.read_bytes())
        rows = [dict(zip(table["columns"], row)) for row in table["data"][:1000]]  # the dashboard loads all of them
        self._row(seq, time, step, {artifact.name: {"_type": trackio.Table.TYPE, "_value": rows}})

    @hookimpl
    def on_artifact(self, artifact: events.Artifact, seq: int, time: float) -> None:
        """Pictures are media, other files are artifacts."""
        if artifact.path.suffix.lower() in {".png", ".jpg", ".jpeg"}:
            self.on_image(artifact, artifact.epoch or 0, seq, time)
        else:
            self._file("file", artifact.name, artifact.path)

    @hookimpl
    def on_checkpoint_saved(self, epoch: int, checkpoint: events.Checkpoint) -> None:
        """Weights that are final are artifacts of the type "model"."""
        if checkpoint.digest:
            aliases = [f"epoch_{epoch}"] if epoch else []  # of a tuning: its best weights are those of a trial
            self._file("model", checkpoint.name(epoch), checkpoint.path, *aliases)

    @hookimpl
    def on_export(self, artifact: events.Artifact, format: str) -> None:
        """And so are exported ones."""
        self._file("model", artifact.name, artifact.path, format)

    @hookimpl
    def on_action(self, action: Any, plugin: str, outcome: str, seq: int, time: float) -> None:
        """What was done to the training is an alert."""
        self._alert(seq, time, level="info", title=type(action).__name__, text=f"{action.reason} ({plugin}): {outcome}")

    @hookimpl
    def on_run_end(self, status: str, error: events.Error | None, seq: int, time: float, state: Values) -> None:
        """Trackio has no status: it is in the config, and any but "finished" is an alert."""
        self.config["run/status"], state["ended"] = status, seq
        if status != "finished":
            text = f"{error.type}: {error.message}\n\n{error.traceback}" if error else status
            level = "warn" if status == "interrupted" else "error"
            self._alert(seq, time, level=level, title=f"Training {status}", text=text)

    @hookimpl
    def report_missing(self, missing: list[events.Missing]) -> None:
        """The config says what is not here."""
        self.config["run/incomplete"] = "\n".join(events.in_words(missing))

    @hookimpl
    def flush(self, state: Values, destination: Values) -> None:
        """Write what was collected. The client writes a config with a row: with an empty one, the run's first."""
        try:
            fragments.import_records(self.rows)
            if self.config:  # read first, since an addendum has a process of its own
                known = SQLiteStorage.get_run_config(self.project, run_id=self.uid) or {}
                config = {"_Created": self.created} | known | self.config
                first = self._entry(0, 0, step=0, config=config, log_id=self.uid, timestamp=config["_Created"])
                fragments.import_records([fragments.metric_record(first)])
            for file in self.files:
                SQLiteStorage.commit_artifact_version(**file)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"{destination['folder']}: {error}") from error  # locked, full, or not readable
        if self.config or self.source != self.uid:  # the run is there
            state.update(id=self.uid, url=show(destination))
        self.rows, self.files, self.config = [], [], {}

    def _entry(self, seq: int, time: float, **values: Any) -> Values:
        ids = {"log_id": f"{self.source}/{seq}", "alert_id": f"{self.source}/{seq}", "timestamp": _iso(time)}
        return {"project": self.project, "run": self.name, "run_id": self.uid} | ids | values

    def _media(self, step: int, name: str) -> Path:
        return Path(media.get_project_media_path(self.project, self.name, step) / name)

    def _row(self, seq: int, time: float, step: int | None, metrics: Values) -> None:
        """Add a row, with names that Trackio reserves changed as its client does."""
        named = {f"__{k}" if k in utils.RESERVED_KEYS or k.startswith("__") else k: v for k, v in metrics.items()}
        entry = self._entry(seq, time, step=seq if step is None else step, metrics=named)
        self.rows.append(fragments.metric_record(entry))

    def _alert(self, seq: int, time: float, **values: str) -> None:
        self.rows.append(fragments.alert_record(self._entry(seq, time, step=self.epoch, **values)))

    def _file(self, kind: str, name: str, path: Path, *aliases: str) -> None:
        """Make a file a version of its artifact, unless the content is one already."""
        files = trackio.Artifact(re.sub(r"[^A-Za-z0-9._-]+", "-", f"run_{self.uid}_{kind}_{name}"), kind)
        files.add_file(path, name)
        manifest = files._build_manifest(self.project)  # the client itself commits it in a run with an id of its own
        about: Values = {"name": files.name, "type": kind, "description": None, "manifest": manifest, "metadata": None}
        about |= {"project": self.project, "run_name": self.name, "run_id": self.uid, "aliases": list(aliases)}
        self.files.append(about)


def use(folder: Path) -> None:
    """Have the client use the store in this folder. By itself it reads TRACKIO_DIR once, when it is imported."""
    places = {"TRACKIO_DIR": folder, "MEDIA_DIR": folder / "media", "ARTIFACTS_DIR": folder / "artifacts"}
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "trackio"]:
        vars(module).update({place: path for place, path in places.items() if place in vars(module)})


def _shown(path: Path) -> Values:
    return {"_type": trackio.Image.TYPE, "file_path": str(path.relative_to(utils.MEDIA_DIR)), "caption": None}


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, timezone.utc).isoformat()


def _validation(name: str, metrics: Values, per_class: Values | None) -> Values:
    rows = [{"class": key} | row for key, row in (per_class or {}).items()]
    table = {"per_class": {"_type": trackio.Table.TYPE, "_value": rows}} if rows else {}
    return {f"{name}/{key}": value for key, value in (metrics | table).items()}
