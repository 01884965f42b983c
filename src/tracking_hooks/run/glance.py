"""What a list shows of a run at a glance; kept in the index, where the run is delivered and not read again."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from tracking_hooks.plugins import first_part
from tracking_hooks.run import layout
from tracking_hooks.run.journal import Head
from tracking_hooks.run.layout import Cursor, Pointer, RunFolder
from tracking_hooks.run.result import Result
from tracking_hooks.run.story import Story


class Glance(Struct, frozen=True, kw_only=True):
    """A run in a few words."""

    created: float
    """In seconds since 1970."""
    save_dir: Path
    epoch: int = 0
    """The last one that was settled."""
    epochs: int | None = None
    """How many it is to have."""
    result: Result | None = None
    group: str | None = None
    parent: str | None = None
    """The uid of the run that it is below: of a tuning, of a group."""
    addendum_to: str | None = None
    """The uid of the run that it is an addendum to."""


def at(head: Head, story: Story) -> Glance:
    """Return what there is to see of a run."""
    run = head.run
    return Glance(
        created=head.created,
        save_dir=run.save_dir,
        epoch=story.epoch,
        epochs=story.plan.epochs,
        result=story.result,
        group=run.group,
        parent=run.parent,
        addendum_to=run.uid if run.addendum else None,
    )


def link(folder: RunFolder, label: str, save_dir: Path) -> str:
    """Return where to look at a run in a tracker: a URL, or the words of the training's start; empty if unknown."""
    if label != first_part(label):
        return ""  # it is where the first part is
    cursor = layout.read_json(folder.relay(label).cursor, Cursor)
    if cursor and (url := cursor.state.get("url")):
        return str(url)
    if folder.relay(label).destination.exists():
        return ""  # it goes elsewhere than the training has said
    pointer = layout.read_json(save_dir / layout.POINTER, Pointer)
    return pointer.links.get(label, "") if pointer and pointer.uid == folder.uid else ""
