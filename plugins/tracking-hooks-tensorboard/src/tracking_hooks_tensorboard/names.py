"""The names of metrics in TensorBoard: those of Ultralytics' own integration, and where the others stand among them.

Time Series sorts its groups, which are what stands before the first slash, and opens the first two. So that these are
curves over epochs, ``lr`` and ``metrics``, no other group of ours begins with an earlier letter.
"""

from __future__ import annotations

from tracking_hooks.events import Metrics

FITNESS = "metrics/fitness"
BEST = "best"
_BRACKETS = str.maketrans("", "", "()")


def of_epoch(metrics: Metrics) -> Metrics:
    """Return the metrics of an epoch, with the fitness among its like."""
    return {FITNESS if name == "fitness" else name: value for name, value in metrics.items()}


def of_batch(metrics: Metrics) -> Metrics:
    """Return the running means over batches, ``train_batch/box_loss``."""
    return {f"train_{name}" if name.startswith("batch/") else name: value for name, value in metrics.items()}


def of_validation(of: str) -> str:
    """Return the prefix of what a checkpoint reaches, ``validation/best/`` or ``validation/test/``.

    :param of: ``BEST`` or a split
    """
    return f"validation/{of}/"


def without_brackets(name: str) -> str:
    """Return the name that Ultralytics uses where brackets are not allowed: ``metrics/mAP50B``."""
    return name.translate(_BRACKETS)


def of_task(task: str) -> list[str]:
    """Return the names of a task's results, the most telling first; none if it is not known."""
    return [f"metrics/{name}" for name in _OF_TASKS.get(task, ())]


_OF_BOXES, _OF_MASKS, _OF_POSES = (
    tuple(f"{name}({head})" for name in ("mAP50-95", "mAP50", "precision", "recall")) for head in "BMP"
)
_OF_TASKS = {
    "detect": _OF_BOXES,
    "obb": _OF_BOXES,
    "segment": (*_OF_BOXES, *_OF_MASKS),
    "pose": (*_OF_BOXES, *_OF_POSES),
    "classify": ("accuracy_top1", "accuracy_top5"),
    "semantic": ("mIoU", "pixel_acc"),
    "depth": ("delta1", "abs_rel", "rmse", "silog", "delta2", "delta3"),
}
