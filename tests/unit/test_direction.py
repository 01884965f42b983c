"""Whether more or less of a metric is better, as nobody has to say for the metrics of Ultralytics."""

import pytest

from tracking_hooks.direction import lower_is_better

MORE = (
    "metrics/mAP50-95(B)", "metrics/precision(P)", "metrics/recall(M)", "metrics/accuracy_top1", "metrics/mIoU",
    "metrics/pixel_acc", "metrics/delta1", "metrics/delta3", "fitness",
)  # fmt: skip
LESS = (
    "val/box_loss", "val/dlog_loss", "metrics/abs_rel", "metrics/rmse", "metrics/silog", "time/epoch",
    "system/gpu0/memory_percent", "speed/inference_ms", "my error",
)  # fmt: skip


@pytest.mark.parametrize("metric", [*MORE, *LESS])
def test_it_is_told_by_the_name(metric):
    assert lower_is_better(metric) == (metric in LESS)
