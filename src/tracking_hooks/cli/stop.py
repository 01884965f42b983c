"""``tracking-hooks stop``."""

from __future__ import annotations

from pathlib import Path

import click

from tracking_hooks.events import Stop
from tracking_hooks.run import commands, layout, portable, state
from tracking_hooks.run.commands import Command


@click.command("stop")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--reason", default="", help="The reason, which is recorded with the run.")
def command(run: Path, reason: str) -> None:
    """End a running training at the next safe moment.

    RUN is the training's folder (save_dir) or its run folder. The training ends after the current batch, or after the
    current epoch if it has several processes. It still validates and saves, as after its last epoch.
    """
    asked = f"asked for by {portable.user_name() or 'somebody'} in a shell"
    running = [folder for folder in layout.find_runs(run) if state.is_running(folder)]
    if not running:
        raise click.ClickException(f"no training is running in {run}.")
    for folder in running:
        action = Stop(reason=reason or asked)
        commands.send(folder.commands, Command(plugin="tracking-hooks stop", action=action))
        click.echo(f"{folder.uid}  asked to stop")
