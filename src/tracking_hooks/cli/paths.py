"""The argument PATHS of several commands."""

from __future__ import annotations

from pathlib import Path

import click

from tracking_hooks.run import index, layout
from tracking_hooks.run.layout import RunFolder

argument = click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True, file_okay=False))


def runs(paths: tuple[Path, ...], *, quiet: bool = False) -> list[RunFolder]:
    """Return the runs in these folders, oldest first; without folders, all runs of this user on this machine.

    :param quiet: do not name the folders that this user may not look into
    """
    if not paths:
        return index.all_runs()
    hidden = _ignore if quiet else _name
    named = [folder for path in paths for folder in layout.find_runs(path, hidden)]
    added = index.addenda(named, with_delivered=True)
    found = {folder.path.resolve(): folder for folder in (*named, *added)}
    return sorted(found.values(), key=lambda folder: folder.uid)


def to_deliver(paths: tuple[Path, ...], *, quiet: bool = False) -> list[RunFolder]:
    """Return the runs that something may be left to deliver of; see ``runs``."""
    return runs(paths, quiet=quiet) if paths else index.undelivered()


def _name(folder: RunFolder) -> None:
    click.echo(f"{folder.path}: skipped, it is another user's and cannot be read", err=True)


def _ignore(_: RunFolder) -> None:
    pass


def where(paths: tuple[Path, ...]) -> str:
    """Describe where the command looked."""
    return "in " + ", ".join(map(str, paths)) if paths else "of this user on this machine"
