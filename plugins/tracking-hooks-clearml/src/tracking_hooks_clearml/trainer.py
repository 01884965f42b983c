"""The trainer side: says where to deliver."""

import os
import re
from pathlib import Path

from tracking_hooks import Capture, Run, hookimpl


@hookimpl
def capture(run: Run) -> Capture:
    """Return the folder of the offline sessions, or the server."""
    path = Path(os.environ.get("CLEARML_CONFIG_FILE") or "~/clearml.conf").expanduser().absolute()
    where = {"config": str(path), "host": re.sub("//.*@", "//", os.environ.get("CLEARML_API_HOST", ""))}
    if os.environ.get("CLEARML_OFFLINE_MODE", "").lower() in {"1", "true", "yes", "on"}:
        path = Path(os.environ.get("CLEARML_CACHE_DIR") or "~/.clearml/cache", "offline").expanduser().absolute()
        where = {"folder": str(path)}
    elif not where["host"] and not path.is_file():
        raise ValueError("no ClearML server: run clearml-init, or set CLEARML_API_HOST or CLEARML_OFFLINE_MODE=1")
    place, project = where.get("host") or path.as_uri(), Path(run.project)
    where["project"] = (project.name if project.is_absolute() else run.project) or "Ultralytics"
    return Capture(destination=where, disables="clearml", summary=place, place=place)
