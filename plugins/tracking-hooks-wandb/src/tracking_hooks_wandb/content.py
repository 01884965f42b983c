"""Charts, tables and artifacts for W&B, built from plain data without any request."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb
from wandb.plot.custom_chart import CustomChart

from tracking_hooks.events import (
    Artifact,
    Checkpoint,
    ConfusionMatrix,
    Curve,
    Dataset,
    Destination,
    Environment,
    PerClass,
    Rejected,
    Run,
)
from tracking_hooks_wandb import names

_MOST_CONFUSIONS = 1000
"""Pairs of classes in a table, the most frequent first."""

X_AXES = {
    "epoch": (
        "train/*", "val/*", "metrics/*", "lr/*", "time/*", "best/*", "per_class/*", "fitness", "predictions/*",
        "worst/*",
    ),
    "global_step": ("train_batch/*",),
    "seconds": ("system/*",),
}  # fmt: skip
"""Metric to those whose charts are drawn over it."""


def about(environment: Environment) -> dict[str, Any]:
    """Return the properties for which W&B has a field of its own, as settings of its client."""
    found: dict[str, Any] = {"host": environment.host or None, "program": next(iter(environment.argv), None)}
    if git := environment.git:
        found |= {"git_commit": git.commit, "git_remote_url": git.remote}
    return found


def labels(destination: Destination) -> dict[str, Any]:
    """Return what a new run is called and filed under."""
    return {
        **{name: destination.get(name) or None for name in ("name", "group", "job_type", "notes")},
        "tags": [tag for tag in destination.get("tags", "").split(",") if tag] or None,
    }


def source(
    run: Run, environment: Environment, destination: Destination, started: float, first_step: int
) -> dict[str, Any]:
    """Return the other properties, for the config."""
    git = environment.git
    found = {
        "run_uid": run.uid,
        "save_dir": str(run.save_dir),
        "command": shlex.join(environment.argv),
        "cwd": str(environment.cwd),
        "host": environment.host,
        "user": environment.user,
        "devices": environment.devices,
        "python": environment.python,
        "platform": environment.platform,
        "versions": environment.versions,
        "git": git and {"commit": git.commit, "branch": git.branch, "dirty": git.dirty, "remote": git.remote},
        "parent": run.parent,
        "group": run.group,
        "started_from": (origin := run.started_from)
        and {"uid": origin.uid, "name": origin.name, "checkpoint": origin.checkpoint},
        "beside": destination.get("beside"),
        "started": started,
        "first_step": first_step or None,
    }
    return {name: value for name, value in found.items() if value not in (None, "", [], {})}


def picture(path: Path) -> wandb.Image:
    """Return a plot as an image.

    :raises Rejected: if it is not a picture
    """
    try:
        return wandb.Image(str(path))
    except Exception as error:  # Pillow raises OSError for bad pictures, like a disk
        raise Rejected(f"{path} cannot be shown in W&B: {error}") from error


def curve(data: Curve) -> CustomChart:
    """Return the curves of classes and the mean of all, in the chart that Ultralytics' own integration uses."""
    mean = data.mean or [_mean(values) for values in zip(*data.y.values())]
    lines = [("mean", mean), *data.y.items()]
    rows = [(name, value, x) for name, values in lines for x, value in zip(data.x, values)]
    table = wandb.Table(columns=["class", "y", "x"], data=[[name, round(y, 3), round(x, 5)] for name, y, x in rows])
    return wandb.plot_table(
        "wandb/area-under-curve/v0",
        table,
        fields={"x": "x", "y": "y", "class": "class"},
        string_fields={"title": data.name, "x-axis-title": data.x_label, "y-axis-title": data.y_label},
    )


def confusion(data: ConfusionMatrix) -> CustomChart | wandb.Table:
    """Return a confusion matrix as W&B's own chart; of more classes than that has room for, a table of confusions."""
    columns = ["Actual", "Predicted", "nPredictions"]
    if len(data.labels) ** 2 > wandb.Table.MAX_ROWS:
        return wandb.Table(columns=columns, data=_confusions(data)[:_MOST_CONFUSIONS])
    rows = [
        [true, predicted, float(data.matrix[i][j])]
        for j, true in enumerate(data.labels)
        for i, predicted in enumerate(data.labels)
    ]
    return wandb.plot_table(
        "wandb/confusion_matrix/v1",
        wandb.Table(columns=columns, data=rows),
        fields={name: name for name in columns},
        string_fields={"title": "Confusion matrix"},
    )


def _confusions(data: ConfusionMatrix) -> list[list[Any]]:
    """Return what was taken for something else, the most frequent first."""
    confused = [
        [data.labels[j], data.labels[i], float(count)]
        for i, counts in enumerate(data.matrix)
        for j, count in enumerate(counts)
        if count and i != j
    ]
    return sorted(confused, key=lambda row: -row[2])


def per_class(data: PerClass) -> wandb.Table:
    """Return a table with one row of metrics per class."""
    columns = list(dict.fromkeys(name for metrics in data.values() for name in metrics))
    rows = [[name, *(metrics.get(column) for column in columns)] for name, metrics in data.items()]
    return wandb.Table(columns=["class", *columns], data=rows)


def table(path: Path) -> wandb.Table:
    """Return a table of the user's own.

    :raises Rejected: if the file is gone, or is no table
    """
    try:
        found = json.loads(path.read_bytes())
        return wandb.Table(columns=found["columns"], data=found["data"], allow_mixed_types=True)
    except Exception as error:  # whatever W&B's client says of it
        raise Rejected(f"{path} cannot be shown in W&B as a table: {error}") from error


def model(
    run: Run, collection: str, file: Artifact | Checkpoint, name: str, metadata: Mapping[str, Any]
) -> wandb.Artifact:
    """Return a version of a model: weights, or what was exported.

    :param name: of the file in it
    :raises Rejected: if the file is gone
    """
    if not file.path.is_file():
        raise Rejected(f"{file.path} is gone, so {name} cannot be added to W&B")
    own = {"task": run.task, "run_uid": run.uid, "bytes": file.size, "sha256": file.digest}
    version = wandb.Artifact(names.artifact(collection), type="model", metadata={**metadata, **own})
    # Read in place: otherwise the client makes two copies, and keeps one.
    version.add_file(str(file.path), name=name, policy="immutable", skip_cache=True)
    return version


def dataset(data: Dataset) -> wandb.Artifact:
    """Return a version of the data set, without its images. The same data give the same version anywhere."""
    artifact = wandb.Artifact(
        names.artifact(data.name or "dataset"),
        type="dataset",
        metadata={
            "digest": data.digest,
            "yaml": str(data.yaml) if data.yaml else None,
            "paths": {name: split.path for name, split in data.splits.items()},
            "images": {name: split.images for name, split in data.splits.items()},
        },
    )
    identity = {
        "name": data.name,
        "digest": data.digest,
        "classes": {str(index): name for index, name in data.classes.items()},
        "splits": {name: {"images": split.images, "instances": split.instances} for name, split in data.splits.items()},
    }
    with artifact.new_file("dataset.json", mode="w", encoding="utf-8") as file:
        json.dump(identity, file, indent=1, ensure_ascii=False)
    return artifact


def _mean(values: tuple[float, ...]) -> float:
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan
