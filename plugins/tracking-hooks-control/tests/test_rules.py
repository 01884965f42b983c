"""Each rule against a table that was worked out by hand."""

import math

import pytest

from tracking_hooks import ConfigurationError
from tracking_hooks.control import rules
from tracking_hooks.control.control import Control
from tracking_hooks.events import Progress, SaveCheckpoint, ScaleLearningRate, Stop
from tracking_hooks.testing import sample_run

NAN = math.nan


def play(text, values, tmp_path, metric="metrics/mAP50(B)", seconds=60.0, **others):
    """Show a rule one value an epoch (None: none); return epoch to what it asks for, until it stops."""
    sentences = []
    control = Control(rules.build(text), sentences.append)
    asked = {}
    for epoch, value in enumerate(values, 1):
        metrics = {**others} if value is None else {metric: value, **others}
        progress = Progress(epochs=100, seconds=epoch * seconds)
        commands = control.epoch(sample_run(tmp_path), epoch, metrics, progress)
        if commands:
            (asked[epoch],) = [command.action for command in commands]
        if isinstance(asked.get(epoch), Stop):
            break
    assert not [sentence for sentence in sentences if "is off" in sentence]
    return asked


@pytest.mark.parametrize(
    ("options", "values", "stops_at"),
    [
        # patience 2: epoch 3 is the best, 4 and 5 are not better
        ("patience=2", [0.1, 0.2, 0.3, 0.3, 0.25, 0.9], 5),
        # it goes on as long as each second epoch is better
        ("patience=2", [0.1, 0.1, 0.2, 0.2, 0.3, 0.3], None),
        # 0.25 is better than 0.2 by no more than 0.05
        ("patience=2, min_delta=0.05", [0.1, 0.2, 0.25, 0.25, 0.4], 4),
        # better by little each time, but by enough in all: compared is with the best that counted
        ("patience=3, min_delta=0.05", [0.10, 0.14, 0.18, 0.22, 0.26, 0.30], None),
        # the first three epochs are not looked at: the best is epoch 4
        ("patience=2, warmup=3", [0.9, 0.9, 0.9, 0.1, 0.1, 0.1], 6),
        # an epoch without validation is not counted
        ("patience=2", [0.3, None, 0.2, None, 0.2], 5),
        # NaN is no improvement, and no best
        ("patience=3", [NAN, 0.1, NAN, math.inf, 0.1], 5),
        ("patience=2", [NAN, NAN], 2),
        ("patience=1", [0.1, 0.1], 2),
    ],
)
def test_early_stop_stops_at_the_epoch_that_the_table_says(options, values, stops_at, tmp_path):
    asked = play(f"early_stop('metrics/mAP50(B)', {options})", values, tmp_path)
    assert list(asked) == ([stops_at] if stops_at else [])


def test_early_stop_says_why(tmp_path):
    asked = play("early_stop('metrics/mAP50(B)', patience=2, min_delta=0.01)", [0.5, 0.505, 0.4], tmp_path)
    assert asked[3].reason == ("metrics/mAP50(B) has not improved by more than 0.01 for 2 epochs (best 0.5 at epoch 1)")
    assert "it was never a number" in play("early_stop('fitness', patience=1)", [NAN], tmp_path, "fitness")[1].reason


@pytest.mark.parametrize(
    ("metric", "mode", "falls"),
    [
        ("train/box_loss", "auto", True),
        ("val/dfl_loss", "auto", True),
        ("time/epoch", "auto", True),
        ("metrics/mAP50-95(B)", "auto", False),
        ("fitness", "auto", False),
        ("fitness", "min", True),
        ("val/cls_loss", "max", False),
    ],
)
def test_whether_less_is_better_is_guessed_from_the_name_unless_told(metric, mode, falls, tmp_path):
    rule = f"early_stop({metric!r}, patience=2, mode={mode!r})"
    falling, rising = [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]
    good, bad = (falling, rising) if falls else (rising, falling)
    assert play(rule, good, tmp_path, metric) == {}
    assert list(play(rule, bad, tmp_path, metric)) == [3]


def test_threshold_stops_when_the_target_is_reached(tmp_path):
    asked = play("threshold('metrics/mAP50(B)', 0.5)", [0.3, NAN, None, 0.5, 0.6], tmp_path)
    assert asked == {4: Stop(reason="metrics/mAP50(B) is 0.5: the target 0.5 is reached")}
    assert list(play("threshold('val/box_loss', 1)", [2.0, 0.9], tmp_path, "val/box_loss")) == [2]


def test_nan_guard_counts_losses_that_are_not_finite_in_a_row(tmp_path):
    said = []
    control = Control(rules.build("nan_guard(losses=3)"), said.append)
    run = sample_run(tmp_path)
    values = [NAN, NAN, 1.0, NAN, math.inf]
    for step, value in enumerate(values, 1):
        assert control.batch(run, 1, step, {"batch/box_loss": value, "batch/lr/pg0": 0.1}) == []
    (command,) = control.epoch(run, 1, {"train/box_loss": NAN, "val/box_loss": 1.0}, Progress(epochs=9, seconds=1.0))
    assert command.action == Stop(reason="train/box_loss not finite, 3 times in a row")


def test_nan_guard_does_not_look_at_validation(tmp_path):
    # a validation set without labels has no losses
    assert play("nan_guard(losses=1)", [NAN], tmp_path, "val/box_loss", **{"train/box_loss": 1.0}) == {}


@pytest.mark.parametrize(
    ("options", "stops_at"),
    [
        ("epochs=3", 3),
        ("hours=1", 6),  # of ten minutes each: six fit
        ("hours=0.95", 5),  # 57 minutes: a sixth epoch would end after 60
        ("hours=0.1", 1),
        ("hours=1, epochs=2", 2),
        ("hours=10, epochs=100", None),
    ],
)
def test_a_budget_is_not_exceeded(options, stops_at, tmp_path):
    asked = play(f"budget({options})", [0.1] * 9, tmp_path, seconds=600.0)
    assert list(asked) == ([stops_at] if stops_at else [])


@pytest.mark.parametrize(
    ("rule", "values", "reason"),
    [
        ("budget(epochs=1)", [0.1], "the budget of 1 epoch is used up"),
        (
            "early_stop('metrics/mAP50(B)', patience=1)",
            [0.5, 0.1],
            "has not improved for 1 epoch (best 0.5 at epoch 1)",
        ),
    ],
)
def test_a_reason_speaks_of_one_epoch_in_the_singular(rule, values, reason, tmp_path):
    (action,) = play(rule, values, tmp_path).values()
    assert action.reason.endswith(reason)


def test_the_learning_rate_is_lowered_on_a_plateau_again_and_again(tmp_path):
    # best at 1; 2 and 3 are no better: lowered at 3; 4 and 5 are no better: lowered at 5
    asked = play("reduce_lr_on_plateau('metrics/mAP50(B)', factor=0.5, patience=2)", [0.3] * 6, tmp_path)
    assert list(asked) == [3, 5]
    assert all(isinstance(action, ScaleLearningRate) and action.factor == 0.5 for action in asked.values())
    assert asked[3].reason == "metrics/mAP50(B) has not improved for 2 epochs (best 0.3 at epoch 1)"


def test_nothing_is_counted_while_it_cools_down(tmp_path):
    # lowered at 3; 4 and 5 are not counted; 6 and 7 are
    asked = play("reduce_lr_on_plateau('metrics/mAP50(B)', patience=2, cooldown=2)", [0.3] * 8, tmp_path)
    assert list(asked) == [3, 7]


def test_the_learning_rate_does_not_fall_below_its_least(tmp_path):
    rule = "reduce_lr_on_plateau('metrics/mAP50(B)', factor=0.1, patience=1, min_lr=0.001)"
    rates = {"lr/pg0": 0.02, "lr/pg1": 0.001}
    assert list(play(rule, [0.3] * 3, tmp_path, **rates)) == [2, 3]
    assert play(rule, [0.3] * 3, tmp_path, **{"lr/pg0": 0.009}) == {}


def test_the_best_epochs_are_kept_each_new_one_in_the_place_of_the_worst(tmp_path):
    values = [0.3, 0.1, 0.2, 0.2, NAN, 0.4, 0.05]
    asked = play("keep_best('metrics/mAP50(B)', k=2)", values, tmp_path)
    assert [(epoch, action.name, action.replaces) for epoch, action in asked.items()] == [
        (1, "top-mAP50-epoch1", ""),
        (2, "top-mAP50-epoch2", ""),
        (3, "top-mAP50-epoch3", "top-mAP50-epoch2"),
        # epoch 4 is as good as 3: the earlier one stays
        (6, "top-mAP50-epoch6", "top-mAP50-epoch3"),
    ]
    assert all(isinstance(action, SaveCheckpoint) for action in asked.values())
    assert asked[3].reason == "metrics/mAP50(B) 0.2 is number 2"


def test_of_a_loss_the_lowest_are_kept(tmp_path):
    asked = play("keep_best('val/box_loss', k=1)", [2.0, 3.0, 1.0], tmp_path, "val/box_loss")
    assert [action.name for action in asked.values()] == ["top-box_loss-epoch1", "top-box_loss-epoch3"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("early_stop()", "missing a required argument: 'metric'"),
        ("early_stop('fitness', patience=0)", "patience=0: must be at least 1"),
        ("early_stop('fitness', patience='ten')", "patience='ten': must be a number"),
        ("early_stop('fitness', mode='minimum')", "mode='minimum': must be 'min', 'max' or 'auto'"),
        ("early_stop('fitness', min_delta=-1)", "min_delta=-1: must be at least 0"),
        ("early_stop('fitness', patiense=3)", "unknown option 'patiense'. Did you mean 'patience'?"),
        ("earlystop('fitness')", "no rule 'earlystop' is installed. Did you mean 'early_stop'?"),
        ("threshold('fitness')", "missing a required argument: 'value'"),
        ("threshold('fitness', None)", "value=None: must be a number"),
        ("budget()", "needs hours=… or epochs=…"),
        ("budget(epochs=0)", "epochs=0: must be at least 1"),
        ("reduce_lr_on_plateau('fitness', factor=2)", "factor=2: must be between 0 and 1"),
        ("keep_best('fitness', k=0)", "k=0: must be at least 1"),
        ("nan_guard(0)", "losses=0: must be at least 1"),
    ],
)
def test_a_mistake_is_told_before_the_training(text, answer):
    with pytest.raises(ConfigurationError) as error:
        rules.build(text)
    assert answer in str(error.value)


def test_every_rule_is_in_the_readme():
    from pathlib import Path

    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    for usage in rules.installed():
        assert f"| `{usage}` |" in readme
