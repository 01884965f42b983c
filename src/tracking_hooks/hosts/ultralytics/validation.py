"""What a validation has found beside its metrics: by class, as curves, as a confusion matrix.

It is what Ultralytics draws, under the names that belong to it, also where a release of Ultralytics mixes them up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracking_hooks.events import ConfusionMatrix, Curve
from tracking_hooks.hosts.ultralytics import classes, data
from tracking_hooks.hosts.ultralytics.guard import guard

_POINTS = 101
"""About as many points of a curve are kept."""
_PRECISION = ("Confidence", "Precision")
"""The axes of the curve that is zero where nothing was taken for a class."""


def parts(validator: Any) -> dict[str, Any]:
    """Return all of it, as hooks take it. What cannot be read is left out, and nothing else."""
    found: dict[str, Any] = {"per_class": None, "curves": [], "confusion_matrix": None}
    for part, read in (("per_class", data.per_class), ("curves", curves), ("confusion_matrix", confusion_matrix)):
        with guard(f"recording the {part} of a validation"):
            found[part] = read(validator)
    return found


def curves(validator: Any) -> list[Curve]:
    """Return the curves, thinned out to about a hundred points."""
    metrics = validator.metrics
    results = list(getattr(metrics, "curves_results", ()))
    heads = list(dict.fromkeys(re.findall(r"\(\w+\)", " ".join(getattr(metrics, "keys", ()))))) or [""]
    each = max(len(results) // len(heads), 1)
    found = []
    for number, (x, _, x_label, y_label) in enumerate(results):
        of_head = results[number - number % each :][:each]
        rows = _by_class(results[number], of_head, metrics)
        every = max((len(x) - 1) // (_POINTS - 1), 1)
        if rows:
            found.append(
                Curve(
                    name=_name(number, metrics, f"{y_label}-{x_label}{heads[min(number // each, len(heads) - 1)]}"),
                    x_label=str(x_label),
                    y_label=str(y_label),
                    x=[float(value) for value in x[::every]],
                    y={label: row[::every].tolist() for label, row in rows.items()},
                )
            )
    return found


def _name(number: int, metrics: Any, otherwise: str) -> str:
    """Return the name that Ultralytics gives a curve; of poses, older releases have more names than curves."""
    names = [str(name) for name in getattr(metrics, "curves", ())]
    is_usable = len(names) == len(metrics.curves_results) == len(set(names))
    return names[number] if is_usable else otherwise


def _by_class(result: Sequence[Any], of_head: Sequence[Sequence[Any]], metrics: Any) -> dict[str, Any]:
    """Return the row of each class that there were labels of; none if they cannot be told apart.

    Of precision over recall, older releases have no row for a class that nothing was taken for.

    :param of_head: this result and those beside it, of the same boxes, masks or poses
    """
    x, ys, *_ = result
    rows = np.atleast_2d(np.asarray(ys, dtype=float))
    if rows.shape[1] != len(x):
        return {}  # with plots=False, older releases have not computed it
    names = classes.named(metrics.names)
    indices = getattr(metrics, "ap_class_index", range(len(rows)))
    labels = [names.get(int(index), str(index)) for index in indices]
    if len(rows) == len(labels):
        return dict(zip(labels, rows))
    precision = next((np.asarray(given) for _, given, *axes in of_head if tuple(axes) == _PRECISION), rows)
    detected = [label for label, row in zip(labels, precision) if row.any()]
    if rows.any() and len(rows) != len(detected):
        return {}
    return dict.fromkeys(labels, np.zeros(len(x))) | dict(zip(detected, rows))


def confusion_matrix(validator: Any) -> ConfusionMatrix | None:
    """Return the confusion matrix, if there is one, with the labels of Ultralytics' picture in their order."""
    confusion = getattr(validator, "confusion_matrix", None)
    matrix = getattr(confusion, "matrix", None)
    if matrix is None or not matrix.sum():
        return None
    # For a single class of pixels, the validator has one name, and the matrix two. Older ones have no names.
    names = list(classes.named(getattr(confusion, "names", None) or validator.names).values())[: len(matrix)]
    names += ["background"] * (len(matrix) - len(names))
    return ConfusionMatrix(labels=list(classes.named(names).values()), matrix=matrix.astype(float).tolist())
