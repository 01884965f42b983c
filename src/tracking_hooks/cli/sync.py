"""``tracking-hooks sync``."""

from __future__ import annotations

from pathlib import Path

import click

from tracking_hooks import layout
from tracking_hooks.delivery import deliver
from tracking_hooks.settings import ConfigurationError, read_settings


@click.command("sync")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True, file_okay=False))
def command(paths: tuple[Path, ...]) -> None:
    """Deliver what trackers have not got yet.

    PATHS are runs, training folders, or folders that hold some; without any, every run of this user on this
    machine. Each run goes to the destination that was set when it was recorded.
    """
    if paths:
        folders = [folder for path in paths for folder in layout.find_runs(path)]
    else:
        folders = list(layout.indexed_runs(layout.index_folder()))
    try:
        settings = read_settings()
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    undone = count = 0
    for result in deliver(folders, settings):
        count += 1
        undone += not result.done
        parts = [f"{result.delivered} events delivered"]
        if result.dead:
            parts.append(f"{result.dead} not taken ({result.folder.relay(result.plugin).dead_letters})")
        if result.note:
            parts.append(result.note)
        click.echo(f"{result.folder.uid}  {result.plugin}: {', '.join(parts)}")
    if not count:
        where = "in " + ", ".join(map(str, paths)) if paths else "on this machine"
        click.echo(f"Nothing is pending: {len(folders)} runs {where}.")
    if undone:
        raise click.exceptions.Exit(1)
