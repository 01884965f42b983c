"""The layout of the Custom Scalars tab: which curves share a chart.

In "tag (run)", the tab takes everything from the first bracket on for the run, and draws nothing in a chart with a tag
such as "metrics/mAP50(B)" (seen in TensorBoard 2.21). So this tab gets copies without brackets.
"""

from __future__ import annotations

import re

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, Layout, MultilineChartContent
from tensorboard.plugins.custom_scalar.metadata import CONFIG_SUMMARY_TAG, create_summary_metadata

from tracking_hooks.events import Metrics, PerClass

_TRAIN = "train/"
_COPY = "custom_scalars/"
_BRACKETS = str.maketrans("", "", "()")


def without_brackets(metrics: Metrics) -> Metrics:
    """Return metrics by the names that Ultralytics uses where brackets are not allowed: ``metrics/mAP50B``."""
    return {name.translate(_BRACKETS): value for name, value in metrics.items()}


def copies(metrics: Metrics) -> Metrics:
    """Return the metrics of an epoch that the tab cannot draw, under names that it can."""
    found = {name: value for name, value in metrics.items() if name.startswith("metrics/") and "(" in name}
    return {_COPY + name: value for name, value in without_brackets(found).items()}


def layout(metrics: Metrics, per_class: PerClass | None) -> Summary.Value | None:
    """Return the charts for the metrics of an epoch; None if it has no losses to begin with.

    A curve that comes later is shown in its chart from then on.
    """
    losses = [name.removeprefix(_TRAIN) for name in metrics if name.startswith(_TRAIN)]
    if not losses:
        return None
    results = {"mAP": [_result("mAP")], "precision and recall": [_result("(precision|recall)")]}
    if any(name.startswith("metrics/accuracy") for name in metrics):
        results = {"accuracy": [_result("accuracy")]}
    categories = [
        _category("losses", {name: _only(f"train/{name}", f"val/{name}") for name in losses}),
        _category("metrics", results | {"fitness": _only("fitness")}),
        _category("learning rates", {"by parameter group": [r"^lr/"]}),
    ]
    classes = (per_class or {}).values()
    names = dict.fromkeys(name for values in classes for name in without_brackets(values))
    if names:
        categories.append(_category("classes", {name: [rf"^per_class/[^()]+/{re.escape(name)}$"] for name in names}))
    content = Layout(category=categories).SerializeToString(deterministic=True)
    tensor = TensorProto(dtype=DT_STRING, tensor_shape=TensorShapeProto(), string_val=[content])
    return Summary.Value(tag=CONFIG_SUMMARY_TAG, metadata=create_summary_metadata(), tensor=tensor)


def _category(title: str, charts: dict[str, list[str]]) -> Category:
    return Category(
        title=title,
        chart=[Chart(title=name, multiline=MultilineChartContent(tag=tags)) for name, tags in charts.items()],
    )


def _result(name: str) -> str:
    return rf"^({_COPY})?metrics/{name}[^()]*$"


def _only(*tags: str) -> list[str]:
    return [f"^{re.escape(tag)}$" for tag in tags]
