"""What came of the cells, as lines of JSON: the page is made of them, and a run of some cells replaces theirs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.compat.cells import Cell

FILE = Path(__file__).parent / "results.jsonl"

NOT_TRIED = "not tried"
"""Said of a cell whose environment cannot be had."""


@dataclass(frozen=True)
class Result:
    """What came of a cell."""

    package: str
    version: str
    """As the environment tells it."""
    cell: str
    """Its name."""
    python: str = ""
    beside: dict[str, str] = field(default_factory=dict)
    """The versions of what else matters."""
    bare: str = ""
    """Why the training without tracking failed; empty: it did not."""
    tracked: str = ""
    """What the tracked one lacks; empty: nothing."""
    values: dict[str, int] = field(default_factory=dict)
    """How many values of ``results.csv`` each tracker has."""
    said: str = ""
    """The sentence on the user's terminal where a training is not tracked."""


def read(file: Path = FILE) -> dict[str, Result]:
    """Return all, by the name of the cell."""
    if not file.is_file():
        return {}
    found = (Result(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines())
    return {result.cell: result for result in found}


def write(results: Iterable[Result], file: Path = FILE) -> None:
    """Keep these."""
    lines = [json.dumps(asdict(result), ensure_ascii=False) for result in results]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def is_as_said(cell: Cell, result: Result) -> bool:
    """Whether a training was tracked, or refused, as the cell says; one that fails untracked says nothing."""
    if result.tracked == NOT_TRIED:
        return False
    return bool(result.bare) or (bool(result.said) if cell.refused else not result.tracked)
