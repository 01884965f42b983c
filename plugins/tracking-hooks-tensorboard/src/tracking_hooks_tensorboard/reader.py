"""What somebody who opens TensorBoard sees, for the tests of the plugin and for ``tracking-hooks plugins --check``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from tracking_hooks.events import Destination


def destination(folder: Path) -> Destination:
    """Return the destination of a run below an empty folder."""
    return {"logdir": str(folder / "train")}


def observe(destination: Destination) -> list[Any]:
    """Return every point of every run: a run is a folder with event files."""
    root = Path(destination["logdir"]).parent
    folders = sorted({path.parent for path in root.rglob("*tfevents*")})
    return [_points(folder) for folder in folders]


def _points(folder: Path) -> dict[str, list[Any]]:
    points: dict[str, list[Any]] = {}
    for path in sorted(folder.glob("*tfevents*")):
        for event in LegacyEventFileLoader(str(path)).Load():
            if event.HasField("session_log"):
                points.setdefault("session", []).append([event.step, event.wall_time, event.session_log.status])
            for value in event.summary.value:
                points.setdefault(value.tag, []).append([event.step, event.wall_time, _seen(value)])
    return {tag: sorted(values, key=repr) for tag, values in points.items()}


def _seen(value: Any) -> Any:
    if value.WhichOneof("value") == "simple_value":
        return value.simple_value
    content = value.image.encoded_image_string if value.HasField("image") else b"\0".join(value.tensor.string_val)
    return hashlib.sha256(content).hexdigest()
