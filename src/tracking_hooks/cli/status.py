"""``tracking-hooks status``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tracking_hooks.cli import paths as run_paths
from tracking_hooks.run import journal, state
from tracking_hooks.run.layout import Health, RunFolder, read_json
from tracking_hooks.run.liveness import is_alive
from tracking_hooks.run.story import Story, read

_WIDE = 1000
"""Columns where no terminal limits them, so that nothing is cut."""

_NOTE = 160
"""Characters of an error that are shown; the relay's log has all of it."""


@click.command("status")
@run_paths.argument
def command(paths: tuple[Path, ...]) -> None:
    """Show what each tracker has got of each run, and what is pending.

    PATHS are runs, training folders, or folders that hold some; without any, every run of this user on this
    machine.
    """
    folders = run_paths.runs(paths)
    if not folders:
        click.echo(f"No runs {run_paths.where(paths)}.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "name", "status", "tracker", "delivered", "pending", "dead letters"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what to know, and to do", overflow="fold")
    for folder in folders:
        try:
            head, story = read(folder.journal)
            _, start = journal.read_head(folder.journal)
            labels = state.labels(folder)
        except (journal.JournalError, OSError) as error:
            table.add_row(folder.uid, "", "unreadable", "", "", "", "", str(error))
            continue
        first = [folder.uid, head.run.name, _status(folder, story)]
        for label in labels:
            cursor = folder.relay(label).read_cursor()
            pending = _count_lines(folder.journal, max(cursor.offset, start))
            numbers = (str(cursor.delivered), str(pending), str(cursor.dead))
            table.add_row(*first, label, *numbers, _note(folder, label, pending))
            first = ["", "", ""]
        if not labels:  # recorded for its rules alone
            table.add_row(*first, "none", "", "", "", "")
    terminal = Console()
    (terminal if terminal.is_terminal else Console(width=_WIDE)).print(table)


def _status(folder: RunFolder, story: Story) -> str:
    """Return how the run ended, or that it has not."""
    if state.is_running(folder):
        return "running"
    if not story.began:
        return "never began"
    return story.status or "killed"


def _count_lines(path: Path, offset: int) -> int:
    with path.open("rb") as file:
        file.seek(offset)
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _short(error: str) -> str:
    line = error.splitlines()[0]
    return line if len(line) <= _NOTE else f"{line[:_NOTE]}…"


def _note(folder: RunFolder, label: str, pending: int) -> str:
    files = folder.relay(label)
    health = read_json(files.health, Health)
    parts = []
    if is_alive(files.lock, heartbeat=files.log, silence=state.SILENCE):
        parts.append("a relay is at work")
    elif pending:
        parts.append(f"tracking-hooks sync {folder.path}")
    if health and health.error:
        parts.append(f"{'refused' if health.state == 'refused' else 'down'}: {_short(health.error)}")
    if files.dead_letters.exists():
        parts.append(f"reasons: {files.dead_letters}")
    return "; ".join(parts)
