"""The tag by which MLflow knows which artifacts are tables, while several relays write it at once.

MLflow replaces a tag whatever it was before. So each relay says in a tag of its own what it has listed lately, and
whoever has written the list looks at it again: what another one has lost by writing at the same moment is put back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tracking_hooks.events import Run
from tracking_hooks_mlflow.names import spelled
from tracking_hooks_mlflow.run import MAX_TAG, OURS, MLflowRun, own_tag

LISTED = "mlflow.loggedArtifacts"

OWN = f"{OURS}tables"
"""The tag of a run's relay, and how those of its addenda begin."""

_LATEST = 20
"""How many names such a tag has: by far more than are listed while another relay writes the list once."""
_ROUNDS = 5


def add(run: MLflowRun, paths: Sequence[str], of: Run) -> None:
    """List artifacts as tables. A tag holds a hundred or so: the oldest ones are left out."""
    for start in range(0, len(paths), _LATEST):
        _add(run, paths[start : start + _LATEST], spelled(own_tag(OWN, of)))


def _add(run: MLflowRun, paths: Sequence[str], own: str) -> None:
    """List as many as a tag of our own has."""
    for _ in range(_ROUNDS):
        tags = run.tags()
        latest = [path for path in _paths(tags, own) if path not in paths] + list(paths)
        wanted = {own: _fitting(latest[-_LATEST:]), LISTED: _list({**tags, own: json.dumps(latest)}, paths)}
        if all(tags.get(tag) == text for tag, text in wanted.items()):
            return
        run.tag(wanted)


def _list(tags: Mapping[str, str], new: Sequence[str]) -> str:
    """Return the list with the new names at its end, and what is lost at its beginning, among the oldest."""
    known = json.loads(tags.get(LISTED) or "[]")  # it may name tables of the user's own
    names = {table.get("path") for table in known}
    latest = dict.fromkeys(
        path for tag in sorted(tags) if f"{tag}.".startswith(f"{OWN}.") for path in _paths(tags, tag)
    )
    lost = [path for path in latest if path not in names and path not in new]
    listed = [*map(_table, lost), *known, *(_table(path) for path in dict.fromkeys(new) if path not in names)]
    return _fitting(listed)


def _table(path: str) -> dict[str, str]:
    return {"path": path, "type": "table"}


def _paths(tags: Mapping[str, str], tag: str) -> list[str]:
    paths: list[str] = json.loads(tags.get(tag) or "[]")
    return paths


def _fitting(items: list[Any]) -> str:
    items = list(items)
    while len(text := json.dumps(items)) > MAX_TAG:
        del items[0]
    return text
