"""``tracking-hooks simulate``: when rules would have acted on a recorded run."""

from __future__ import annotations

from pathlib import Path

import click

from tracking_hooks.cli import paths as run_paths
from tracking_hooks.control import rules
from tracking_hooks.control.control import PAST, Control, describe
from tracking_hooks.counts import counted
from tracking_hooks.events import Stop
from tracking_hooks.run import journal
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.story import read
from tracking_hooks.settings import ConfigurationError


@click.command("simulate")
@run_paths.argument
@click.option("--control", "text", metavar="RULES", required=True, help="Rules, written as for TRACKING_HOOKS_CONTROL.")
def command(paths: tuple[Path, ...], text: str) -> None:
    """Show when rules would have acted on recorded runs.

    PATHS are training folders, run folders, or folders above them. Without PATHS, all runs of this user on this machine
    are used. The metrics are those that were recorded: the effect of an action on later epochs is not simulated.
    """
    for folder in run_paths.runs(paths):
        try:
            _simulate(folder, text)
        except ConfigurationError as error:
            raise click.ClickException(str(error)) from None
        except (JournalError, OSError) as error:
            click.echo(f"{folder.uid}  skipped: {error}", err=True)


def _simulate(folder: RunFolder, text: str) -> None:
    head, story = read(folder.journal)
    if head.run.addendum:
        return  # it has no epochs
    # Rules have memory, so each run needs its own.
    control = Control(rules.build(text), lambda sentence: click.echo(f"{folder.uid}  {sentence}", err=True))
    last = story.epoch
    acted = False
    for epoch, commands in control.past(head.run, journal.calls(folder.journal, PAST)):
        for command in commands:
            acted = True
            action = command.action
            click.echo(f"{folder.uid}  epoch {epoch} of {last}: {command.plugin}: {describe(action)}: {action.reason}")
        if any(isinstance(command.action, Stop) for command in commands):
            return
    if not acted:
        click.echo(f"{folder.uid}  no rule would have acted in {counted(last, 'epoch')}")
