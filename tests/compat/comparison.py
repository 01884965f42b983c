"""Compares what a tracker holds with Ultralytics' ``results.csv``, value by value."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_DIGITS = 6e-5
"""By how much, relatively, a value may differ: older releases write five digits of it to the table."""


class Differs(Exception):
    """Says what a tracker has otherwise."""


def table(file: Path) -> dict[int, dict[str, str]]:
    """Return the rows of ``results.csv`` without the clock, by epoch."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [{name.strip(): value.strip() for name, value in row.items()} for row in csv.DictReader(lines)]
    return {
        int(row["epoch"]): {name: value for name, value in row.items() if name not in ("epoch", "time")} for row in rows
    }


def same(tracker: str, rows: Mapping[int, Mapping[str, str]], curves: Mapping[str, Any]) -> int:
    """Return how many values of a table are the same in a tracker.

    :param curves: pairs of step and value, by the tracker's name of a metric
    :raises Differs: if the tracker has not all of them, or others
    """
    if not rows:
        raise Differs("results.csv has no epoch")
    count = 0
    for column in {column: None for row in rows.values() for column in row}:
        name = re.sub(r"[()]", "", column) if tracker == "mlflow" else column
        held = dict(curves.get(name, ()))
        if len(held) != len(curves.get(name, ())):
            raise Differs(f"{tracker}: {name} has two values for a step")
        shown = {epoch: float(row[column]) for epoch, row in rows.items()}
        if held.keys() != shown.keys():
            raise Differs(f"{tracker}: {name} has the steps {sorted(held)} instead of {sorted(shown)}")
        for epoch, value in shown.items():
            if not math.isclose(held[epoch], value, rel_tol=_DIGITS, abs_tol=1e-6):
                raise Differs(f"{tracker}: {name} of epoch {epoch} is {held[epoch]} instead of {value}")
            count += 1
    return count
