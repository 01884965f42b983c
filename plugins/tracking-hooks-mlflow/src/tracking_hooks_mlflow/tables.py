"""Curves and the confusion matrix as MLflow's tables: JSON artifacts that its UI shows as such."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable

from tracking_hooks.events import ConfusionMatrix, Curve, PerClass
from tracking_hooks_mlflow import names
from tracking_hooks_mlflow.run import MAX_TAG

LOGGED = "mlflow.loggedArtifacts"
"""The tag in which MLflow lists the artifacts that are tables."""


def of_validation(curves: Iterable[Curve], matrix: ConfusionMatrix | None, folder: str = "tables") -> dict[str, str]:
    """Return the tables of a validation, by the names of their artifacts."""
    texts = {
        f"{folder}/{re.sub(r'[^a-zA-Z0-9_.-]+', '_', curve.name).strip('_')}.json": _curve(curve) for curve in curves
    }
    if matrix:
        texts[f"{folder}/confusion_matrix.json"] = _confusion_matrix(matrix)
    return texts


def of_evaluation(
    split: str, per_class: PerClass | None, curves: Iterable[Curve], matrix: ConfusionMatrix | None
) -> dict[str, str]:
    """Return the tables of an evaluation on a split, by the names of their artifacts."""
    folder = f"evaluation/{_file_name(split)}"
    texts = of_validation(curves, matrix, folder)
    if per_class:
        columns = list(dict.fromkeys(name for values in per_class.values() for name in values))
        rows = ((label, *(values.get(name) for name in columns)) for label, values in per_class.items())
        texts[f"{folder}/per_class.json"] = _table(["class", *columns], rows)
    return texts


def name(given: str, step: int | None) -> str:
    """Return the name of the artifact of a user's table: each step has one of its own."""
    return f"{names.spelled(given)}.json" if step is None else f"{names.spelled(given)}/step_{step}.json"


def _curve(curve: Curve) -> str:
    """Return a curve as a table: class, x, y."""
    rows = ((label, x, y) for label, values in curve.y.items() for x, y in zip(curve.x, values))
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


def logged(paths: Iterable[str], before: str | None) -> str:
    """Return the value of the tag for these tables. A tag holds a hundred or so: the oldest ones are left out.

    :param before: its value so far, which may name tables of the user's own
    """
    new = [{"path": path, "type": "table"} for path in paths]
    known = json.loads(before or "[]")
    listed = known + [table for table in new if table not in known]
    while len(text := json.dumps(listed)) > MAX_TAG:
        del listed[0]
    return text


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text).strip("_")


def _table(columns: list[str], rows: Iterable[tuple[object, ...]]) -> str:
    finite = [[None if isinstance(item, float) and not math.isfinite(item) else item for item in row] for row in rows]
    return json.dumps({"columns": columns, "data": finite})
