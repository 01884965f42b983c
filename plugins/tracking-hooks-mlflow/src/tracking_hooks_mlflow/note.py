"""The description of a run, as MLflow shows it above its metrics: Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from tracking_hooks.events import Dataset, Environment, Model

DESCRIPTION = "mlflow.note.content"
"""The tag in which MLflow stores the description."""

WIDTH = 72
"""Maximum length of a line of code: MLflow's page does not wrap it, and pushes other columns out of sight."""

_SPACE = "&emsp;"
"""A space that the page keeps, also at the end of a cell: its tables have no gaps."""

_NAME = f"| Name{_SPACE}"


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
    gflops = "" if model.gflops_640 is None else f", {model.gflops_640:.1f} GFLOPs at 640"
    classes = len(dataset.classes)
    images = ", ".join(f"{split.images:,} {name}" for name, split in dataset.splits.items())
    return (
        f"**Model:** {model.name} ({size}{gflops})\n\n"
        f"**Data set:** {dataset.name} ({images} images, {classes} class{'es' * (classes != 1)})"
    )


def figures(heading: str, rows: Mapping[str, str]) -> str:
    """Return a table of figures; nothing where there are none.

    :param heading: what they are of
    """
    if not rows:
        return ""
    wider = _SPACE * (max(map(len, rows)) // 2)  # a character is about half as wide as this space
    cells = "\n".join(f"| {_cell(name)} | {_cell(shown)} |" for name, shown in rows.items())
    return f"{_NAME}{wider} | {heading} |\n| --- | --- |\n{cells}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_OWN = "own"
_BEGINNINGS = {"result": "**Result:**", "summary": "**Model:**", "command": "```\n", "figures": _NAME}
"""The parts, in their order: a list of runs shows the first line, the page of a run the first five."""


def parts_of(description: str) -> dict[str, str]:
    """Return the parts of a description; what stands before ours is the user's."""
    found: dict[str, str] = {}
    part = _OWN
    for paragraph in description.split("\n\n") if description else []:
        part = next((name for name, beginning in _BEGINNINGS.items() if paragraph.startswith(beginning)), part)
        found[part] = f"{found[part]}\n\n{paragraph}" if part in found else paragraph
    return found


def whole(parts: Mapping[str, str]) -> str:
    """Join the parts that are known and not empty."""
    return "\n\n".join(parts[name] for name in (_OWN, *_BEGINNINGS) if parts.get(name))
