"""Writes ``docs/compatibility.md`` out of the results; runs nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.compat import results
from tests.compat.cells import CELLS, GROUPS, PRESENT, Cell
from tests.compat.results import Result

PAGE = Path(__file__).parents[2] / "docs/compatibility.md"

_HEAD = """\
# Compatibility

What is said to work here was shown by a run. Each row is an environment with one package swapped for another version.
*Beside it* says what else differs from the usual. What an older release depends on besides, such as `py-cpuinfo`, was
installed with it. In each environment a network was trained without tracking and with it, on a CPU. *All of N* means
that a tracker holds each of the N values in `results.csv`, at its epoch, and no others, and that the tracked training
has the same table as the untracked one. `make compat` runs all rows and writes this page.

Where a training fails without tracking, too, that is no fault of ours: the row says what failed. Where one is not
tracked, the row has the sentence that the user reads.
"""


def render(found: Mapping[str, Result]) -> str:
    """Return the page."""
    usual = next((found[cell.name] for cell in CELLS if cell.version == PRESENT and cell.name in found), None)
    return "\n".join([_HEAD, *_environment(usual), *_tables(found, usual)])


def _environment(usual: Result | None) -> Iterator[str]:
    """Say what is installed where nothing is swapped."""
    if usual:
        names = ", ".join(f"{name} {version}" for name, version in usual.beside.items())
        yield from (textwrap.fill(f"What a row does not name is Python {usual.python}, {names}.", 120), "")


def _tables(found: Mapping[str, Result], usual: Result | None) -> Iterator[str]:
    for group, cells in GROUPS.items():
        yield from _table(group, cells, found, usual)


def _table(group: str, cells: tuple[Cell, ...], found: Mapping[str, Result], usual: Result | None) -> Iterator[str]:
    rows = [_row(cell, found[cell.name], usual) for cell in cells if cell.name in found]
    if rows:
        yield from (f"## {group}", "", "| Version | Beside it | Untracked training | Tracked training |")
        yield from ("| --- | --- | --- | --- |", *rows, "")


def _row(cell: Cell, result: Result, usual: Result | None) -> str:
    name = f"{cell.package}{' as a server' if cell.serves else ''}"
    version = f"{name} {result.version}{' (installed)' if cell.version == PRESENT and not cell.python else ''}"
    beside = "; ".join(filter(None, (*_unusual(result, usual), cell.note)))
    return f"| {version} | {beside} | {_bare(result)} | {tracked(result)} |"


def _unusual(result: Result, usual: Result | None) -> Iterator[str]:
    """Yield what has another version than usual, or is not installed."""
    if result.python and not (usual and usual.python == result.python):
        yield f"Python {result.python}"
    for name, version in (usual.beside if usual else {}).items():
        if result.beside and name != result.package and result.beside.get(name) != version:
            yield f"{name} {result.beside[name]}" if name in result.beside else f"no {name}"


def _bare(result: Result) -> str:
    return f"fails: {_cell(result.bare)}" if result.bare else "trains"


def tracked(result: Result) -> str:
    """Say what came of the tracked training."""
    if result.tracked:
        return _cell(f"{result.tracked}: “{result.said}”" if result.said else result.tracked)
    return ", ".join(f"{tracker}: all of {number}" for tracker, number in result.values.items())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(results.read()), encoding="utf-8")
