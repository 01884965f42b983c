"""``tracking-hooks status``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from math import isfinite
from pathlib import Path

import click
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from tracking_hooks.cli import paths as run_paths
from tracking_hooks.counts import counted
from tracking_hooks.events import in_words
from tracking_hooks.run import copies, index, journal, missing, receipt, state
from tracking_hooks.run.journal import Head
from tracking_hooks.run.layout import Health, RunFolder, SetAside, read_json
from tracking_hooks.run.story import Story, read

_WIDE = 1000
"""Columns of the table outside of a terminal, so that nothing is cut."""

_NOTE = 600
"""Characters of an error that are shown, with what to do about it; the relay's log has all of it."""

_LITTLE = 100_000
"""Bytes that a run folder may hold without a word."""


_FORGOTTEN = "nothing more is delivered there, by sync --forget"


class _Delivery(Struct, frozen=True):
    """What one tracker has received of a run."""

    label: str
    owed: state.Owed
    notes: list[str]


class _Run(Struct, frozen=True):
    uid: str
    name: str
    status: str
    deliveries: list[_Delivery] = []
    forgotten: list[str] = []
    error: str = ""


@click.command("status")
@run_paths.argument
@click.option("--set-aside", is_flag=True, help="List what a tracker or the journal lacks, each event with the reason.")
def command(paths: tuple[Path, ...], *, set_aside: bool) -> None:
    """Show what each tracker has received, and what is pending.

    PATHS are training folders, run folders, or folders above them. Without PATHS, all runs of this user on this machine
    are shown. On a terminal, each run is a paragraph; elsewhere, the output is a table with one line for each tracker.
    """
    folders = run_paths.runs(paths)
    if not folders:
        click.echo(f"No runs {run_paths.where(paths)}.")
        return
    if set_aside:
        _list_set_aside(folders, run_paths.where(paths))
        return
    runs = [_look(folder) for folder in folders]
    console = Console()
    if console.is_terminal:
        click.echo("\n\n".join("\n".join(_paragraph(run)) for run in runs))
    else:
        Console(width=_WIDE).print(_table(runs))


def _look(folder: RunFolder) -> _Run:
    if known := index.delivered(folder):
        owed = {label: state.nothing_owed(events) for label, events in known.events.items()}
        deliveries = [_Delivery(label, what, []) for label, what in owed.items()]
        return _Run(folder.uid, known.name, known.status, _with_size(folder, deliveries))
    try:
        head, story = read(folder.journal)
        owed = {label: state.owed(folder, label) for label in state.labels(folder)}
    except (journal.JournalError, OSError) as error:
        return _Run(folder.uid, "", "unreadable", error=str(error))
    deliveries = [_Delivery(label, what, _notes(folder, label, what)) for label, what in owed.items()]
    status, forgotten = _status(folder, head, story), state.forgotten(folder)
    return _Run(folder.uid, index.title(head.run), status, _with_size(folder, deliveries), forgotten)


def _with_size(folder: RunFolder, deliveries: list[_Delivery]) -> list[_Delivery]:
    """Note with the first delivery what disk the run takes, if it is worth a word."""
    if deliveries and (held := copies.held(folder)) > _LITTLE:
        deliveries[0].notes.append(f"the run folder holds {held / 1e6:.1f} MB")
    return deliveries


def _paragraph(run: _Run) -> Iterator[str]:
    """Return the lines for one run; a terminal may break them, but nothing is cut."""
    yield "  ".join(filter(None, [run.uid, run.name, run.status]))
    if run.error:
        yield f"  {run.error}"
    elif not (run.deliveries or run.forgotten):
        yield "  no tracker: recorded for its rules alone"
    width = max((len(delivery.label) for delivery in run.deliveries), default=0)
    for delivery in run.deliveries:
        owed = delivery.owed
        counts = [f"{owed.delivered} delivered", f"{owed.pending} pending"]
        if owed.aside:
            counts.append(f"{len(owed.aside)} set aside")
        yield f"  {delivery.label:{width}}  {', '.join(counts)}"
        yield from (f"  {'':{width}}  {note}" for note in delivery.notes)
    yield from (f"  {label}  {_FORGOTTEN}" for label in run.forgotten)


def _table(runs: Iterable[_Run]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "name", "status", "tracker", "delivered", "pending", "set aside"):
        table.add_column(heading, no_wrap=True)
    table.add_column("notes", overflow="fold")
    for run in runs:
        first = [run.uid, run.name, run.status]
        for delivery in run.deliveries:
            owed = delivery.owed
            numbers = (str(owed.delivered), str(owed.pending), str(len(owed.aside)))
            table.add_row(*first, delivery.label, *numbers, "; ".join(delivery.notes))
            first = ["", "", ""]
        for label in run.forgotten:
            table.add_row(*first, label, "", "", "", _FORGOTTEN)
            first = ["", "", ""]
        if not (run.deliveries or run.forgotten):
            table.add_row(*first, "" if run.error else "none", "", "", "", run.error)
    return table


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


def _short(error: str) -> str:
    line = error.splitlines()[0]
    return line if len(line) <= _NOTE else f"{line[:_NOTE]}…"


def _notes(folder: RunFolder, label: str, owed: state.Owed) -> list[str]:
    """Return what the user should know about a delivery, and do."""
    files = folder.relay(label)
    health = read_json(files.health, Health)
    notes = [owed.receipt.in_words()] if owed.receipt and owed.packed else []
    if state.has_relay(folder, label):
        notes.append("a relay is at work")
    elif owed.pending:
        notes.append(f"to deliver: tracking-hooks sync {folder.path}")
    if health and health.error:
        notes.append(f"{'refused' if health.state == 'refused' else 'waits'}: {_short(health.error)}")
    if lost := sum(item.last - item.first + 1 for item in missing.lost(folder, label)):
        notes.append(f"{counted(lost, 'event')} lost: the journal lacks {'it' if lost == 1 else 'them'}")
    if owed.aside or lost:
        notes.append(f"reasons: tracking-hooks status --set-aside {folder.path}")
    return notes


def _list_set_aside(folders: Iterable[RunFolder], where: str) -> None:
    """Print each event that is set aside, with its reason and when it is tried again, and what the journal lacks."""
    count = lost = 0
    for folder in folders:
        if index.delivered(folder):
            continue
        try:
            found = {label: folder.relay(label).read_aside() for label in state.labels(folder)}
            lines = {label: in_words(missing.lost(folder, label)) for label in found}
        except (journal.JournalError, OSError) as error:
            click.echo(f"{folder.uid}  {error}", err=True)
            continue
        for label, events in found.items():
            for event in events:
                count += 1
                what = f"{event.hook} {event.name}".rstrip()
                click.echo(f"{folder.uid}  {label}  event {event.seq}, {what}: {event.reason}")
                click.echo(f"  {_next_try(event)}")
            for line in lines[label]:
                lost += 1
                click.echo(f"{folder.uid}  {label}  {line}")
    if count:
        click.echo(f"\n{counted(count, 'event')} set aside. To try all of them again: tracking-hooks sync --retry")
    elif not lost:
        click.echo(f"Nothing is set aside {where}.")


def _next_try(event: SetAside) -> str:
    if event.retry_at is None:
        return "not tried again by itself"
    if event.retry_at <= time.time():
        return "tried again with the next sync"
    return f"tried again after {time.strftime('%Y-%m-%d %H:%M', time.localtime(event.retry_at))}, or with the next sync"
