"""Delivers what is pending, without a trainer: what ``sync`` and ``run`` do."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator

from msgspec import Struct

from tracking_hooks import adoption, journal
from tracking_hooks.layout import Health, RunFolder, read_json
from tracking_hooks.settings import SELECTION, Settings
from tracking_hooks.spawn import BUSY, DELIVERED, REFUSED, start_relay

_POLL = 0.1


class Delivery(Struct, kw_only=True):
    """How it went for one plugin of one run."""

    folder: RunFolder
    plugin: str
    delivered: int = 0
    """Events delivered now."""
    dead: int = 0
    """Dead letters, now and before."""
    done: bool = False
    """Whether everything recorded is dealt with."""
    note: str = ""


def is_settled(folder: RunFolder, plugin: str) -> bool:
    """Whether a plugin has everything of a run that is over."""
    cursor = folder.relay(plugin).read_cursor()
    return cursor.ended and cursor.offset >= folder.journal.stat().st_size and not adoption.is_running(folder)


def deliver(folders: Iterable[RunFolder], settings: Settings, *, busy_wait: float = 0.0) -> Iterator[Delivery]:
    """Deliver what is pending of these runs, plugin after plugin, each to the destination recorded for it.

    :param busy_wait: seconds to wait, in all, for relays that are at work already
    """
    deadline = time.monotonic() + busy_wait
    for folder in folders:
        try:
            head, _ = journal.read_head(folder.journal)
        except (journal.JournalError, OSError) as error:
            yield Delivery(folder=folder, plugin="-", note=str(error))
            continue
        for plugin in head.plugins:
            if not is_settled(folder, plugin):
                yield _deliver(folder, plugin, settings, deadline)


def _deliver(folder: RunFolder, plugin: str, settings: Settings, deadline: float) -> Delivery:
    files = folder.relay(plugin)
    before = files.read_cursor()
    result = Delivery(folder=folder, plugin=plugin, dead=before.dead)
    if ":" in plugin and plugin not in os.environ.get(SELECTION, "").replace(" ", "").split(","):
        # A journal is data: that it names a class is no reason to import it.
        result.note = f"left alone: to run this class, name it: {SELECTION}={plugin} tracking-hooks sync …"
        return result
    size = folder.journal.stat().st_size
    while True:
        code = start_relay(folder, plugin, settings, drain=True).wait()
        if code != BUSY or time.monotonic() > deadline:
            break
        time.sleep(_POLL)
    cursor = files.read_cursor()
    result.delivered = cursor.delivered - before.delivered
    result.dead = cursor.dead
    result.done = code == DELIVERED and cursor.offset >= size  # a plugin may have ended the process with 0, too
    if code == BUSY:
        result.note = "a relay is at work on it"
    elif not result.done:
        health = read_json(files.health, Health)
        reason = health.error if health and health.error else f"its relay ended with exit code {code}"
        result.note = reason if code == REFUSED else f"{reason} (log: {files.log})"
    return result
