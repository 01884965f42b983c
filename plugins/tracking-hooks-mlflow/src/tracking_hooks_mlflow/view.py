"""The saved view "Training" of an experiment: the columns, the order and the charts that its page shows.

MLflow keeps a view as a tag of the experiment, and lists it on the page of the runs. One view serves all tasks: the
page leaves out a chart whose metrics no run has. The images that a model is seen in are not known before the first of
them is sent, so their charts are added then.
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
from tracking_hooks_mlflow.run import MLflowRun

TAG = f"mlflow.sharedViewState.{pages.VIEW}"
"""The tag in which MLflow looks for the view."""

_METHOD = "deflate;"
"""How the state of a view is packed."""

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

_SEEN = "predictions"
"""The section with the images in which the model is seen."""

_MOST_IMAGES = 16
"""How many of these a view shows: those of two data sets."""

_LARGE = {"columns": 2, "cardHeight": 420}
"""How these are laid out. In three columns of 360, as MLflow has them, labels are too small on a page of 1280 pixels,
and pictures are cut off on one of 1600."""

_WIDTHS = {"metrics": 180, "attributes": 140}
"""Pixels of columns, so that all of them are seen on a page of 1280."""


def of_new(task: str, time: int) -> dict[str, str]:
    """Return the tag with the view, for an experiment that is made.

    :param task: of the run that it is made for
    :param time: now, in milliseconds
    """
    return {TAG: json.dumps({"name": "Training", "createdAt": time, "updatedAt": time, "state": _packed(_state(task))})}


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


def show_images(run: MLflowRun, keys: Sequence[str], time: int) -> None:
    """Add cards of images to the view of the run's experiment, if it has one, as far as there are none yet.

    A view that is not like ours any more is left alone, and so is one that we may not change.

    :param time: now, in milliseconds
    """
    with suppress(MlflowException):  # the images are on the page of the run
        tag = run.client.get_experiment(run.experiment_id).tags.get(TAG, "")
        if changed := _with_images(tag, keys, time):
            run.client.set_experiment_tag(run.experiment_id, TAG, changed)


def _with_images(tag: str, keys: Sequence[str], time: int) -> str | None:
    """Return the tag with cards of images; None if there is nothing to add, or it is no view like ours."""
    try:
        saved = json.loads(tag)
        state = _unpacked(saved["state"])
        charts, sections = state["compareRunCharts"], state["compareRunSections"]
        order = [section["uuid"] for section in sections]
        place = next((section["uuid"] for section in sections if section["name"] == _SEEN), None)
        shown = [key for chart in charts for key in chart.get("imageKeys", ())]
        count = sum(chart["metricSectionId"] == place for chart in charts)
    except (ValueError, LookupError, TypeError, AttributeError, zlib.error):
        return None
    added = [key for key in keys if key not in shown][: max(0, _MOST_IMAGES - count)]
    if not added or not _CHARTS.keys() <= set(order):
        return None
    if place is None:
        place = _SEEN
        sections.insert(order.index(next(iter(_CHARTS))) + 1, {**_section(place), **_LARGE})
    charts.extend(_image(key, place) for key in added)
    return json.dumps({**saved, "updatedAt": time, "state": _packed(state)})


def _packed(state: dict[str, Any]) -> str:
    text = json.dumps(state, separators=(",", ":")).encode()
    return f"{_METHOD}{base64.b64encode(zlib.compress(text, 9)).decode()}"


def _unpacked(text: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(text.removeprefix(_METHOD))))


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


def _image(key: str, section: str) -> dict[str, Any]:
    return {
        "uuid": f"{_SEEN}: {key}", "type": "IMAGE", "metricSectionId": section, "imageKeys": [key], "step": 0,
        "showRunParams": False,  # they would push the picture out of its card
        "runsCountToCompare": 10, "deleted": False, "isGenerated": False,
    }  # fmt: skip
