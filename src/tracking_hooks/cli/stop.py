"""``tracking-hooks stop``: end a running training at the next safe moment."""

from __future__ import annotations

import getpass
from pathlib import Path

import click

from tracking_hooks.events import Stop
from tracking_hooks.run import commands, layout, state
from tracking_hooks.run.commands import Command


@click.command("stop")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--reason", default="", help="Is recorded with the run.")
def command(run: Path, reason: str) -> None:
    """Stop the training that saves to RUN, a save_dir or a run folder.

    It ends when its epoch is settled, or after the batch where that is safe, as if that had been its last one.
    """
    running = [folder for folder in layout.find_runs(run) if state.is_running(folder)]
    if not running:
        raise click.ClickException(f"no training is running in {run}.")
    for folder in running:
        action = Stop(reason=reason or f"asked for by {getpass.getuser()} in a shell")
        commands.send(folder.commands, Command(plugin="tracking-hooks stop", action=action))
        click.echo(f"{folder.uid}  asked to stop")
