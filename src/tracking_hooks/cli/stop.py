"""``tracking-hooks stop``."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from tracking_hooks.cli import paths as run_paths
from tracking_hooks.events import Stop
from tracking_hooks.run import commands, journal, layout, portable, state
from tracking_hooks.run.commands import Command
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import RunFolder


@click.command("stop")
@click.argument("run", type=run_paths.place)
@click.option("--reason", default="", help="The reason, which is recorded with the run.")
def command(run: Path, reason: str) -> None:
    """End a running training at the next safe moment.

    RUN is the training's folder (save_dir), its run folder, or its uid. The training ends after the current batch, or
    after the current epoch if it has several processes. It still validates and saves, as after its last epoch.
    """
    asked = f"asked for by {portable.user_name() or 'somebody'} in a shell"
    running = [folder for folder in layout.find_runs(run) if state.is_running(folder) and not _is_addendum(folder)]
    if not running:
        raise click.ClickException(f"no training is running in {run}.")
    for folder in running:
        action = Stop(reason=reason or asked)
        commands.send(folder.commands, Command(plugin="tracking-hooks stop", action=action))
        click.echo(f"{folder.uid}  asked to stop")


def _is_addendum(folder: RunFolder) -> bool:
    with suppress(JournalError, OSError):  # it may be just being made
        return journal.read_head(folder.journal)[0].run.addendum is not None
    return False
