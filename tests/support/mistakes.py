"""What is recorded of the mistakes in a validation, and the confusion matrix that stands beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tracking_hooks.run import worst
from tracking_hooks.run.journal import Call


def by_pair(calls: Iterable[Call], column: str = "count") -> dict[tuple[str, str], int]:
    """Return how often one class was taken for another, as the table has it."""
    (table,) = [call.args["artifact"] for call in calls if _is_called(call, "on_table", worst.PAIRS)]
    content = json.loads(table.path.read_text())
    rows = [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
    return {(row["true"], row["predicted"]): row[column] for row in rows if row[column]}


def of_matrix(calls: Iterable[Call]) -> dict[tuple[str, str], int]:
    """Return the same of the confusion matrix."""
    (final,) = [call.args for call in calls if call.hook == "on_final_validation"]
    labels, matrix = final["confusion_matrix"].labels, final["confusion_matrix"].matrix
    return {
        (true, predicted): int(times)
        for predicted, row in zip(labels, matrix, strict=True)
        for true, times in zip(labels, row, strict=True)
        if times and true != predicted
    }


def listed(calls: Iterable[Call]) -> list[worst.Wrong]:
    """Return the list of all images with a mistake."""
    (artifact,) = [call.args["artifact"] for call in calls if _is_called(call, "on_artifact", worst.LIST)]
    return worst.read_list(artifact.path)


def shown(calls: Iterable[Call]) -> tuple[int, Any]:
    """Return the epoch of the weights, and the worst images."""
    (call,) = [call for call in calls if _is_called(call, "on_predictions", worst.IMAGES)]
    return call.args["step"], call.args["images"]


def _is_called(call: Call, hook: str, name: str) -> bool:
    return call.hook == hook and call.args["artifact"].name == name


def paths(rows: Iterable[worst.Wrong]) -> set[Path]:
    """Return the files that a list names."""
    return {Path(row.filepath) for row in rows}
