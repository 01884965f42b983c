"""The run as a row of the HParams tab, in the run's own file.

TensorBoard keeps the first of each of these messages that it finds in a run, and takes the columns of the table from
a single run. So a message is written only when it is final, and every argument is a column, even if it is not set in
this run.
"""

from __future__ import annotations

import json
import math
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams.api_pb2 import (
    DATA_TYPE_BOOL,
    DATA_TYPE_FLOAT64,
    DATA_TYPE_STRING,
    STATUS_SUCCESS,
    Experiment,
    HParamInfo,
    MetricInfo,
    MetricName,
)
from tensorboard.plugins.hparams.metadata import (
    EXPERIMENT_TAG,
    NULL_TENSOR,
    PLUGIN_DATA_VERSION,
    PLUGIN_NAME,
    SESSION_END_INFO_TAG,
    SESSION_START_INFO_TAG,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

from tracking_hooks.events import Params

_COMPARED = frozenset({
    "batch", "epochs", "imgsz", "lr0", "model", "momentum", "mosaic", "optimizer", "pretrained", "seed", "weight_decay",
})  # fmt: skip
"""Arguments that people vary. Of a hundred columns the tab shows five, starting with those marked as different."""

_HEADS = {"detect": "B", "obb": "B", "segment": "BM", "pose": "BP"}
"""The letters by which Ultralytics marks metrics of boxes, masks and poses."""

_OF_A_HEAD = ("mAP50-95", "mAP50", "precision", "recall")


def start(params: Params, task: str, time: float) -> list[Summary.Value]:
    """Return the messages that make the run a row: its arguments, and the columns."""
    session = SessionStartInfo(start_time_secs=time)
    columns = []
    for name, value in params.items():
        typed = _typed(value)
        kind = DATA_TYPE_STRING
        if isinstance(typed, bool):
            kind = DATA_TYPE_BOOL
            session.hparams[name].bool_value = typed
        elif isinstance(typed, float):
            kind = DATA_TYPE_FLOAT64
            session.hparams[name].number_value = typed
        elif typed is not None:
            session.hparams[name].string_value = typed
        columns.append(HParamInfo(name=name, type=kind, differs=name in _COMPARED))
    metrics = [MetricInfo(name=MetricName(tag=tag)) for tag in _metrics(task)]
    experiment = Experiment(hparam_infos=columns, metric_infos=metrics)
    return [
        _value(EXPERIMENT_TAG, HParamsPluginData(experiment=experiment)),
        _value(SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=session)),
    ]


def success(time: float) -> Summary.Value:
    """Return the only status that is final: a run with any other status may be resumed, and then finish."""
    session = SessionEndInfo(status=STATUS_SUCCESS, end_time_secs=time)
    return _value(SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=session))


def _metrics(task: str) -> list[str]:
    """Return the tags of the table's metrics: of the best checkpoint, then of the last epoch."""
    names = [f"metrics/{name}({head})" for head in _HEADS.get(task, "") for name in _OF_A_HEAD]
    if task == "classify":
        names = ["metrics/accuracy_top1", "metrics/accuracy_top5"]
    return [*(f"best/{name}" for name in names), "fitness", *names]


def _typed(value: Any) -> bool | float | str | None:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        number = float(value)
        return number if math.isfinite(number) else str(number)  # the tab drops numbers that JSON cannot represent
    return json.dumps(value, ensure_ascii=False, default=str)


def _value(tag: str, data: HParamsPluginData) -> Summary.Value:
    data.version = PLUGIN_DATA_VERSION
    # A protobuf map has no defined order, but the same run must give the same bytes.
    content = data.SerializeToString(deterministic=True)
    plugin = SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=content)
    return Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=NULL_TENSOR)
