"""``tracking-hooks simulate``: when rules would have acted on a recorded run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from tracking_hooks.cli import paths as run_paths
from tracking_hooks.cli.output import json_option, print_json
from tracking_hooks.control import rules
from tracking_hooks.control.control import PAST, Control, describe
from tracking_hooks.counts import counted
from tracking_hooks.events import Stop
from tracking_hooks.run import journal
from tracking_hooks.run.journal import Head, JournalError
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.story import read
from tracking_hooks.settings import ConfigurationError, is_off


class _Rehearsal(Struct, frozen=True, kw_only=True):
    """What the rules would have done to a run."""

    uid: str
    epochs: int
    """How many were recorded."""
    actions: list[dict[str, Any]]
    is_at_fault: bool
    """Whether a rule has failed, or watches a metric that is not there."""

    def lines(self) -> list[str]:
        """Return a line for each action, or one that says that there is none."""
        told = [f"epoch {one['epoch']} of {self.epochs}: {one['rule']}: {one['action']}: {one['reason']}"
                for one in self.actions]  # fmt: skip
        return told or [f"no rule would have acted in {counted(self.epochs, 'epoch')}"]


@click.command("simulate")
@run_paths.argument
@click.option("--control", "text", metavar="RULES", required=True, help="Rules, written as for TRACKING_HOOKS_CONTROL.")
@json_option
def command(paths: tuple[Path, ...], text: str, *, as_json: bool) -> None:
    """Show when rules would have acted on recorded runs.

    PATHS are training folders, run folders, folders above them, or uids. Without PATHS, all runs of this user on this
    machine are used. The metrics are those that were recorded: the effect of an action on later epochs is not
    simulated. The exit code is 1 if a rule fails, or watches a metric that a run does not have.
    """
    found: list[_Rehearsal] = []
    is_asked_for = not is_off(text)
    try:
        if is_asked_for:
            rules.build(text)  # the mistakes in it, also where there is no run
        folders = run_paths.runs(paths)
        for folder in folders if is_asked_for else ():
            if rehearsal := _rehearse(folder, text):
                found.append(rehearsal)
                for line in rehearsal.lines() if not as_json else ():
                    click.echo(f"{folder.uid}  {line}")
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json(found)
    elif not is_asked_for:
        click.echo(f"{text.strip()!r} asks for no rule, so nothing would have been done.")
    elif not folders:
        click.echo(f"No runs {run_paths.where(paths)}. The rules can be read.")
    if any(one.is_at_fault for one in found):
        raise click.exceptions.Exit(1)


def _rehearse(folder: RunFolder, text: str) -> _Rehearsal | None:
    """Ask the rules about a run; None if it has no epochs, or cannot be read."""
    try:
        head, story = read(folder.journal)
        if head.run.addendum:
            return None
        # Rules have memory, so each run needs its own.
        control = Control(rules.build(text), lambda sentence: click.echo(f"{folder.uid}  {sentence}", err=True))
        actions = list(_actions(control, folder, head, story.epoch))
    except (JournalError, OSError) as error:
        click.echo(f"{folder.uid}  skipped: {error}", err=True)
        return None
    return _Rehearsal(uid=folder.uid, epochs=story.epoch, actions=actions, is_at_fault=control.is_at_fault)


def _actions(control: Control, folder: RunFolder, head: Head, epochs: int) -> Iterator[dict[str, Any]]:
    """Yield what the rules would have asked for, up to a stop."""
    for epoch, commands in control.past(head.run, journal.calls(folder.journal, PAST), epochs):
        for command in commands:
            what = {"action": describe(command.action), "reason": command.action.reason}
            yield {"epoch": epoch, "rule": command.plugin, **what}
        if any(isinstance(command.action, Stop) for command in commands):
            return
