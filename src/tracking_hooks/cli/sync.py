"""``tracking-hooks sync``."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import click

from tracking_hooks import plugins, projectfile, redact
from tracking_hooks.cli import paths as run_paths
from tracking_hooks.delivery.sync import Delivery, Watcher, deliver
from tracking_hooks.run import index, journal, portable
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import ConfigurationError, Settings, read_settings

_WATCH_EVERY = 2.0


@click.command("sync")
@run_paths.argument
@click.option("--to", metavar="NAME", help="Also replay whole runs into this tracker, with its current destination.")
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="With --to: change a part of the destination, as in --set tracking_uri=http://host:5000.",
)
@click.option(
    "--forget", metavar="LABEL", help="Cancel a replay, by the label that `status` shows, such as mlflow@1a2b3c4d."
)
@click.option("--retry", is_flag=True, help="Also try again whatever was set aside.")
@click.option("--watch", is_flag=True, help="Keep running and follow live runs, including those on other machines.")
def command(
    paths: tuple[Path, ...],
    to: str | None,
    assignments: tuple[str, ...],
    forget: str | None,
    *,
    retry: bool,
    watch: bool,
) -> None:
    """Deliver pending events to the trackers.

    PATHS are training folders, run folders, or folders above them. Without PATHS, all runs of this user on this machine
    are delivered. Each run is delivered to the destination that was recorded with it. The exit code is 1 if something
    is still to be delivered. Events that a tracker did not take are set aside; they are tried again by --retry.
    """
    if assignments and not to:
        raise click.UsageError("--set goes with --to.")
    if retry and watch:
        raise click.UsageError("--retry and --watch exclude each other.")
    folders = run_paths.runs(paths) if to or forget else run_paths.to_deliver(paths)
    if forget:
        found = [folder for folder in folders if _forget(folder, forget)]
        click.echo(f"{forget} is cancelled in {len(found)} run{'s' * (len(found) != 1)}.")
        return
    if others := sum(not index.names(folder) for folder in folders):
        click.echo(_of_others(others), err=True)
    try:
        settings = read_settings(project=projectfile.read(portable.working_folder()))
        if to:
            _add_replays(folders, to, assignments)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    if watch:
        _watch(paths, settings)
        return
    results = deliver(folders, settings, busy_wait=settings.exit_wait, retry=retry)
    count = len(folders) if paths else len(folders) + index.count_delivered()
    if _report(results, count, run_paths.where(paths)):
        raise click.exceptions.Exit(1)


def _of_others(count: int) -> str:
    """Say of runs that they are delivered only because the user names their folder."""
    runs = "1 run was" if count == 1 else f"{count} runs were"
    where = "where its journal says" if count == 1 else "where their journals say"
    return f"{runs} not recorded by this user on this machine: delivered to {where}, with your credentials."


def _report(results: Iterable[Delivery], runs: int, where: str) -> int:
    """Print one line for each delivery; return how many are incomplete."""
    undone = count = 0
    for result in results:
        count += 1
        undone += not result.done
        parts = [f"{result.delivered} events delivered"]
        if result.aside:
            parts.append(f"{len(result.aside)} set aside (reasons: tracking-hooks status --set-aside)")
        if result.note:
            parts.append(result.note)
        click.echo(f"{result.folder.uid}  {result.label}: {', '.join(parts)}")
    if not count:
        click.echo(f"Nothing is pending: {runs} run{'s' * (runs != 1)} {where}.")
    return undone


def _add_replays(folders: list[RunFolder], plugin: str, assignments: tuple[str, ...]) -> None:
    """Add a destination to each run.

    :raises ConfigurationError: if the plugin cannot be used, or an assignment is invalid
    """
    plugins.load(plugin)
    changes = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not (separator and key):
            raise ConfigurationError(f"--set {assignment}: it takes KEY=VALUE.")
        if redact.values({key: value}) != {key: value}:
            raise ConfigurationError(
                f"--set {key}=…: it holds what looks like a password or a key, and a destination is kept on disk. "
                "Leave that out, and give it to the tracker's client by its own variables, such as "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            )
        changes[key] = value
    for folder in folders:
        try:
            head, _ = journal.read_head(folder.journal)
        except (journal.JournalError, OSError) as error:
            click.echo(f"{folder.uid}  skipped: {error}", err=True)
            continue
        capture = plugins.capture(plugins.load_trainer_sides([plugin]), head.run)[plugin]
        captured = capture.destination
        if unknown := [key for key in changes if captured and key not in captured]:
            raise ConfigurationError(
                f"--set {unknown[0]}=…: the destination of {plugin} has no such part. It has: {', '.join(captured)}."
            )
        for part in plugins.parts(plugin, plugins.installed()):
            folder.add_replay(part, {**captured, **changes}, "" if changes else capture.place)
        index.look_again(folder)


def _forget(folder: RunFolder, label: str) -> bool:
    """Drop a replay with all parts of its plugin; return whether there was one of that label."""
    replays = folder.replays()
    known = label in replays
    for other, replay in replays.items():
        if other == label or plugins.first_label(other, replay.plugin) == label:
            folder.forget_replay(other)
    return known


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
