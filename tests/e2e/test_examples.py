"""The examples work as the documents call them. ray_tune.py is in test_tune.py, the package in tests/test_docs.py."""

import csv
from pathlib import Path

import pytest

from tracking_hooks.control import rules

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.e2e
def test_a_training_with_a_plugin_and_a_rule_of_ones_own(home):
    own = {"PYTHONPATH": f"{EXAMPLES}:{home.env.get('PYTHONPATH', '')}"}
    home.run(home.yolo(), "csv_tracker:CsvTracker", TRACKING_HOOKS_CONTROL="my_rules.StopWhenOverfitting()", **own)
    (path,) = (home.work / "runs").glob("*.csv")
    with path.open() as file:
        losses = {int(row["epoch"]): row["value"] for row in csv.DictReader(file) if row["metric"] == "train/box_loss"}
    results = home.results()
    assert list(losses) == [1, 2]
    assert [float(value) for value in losses.values()] == pytest.approx(
        [row["train/box_loss"] for row in results.values()], rel=1e-4
    )


def test_the_rule_of_the_example_stops_what_overfits(importable):
    importable(EXAMPLES)
    ((_, rule),) = rules.build("my_rules.StopWhenOverfitting()")

    def asked(**losses):
        metrics = {f"{split}/box_loss": loss for split, loss in losses.items()}
        return rule.hook.control_epoch(run=None, epoch=9, metrics=metrics, progress=None)

    assert asked(train=1.0, val=1.9) is None
    assert asked(train=1.0) is None, "an epoch without validation"
    assert asked(train=1.0, val=2.1).reason == "the validation loss is twice the training loss"
