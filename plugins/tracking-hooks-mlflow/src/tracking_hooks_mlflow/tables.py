"""Curves and the confusion matrix as MLflow's tables: JSON artifacts that its UI shows as such."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

from tracking_hooks.events import ConfusionMatrix, Curve

LOGGED = "mlflow.loggedArtifacts"
"""The tag in which MLflow lists the artifacts that are tables."""


def curve(curve: Curve) -> str:
    """Return a curve as a table: class, x, y."""
    rows = ((label, x, y) for label, values in curve.y.items() for x, y in zip(curve.x, values))
    return _table(["class", curve.x_label or "x", curve.y_label or "y"], rows)


def confusion_matrix(matrix: ConfusionMatrix) -> str:
    """Return the non-zero counts as a table: predicted, true, count."""
    rows = (
        (predicted, true, count)
        for predicted, counts in zip(matrix.labels, matrix.matrix)
        for true, count in zip(matrix.labels, counts)
        if count
    )
    return _table(["predicted", "true", "count"], rows)


def logged(names: Iterable[str]) -> str:
    """Return the value of the tag for these tables."""
    return json.dumps([{"path": name, "type": "table"} for name in names])


def _table(columns: list[str], rows: Iterable[tuple[object, ...]]) -> str:
    finite = [[None if isinstance(item, float) and not math.isfinite(item) else item for item in row] for row in rows]
    return json.dumps({"columns": columns, "data": finite})
