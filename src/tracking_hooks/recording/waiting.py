"""Waits for the delivery of runs: when ``train()`` is about to return, and when the process ends."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracking_hooks.recording.addenda import Addendum
    from tracking_hooks.recording.recorder import Recorder

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
