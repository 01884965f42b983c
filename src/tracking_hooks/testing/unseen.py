"""Which hooks of a plugin change nothing that a reader sees: a hint behind ``tracking-hooks plugins --check``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from tracking_hooks import plugins
from tracking_hooks.run.journal import EVENTS
from tracking_hooks.testing.afterwards import addendum
from tracking_hooks.testing.checked import TestContract
from tracking_hooks.testing.recordings import Kind, recorded, recorded_addendum
from tracking_hooks.testing.tested import Tested

_RUNS: tuple[Kind, ...] = ("everything", "restarted")


def unseen(tested: Tested, folder: Path) -> Iterator[str]:
    """Yield each hook of the plugin without whose events a reader sees the same.

    :param folder: an empty one, for trackers
    """
    loaded = [plugins.load(part).hook for part in tested._parts()]
    left = {hook for hook in EVENTS if any(getattr(hooks, hook).get_hookimpls() for hooks in loaded)}
    for kind in _RUNS:
        whole = _seen(tested, folder, kind)
        calls = [*recorded(kind, folder / "run").calls, *recorded_addendum(folder / "run")]
        told = left & {call.hook for call in calls}
        left -= told
        yield from (hook for hook in sorted(told) if _seen(tested, folder, kind, without=hook) == whole)


def _seen(tested: Tested, folder: Path, kind: Kind, without: str = "") -> Any:
    """Return what is seen of a run, with an addendum to it."""
    tracker = tested._tracker(folder, kind, f"{kind} without {without}")
    later = addendum(tested, tracker, folder)
    with suppress(Exception):  # a plugin that cannot do without it
        for of_run in (tracker, later):
            of_run.calls = [call for call in of_run.calls if call.hook != without]
            of_run.deliver()
        return tracker.observe()
    return None


def main() -> None:
    """Print them for the plugin that is checked."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        found = ", ".join(unseen(TestContract(), Path(folder).resolve()))
    if found:
        click.echo(
            f"\nWhat observe returns shows nothing of {found}: the plugin does nothing there, or observe lacks it."
        )


if __name__ == "__main__":
    main()
