"""Curves and the confusion matrix as MLflow's tables: JSON artifacts that its UI shows as such."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable

from tracking_hooks.events import ConfusionMatrix, Curve, PerClass
from tracking_hooks_mlflow import names

BEST = "tables"
"""The folder of the best checkpoint's tables."""


def of_validation(
    folder: str, per_class: PerClass | None, curves: Iterable[Curve], matrix: ConfusionMatrix | None
) -> dict[str, str]:
    """Return the tables of a validation, by the names of their artifacts."""
    texts = {
        f"{folder}/{re.sub(r'[^a-zA-Z0-9_.-]+', '_', curve.name).strip('_')}.json": _curve(curve) for curve in curves
    }
    if matrix:
        texts[f"{folder}/confusion_matrix.json"] = _confusion_matrix(matrix)
    if per_class:
        columns = list(dict.fromkeys(name for values in per_class.values() for name in values))
        rows = ((label, *(values.get(name) for name in columns)) for label, values in per_class.items())
        texts[f"{folder}/per_class.json"] = _table(["class", *columns], rows)
    return texts


def of_split(split: str) -> str:
    """Return the folder for the tables of an evaluation."""
    return "evaluation/" + re.sub(r"[^\w.-]+", "_", split).strip("_")


def name(given: str, step: int | None) -> str:
    """Return the name of the artifact of a user's table: each step has one of its own."""
    return f"{names.spelled(given)}.json" if step is None else f"{names.spelled(given)}/step_{step}.json"


def _curve(curve: Curve) -> str:
    """Return a curve as a table: class, x, y; with the mean of all classes where some are left out."""
    lines = [*([("mean", curve.mean)] if curve.mean else []), *curve.y.items()]
    rows = ((label, x, y) for label, values in lines for x, y in zip(curve.x, values))
    return _table(["class", curve.x_label or "x", curve.y_label or "y"], rows)


def _confusion_matrix(matrix: ConfusionMatrix) -> str:
    """Return the non-zero counts as a table: predicted, true, count."""
    rows = (
        (predicted, true, count)
        for predicted, counts in zip(matrix.labels, matrix.matrix)
        for true, count in zip(matrix.labels, counts)
        if count
    )
    return _table(["predicted", "true", "count"], rows)


def _table(columns: list[str], rows: Iterable[tuple[object, ...]]) -> str:
    finite = [[None if isinstance(item, float) and not math.isfinite(item) else item for item in row] for row in rows]
    return json.dumps({"columns": columns, "data": finite})
