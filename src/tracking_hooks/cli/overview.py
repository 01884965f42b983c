"""What ``tracking-hooks status`` knows of a run, as data."""

from __future__ import annotations

from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any

from msgspec import Struct

from tracking_hooks.run import copies, glance, index, journal, missing, receipt, remedies, state
from tracking_hooks.run.glance import Glance
from tracking_hooks.run.journal import Head
from tracking_hooks.run.layout import Health, RunFolder, read_json
from tracking_hooks.run.story import Story, read


class Delivery(Struct, frozen=True, kw_only=True):
    """What one tracker has received of a run, and what the user can do about the rest."""

    label: str
    owed: state.Owed
    link: str = ""
    has_relay: bool = False
    health: Health | None = None
    lost: int = 0
    """Events that the journal lacks."""
    readdress: str | None = None
    """The command that delivers to another address."""

    @property
    def is_stuck(self) -> bool:
        """Whether something is pending that the tracker does not take."""
        return bool(self.owed.pending and self.health and self.health.error)

    def as_data(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "label": self.label, "delivered": self.owed.delivered, "pending": self.owed.pending,
            "set_aside": len(self.owed.aside), "packed": self.owed.packed, "lost": self.lost,
            "relay_at_work": self.has_relay, "state": self.health.state if self.health else None,
            "error": self.health.error if self.health else "", "link": self.link or None,
        }  # fmt: skip


class Overview(Struct, frozen=True, kw_only=True):
    """A run."""

    folder: RunFolder
    name: str = ""
    status: str
    glance: Glance | None = None
    deliveries: list[Delivery] = []
    forgotten: list[str] = []
    held: int = 0
    """Bytes that the run folder holds."""
    error: str = ""

    @property
    def is_running(self) -> bool:
        """Whether something is still recorded."""
        return self.status.startswith(("running", "open"))

    def as_data(self) -> dict[str, Any]:
        """Return it for JSON."""
        seen = self.glance
        result = seen.result if seen else None
        return {
            "uid": self.folder.uid, "name": self.name, "status": self.status,
            "started": datetime.fromtimestamp(seen.created).astimezone().isoformat("T", "seconds") if seen else None,
            "epoch": seen.epoch if seen else None, "epochs": seen.epochs if seen else None,
            "metric": result.metric if result else None, "value": result.value if result else None,
            "folder": seen.save_dir if seen else None, "run_folder": self.folder.path, "held_bytes": self.held,
            "group": seen.group if seen else None, "parent": seen.parent if seen else None,
            "addendum_to": seen.addendum_to if seen else None,
            "trackers": [delivery.as_data() for delivery in self.deliveries], "forgotten": self.forgotten,
            "error": self.error,
        }  # fmt: skip


def look(folder: RunFolder) -> Overview:
    """Look at a run; one that is delivered is not read again."""
    if known := index.delivered(folder):
        save_dir = known.glance.save_dir if known.glance else Path()
        return Overview(
            folder=folder, name=known.name, status=known.status, glance=known.glance, held=copies.held(folder),
            deliveries=[
                Delivery(label=label, owed=state.nothing_owed(events), link=glance.link(folder, label, save_dir))
                for label, events in known.events.items()
            ],
        )  # fmt: skip
    try:
        head, story = read(folder.journal)
        return Overview(
            folder=folder, name=index.title(head.run), status=_status(folder, head, story),
            glance=glance.at(head, story), held=copies.held(folder), forgotten=state.forgotten(folder, head),
            deliveries=[_delivery(folder, label, head) for label in state.labels(folder, head)],
        )  # fmt: skip
    except (journal.JournalError, OSError) as error:
        return Overview(folder=folder, status="unreadable", error=str(error))


def _delivery(folder: RunFolder, label: str, head: Head) -> Delivery:
    owed = state.owed(folder, label)
    health = read_json(folder.relay(label).health, Health)
    places = {} if health and health.is_of_code else head.plugins
    return Delivery(
        label=label,
        owed=owed,
        link=glance.link(folder, label, head.run.save_dir),
        has_relay=state.has_relay(folder, label),
        health=health,
        lost=sum(item.last - item.first + 1 for item in missing.lost(folder, label)),
        readdress=remedies.readdress(remedies.name(folder), label, places, has_begun=owed.delivered > 0),
    )


def _status(folder: RunFolder, head: Head, story: Story) -> str:
    """Return how the run ended, or that it has not, and what is known of a training on another machine."""
    life = state.life(folder)
    if head.run.addendum:
        words = "open" if life.alive else "closed"
    elif life.alive:
        words = "running elsewhere" if life.elsewhere else "running"
    elif not story.began:
        words = "never began"
    else:
        words = story.status or ("running when packed" if receipt.is_recorded_elsewhere(folder) else "killed")
    if life.silent_for is None or story.status:
        return words
    return f"{words}, {_last_sign(life.silent_for)}"


def _last_sign(seconds: float) -> str:
    return f"last sign of life {seconds:.0f} s ago" if isfinite(seconds) else "no sign of life"
