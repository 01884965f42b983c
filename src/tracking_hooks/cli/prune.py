"""``tracking-hooks prune``."""

from __future__ import annotations

from pathlib import Path

import click

from tracking_hooks.cli import paths as run_paths
from tracking_hooks.cli.output import json_option, print_json, with_note
from tracking_hooks.counts import counted
from tracking_hooks.run import checkpoints, index, journal, layout, removal
from tracking_hooks.run.layout import RunFolder


@click.command("prune")
@run_paths.argument
@click.option("--all", "everywhere", is_flag=True, help="Look at all runs of this user on this machine.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@json_option
def command(paths: tuple[Path, ...], *, everywhere: bool, dry_run: bool, as_json: bool) -> None:
    """Free disk space: remove delivered run folders.

    A run folder is removed if every tracker has received the whole run, or if what is missing was packed or given up
    (sync --forget). A run that went to no tracker is removed, too. Runs with events that are pending or set aside are
    kept. So are runs whose journal cannot be read, unless the process died before it wrote the first line.

    The folders of the trainings are not touched. A run whose folder was removed cannot be replayed into another
    tracker.
    """
    if bool(paths) == everywhere:
        raise click.UsageError("Name the folders, or give --all.")
    folders = run_paths.runs(paths)
    rows = []
    for folder in folders:
        reason = removal.reason_to_keep(folder)
        is_removed = not (reason or dry_run)
        rows.append({"uid": folder.uid, "run_folder": folder.path, "removed": is_removed, "kept": reason or None})
        if not as_json:
            _say(folder, reason, dry_run=dry_run)
        if is_removed:
            _remove(folder)
    if as_json:
        print_json(rows)
    else:
        count = f"{sum(row['kept'] is None for row in rows)} of {counted(len(folders), 'run')}"
        click.echo(f"{count} {run_paths.where(paths)} {'would be ' * dry_run}removed.")
    if not dry_run:
        index.tidy()
        checkpoints.tidy()


def _say(folder: RunFolder, reason: str, *, dry_run: bool) -> None:
    if reason:
        click.echo(with_note(f"{folder.uid}  kept", reason, between=": "))
        return
    why = "" if removal.has_begun(folder) else ", where nothing was recorded: its process died too early"
    done = "would be removed" if dry_run else "removed"
    click.echo(with_note(f"{folder.uid}  {done}", f"{folder.path}{why}", between=": "))


def _remove(folder: RunFolder) -> None:
    if removal.has_begun(folder):
        head, _ = journal.read_head(folder.journal)
        pointer = head.run.save_dir / layout.POINTER
        found = layout.read_json(pointer, layout.Pointer)
        if found and found.uid == folder.uid:
            pointer.unlink()
    folder.remove()
