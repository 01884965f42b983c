"""``tracking-hooks status``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any

import click

from tracking_hooks.cli import overview, setaside
from tracking_hooks.cli import paths as run_paths
from tracking_hooks.cli.output import aligned, indented, json_option, print_json, width
from tracking_hooks.cli.overview import Delivery, Overview
from tracking_hooks.counts import counted
from tracking_hooks.run import remedies

_NOTE = 600
"""Characters of an error that are shown, with what to do about it; the relay's log has all of it."""

_LITTLE = 100_000
"""Bytes that a run folder may hold without a word."""

_FORGOTTEN = "nothing more is delivered there, by sync --forget"

_ORDERS: dict[str, Callable[[Overview], Any]] = {
    "started": lambda run: run.glance.created if run.glance else 0.0,
    "name": lambda run: run.name,
    "status": lambda run: run.status,
    "metric": lambda run: -run.glance.result.value if run.glance and run.glance.result else inf,
}


@click.command("status")
@run_paths.argument
@click.option("--set-aside", is_flag=True, help="List what a tracker or the journal lacks, each event with the reason.")
@click.option(
    "--sort", "order", type=click.Choice([*_ORDERS]), help="Order of the runs: the oldest, or the best metric, first."
)
@json_option
def command(paths: tuple[Path, ...], *, set_aside: bool, order: str | None, as_json: bool) -> None:
    """Show what each tracker has received, and what is pending.

    PATHS are training folders, run folders, folders above them, or uids. Without PATHS, all runs of this user on this
    machine are shown. The metric is that of the best checkpoint, or of the best epoch while it trains. On a terminal,
    each run is a paragraph; elsewhere, the output is a table with one line for each tracker.
    """
    folders = run_paths.runs(paths)
    if set_aside and as_json:
        setaside.show_as_data(folders)
        return
    if not (folders or as_json):
        click.echo(f"No runs {run_paths.where(paths)}.")
        return
    if set_aside:
        setaside.show(folders, run_paths.where(paths))
        return
    runs = [overview.look(folder) for folder in folders]
    if order:
        runs.sort(key=_ORDERS[order])
    if as_json:
        print_json([run.as_data() for run in runs])
    elif width():
        click.echo("\n\n".join("\n".join(_paragraph(run)) for run in runs))
    else:
        click.echo("\n".join(aligned(_table(runs))))


def _paragraph(run: Overview) -> Iterator[str]:
    """Return the lines for one run. Paths, links and commands are left whole, so that they can be copied."""
    yield "  ".join(filter(None, [run.folder.uid, run.name, run.status]))
    if run.error:
        yield indented(run.error, 2)
    if run.glance:
        yield indented(", ".join(_about(run)), 2)
        yield f"  {run.glance.save_dir}"
    if not (run.deliveries or run.forgotten or run.error):
        yield "  no tracker: recorded for its rules alone"
    names = max((len(delivery.label) for delivery in run.deliveries), default=0)
    said = ""
    for delivery in run.deliveries:
        yield f"  {delivery.label:{names}}  {', '.join(_counts(delivery))}"
        if delivery.link:
            yield f"    {delivery.link}"
        for note in _notes(delivery):
            if note != said:  # the further parts of a plugin wait for the same
                yield indented(note, 4)
            said = note
    yield from (f"  {label}  {_FORGOTTEN}" for label in run.forgotten)
    for what, commands in _remedies(run, run.deliveries).items():
        yield f"  {what}:"
        yield from (f"    {one}" for one in commands)


def _about(run: Overview) -> list[str]:
    seen = run.glance
    words = [_started(run), f"epoch {seen.epoch} of {seen.epochs}" if seen and seen.epochs else "", _result(run, " ")]
    words.append(f"group {seen.group}" if seen and seen.group else "")
    words.append(f"the run folder holds {run.held / 1e6:.1f} MB" if run.held > _LITTLE else "")
    return [word for word in words if word]


def _started(run: Overview) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.glance.created)) if run.glance else ""


def _result(run: Overview, between: str) -> str:
    result = run.glance.result if run.glance else None
    return f"{result.metric}{between}{result.value:.4g}" if result else ""


def _counts(delivery: Delivery) -> list[str]:
    owed = delivery.owed
    counts = [f"{owed.delivered} delivered", f"{owed.pending} pending"]
    return [*counts, f"{len(owed.aside)} set aside"] if owed.aside else counts


def _notes(delivery: Delivery) -> Iterator[str]:
    """Return what the user should know about a delivery."""
    owed, health, lost = delivery.owed, delivery.health, delivery.lost
    if owed.receipt and owed.packed:
        yield owed.receipt.in_words()
    if delivery.has_relay:
        yield "a relay is at work"
    if health and health.error:
        yield f"{'refused' if health.state == 'refused' else 'waits'}: {_short(health.error)}"
    if lost:
        yield f"{counted(lost, 'event')} lost: the journal lacks {'it' if lost == 1 else 'them'}"


def _remedies(run: Overview, deliveries: Sequence[Delivery]) -> dict[str, list[str]]:
    """Return what the user can do, each with its commands."""
    name, found = remedies.name(run.folder), {}
    if any(one.owed.pending and not one.has_relay for one in deliveries):
        found["to deliver"] = [remedies.deliver(name)]
    stuck = [] if run.is_running else [one for one in deliveries if one.is_stuck]
    if elsewhere := [one.readdress for one in stuck if one.readdress]:
        found["to deliver elsewhere"] = elsewhere
    if stuck:
        found["to give it up"] = list(dict.fromkeys(remedies.forget(name, one.label) for one in stuck))
    if any(one.owed.aside or one.lost for one in deliveries):
        found["reasons"] = [remedies.reasons(name)]
    return found


def _table(runs: Iterable[Overview]) -> Iterator[list[str]]:
    yield [
        "run", "name", "status", "tracker", "delivered", "pending", "set aside", "started", "epoch", "metric", "folder",
        "notes",
    ]  # fmt: skip
    for run in runs:
        seen = run.glance
        epoch = f"{seen.epoch}/{seen.epochs}" if seen and seen.epochs else ""
        about = [_started(run), epoch, _result(run, "="), str(seen.save_dir) if seen else ""]
        first = [run.folder.uid, run.name, run.status]
        held = [f"the run folder holds {run.held / 1e6:.1f} MB"] * (run.held > _LITTLE)
        for one in run.deliveries:
            owed = one.owed
            done = [f"{what}: {command}" for what, all_ in _remedies(run, [one]).items() for command in all_]
            notes = "; ".join([*_notes(one), *done, *held])
            yield [*first, one.label, str(owed.delivered), str(owed.pending), str(len(owed.aside)), *about, notes]
            first, about, held = [""] * len(first), [""] * len(about), []
        for label in run.forgotten:
            yield [*first, label, "", "", "", *about, _FORGOTTEN]
            first, about = [""] * len(first), [""] * len(about)
        if not (run.deliveries or run.forgotten):
            yield [*first, "" if run.error else "none", "", "", "", *about, run.error]


def _short(error: str) -> str:
    line = error.splitlines()[0]
    return line if len(line) <= _NOTE else f"{line[:_NOTE]}…"
