"""``tracking-hooks worst``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from tracking_hooks.cli import paths as run_paths
from tracking_hooks.cli.output import aligned, indented, json_option, print_json, with_note
from tracking_hooks.counts import counted
from tracking_hooks.run import layout, worst
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.worst import DamagedError, Told

_PAIRS = 20
"""So many pairs of classes are printed, the most frequent ones."""
_LONGEST = 24
"""Characters of a class's name that are printed."""


@click.command("worst")
@click.argument("run", type=run_paths.place)
@click.option("--files", "as_files", is_flag=True, help="Print only the path of each image with a mistake.")
@json_option
def command(run: Path, *, as_files: bool, as_json: bool) -> None:
    """Show the images in which a run's best checkpoint makes the most mistakes.

    RUN is the training's folder (save_dir), its run folder, or its uid. A score of 0 is right, of 1 all wrong. Below
    the images stand the mistakes by pair of classes, and where the list of all images with a mistake is, the worst
    first: what to label, or to look at, next. No tracker is asked: this is what was recorded.
    """
    if as_files and as_json:
        raise click.UsageError("--files and --json exclude each other.")
    try:
        found = [told for folder in layout.find_runs(run) if (told := worst.read(folder))]
        if not found:
            raise click.ClickException(
                f"{run} has no worst images. They are recorded at the end of a training that draws plots, unless "
                "TRACKING_HOOKS_PREDICTIONS is off."
            )
        if as_json:
            print_json([_as_data(told) for told in found])
        elif as_files:
            paths = dict.fromkeys(path for told in found for path in _files(told))
            click.echo(os.fsencode("\n".join(paths)))  # the bytes of a name, whatever it is called
        else:
            click.echo("\n\n".join("\n".join(_lines(told)) for told in found))
    except (JournalError, OSError, DamagedError) as error:
        raise click.ClickException(str(error)) from None


def _as_data(told: Told) -> dict[str, Any]:
    return {
        "uid": told.folder.uid, "name": told.head.run.name, "epoch": told.step,
        "images": [{"path": image.path, "score": image.score, "reason": image.reason} for image in told.images],
        "mistakes": told.pairs, "csv": told.list_file,
    }  # fmt: skip


def _files(told: Told) -> list[str]:
    if told.list_file is None:
        raise click.ClickException(told.error or f"{told.folder.uid} has no list of the images with a mistake.")
    return [row.filepath for row in worst.read_list(told.list_file)]


def _lines(told: Told) -> Iterator[str]:
    by = "" if told.step is None else f", by the weights of epoch {told.step}"
    title = f"{told.head.run.name} ({told.folder.uid})"
    yield with_note(title, f"the worst {counted(len(told.images), 'image')}{by}", between=": ")
    yield ""
    for image in told.images:
        yield with_note(f"{image.score or 0:5.2f}  {image.path}", image.reason, between="  ")
    if told.pairs:
        yield ""
        yield from _table(told.pairs[:_PAIRS])
        if others := told.pairs[_PAIRS:]:
            yield f"and {counted(len(others), 'pair')} more"
    if told.pairs_error:
        yield ""
        yield f"The mistakes by pair of classes: {told.pairs_error}"
    if told.list_file or told.error:
        yield ""
        yield "All images with a mistake, the worst first:"
        yield f"  {told.list_file}" if told.list_file else indented(told.error, 2)


def _table(pairs: Sequence[dict[str, Any]]) -> list[str]:
    return aligned([list(pairs[0]), *([_cell(cell) for cell in pair.values()] for pair in pairs)])


def _cell(cell: object) -> str:
    text = f"{cell:.0f}" if isinstance(cell, float) else str(cell)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
