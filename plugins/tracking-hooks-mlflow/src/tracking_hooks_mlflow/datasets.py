"""A data set as an input of a run, which MLflow shows under "Datasets used"."""

from __future__ import annotations

import hashlib
import json
import logging

from mlflow.entities import Dataset as Entity
from mlflow.entities import DatasetInput, InputTag

from tracking_hooks.events import Dataset, Split
from tracking_hooks_mlflow.errors import despite_others
from tracking_hooks_mlflow.run import MLflowRun
from tracking_hooks_mlflow.support import Unsupported, optional

DIGEST = 8
"""Number of characters, the same as in MLflow's own digests: its pages show all of them."""

MAX_NAME = 500
MAX_PROFILE = 1_000_000

logger = logging.getLogger(__name__)

_CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}

_CLASS = {"class": "string"}
_BOX = {**_CLASS, "x": "double", "y": "double", "width": "double", "height": "double"}
_LABELS: dict[str, dict[str, str]] = {
    "detect": _BOX,
    "segment": {**_CLASS, "polygon": "string"},
    "pose": {**_BOX, "keypoints": "string"},
    "obb": {**_CLASS, "corners": "string"},
    "semantic": {"mask": "binary"},
    "depth": {"depth": "binary"},
}
"""What a label holds, by task, with MLflow's types."""


def log(run: MLflowRun, dataset: Dataset, task: str) -> None:
    """Log the data that a run is trained and validated on. Repeating it changes nothing."""
    try:
        with run.asking() as client, optional(run, "data sets of runs (MLflow 2.4 does)"):
            # A server stores what it does not find: of two trainings that start together, one comes second.
            despite_others(lambda: client.log_inputs(run.run_id, datasets=inputs(dataset, task)))
    except Unsupported as error:
        logger.warning("the data set is recorded in the tags only: %s", error)


def inputs(dataset: Dataset, task: str) -> list[DatasetInput]:
    """Return an input for each split. MLflow identifies it by name and digest, and stores it once."""
    return [
        DatasetInput(
            Entity(
                name=dataset.name[:MAX_NAME] or "data",
                digest=digest(dataset, name),
                source_type="local",
                source=json.dumps({"uri": str(dataset.yaml or split.path), "split": split.path}),
                schema=json.dumps({"mlflow_colspec": _columns(task)}),
                profile=_profile(dataset, split),
            ),
            [InputTag("mlflow.data.context", _CONTEXTS.get(name, name))],
        )
        for name, split in dataset.splits.items()
    ]


def digest(dataset: Dataset, name: str) -> str:
    """Return the digest of a split as MLflow shows it; of what older releases have recorded, that of all splits.

    :returns: empty if nothing is known
    """
    split = dataset.splits.get(name)
    found = (split.digest if split else "") or dataset.digest
    if found and name != "train":  # to validate on the images of the training is another input
        found = hashlib.sha256(f"{found} {name}".encode()).hexdigest()
    return found[:DIGEST]


def _columns(task: str) -> list[dict[str, object]]:
    kinds = {"image": "binary", **_LABELS.get(task, _CLASS)}
    return [{"type": kind, "name": name, "required": True} for name, kind in kinds.items()]


def _profile(dataset: Dataset, split: Split) -> str:
    """Return the counts of a split; MLflow's page shows each with its name. Pixels are not counted."""
    is_counted = any(one.instances for one in dataset.splits.values())
    counts = {"instances": sum(split.instances.values())} if is_counted else {}
    totals = {"images": split.images, **counts, "classes": len(dataset.classes)}
    by_class = {"instances_per_class": split.instances} if is_counted else {}
    complete = json.dumps({**totals, **by_class}, ensure_ascii=False)
    return complete if len(complete) <= MAX_PROFILE else json.dumps(totals)
