"""``tracking-hooks group``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from tracking_hooks.cli import paths as run_paths
from tracking_hooks.cli.output import json_option, print_json, width
from tracking_hooks.cli.sync import report
from tracking_hooks.counts import counted
from tracking_hooks.delivery.sync import deliver
from tracking_hooks.recording import configuration, groups
from tracking_hooks.run import index, story
from tracking_hooks.run.group import TASK, Member, Summary, members, summary
from tracking_hooks.run.journal import Head, JournalError
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import ConfigurationError

_COLUMNS = 80
"""Of the tables outside of a terminal."""
_LONGEST = 24
"""Characters of a run's name that are shown."""


@click.command("group")
@click.argument("name")
@run_paths.argument
@click.option("--deliver", "delivers", is_flag=True, help="Also deliver the group as a run, to where its runs go.")
@json_option
def command(name: str, paths: tuple[Path, ...], *, delivers: bool, as_json: bool) -> None:
    """Show what the runs of a group have come to.

    NAME is what TRACKING_HOOKS_GROUP was, or what tracking_hooks.group() was given. PATHS are training folders, run
    folders, or folders above them. Without PATHS, all runs of this user on this machine are looked at. Mean and sample
    standard deviation (std) are over the runs that have finished. Call it as often as you like: with --deliver, the
    group's run in the trackers is brought up to date.
    """
    if as_json and delivers:
        raise click.UsageError("--json and --deliver exclude each other.")
    folders = run_paths.runs(paths)
    found = members(folders, lambda head: head.run.group == name and not _is_own(head, name))
    if not found:
        raise click.ClickException(f"No run {run_paths.where(paths)} is in the group {name}.")
    # Each `with tracking_hooks.group(…)` is a group of its own, though several may have one name.
    by_parent: dict[str | None, list[Member]] = {}
    for member in found:
        by_parent.setdefault(member.head.run.parent, []).append(member)
    if as_json:
        _print_as_data(by_parent)
        return
    undone = 0
    for number, (parent, of_one) in enumerate(by_parent.items()):
        try:
            click.echo("\n" * bool(number) + "\n".join(_lines(name, summary(of_one))))
            if delivers:
                undone += _deliver(name, of_one, _own(name, parent, of_one, folders))
        except (ConfigurationError, JournalError, OSError) as error:
            raise click.ClickException(str(error)) from None
    if undone:
        raise click.exceptions.Exit(1)


def _print_as_data(by_parent: Mapping[str | None, Sequence[Member]]) -> None:
    try:
        told = {parent: summary(of_one) for parent, of_one in by_parent.items()}
    except (JournalError, OSError) as error:
        raise click.ClickException(str(error)) from None
    print_json([
        {"parent": parent, "runs": one.rows, "mean": one.mean, "std": one.std, "counted": one.counted}
        for parent, one in told.items()
    ])  # fmt: skip


def _is_own(head: Head, name: str) -> bool:
    return head.run.task == TASK and head.run.name == name


def _own(name: str, parent: str | None, found: Sequence[Member], folders: Sequence[RunFolder]) -> RunFolder | None:
    """Return the run that a group has, if it has one: that of its ``with``, or the one that was recorded behind it."""
    uids = {member.head.run.uid for member in found}
    known = {folder.path: folder for folder in [*folders, *index.all_runs()]}
    for member in members(known.values(), lambda head: _is_own(head, name)):
        if member.folder.uid == parent or uids & {*story.read(member.folder.journal)[1].plan.members}:
            return member.folder
    return None


def _deliver(name: str, found: Sequence[Member], own: RunFolder | None) -> int:
    """Record the group as it is now, and deliver it behind its runs; return how many deliveries are incomplete."""
    recorded = groups.record(name, found, own, logging.Logger("tracking_hooks.group", logging.WARNING))
    folders = [*(member.folder for member in found if index.names(member.folder)), recorded]
    settings = configuration.read_all_settings()
    click.echo("")
    return report(deliver(folders, settings, busy_wait=settings.exit_wait), folders, 0, f"of the group {name}")


def _lines(name: str, told: Summary) -> Iterator[str]:
    """Return the lines about a group: its runs, and its metrics in as many tables as the terminal's width needs."""
    yield f"{name}: {counted(len(told.rows), 'run')}, {told.counted} in mean and std"
    left_out = [f"{row.name} ({row.status})" for row in told.rows if not row.counts]
    if left_out:
        yield f"left out: {', '.join(left_out)}"
    first = [_short(row.name) for row in told.rows]
    second = [row.status for row in told.rows]
    columns = [_column("run", [*first, "mean", "std"]), _column("status", [*second, "", ""])]
    rows = [*(row.metrics for row in told.rows), told.mean, told.std]
    room = (width() or _COLUMNS) - sum(len(column[0]) + 2 for column in columns)
    block: list[list[str]] = []
    for metric in told.names:
        values = [f"{row[metric]:.5g}" if metric in row else "-" for row in rows]
        column = _column(metric, values, right=True)
        if block and sum(len(one[0]) + 2 for one in block) + len(column[0]) > room:
            yield from _table([*columns, *block])
            block = []
        block.append(column)
    yield from _table([*columns, *block])


def _column(head: str, cells: Sequence[str], *, right: bool = False) -> list[str]:
    width = max(map(len, [head, *cells]))
    return [cell.rjust(width) if right else cell.ljust(width) for cell in [head, *cells]]


def _table(columns: Sequence[Sequence[str]]) -> Iterator[str]:
    yield ""
    for cells in zip(*columns):
        yield "  ".join(cells).rstrip()


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
