"""Names as W&B takes them."""

from __future__ import annotations

import re
from pathlib import Path

DEFAULT_PROJECT = "Ultralytics"
"""What Ultralytics' own integration takes when ``project`` is not set."""


def project(name: str) -> str:
    """Return the project for a training's ``project=``, spelled as Ultralytics' own integration does.

    Of an absolute path the last part is taken: the whole of it names this machine's folders, not the work.
    """
    if Path(name).is_absolute():
        name = Path(name).name
    return re.sub(r"[/\\#?%:]", "-", name or DEFAULT_PROJECT)[-128:]


def run_id(text: str) -> str:
    """Return a text as the id of a run."""
    return re.sub(r"[^\w.-]", "_", text.strip())[:128] or "_"


def artifact(text: str) -> str:
    """Return a text as the name of an artifact, or as an alias of one."""
    return re.sub(r"[^\w.-]", "_", text)[:128] or "_"


def metric(name: str) -> str:
    """Return a metric's name such that it is none of W&B's own (``_step``, ``_timestamp``, …)."""
    return f"user{name}" if name.startswith("_") else name or "value"
