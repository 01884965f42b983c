"""Names that W&B accepts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

DEFAULT_PROJECT = "Ultralytics"
"""The name that Ultralytics' own integration uses when ``project`` is not set."""


def project(name: str) -> str:
    """Return the W&B project for a training's ``project=``, spelled as by Ultralytics' own integration.

    Of an absolute path only the last part is used: the rest names folders of this machine.
    """
    if Path(name).is_absolute():
        name = Path(name).name
    return re.sub(r"[/\\#?%:]", "-", name or DEFAULT_PROJECT)[-128:]


def run_id(text: str) -> str:
    """Turn a text into a valid id of a run."""
    return re.sub(r"[^\w.-]", "_", text.strip())[:128] or "_"


def artifact(text: str) -> str:
    """Turn a text into a valid name or alias of an artifact."""
    return re.sub(r"[^\w.-]", "_", text)[:128] or "_"


def metric(name: str) -> str:
    """Return a name for a metric that is not one of W&B's own (``_step``, ``_timestamp``, …)."""
    return f"user{name}" if name.startswith("_") else name or "value"


def of_batch(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the running means of a batch, ``train_batch/box_loss``: W&B sorts by name, and curves come first."""
    return {f"train_{name}" if name.startswith("batch/") else name: value for name, value in metrics.items()}


def tags(given: Iterable[str], new: Mapping[str, str]) -> tuple[str, ...]:
    """Return a run's tags, which are texts in W&B, with new ones in place of those of the same names."""
    kept = [text for text in given if text.partition("=")[0] not in new]
    return tuple(dict.fromkeys([*kept, *(tag(name, value) for name, value in new.items())]))


def tag(name: str, value: str) -> str:
    """Return a tag as W&B has it: up to 64 characters."""
    return (f"{name}={value}" if value else name)[:64]
