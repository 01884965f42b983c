"""The description of a run, as MLflow shows it above its metrics: Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from tracking_hooks.events import Dataset, Environment, Model

DESCRIPTION = "mlflow.note.content"
"""The tag in which MLflow stores the description."""

WIDTH = 72
"""Maximum length of a line of code: MLflow's page does not wrap it, and pushes other columns out of sight."""


def command(environment: Environment) -> str:
    """Describe how the training was started."""
    lines: list[str] = []
    for word in map(shlex.quote, environment.argv):
        if lines and len(lines[-1]) + len(word) < WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}" if lines else word)
    return "```\n" + " \\\n".join(lines) + "\n```"


def summary(model: Model, dataset: Dataset) -> str:
    """Describe the model and the data set."""
    size = f"{model.parameters / 1e6:.2f} M parameters"
    gflops = "" if model.gflops is None else f", {model.gflops:.1f} GFLOPs"
    images = ", ".join(f"{split.images:,} {name}" for name, split in dataset.splits.items())
    return (
        f"**Model:** {model.name} ({size}{gflops})\n\n"
        f"**Data set:** {dataset.name} ({images} images, {len(dataset.classes)} classes)"
    )


def figure(value: float) -> str:
    """Return a metric as the table shows it."""
    return f"{value:.4g}"


def result(text: str, epochs: int, figures: Mapping[str, str]) -> str:
    """Describe how the run ended, with a table of the best checkpoint's metrics."""
    after = f" after {epochs} epoch{'s' * (epochs != 1)}" if epochs else ""  # a tuning has none
    said = f"**Result:** {text}{after}"
    if not figures:
        return said
    rows = "\n".join(f"| {name} | {shown} |" for name, shown in figures.items())
    return f"{said}\n\n| Best checkpoint | |\n| --- | ---: |\n{rows}"


_OWN = "own"
_BEGINNINGS = {"command": "```\n", "summary": "**Model:**", "result": "**Result:**"}


def parts_of(description: str) -> dict[str, str]:
    """Return the parts of a description; what stands before ours is the user's."""
    found: dict[str, str] = {}
    part = _OWN
    for paragraph in description.split("\n\n") if description else []:
        part = next((name for name, beginning in _BEGINNINGS.items() if paragraph.startswith(beginning)), part)
        found[part] = f"{found[part]}\n\n{paragraph}" if part in found else paragraph
    return found


def whole(parts: Mapping[str, str]) -> str:
    """Join the parts that are known."""
    return "\n\n".join(parts[name] for name in (_OWN, *_BEGINNINGS) if name in parts)
