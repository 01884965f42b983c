"""The one number by which people compare runs."""

import pytest

from tracking_hooks.run import result


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (("metrics/precision(B)", "metrics/mAP50-95(B)", "metrics/mAP50-95(M)", "fitness"), "metrics/mAP50-95(M)"),
        (("metrics/accuracy_top1", "metrics/accuracy_top5", "fitness"), "metrics/accuracy_top1"),
        (("metrics/mIoU", "metrics/pixel_acc", "fitness"), "metrics/mIoU"),
        (("metrics/delta1", "metrics/abs_rel", "metrics/rmse", "fitness"), "metrics/delta1"),
        (("train/loss", "fitness"), "fitness"),
        (("train/loss",), None),
    ],
)
def test_each_task_has_its_own(names, key):
    assert result.key_metric(names) == key
