"""Trainings where polars is not installed."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from typing import Any


def do_without_polars(trainer: Any) -> None:
    """Read the table without a library that is large, and is not on every machine with a GPU."""
    if find_spec("polars"):
        return

    def read(self: Any) -> dict[str, list[float]]:
        with self.csv.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name]) for row in rows] for name in rows[0]} if rows else {}

    trainer.read_results_csv = read
