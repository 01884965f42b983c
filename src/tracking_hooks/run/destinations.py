"""Where a run is delivered to as things are now: with what was added, taken away or moved since it was recorded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from msgspec import structs

from tracking_hooks.events import Destination, Run
from tracking_hooks.plugins import first_part
from tracking_hooks.run import state
from tracking_hooks.run.journal import Head
from tracking_hooks.run.layout import Replay, RunFolder, fallback_home

_LOCAL = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?:///|file:(?://)?)(?P<path>/[^?#]*)(?P<rest>[?#].*)?", re.DOTALL)
_SAFE = "/:"


def of(folder: RunFolder, head: Head) -> dict[str, Replay]:
    """Return where each label of a run leads; what the user has forgotten is left out.

    :raises JournalError, OSError: if that cannot be read
    """
    return {label: of_label(folder, head, label) for label in state.labels(folder)}


def of_label(folder: RunFolder, head: Head, label: str) -> Replay:
    """Return where a label leads: to what was added under it, or to what was recorded for the plugin of this name."""
    if replay := folder.replays().get(label):
        return replay
    _, destination = as_moved(folder, head, head.plugins.get(label, {}))
    return Replay(plugin=label, destination=destination, place=head.places.get(first_part(label), ""))


def as_moved(folder: RunFolder, head: Head, destination: Destination) -> tuple[Run, Destination]:
    """Say where things are if the root folder was moved or copied together with its journals."""
    run, old, new = head.run, head.root, folder.path.parent.parent
    if old == new or folder.path.parent == fallback_home():
        return run, destination
    if run.save_dir.is_relative_to(old):
        run = structs.replace(run, save_dir=new / run.save_dir.relative_to(old))
    return run, {key: _moved(value, old, new) for key, value in destination.items()}


def path_in(value: object) -> Path | None:
    """Return the path that a part of a destination names, as it stands or in a URI of SQLite or of a file."""
    if not isinstance(value, str):
        return None
    if found := _LOCAL.fullmatch(value):
        return Path(unquote(found["path"]))
    return Path(value) if Path(value).is_absolute() else None


def _moved(value: Any, old: Path, new: Path) -> Any:
    path = path_in(value)
    if path is None or not path.is_relative_to(old):
        return value
    moved = str(new / path.relative_to(old))
    if found := _LOCAL.fullmatch(value):
        is_quoted = quote(unquote(found["path"]), safe=_SAFE) == found["path"]  # spelled as it was
        return found["scheme"] + (quote(moved, safe=_SAFE) if is_quoted else moved) + (found["rest"] or "")
    return moved
