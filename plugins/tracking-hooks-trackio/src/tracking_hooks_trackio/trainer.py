"""The trainer side: says in which store and project a run is. It imports nothing of Trackio."""

import os
import re
import shlex
from pathlib import Path

from tracking_hooks import Capture, Run, hookimpl
from tracking_hooks.events import Destination


@hookimpl
def capture(run: Run, parent: Destination | None) -> Capture:
    """Return the store, and the names of project, run and group. A run with a parent is beside that."""
    above, env = parent or {}, os.environ
    home = Path(env.get("HF_HOME") or Path(env.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface").expanduser()
    folder = Path(above.get("folder") or env.get("TRACKIO_DIR") or home / "trackio").absolute()
    project = above.get("project") or env.get("TRACKIO_PROJECT") or re.sub("^/.*/", "", run.project)
    destination = {
        "folder": str(folder),
        "project": re.sub(r"[^\w-]+", "-", project).strip("-") or "Ultralytics",  # the client would drop them
        "name": re.sub(r"[\\/]+|^\.+$", "-", run.name),  # the client makes a folder of this name
        "group": run.group or (above.get("name") if run.parent else None),
    }
    return Capture(destination=destination, summary=show(destination), place=folder.as_uri())


def show(destination: Destination) -> str:
    """Return the command that shows the project."""
    return f"TRACKIO_DIR={shlex.quote(destination['folder'])} trackio show --project {destination['project']}"
