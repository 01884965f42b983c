"""A data set as an input of a run: what MLflow shows under "Datasets used"."""

from __future__ import annotations

import hashlib
import json
import logging

from mlflow.entities import Dataset as Entity
from mlflow.entities import DatasetInput, InputTag

from tracking_hooks.events import Dataset, Split
from tracking_hooks_mlflow.run import MLflowRun
from tracking_hooks_mlflow.support import Unsupported, optional

DIGEST = 8
"""Characters, as many as MLflow's own digests have: its pages show them all."""

MAX_NAME = 500
MAX_PROFILE = 1_000_000

logger = logging.getLogger(__name__)

_CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}

_BOX = {"x": "double", "y": "double", "width": "double", "height": "double"}
_LABELS: dict[str, dict[str, str]] = {
    "detect": _BOX,
    "segment": {"polygon": "string"},
    "pose": {**_BOX, "keypoints": "string"},
    "obb": {"corners": "string"},
}
"""What a label holds beside its class, by task, with the types that MLflow has for it."""


def log(run: MLflowRun, dataset: Dataset, task: str) -> None:
    """Note what a run is trained and validated on; again makes no difference."""
    try:
        with optional(run, "data sets of runs (MLflow 2.4 does)"):
            run.client.log_inputs(run.run_id, datasets=inputs(dataset, task))
    except Unsupported as error:
        logger.warning("the data set is in the tags only: %s", error)


def inputs(dataset: Dataset, task: str) -> list[DatasetInput]:
    """Return an input for each split: MLflow knows one by its name and digest, and takes it once."""
    return [
        DatasetInput(
            Entity(
                name=dataset.name[:MAX_NAME] or "data",
                digest=digest(dataset.digest, name),
                source_type="local",
                source=json.dumps({"uri": str(dataset.yaml or split.path), "split": split.path}),
                schema=json.dumps({"mlflow_colspec": _columns(task)}),
                profile=_profile(dataset, split),
            ),
            [InputTag("mlflow.data.context", _CONTEXTS.get(name, name))],
        )
        for name, split in dataset.splits.items()
    ]


def digest(of_dataset: str, split: str) -> str:
    """Return a split's digest, made of that of the data set: the training split's is its beginning."""
    if split != "train":
        of_dataset = hashlib.sha256(f"{of_dataset} {split}".encode()).hexdigest()
    return of_dataset[:DIGEST]


def _columns(task: str) -> list[dict[str, object]]:
    kinds = {"image": "binary", "class": "string", **_LABELS.get(task, {})}
    return [{"type": kind, "name": name, "required": True} for name, kind in kinds.items()]


def _profile(dataset: Dataset, split: Split) -> str:
    """Return the numbers of a split; MLflow's page shows each with its name."""
    totals = {
        "images": split.images,
        "instances": sum(split.instances.values()),
        "classes": len(dataset.classes),
    }
    complete = json.dumps({**totals, "instances_per_class": split.instances}, ensure_ascii=False)
    return complete if len(complete) <= MAX_PROFILE else json.dumps(totals)
