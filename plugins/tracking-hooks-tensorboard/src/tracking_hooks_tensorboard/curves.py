"""Precision and recall over the confidence, in the form that the PR Curves tab draws."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT
from tensorboard.plugins.pr_curve.metadata import create_summary_metadata

from tracking_hooks.events import ConfusionMatrix, Curve

_PRECISION, _RECALL = "Precision-Confidence", "Recall-Confidence"
_PER_CENT = 100.0


def pr_curves(curves: Iterable[Curve], matrix: ConfusionMatrix | None, prefix: str = "") -> Iterator[Summary.Value]:
    """Return a curve for each class, and for each kind of result: boxes, masks, poses.

    They are derived from the curves over the confidence, not from "Precision-Recall": the tab has a slider for the
    threshold, which that curve does not contain.
    """
    by_name = {curve.name: curve for curve in curves}
    counts = _instances(matrix)
    for name, precision in by_name.items():
        kind = name.removeprefix(_PRECISION)
        recall = by_name.get(_RECALL + kind)
        if not name.startswith(_PRECISION) or recall is None:
            continue
        for label in (label for label in precision.y if label in recall.y):
            yield _pr_curve(f"{prefix}pr_curves{kind}/{label}", precision.y[label], recall.y[label], counts.get(label))


def _pr_curve(tag: str, precision: list[float], recall: list[float], instances: float | None) -> Summary.Value:
    """Return a curve, with counts derived from the number of labelled objects.

    By the counts, the tab leaves out the thresholds above which nothing is detected.
    """
    of = instances or _PER_CENT
    found = [round(value * of) for value in recall]
    # At a threshold where every detection is wrong, precision and recall do not tell how many there were.
    wrong = [round(r * of * (1 - p) / p) if p > 0 else 0 for p, r in zip(precision, recall)]
    missed = [round(of) - value for value in found]
    rows: list[list[float]] = [[*found], [*wrong], [0.0] * len(found), [*missed], precision, recall]
    thresholds = len(precision)
    content = b"".join(struct.pack(f"<{thresholds}f", *row) for row in rows)
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in (len(rows), thresholds)])
    description = (
        f"of {round(of)} object{'s' * (round(of) != 1)}" if instances else "counts are in per cent of the objects"
    )
    return Summary.Value(
        tag=tag,
        metadata=create_summary_metadata(display_name="", description=description, num_thresholds=thresholds),
        tensor=TensorProto(dtype=DT_FLOAT, tensor_shape=shape, tensor_content=content),
    )


def _instances(matrix: ConfusionMatrix | None) -> dict[str, float]:
    """Return the number of objects of each class: each was detected, confused or missed."""
    if matrix is None:
        return {}
    return {label: sum(row[i] for row in matrix.matrix) for i, label in enumerate(matrix.labels)}
