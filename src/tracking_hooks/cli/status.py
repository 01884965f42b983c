"""``tracking-hooks status``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite
from pathlib import Path

import click
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from tracking_hooks.cli import paths as run_paths
from tracking_hooks.run import journal, state
from tracking_hooks.run.layout import Health, RunFolder, read_json
from tracking_hooks.run.story import Story, read

_WIDE = 1000
"""Columns of the table outside of a terminal, so that nothing is cut."""

_NOTE = 160
"""Characters of an error that are shown; the relay's log has all of it."""


class _Delivery(Struct, frozen=True):
    """What one tracker has received of a run."""

    label: str
    delivered: int
    pending: int
    dead: int
    notes: list[str]


class _Run(Struct, frozen=True):
    uid: str
    name: str
    status: str
    deliveries: list[_Delivery] = []
    error: str = ""


@click.command("status")
@run_paths.argument
def command(paths: tuple[Path, ...]) -> None:
    """Show what each tracker has received, and what is pending.

    PATHS are training folders, run folders, or folders above them. Without PATHS, all runs of this user on this machine
    are shown. On a terminal, each run is a paragraph; elsewhere, the output is a table with one line for each tracker.
    """
    folders = run_paths.runs(paths)
    if not folders:
        click.echo(f"No runs {run_paths.where(paths)}.")
        return
    runs = [_look(folder) for folder in folders]
    console = Console()
    if console.is_terminal:
        click.echo("\n\n".join("\n".join(_paragraph(run)) for run in runs))
    else:
        Console(width=_WIDE).print(_table(runs))


def _look(folder: RunFolder) -> _Run:
    try:
        head, story = read(folder.journal)
        _, start = journal.read_head(folder.journal)
        labels = state.labels(folder)
    except (journal.JournalError, OSError) as error:
        return _Run(folder.uid, "", "unreadable", error=str(error))
    deliveries = []
    for label in labels:
        try:
            cursor = folder.relay(label).read_cursor()
        except OSError as error:
            return _Run(folder.uid, head.run.name, "unreadable", error=str(error))
        pending = _count_lines(folder.journal, max(cursor.offset, start))
        notes = _notes(folder, label, pending)
        deliveries.append(_Delivery(label, cursor.delivered, pending, cursor.dead, notes))
    return _Run(folder.uid, head.run.name, _status(folder, story), deliveries)


def _paragraph(run: _Run) -> Iterator[str]:
    """Return the lines for one run; a terminal may break them, but nothing is cut."""
    yield "  ".join(filter(None, [run.uid, run.name, run.status]))
    if run.error:
        yield f"  {run.error}"
    elif not run.deliveries:
        yield "  no tracker: recorded for its rules alone"
    width = max((len(delivery.label) for delivery in run.deliveries), default=0)
    for delivery in run.deliveries:
        counts = [f"{delivery.delivered} delivered", f"{delivery.pending} pending"]
        if delivery.dead:
            counts.append(f"{delivery.dead} dead letter{'s' * (delivery.dead != 1)}")
        yield f"  {delivery.label:{width}}  {', '.join(counts)}"
        yield from (f"  {'':{width}}  {note}" for note in delivery.notes)


def _table(runs: Iterable[_Run]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "name", "status", "tracker", "delivered", "pending", "dead letters"):
        table.add_column(heading, no_wrap=True)
    table.add_column("notes", overflow="fold")
    for run in runs:
        first = [run.uid, run.name, run.status]
        for delivery in run.deliveries:
            numbers = (str(delivery.delivered), str(delivery.pending), str(delivery.dead))
            table.add_row(*first, delivery.label, *numbers, "; ".join(delivery.notes))
            first = ["", "", ""]
        if not run.deliveries:
            table.add_row(*first, "" if run.error else "none", "", "", "", run.error)
    return table


def _status(folder: RunFolder, story: Story) -> str:
    """Return how the run ended, or that it has not, and what is known of a training on another machine."""
    life = state.life(folder)
    if life.alive:
        words = "running elsewhere" if life.elsewhere else "running"
    elif not story.began:
        words = "never began"
    else:
        words = story.status or "killed"
    if life.silent_for is None or story.status:
        return words
    return f"{words}, {_last_sign(life.silent_for)}"


def _last_sign(seconds: float) -> str:
    return f"last sign of life {seconds:.0f} s ago" if isfinite(seconds) else "no sign of life"


def _count_lines(path: Path, offset: int) -> int:
    with path.open("rb") as file:
        file.seek(offset)
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _short(error: str) -> str:
    line = error.splitlines()[0]
    return line if len(line) <= _NOTE else f"{line[:_NOTE]}…"


def _notes(folder: RunFolder, label: str, pending: int) -> list[str]:
    """Return what the user should know about a delivery, and do."""
    files = folder.relay(label)
    health = read_json(files.health, Health)
    notes = []
    if state.has_relay(folder, label):
        notes.append("a relay is at work")
    elif pending:
        notes.append(f"to deliver: tracking-hooks sync {folder.path}")
    if health and health.error:
        notes.append(f"{'refused' if health.state == 'refused' else 'down'}: {_short(health.error)}")
    if files.dead_letters.exists():
        notes.append(f"reasons: {files.dead_letters}")
    return notes
