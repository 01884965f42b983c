"""The argument PATHS of several commands."""

from __future__ import annotations

from pathlib import Path

import click

from tracking_hooks.run import layout
from tracking_hooks.run.layout import RunFolder

argument = click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True, file_okay=False))


def runs(paths: tuple[Path, ...]) -> list[RunFolder]:
    """Return the runs in these folders, oldest first; without folders, all runs of this user on this machine."""
    if not paths:
        return list(layout.indexed_runs(layout.index_folder()))
    found = {folder.path.resolve(): folder for path in paths for folder in layout.find_runs(path)}
    return sorted(found.values(), key=lambda folder: folder.uid)


def where(paths: tuple[Path, ...]) -> str:
    """Describe where the command looked."""
    return "in " + ", ".join(map(str, paths)) if paths else "of this user on this machine"
