"""The argument PATHS of several commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from tracking_hooks.run import index, layout
from tracking_hooks.run.layout import RunFolder


class _Place(click.Path):
    """A folder, or the uid of a run of this user's, which is its run folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not Path(value).exists() and (folder := index.find(Path(value).name)) and folder.uid == str(value):
            return folder.path
        if not Path(value).exists():
            unknown = f"there is no folder {str(value)!r}, and no run of yours with this uid on this machine."
            self.fail(unknown, param, ctx)
        found = Path(os.fsdecode(super().convert(value, param, ctx)))
        return found.resolve() if ".." in found.parts else found


place = _Place(path_type=Path, exists=True, file_okay=False)
argument = click.argument("paths", nargs=-1, type=place)


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


def _shown(path: Path) -> str:
    return repr(str(path)) if str(path).endswith(".") else str(path)  # or it looks like the end of the sentence


def where(paths: tuple[Path, ...]) -> str:
    """Describe where the command looked."""
    return "in " + ", ".join(map(_shown, paths)) if paths else "of this user on this machine"
