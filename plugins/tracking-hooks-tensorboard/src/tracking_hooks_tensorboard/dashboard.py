"""The layout of the Custom Scalars tab: which curves share a chart.

Curves of one run have the same colour there, and a symbol that changes from visit to visit. So a chart has two curves
only where they belong together, as training and validation of a loss; a metric has a chart of its own, which names it.

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
from tracking_hooks_tensorboard import names

_TRAIN = "train/"
_METRICS = "metrics/"
_COPY = "without_brackets/"


def copies(metrics: Metrics) -> Metrics:
    """Return the metrics of an epoch that the tab cannot draw, under names that it can."""
    return {_drawn(name): value for name, value in metrics.items() if name.startswith(_METRICS) and "(" in name}


def layout(metrics: Metrics, per_class: PerClass | None, task: str) -> Summary.Value | None:
    """Return the charts for the metrics of an epoch; None if it has no losses to begin with.

    A curve that comes later is shown in its chart from then on: that of an epoch without a validation.
    """
    losses = [name.removeprefix(_TRAIN) for name in metrics if name.startswith(_TRAIN)]
    if not losses:
        return None
    there = [name for name in metrics if name.startswith(_METRICS) and name != names.FITNESS]
    results = dict.fromkeys([*names.of_task(task), *there, names.FITNESS])
    categories = [
        _category("losses", {name: _only(f"train/{name}", f"val/{name}") for name in losses}),
        _category("metrics", {name.removeprefix(_METRICS): _only(_drawn(name)) for name in results}),
        _category("learning rates", {"by parameter group": [r"^lr/"]}),
    ]
    classes = (per_class or {}).values()
    of_classes = dict.fromkeys(name for values in classes for name in map(names.without_brackets, values))
    if of_classes:
        charts = {name: [rf"^per_class/[^()]+/{re.escape(name)}$"] for name in of_classes}
        categories.append(_category("classes", charts))
    content = Layout(category=categories).SerializeToString(deterministic=True)
    tensor = TensorProto(dtype=DT_STRING, tensor_shape=TensorShapeProto(), string_val=[content])
    return Summary.Value(tag=CONFIG_SUMMARY_TAG, metadata=create_summary_metadata(), tensor=tensor)


def _category(title: str, charts: dict[str, list[str]]) -> Category:
    return Category(
        title=title,
        chart=[Chart(title=name, multiline=MultilineChartContent(tag=tags)) for name, tags in charts.items()],
    )


def _drawn(name: str) -> str:
    return _COPY + names.without_brackets(name) if "(" in name else name


def _only(*tags: str) -> list[str]:
    return [f"^{re.escape(tag)}$" for tag in tags]
