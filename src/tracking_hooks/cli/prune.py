"""``tracking-hooks prune``."""

from __future__ import annotations

from pathlib import Path

import click

from tracking_hooks.cli import paths as run_paths
from tracking_hooks.run import journal, layout, state
from tracking_hooks.run.layout import RunFolder


@click.command("prune")
@run_paths.argument
@click.option("--all", "everywhere", is_flag=True, help="All runs of this user on this machine.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def command(paths: tuple[Path, ...], *, everywhere: bool, dry_run: bool) -> None:
    """Remove the journals of runs that every tracker has got completely.

    Runs with something pending, or with dead letters, are kept. So are journals that cannot be read, unless not even
    their first line was written before the process died. The trainings' own folders are not touched; but
    without its journal, a run cannot be replayed into another tracker.
    """
    if bool(paths) == everywhere:
        raise click.UsageError("Name the folders, or give --all.")
    folders = run_paths.runs(paths)
    removed = 0
    for folder in folders:
        reason = _reason_to_keep(folder)
        if reason:
            click.echo(f"{folder.uid}  kept: {reason}")
            continue
        removed += 1
        why = "" if _has_begun(folder) else ", where nothing was recorded: its process died too early"
        click.echo(f"{folder.uid}  {'would be removed' if dry_run else 'removed'}: {folder.path}{why}")
        if not dry_run:
            _remove(folder)
    runs = "run" if len(folders) == 1 else "runs"
    click.echo(f"{removed} of {len(folders)} {runs} {run_paths.where(paths)} {'would be ' * dry_run}removed.")
    if not dry_run:
        index = layout.index_folder()
        for entry in index.glob("*.json"):
            pointer = layout.read_json(entry, layout.Pointer)
            if pointer is None or not RunFolder(pointer.folder).journal.is_file():
                entry.unlink()


def _remove(folder: RunFolder) -> None:
    if _has_begun(folder):
        head, _ = journal.read_head(folder.journal)
        pointer = head.run.save_dir / layout.POINTER
        found = layout.read_json(pointer, layout.Pointer)
        if found and found.uid == folder.uid:
            pointer.unlink()
    folder.remove()


def _has_begun(folder: RunFolder) -> bool:
    """Whether the first line of the journal is complete."""
    with folder.journal.open("rb") as file:
        return file.readline().endswith(b"\n")


def _reason_to_keep(folder: RunFolder) -> str:
    if state.is_running(folder):
        return "it is running"
    try:
        if not _has_begun(folder):
            return ""
        labels = state.labels(folder)
    except (journal.JournalError, OSError) as error:
        return str(error)
    for label in labels:
        if not state.is_delivered(folder, label):
            return f"{label} has not got all of it"
        if folder.relay(label).read_cursor().dead:
            return f"{label} did not take all of it: {folder.relay(label).dead_letters}"
    return ""
