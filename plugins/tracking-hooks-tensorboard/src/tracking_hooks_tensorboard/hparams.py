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
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT
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
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

from tracking_hooks.events import Params
from tracking_hooks_tensorboard import names

# Those of `tensorboard.plugins.hparams.metadata`, whose import brings cloud clients along and takes half a second.
PLUGIN_NAME, PLUGIN_DATA_VERSION = "hparams", 0
EXPERIMENT_TAG = "_hparams_/experiment"
SESSION_START_INFO_TAG = "_hparams_/session_start_info"
SESSION_END_INFO_TAG = "_hparams_/session_end_info"
NULL_TENSOR = TensorProto(dtype=DT_FLOAT, tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=0)]))

_COMPARED = frozenset({
    "batch", "epochs", "imgsz", "lr0", "model", "momentum", "mosaic", "optimizer", "pretrained", "seed", "weight_decay",
})  # fmt: skip
"""Arguments that people vary. Of a hundred columns the tab shows five, starting with those marked as different."""


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
    of_task = names.of_task(task)
    return [*(names.of_validation(names.BEST) + name for name in of_task), names.FITNESS, *of_task]


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
