"""``tracking-hooks sync``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import click

from tracking_hooks import plugins
from tracking_hooks.cli import paths as run_paths
from tracking_hooks.cli.assignments import check_part, parse_assignments
from tracking_hooks.cli.output import json_option, print_json, width, with_note
from tracking_hooks.cli.readdress import readdress
from tracking_hooks.counts import counted
from tracking_hooks.delivery.sync import Delivery, Watcher, deliver
from tracking_hooks.recording import configuration
from tracking_hooks.run import index, journal, receipt, remedies, state
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import ConfigurationError, Settings

_WATCH_EVERY = 2.0


@click.command("sync")
@run_paths.argument
@click.option("--to", metavar="NAME", help="Also replay whole runs into this tracker, with its current destination.")
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Deliver to another address, as in --set tracking_uri=http://host:5000: with --to, what is replayed; with "
    "PATHS, what is pending, if nothing of it has arrived.",
)
@click.option(
    "--forget",
    metavar="LABEL",
    help="Cancel a replay, by the label that `status` shows, such as mlflow@1a2b3c4d. By a plain name, such as mlflow, "
    "and with PATHS: deliver no more of these runs to where they were recorded for.",
)
@click.option("--retry", is_flag=True, help="Also try again whatever was set aside.")
@click.option("--watch", is_flag=True, help="Keep running and follow live runs, including those on other machines.")
@json_option
def command(
    paths: tuple[Path, ...],
    to: str | None,
    assignments: tuple[str, ...],
    forget: str | None,
    *,
    retry: bool,
    watch: bool,
    as_json: bool,
) -> None:
    """Deliver pending events to the trackers.

    PATHS are training folders, run folders, folders above them, or uids. Without PATHS, all runs of this user on this
    machine are delivered. Each run is delivered to the destination that was recorded with it. Events that a tracker did
    not take are set aside; they are tried again by --retry. The exit code is 1 if something is still to be delivered,
    or set aside.
    """
    if assignments and not (to or paths):
        raise click.UsageError("--set goes with --to, or with PATHS: the runs that are to go to another address.")
    if retry and watch:
        raise click.UsageError("--retry and --watch exclude each other.")
    if as_json and (watch or forget):
        raise click.UsageError("--json goes with neither --watch nor --forget.")
    folders = run_paths.runs(paths) if to or forget else run_paths.to_deliver(paths)
    if forget:
        if "@" not in forget and not paths:
            raise click.UsageError(f"--forget {forget} takes PATHS: the runs that are not to be delivered there.")
        found = [folder for folder in folders if _forget(folder, forget)]
        click.echo(f"{forget} is cancelled in {counted(len(found), 'run')}.")
        if found and "@" not in forget:
            click.echo(f"What it has stays there. To deliver them elsewhere: tracking-hooks sync --to {forget}")
        return
    if others := sum(not index.names(folder) for folder in folders):
        click.echo(_of_others(others), err=True)
    try:
        settings = configuration.read_all_settings()
        changes = parse_assignments(assignments)
        refused = 0
        if to:
            _add_replays(folders, to, changes)
        elif changes:
            folders, refused = readdress(folders, changes)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    if watch:
        _watch(paths, settings)
        return
    results = deliver(folders, settings, busy_wait=settings.exit_wait, retry=retry)
    delivered = 0 if paths else index.count_delivered()
    undone = (
        report_as_data(results, folders) if as_json else report(results, folders, delivered, run_paths.where(paths))
    )
    if undone or refused:
        raise click.exceptions.Exit(1)


def _of_others(count: int) -> str:
    """Say of runs that they are delivered only because the user names their folder."""
    runs = "1 run was" if count == 1 else f"{count} runs were"
    where = "where its journal says" if count == 1 else "where their journals say"
    return f"{runs} not recorded by this user on this machine: delivered to {where}, with your credentials."


def report(results: Iterable[Delivery], folders: list[RunFolder], delivered: int, where: str) -> int:
    """Print what has become of each delivery; return how many are incomplete, or lack what is set aside."""
    found = []
    for result in results:
        found.append(result)
        parts = [f"{counted(result.delivered, 'event')} delivered"]
        if result.aside:
            reasons = "" if width() else " (reasons: tracking-hooks status --set-aside)"
            parts.append(f"{len(result.aside)} set aside{reasons}")
        click.echo(with_note(f"{result.folder.uid}  {result.label}: {', '.join(parts)}", result.note))
    aside = _aside_before(folders, found)
    if not found:
        click.echo(f"Nothing is pending: {counted(len(folders) + delivered, 'run')} {where}.")
        if packed := sum(receipt.read(folder) is not None for folder in folders):
            click.echo(
                f"{packed} of them {'is' if packed == 1 else 'are'} packed up. "
                "To deliver from here after all: tracking-hooks pack --forget PATH"
            )
    if sum(aside.values()):
        click.echo(f"{counted(sum(aside.values()), 'event')} set aside before. Reasons, and what to do:")
        click.echo(f"  {remedies.reasons(_names(aside))}".rstrip())
    elif width() and (with_aside := [result.folder for result in found if result.aside]):
        click.echo(f"Reasons for what is set aside:\n  {remedies.reasons(_names(with_aside))}".rstrip())
    if undone := [result.folder for result in found if not (result.done or result.busy)]:
        click.echo(f"What to do, also about a wrong address:\n  tracking-hooks status {_names(undone)}".rstrip())
    return sum(aside.values()) + sum(not result.done or bool(result.aside) for result in found)


def report_as_data(results: Iterable[Delivery], folders: list[RunFolder]) -> int:
    """Print the same as JSON."""
    found = list(results)
    print_json([
        {
            "uid": result.folder.uid, "run_folder": result.folder.path, "label": result.label,
            "delivered": result.delivered, "set_aside": len(result.aside), "done": result.done, "busy": result.busy,
            "note": result.note,
        }
        for result in found
    ])  # fmt: skip
    return sum(_aside_before(folders, found).values()) + sum(not result.done or bool(result.aside) for result in found)


def _names(folders: Iterable[RunFolder]) -> str:
    """Return how to name these runs in a command; empty if all of this user's runs are to be looked at."""
    names = list(dict.fromkeys(map(remedies.name, folders)))
    if len(names) == 1:
        return names[0]
    return "" if all("/" not in name for name in names) else "PATH"


def _aside_before(folders: Iterable[RunFolder], found: Iterable[Delivery]) -> dict[RunFolder, int]:
    """Return the runs with events that are set aside and that nothing was tried for, and how many these are."""
    told = {(result.folder.path, result.label) for result in found}
    counts = {}
    for folder in folders:
        if index.delivered(folder):
            continue
        with suppress(journal.JournalError, OSError):  # told as a delivery that failed
            labels = [label for label in state.labels(folder) if (folder.path, label) not in told]
            if count := sum(len(state.owed(folder, label).aside) for label in labels):
                counts[folder] = count
    return counts


def _add_replays(folders: list[RunFolder], plugin: str, changes: Mapping[str, str]) -> None:
    """Add a destination to each run.

    :raises ConfigurationError: if the plugin cannot be used, or an assignment is invalid
    """
    plugins.load(plugin)
    for folder in folders:
        try:
            head, _ = journal.read_head(folder.journal)
        except (journal.JournalError, OSError) as error:
            click.echo(f"{folder.uid}  skipped: {error}", err=True)
            continue
        capture = plugins.capture(plugins.load_trainer_sides([plugin]), head.run)[plugin]
        captured = capture.destination
        for key in changes if captured else ():
            check_part(plugin, captured, key)
        for part in plugins.parts(plugin, plugins.installed()):
            folder.add_replay(part, {**captured, **changes}, "" if changes else capture.place)
        index.look_again(folder)


def _forget(folder: RunFolder, label: str) -> bool:
    """Drop a destination with all parts of its plugin; return whether there was one of that label to deliver to."""
    if "@" not in label:
        return _forget_recorded(folder, label)
    replays = folder.replays()
    known = label in replays
    for other, replay in replays.items():
        if other == label or plugins.first_label(other, replay.plugin) == label:
            folder.forget_replay(other)
    return known


def _forget_recorded(folder: RunFolder, plugin: str) -> bool:
    """Owe a plugin nothing any more where a run was recorded for; what was delivered in full stays as it is."""
    try:
        recorded = [label for label in state.labels(folder) if "@" not in label]
        labels = [label for label in recorded if plugins.first_part(label) == plugin]
        owed = [state.owed(folder, label) for label in labels]
        if state.is_running(folder) or not any(one.is_worth_a_try or one.aside for one in owed):
            return False
        for label in labels:
            state.forget(folder, label)
    except (journal.JournalError, OSError) as error:
        click.echo(f"{folder.uid}  skipped: {error}", err=True)
        return False
    return True


def _watch(paths: tuple[Path, ...], settings: Settings) -> None:
    watcher = Watcher(settings)
    click.echo(f"Watching for runs {run_paths.where(paths)}. Press Ctrl-C to end.")
    try:
        while True:
            for folder, label, what in watcher.look(run_paths.to_deliver(paths, quiet=True)):
                click.echo(f"{folder.uid}  {label}: {what}")
            time.sleep(_WATCH_EVERY)
    except KeyboardInterrupt:
        watcher.close()
