"""The saved view "Training" of an experiment: the columns, the order and the charts that its page shows.

MLflow keeps a view as a tag of the experiment, and lists it on the page of the runs. One view serves all tasks: the
page leaves out a chart whose metrics no run has.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tracking_hooks.events import State
from tracking_hooks_mlflow import names, pages

TAG = f"mlflow.sharedViewState.{pages.VIEW}"
"""The tag in which MLflow looks for the view."""

_COMPARED = {
    "classify": "metrics/accuracy_top1",
    "segment": "metrics/mAP50-95(M)",
    "pose": "metrics/mAP50-95(P)",
    "semantic": "metrics/mIoU",
    "depth": "metrics/delta1",
}
"""The metric by which runs of a task are sorted; where nothing else is said, that of boxes."""
_OF_BOXES = "metrics/mAP50-95(B)"

_RESULTS = [
    *([f"metrics/{name}({kind})"] for kind in "BMP" for name in ("mAP50-95", "mAP50")),
    *([f"metrics/precision({kind})", f"metrics/recall({kind})"] for kind in "BMP"),
    ["metrics/accuracy_top1", "metrics/accuracy_top5"],
    ["metrics/mIoU", "metrics/pixel_acc"],
    ["metrics/delta1", "metrics/delta2", "metrics/delta3"],
    *([f"metrics/{name}"] for name in ("abs_rel", "rmse", "silog")),
]
_LOSSES = (
    "box_loss", "cls_loss", "dfl_loss", "l1_loss", "seg_loss", "sem_loss", "pose_loss", "kobj_loss", "rle_loss",
    "angle_loss", "giou_loss", "ce_loss", "dice_loss", "aux_loss", "dlog_loss", "dgrad_loss", "loss",
)  # fmt: skip
_CHARTS = {
    "mAP": _RESULTS,
    "losses": [[f"train/{name}", f"val/{name}"] for name in _LOSSES],
    "learning rates": [[f"lr/pg{number}" for number in range(3)]],
}
"""The sections of the page, each with its charts, each of these with its metrics."""

_CLOSED = (
    "best/metrics", "metrics", "train", "val", "lr", "time", "train_batch", "train_batch/lr", "Model metrics",
    "System metrics",
)  # fmt: skip
"""Sections that MLflow makes itself, for each metric by the beginning of its name."""

_WIDTHS = {"metrics": 180, "attributes": 140}
"""Pixels of columns, so that all of them are seen on a page of 1280."""


def of_new(task: str, time: int) -> dict[str, str]:
    """Return the tag with the view, for an experiment that is made.

    :param task: of the run that it is made for
    :param time: now, in milliseconds
    """
    state = json.dumps(_state(task), separators=(",", ":")).encode()
    packed = f"deflate;{base64.b64encode(zlib.compress(state, 9)).decode()}"
    return {TAG: json.dumps({"name": "Training", "createdAt": time, "updatedAt": time, "state": packed})}


def note(client: MlflowClient, experiment: str, state: State, tag: dict[str, str]) -> None:
    """Note whether an experiment has the view; give it the view, if it has none and somebody wants one there.

    :param tag: what to give it; empty: nothing
    """
    if "view" in state:
        return
    with suppress(MlflowException):  # a run is worth recording without it
        known = client.get_experiment(experiment).tags
        for key, value in tag.items():
            if key not in known:
                client.set_experiment_tag(experiment, key, value)
        state["view"] = TAG in {*known, *tag}


def _state(task: str) -> dict[str, Any]:
    (best,) = names.below("best", {_COMPARED.get(task, _OF_BOXES): 0.0})
    columns = {
        _column("metrics", names.spelled(best)): "metrics",
        _column("params", "epochs"): "params",
        _column("params", "model.name"): "params",
        _column("attributes", "Dataset"): "attributes",
    }
    return {
        "orderByKey": next(iter(columns)),
        "orderByAsc": False,
        "selectedColumns": [*columns],
        "columnOrder": ["0", _column("attributes", "Run Name"), "runDateAndNestInfo", *columns, "duration"],
        "columnWidths": {column: _WIDTHS[kind] for column, kind in columns.items() if kind in _WIDTHS},
        "compareRunCharts": [_chart(keys, section) for section, charts in _CHARTS.items() for keys in charts],
        "compareRunSections": [
            *(_section(name) for name in _CHARTS),
            *(_section(name, is_open=False) for name in _CLOSED),
        ],
        "isAccordionReordered": True,  # otherwise the page sorts the sections by name
    }


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"


def _section(name: str, *, is_open: bool = True) -> dict[str, Any]:
    return {"uuid": name, "name": name, "display": is_open, "isReordered": True, "deleted": False, "isGenerated": False}


def _chart(metrics: Sequence[str], section: str) -> dict[str, Any]:
    keys = [names.spelled(name) for name in metrics]
    return {
        "uuid": f"{section}: {keys[0]}", "type": "LINE", "metricSectionId": section, "metricKey": keys[0],
        "selectedMetricKeys": keys, "runsCountToCompare": 10, "deleted": False, "isGenerated": False,
        "lineSmoothness": 0, "xAxisScaleType": "linear", "scaleType": "linear", "range": {}, "xAxisKey": "step",
        "selectedXAxisMetricKey": "", "yAxisKey": "metric", "yAxisExpressions": [], "ignoreOutliers": False,
        "useGlobalXaxisKey": True, "useGlobalLineSmoothing": True,
    }  # fmt: skip
