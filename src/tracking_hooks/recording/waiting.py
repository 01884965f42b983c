"""Waits for the delivery of runs: when ``train()`` is about to return, when a script asks, when the process ends."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from tracking_hooks.run import state
from tracking_hooks.run.layout import Health, RunFolder, read_json

if TYPE_CHECKING:
    from tracking_hooks.recording.addenda import Addendum
    from tracking_hooks.recording.recorder import Recorder

NO_MORE = 300.0
"""Seconds without an event delivered after which nobody waits on who has not said how long."""
_POLL = 0.05


def wait_for_delivery(recorders: Sequence[Recorder | Addendum], names: Collection[str] | None = None) -> None:
    """Wait for delivery as long as that is worthwhile and the settings allow, with a progress bar on a terminal.

    :param names: the relays to wait for; None: all of them
    """
    from rich.console import Console
    from rich.progress import Progress

    limit = max(recorder.settings.exit_wait for recorder in recorders)
    supervisors = [recorder.supervisor for recorder in recorders]
    began = time.monotonic()
    console = Console(stderr=True)
    # No thread of rich's own: Python 3.12 starts none at exit.
    bar = Progress(console=console, transient=True, auto_refresh=False, disable=not console.is_terminal)
    task = bar.add_task("tracking-hooks: delivering", total=None)
    shown = False
    try:
        while (waited := time.monotonic() - began) < limit:
            for recorder in recorders:
                recorder.look_after_relays()
            pending = {name for supervisor in supervisors for name in supervisor.pending(waited)}
            if not (pending if names is None else pending & set(names)):
                return
            if waited > 1 and not shown:
                bar.start()
                shown = True
            counts = [supervisor.progress() for supervisor in supervisors]
            done, total = (sum(numbers) for numbers in zip(*counts))
            bar.update(task, completed=done, total=total, refresh=shown)
            time.sleep(_POLL)
    finally:
        bar.stop()


def wait_for_events(sources: Sequence[Recorder | Addendum], launched: RunFolder | None, timeout: float | None) -> bool:
    """Wait until what was recorded up to now is delivered; not for a tracker that is down, or that refuses it.

    :param launched: a run that another process has recorded, and started the relays of
    :param timeout: seconds to wait at most; None: as long as something moves
    :returns: False: nothing moves any more
    """
    began = moved = time.monotonic()
    sizes = [source.folder.journal.stat().st_size for source in sources]
    before: list[int] = []
    while True:
        now = time.monotonic()
        for source in sources:
            source.look_after_relays()
        behind = [_is_behind(source, size, now - began) for source, size in zip(sources, sizes, strict=True)]
        if not (any(behind) or (launched and _is_delivered_elsewhere(launched))):
            return True
        if timeout is not None and now - began >= timeout:
            return True
        reached = [_reached(folder) for folder in (*(source.folder for source in sources), launched) if folder]
        if reached != before:
            before, moved = reached, now
        elif timeout is None and now - moved >= NO_MORE:
            return False
        time.sleep(_POLL)


def _reached(folder: RunFolder) -> int:
    return sum(folder.relay(label).read_cursor().offset for label in state.labels(folder))


def _is_behind(source: Recorder | Addendum, size: int, waited: float) -> bool:
    """Whether it is worthwhile to wait for a relay that has not come so far."""
    pending = source.supervisor.pending(waited)
    return any(source.folder.relay(label).read_cursor().offset < size for label in pending)


def _is_delivered_elsewhere(folder: RunFolder) -> bool:
    """Whether relays are at work that another process has started."""
    return any(_is_at_work(folder, label) for _, label in state.pending([folder]))


def _is_at_work(folder: RunFolder, label: str) -> bool:
    health = read_json(folder.relay(label).health, Health)
    return state.has_relay(folder, label) and not (health and health.state == "down")
