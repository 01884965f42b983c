"""Rules regulate real trainings."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "examples"

# Notes the rates of the optimizer's groups by epoch, as the last batch was trained with them.
NOTE_RATES = """
import json
def note(trainer):
    with open("rates.jsonl", "a") as file:
        file.write(json.dumps([trainer.epoch + 1, [group["lr"] for group in trainer.optimizer.param_groups]]) + "\\n")
model.add_callback("on_train_epoch_end", note)
"""

KILL_AT_EPOCH_3 = """
import os, signal
def kill(trainer):
    if trainer.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
model.add_callback("on_train_epoch_start", kill)
"""

NOTE_WEIGHTS = """
import hashlib, json
def note(trainer):
    with open("weights.jsonl", "a") as file:
        digest = hashlib.sha256(trainer.last.read_bytes()).hexdigest()
        file.write(json.dumps([trainer.epoch + 1, digest]) + "\\n")
model.add_callback("on_model_save", note)
"""

LOSE_THE_LOSS = """
def break_weights(trainer):
    if trainer.epoch == 1:
        next(trainer.model.parameters()).data.fill_(float("nan"))
model.add_callback("on_train_batch_start", break_weights)
"""

TUNE = """
from ultralytics import YOLO
arguments = {arguments!r}
YOLO(arguments.pop("model")).tune(iterations=2, **arguments)
"""


def actions(home, folder=None):
    """What was done, as (epoch, who, action, outcome)."""
    done, epoch = [], 0
    for call in home.calls(folder):
        if call.hook == "on_epoch_end":
            epoch = call.args["epoch"]
        elif call.hook == "on_action":
            done.append((epoch, call.args["plugin"], call.args["action"], call.args["outcome"]))
    return done


def noted(home, name):
    return dict(json.loads(line) for line in (home.work / name).read_text().splitlines())


def test_early_stop_ends_a_training_at_the_epoch_that_its_table_says_and_keep_best_keeps_the_right_files(home, scalars):
    # The lower a loss the better: as it falls, this rule sees it become worse.
    stop = "early_stop('train/cls_loss', patience=2, mode='max')"
    keep = "keep_best('val/cls_loss', k=2)"
    rules = {"TRACKING_HOOKS_CONTROL": f"{stop}; {keep}"}
    output = home.run(home.script(NOTE_WEIGHTS, epochs=30), "mlflow,tensorboard", **rules)

    table = home.results()
    losses = [row["train/cls_loss"] for row in table.values()]
    highest = [losses.index(max(losses[:epoch])) + 1 for epoch in table]  # the epoch of the highest loss so far
    waited = [epoch - best for epoch, best in zip(table, highest)]
    assert waited.index(2) + 1 == len(table), "it ended with the first epoch that is two behind the highest"
    (reason,) = [action.reason for _, plugin, action, _ in actions(home) if plugin == stop]
    best = f"best {max(losses):.5g} at epoch {highest[-1]}"
    assert reason == f"train/cls_loss has not improved for 2 epochs ({best})"
    assert f"tracking-hooks: {stop}: stop the training: {reason} (done)" in output
    assert f"; rules: {stop}; {keep}" in output

    best_two = sorted(sorted(table, key=lambda epoch: table[epoch]["val/cls_loss"])[:2])
    expected = {f"top-cls_loss-epoch{epoch}.pt": noted(home, "weights.jsonl")[epoch] for epoch in best_two}
    weights = home.work / "runs/train/weights"
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in weights.glob("top-*")}
    assert files == expected, "the weights of the two best epochs, as they were saved then"

    reader = home.reader()
    run = reader.only_run()
    assert run.info.status == "FINISHED"
    told = {value for key, value in run.data.tags.items() if key.startswith("tracking_hooks.action.")}
    assert f"Stop by {stop}: {reason} (done)" in told
    tops = {name for name in reader.artifacts(run) if name.startswith("weights/top-")}
    assert tops == {f"weights/{name}" for name in expected}
    for name, digest in expected.items():
        path = Path(reader.client.download_artifacts(run.info.run_id, f"weights/{name}"))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    images = home.data.parent / "images/val"
    home.run(["yolo", "predict", f"model={weights / name}", f"source={images}", "imgsz=32", "save=False"])

    replayed = home.run(["tracking-hooks", "simulate", "--control", stop, "runs/train"])
    assert f"epoch {len(table)} of {len(table)}: {stop}: stop the training: {reason}" in replayed


def test_a_lowered_learning_rate_stays_lowered_also_when_the_training_is_killed_right_after(home):
    shutil.copy(EXAMPLES / "my_rules.py", home.work)
    rule = {"TRACKING_HOOKS_CONTROL": "my_rules.DropLearningRate(at=2)"}
    options = {"epochs": 5, "optimizer": "SGD", "warmup_epochs": 0}
    home.run(home.script(NOTE_RATES, **options))
    plain = noted(home, "rates.jsonl")
    (home.work / "rates.jsonl").unlink()
    shutil.rmtree(home.work / "runs")

    home.run(home.script(NOTE_RATES + KILL_AT_EPOCH_3, **options), "mlflow", code=-9, **rule)
    resume = home.script(NOTE_RATES, model=home.work / "runs/train/weights/last.pt", resume=True)
    home.run(resume, "mlflow", **rule)
    governed = noted(home, "rates.jsonl")

    factors = {epoch: [ours / theirs for ours, theirs in zip(governed[epoch], plain[epoch])] for epoch in plain}
    for epoch, expected in {1: 1.0, 2: 1.0, 3: 0.1, 4: 0.1, 5: 0.1}.items():
        assert factors[epoch] == [pytest.approx(expected)] * len(plain[epoch]), f"epoch {epoch}"
    ((epoch, plugin, _, outcome),) = actions(home)
    assert (epoch, plugin, outcome) == (2, "my_rules.DropLearningRate(at=2)", "done")


def test_a_loss_that_is_nan_ends_the_training_with_that_reason(home):
    home.run(
        home.script(LOSE_THE_LOSS, epochs=9, batch=8), "mlflow", TRACKING_HOOKS_CONTROL="nan_guard(losses=2)",
        TRACKING_HOOKS_BATCH_EVERY="1",
    )  # fmt: skip
    ((_, plugin, action, outcome),) = actions(home)
    assert (plugin, outcome) == ("nan_guard(losses=2)", "done")
    assert action.reason.endswith("not finite, 2 times in a row")
    assert [call.args["epoch"] for call in home.calls() if call.hook == "on_epoch_end"] == [1, 2]
    assert not [call for call in home.calls() if call.hook == "on_epoch_restart"], "the epoch is not repeated in vain"
    assert home.reader().only_run().info.status == "FINISHED"


def test_rules_of_the_project_govern_each_trial_of_a_tuning_for_itself(home):
    (home.work / "pyproject.toml").write_text('[tool.tracking-hooks]\ncontrol = ["budget(epochs=1)"]\n')
    arguments = {name: str(v) if isinstance(v, Path) else v for name, v in home.arguments(epochs=3).items()}
    (home.work / "tune.py").write_text(TUNE.format(arguments=arguments | {"name": "tune"}))
    home.run([home.python, "tune.py"], "mlflow")
    trials = [folder for folder in home.runs() if any(call.hook == "on_epoch_end" for call in home.calls(folder))]
    assert len(trials) == 2
    for folder in trials:
        assert [(epoch, plugin) for epoch, plugin, _, _ in actions(home, folder)] == [(1, "budget(epochs=1)")]
        assert [call.args["epoch"] for call in home.calls(folder) if call.hook == "on_epoch_end"] == [1]


def test_rules_need_no_tracker_and_their_mistakes_stop_early(home):
    output = home.run(home.yolo(epochs=3), TRACKING_HOOKS_CONTROL="budget(epochs=1)")
    assert list(home.results()) == [1]
    assert "(no tracker); rules: budget(epochs=1)" in output
    output = home.run(home.yolo(), TRACKING_HOOKS_CONTROL="budjet(epochs=1)", code=1)
    assert "no rule 'budjet' is installed. Did you mean 'budget'?" in output
    assert "Traceback" not in output
    home.run(home.yolo(name="free", epochs=2), "off", TRACKING_HOOKS_CONTROL="budget(epochs=1)")
    assert list(home.results("free")) == [1, 2], "off is off"
