"""What is known of a run, as Markdown."""

from __future__ import annotations

import shlex
from typing import Any

from tracking_hooks.events import (
    Artifact,
    Checkpoint,
    ConfusionMatrix,
    Dataset,
    Environment,
    Error,
    Metrics,
    Model,
    PerClass,
    Run,
    Status,
)
from tracking_hooks_tensorboard.markdown import table

_MOST_NAMES = 100
"""Classes that are named in one cell."""
_CHANGES = {
    True: " (with uncommitted changes)",
    False: "",
    None: " (whether there are uncommitted changes is not known)",
}
_CONSOLE_HEAD, _CONSOLE_TAIL = 20_000, 80_000
"""Characters of the trainer's log that are shown: of its start, with the model's layers, and of its end."""


def figures(of: str, metrics: Metrics) -> dict[str, str]:
    """Return what a run has come to by an epoch or a checkpoint, as texts: JSON, which keeps them, knows no NaN."""
    shown = {name: f"{value:.5g}" for name, value in metrics.items() if name.startswith("metrics/")}
    return {"figures of": of, **shown} if shown else {}


def result(status: Status, error: Error | None, epoch: int, figures: dict[str, str]) -> str:
    """Return how a run ended, and what it has come to."""
    rows: dict[str, Any] = {"status": status}
    if error:
        rows["error"] = f"{error.type}: {error.message}"
    return table(["", "value"], [*rows.items(), ("epochs", epoch), *figures.items()])


def environment(run: Run, environment: Environment) -> str:
    """Return where and how the training was started."""
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
        rows["git commit"] = f"{git.commit}{_CHANGES[git.dirty]}"
        rows["git branch"] = git.branch or ""
        rows["git remote"] = git.remote or ""
    if run.parent:
        rows["in the group of run" if run.group else "trial of"] = run.parent
    if run.group:
        rows["group"] = run.group
    if origin := run.started_from:
        rows["started from"] = f"{origin.checkpoint} of {origin.name}, run {origin.uid}"
    return table(["", "value"], [*rows.items(), *run.tags.items()])


def model(model: Model) -> str:
    """Return the network's size and classes."""
    count = len(model.classes)
    rows = {
        "name": model.name,
        "task": model.task,
        "parameters": f"{model.parameters:,}",
        "trained parameters": f"{model.gradients:,}",
        "layers": model.layers,
        "GFLOPs at 640": "unknown" if model.gflops_640 is None else model.gflops_640,
        "classes": ", ".join(model.classes.values()) if count <= _MOST_NAMES else f"{count:,}: see the data set",
    }
    return table(["", "value"], rows.items())


def dataset(dataset: Dataset) -> str:
    """Return the data set's identity, and its counts by split. Pixels are not counted."""
    splits = dataset.splits
    rows = {"name": dataset.name, "yaml": dataset.yaml or "", "digest": dataset.digest}
    counted = dataset.classes.values() if any(split.instances for split in splits.values()) else ()
    counts: list[list[object]] = [
        ["path", *(split.path for split in splits.values())],
        ["images", *(split.images for split in splits.values())],
        *([name, *(split.instances.get(name, 0) for split in splits.values())] for name in counted),
    ]
    return table(["", "value"], rows.items()) + "\n" + table(["", *splits], counts)


def per_class(per_class: PerClass) -> str:
    """Return the metrics of a validation, a row for each class."""
    names = list(dict.fromkeys(name for metrics in per_class.values() for name in metrics))
    rows = (
        [label, *(f"{metrics[name]:.5g}" if name in metrics else "" for name in names)]
        for label, metrics in per_class.items()
    )
    return table(["class", *names], rows)


def confusion_matrix(confusion: ConfusionMatrix) -> str:
    """Return the counts of a validation."""
    rows = ([label, *(f"{value:g}" for value in row)] for label, row in zip(confusion.labels, confusion.matrix))
    return table(["predicted, down; true, across", *confusion.labels], rows)


def shortened(log: str) -> str:
    """Return the start and the end of a log."""
    left_out = len(log) - _CONSOLE_HEAD - _CONSOLE_TAIL
    if left_out <= 0:
        return log
    return f"{log[:_CONSOLE_HEAD]}\n… {left_out:,} characters are left out here …\n{log[-_CONSOLE_TAIL:]}"


def exported(artifact: Artifact, format: str, checkpoint: Checkpoint) -> str:
    """Return what was exported of which weights."""
    rows = {
        "file": artifact.name,
        "format": format,
        "bytes": f"{artifact.size:,}",
        "SHA-256": artifact.digest,
        "of": checkpoint.path,
    }
    return table(["", "value"], rows.items())
