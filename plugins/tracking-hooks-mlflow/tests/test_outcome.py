"""The description begins with what a reader of the list wants to know: what the run has come to."""

import math

import pytest
from msgspec.structs import replace

from tracking_hooks.events import Error
from tracking_hooks.testing import sample_run
from tracking_hooks_mlflow import names, note, outcome

OOM = Error(type="RuntimeError", message="CUDA out of memory.\nTried to allocate 2 GiB", traceback="")


@pytest.fixture
def run(tmp_path):
    return sample_run(tmp_path / "train")


def rows_of(described):
    """The table of figures, with its heading."""
    head, _, *rows = described["figures"].splitlines()
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in (head.replace("&emsp;", ""), *rows)]
    return dict(cells)


def first_line(described):
    return described["result"].removeprefix("**Result:** ")


def test_a_training_by_its_best_checkpoint(run):
    state = {}
    outcome.note_epoch(state, 100, {"train/box_loss": 1.0, "metrics/mAP50(B)": 0.8})
    best = {"metrics/precision(B)": 0.9, "metrics/mAP50(B)": 0.81234, "metrics/mAP50-95(B)": 0.61, "val/loss": 1.0}
    outcome.note_best(state, best)
    outcome.note_epoch(state, 7, {"metrics/mAP50(B)": 0.1})  # it was set aside, and is tried again
    text = outcome.described("finished", None, 100, state)
    assert first_line(text) == "mAP50-95(B) 0.61, mAP50(B) 0.8123, finished after 100 epochs"
    assert rows_of(text).items() >= {"metrics/precision(B)": "0.9", "val/loss": "1"}.items()
    assert rows_of(text)["Name"] == "Best checkpoint"


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"metrics/mAP50-95(B)": 0.5, "metrics/mAP50-95(M)": 0.4}, "mAP50-95(B) 0.5, mAP50-95(M) 0.4"),
        ({"metrics/accuracy_top1": 0.75, "metrics/accuracy_top5": 1.0}, "accuracy_top1 0.75, accuracy_top5 1"),
        ({"metrics/mIoU": math.nan, "own": 2.0, "more": 3.0}, "mIoU nan, own 2"),
        ({"metrics/mIoU": 0.4, "metrics/pixel_acc": 0.8, "fitness": 0.4}, "mIoU 0.4, pixel_acc 0.8"),
        ({"metrics/delta1": 0.9, "metrics/delta2": 0.95, "metrics/abs_rel": 0.1}, "delta1 0.9, abs_rel 0.1"),
    ],
)
def test_the_first_line_has_the_figures_that_a_task_is_judged_by(figures, told):
    state = {}
    outcome.note_best(state, figures)
    assert first_line(outcome.described("finished", None, 1, state)) == f"{told}, finished after 1 epoch"


def test_a_training_that_failed_by_its_error_and_by_its_last_epoch():
    assert first_line(outcome.described("failed", OOM, 0, {})) == "failed: `RuntimeError: CUDA out of memory.`"
    state = {}
    outcome.note_best(state, {"metrics/mAP50(B)": 0.9})  # it was resumed behind its end
    outcome.note_epoch(state, 79, {"metrics/mAP50(B)": 0.41})
    outcome.note_epoch(state, 80, {"train/box_loss": 1.0})  # without a validation
    failed = outcome.described("failed", OOM, 80, state)
    assert first_line(failed) == "failed after 80 epochs: `RuntimeError: CUDA out of memory.`, mAP50(B) 0.41"
    text = outcome.described("killed", None, 80, state)
    assert first_line(text) == "killed after 80 epochs, mAP50(B) 0.41"
    assert rows_of(text) == {"Name": "Epoch 79", "metrics/mAP50(B)": "0.41"}


def test_a_tuning_by_its_best_trial_with_fitness_and_values(run):
    state = {}
    for trial in (1, 2, 3):
        outcome.note_row(state, run, trial, {"tune/fitness": 0.1 * trial, "tune/lr0": 0.01})
    outcome.note_row(state, run, 0, {"best/trial": 2, "best/fitness": 0.2, "best/lr0": 0.00123, "best/momentum": 0.9})
    text = outcome.described("finished", None, 0, state)
    assert first_line(text) == "fitness 0.2 in trial 2, the best of 3, finished"
    assert rows_of(text).items() >= {"fitness": "0.2", "lr0": "0.00123", "momentum": "0.9"}.items()


def test_a_group_by_the_mean_of_the_runs_that_count(run):
    group, state = replace(run, task="group"), {}
    for number in (1, 3):  # the second one failed
        outcome.note_row(state, group, number, {"metrics/mAP50(B)": 0.8})
    spread = {"mean/metrics/mAP50(B)": 0.83, "std/metrics/mAP50(B)": 0.0282}
    outcome.note_row(state, group, 0, spread)
    outcome.note_row(state, group, 3, {"metrics/mAP50(B)": 0.86})  # it was resumed
    text = outcome.described("finished", None, 0, state)
    assert first_line(text) == "mAP50(B) 0.83 ± 0.028, mean of 2 runs, finished"
    assert rows_of(text)["metrics/mAP50(B)"] == "0.83 ± 0.028"


def test_the_first_column_is_wider_than_its_cells():
    head, *_ = note.figures("Best checkpoint", {"metrics/mAP50-95(B)": "0.5", "a|b": "1"}).splitlines()
    assert head == "| Name" + 10 * "&emsp;" + " | Best checkpoint |"


def test_what_the_user_has_written_stays_above_and_what_is_new_replaces_ours():
    own = "My note.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |"
    state = {}
    outcome.note_epoch(state, 3, {"metrics/mAP50(B)": 0.4})
    first = note.whole({"own": own, "summary": "**Model:** tiny", **outcome.described("killed", None, 3, state)})
    again = note.whole(note.parts_of(first) | outcome.described("failed", OOM, 0, {}))
    assert again == f"{own}\n\n**Result:** failed: `RuntimeError: CUDA out of memory.`\n\n**Model:** tiny"


def test_what_is_many_comes_behind_the_curves_on_a_page_that_is_sorted_by_name():
    (batch,), (by_class,) = names.of_batch({"batch/box_loss": 1.0}), names.per_class({"cat": {"metrics/mAP50": 0.5}})
    shown = ["best/metrics/mAP50", "lr/pg0", "metrics/mAP50", "train/box_loss", batch, "val/box_loss", by_class]
    assert sorted(shown, key=lambda name: name.rpartition("/")[0]) == shown


def test_the_values_of_the_best_trial_have_names_that_come_behind_the_curves():
    by_ray = {"best/trial": 2, "best/metrics/mAP50(B)": 0.8, "best/lr0": 0.01}
    assert [*names.of_best_trial(by_ray)] == ["best/trial", "best/metrics/mAP50(B)", "tune_best/lr0"]
    assert [*names.of_best_trial({"best/trial": 2, "best/fitness": 0.8, "best/box": 7.5})][1:] == [
        "best/fitness", "tune_best/box"
    ]  # fmt: skip
    assert names.of_best_trial({"best/mine": 1.0}) == {"best/mine": 1.0}, "a script's own"
