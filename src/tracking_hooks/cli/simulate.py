"""``tracking-hooks simulate``: what rules would have done to a run that is recorded."""

from __future__ import annotations

from pathlib import Path

import click

from tracking_hooks.cli import paths as run_paths
from tracking_hooks.control import rules
from tracking_hooks.control.control import PAST, Control, describe
from tracking_hooks.events import Stop
from tracking_hooks.run import journal
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.story import read
from tracking_hooks.settings import ConfigurationError


@click.command("simulate")
@run_paths.argument
@click.option("--control", "text", metavar="RULES", required=True, help="As TRACKING_HOOKS_CONTROL takes them.")
def command(paths: tuple[Path, ...], text: str) -> None:
    """Say when rules would have acted on a run, without training it again.

    PATHS are runs, training folders, or folders that hold some; without any, every run of this user on this machine.
    What an action would have changed is not known: the metrics are those that were recorded.
    """
    for folder in run_paths.runs(paths):
        try:
            _simulate(folder, text)
        except ConfigurationError as error:
            raise click.ClickException(str(error)) from None
        except (JournalError, OSError) as error:
            click.echo(f"{folder.uid}  left out: {error}", err=True)


def _simulate(folder: RunFolder, text: str) -> None:
    head, story = read(folder.journal)
    # Rules remember: each run has its own.
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
        click.echo(f"{folder.uid}  nothing would have been done in {last} epoch{'s' * (last != 1)}")
