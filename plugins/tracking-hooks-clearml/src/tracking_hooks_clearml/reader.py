"""What stands in offline sessions: for the tests, and for ``tracking-hooks plugins --check clearml``."""

import json
from pathlib import Path
from typing import Any

from tracking_hooks.events import Destination


def destination(folder: Path) -> Destination:
    """Return a destination that holds nothing."""
    return {"project": "shapes", "folder": str(folder)}


def observe(destination: Destination) -> list[Any]:
    """Return the task, the events and the files of each session."""
    found = []
    for folder in sorted(path.parent for path in Path(destination["folder"]).glob("*/task.json")):
        task, lines = ((folder / name).read_text().replace(str(folder), "") for name in ("task.json", "metrics.jsonl"))
        events = [event for line in lines.splitlines() for event in json.loads(line)]
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("artifacts/*/*.*"))
        found.append({"task": json.loads(task), "events": sorted(events, key=str), "files": files})
    return found
