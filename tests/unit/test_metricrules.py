"""Which metrics go to the trackers, and under which names."""

import pytest

from tracking_hooks.metricrules import MetricRules

METRICS = {"train/box_loss": 1.0, "lr/pg0": 0.1, "metrics/mAP50(B)": 0.5, "fitness": 0.4}


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        ("", list(METRICS)),
        ("-lr/*", ["train/box_loss", "metrics/mAP50(B)", "fitness"]),
        ("metrics/*, fitness", ["metrics/mAP50(B)", "fitness"]),
        ("metrics/*,fitness,-fit*", ["metrics/mAP50(B)"]),
        ("metrics/*=val/*", ["train/box_loss", "lr/pg0", "val/mAP50(B)", "fitness"]),
        ("fitness=score, *=all/*", ["all/train/box_loss", "all/lr/pg0", "all/metrics/mAP50(B)", "score"]),
        ("*_loss=losses/*", ["losses/train/box", "lr/pg0", "metrics/mAP50(B)", "fitness"]),
    ],
)
def test_metrics_are_dropped_kept_and_renamed_by_glob(rules, names):
    assert list(MetricRules(rules).apply(METRICS)) == names


@pytest.mark.parametrize("rules", ["=a", "a=", "a=b=c", "a/*/*=b", "a=b/*", "-a=b", "-"])
def test_a_rule_that_is_none_is_named(rules):
    with pytest.raises(ValueError, match=r"is not of the form|drops nothing"):
        MetricRules(rules)


def test_metrics_by_class_are_kept_or_dropped_as_what_they_are_called_in_a_tracker():
    per_class = {"cat": {"mAP50": 0.5, "recall": 0.1}, "dog": {"recall": 0.2}}
    assert MetricRules("-per_class/*/recall").filter_classes(per_class) == {"cat": {"mAP50": 0.5}}
    assert MetricRules("-lr/*").filter_classes(per_class) == per_class
