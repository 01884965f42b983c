"""Scripts that speak to W&B themselves: what they rely on is there, and a training goes on as it did without us."""

from __future__ import annotations

import pytest

from tests.support.wandb_files import WandbFiles

pytest.importorskip("tracking_hooks_wandb")
pytestmark = pytest.mark.e2e

OFFLINE = {"WANDB_MODE": "offline"}

SWEEP = """
import wandb
mine = wandb.init(config={"lr0": 0.02})
assert mine.config["lr0"] == 0.02
"""

ENDS_ITS_RUN = """
def end(trainer):
    if trainer.epoch == 1:
        mine.finish()
model.add_callback("on_train_epoch_start", end)
"""

RELIES_ON_THE_INTEGRATION = """
import atexit, sys
def log(trainer):
    import wandb
    wandb.log({"mine": trainer.epoch * 10.0, "nested": {"a": 1}})
    wandb.run.log({"other": trainer.epoch}, step=trainer.epoch + 100)
    wandb.run.summary["done"] = trainer.epoch
    wandb.config.update({"seen": wandb.config.epochs})
    wandb.log_artifact("weights.pt")
model.add_callback("on_fit_epoch_end", log)
atexit.register(lambda: print("afterwards:", sys.modules["wandb"].run))
"""

OPENS_A_RUN_IN_MID_TRAINING = """
import wandb
def log(trainer):
    wandb.log({"mine": trainer.epoch})
    if trainer.epoch == 0:
        wandb.init(project="late", id="late")
model.add_callback("on_train_epoch_end", log)
"""


@pytest.fixture(autouse=True)
def _integration_is_on(home):
    home.run(["yolo", "settings", "wandb=True"])


def of(home, run_id):
    return WandbFiles(next((home.work / "wandb").glob(f"offline-run-*-{run_id}")))


def epochs(found, name="metrics/mAP50(B)"):
    return sorted({x for x, _ in found.points(name, "epoch")})


def test_a_sweeps_run_gets_its_metric_and_ours_stands_beside_it(home):
    trial = {"WANDB_SWEEP_ID": "sweep123", "WANDB_RUN_ID": "trial001", **OFFLINE}
    output = home.run(home.script(SWEEP), "wandb", **trial)
    theirs, ours = of(home, "trial001"), of(home, home.run_folder().uid)
    assert epochs(ours) == [1, 2]
    assert epochs(theirs, "train/box_loss") == [1, 2]
    assert epochs(theirs) == [1, 2, 3], "to the integration, the best checkpoint is one more epoch"
    assert theirs.config["lr0"] == 0.02
    assert theirs.exits == [0]
    assert "beside your own run uncategorized/trial001" in output
    assert "disabled for this run" not in output


def test_ours_is_left_out_if_the_user_says_so(home):
    output = home.run(home.script(SWEEP), "wandb", TRACKING_HOOKS_WANDB_BESIDE="off", WANDB_RUN_ID="mine", **OFFLINE)
    assert "wandb (left to your own run uncategorized/mine)" in output
    assert epochs(of(home, "mine"), "train/box_loss") == [1, 2]
    assert len(list((home.work / "wandb").glob("offline-run-*"))) == 1


def test_what_the_integration_raises_ends_no_training(home):
    output = home.run(home.script(SWEEP + ENDS_ITS_RUN, epochs=3), "wandb", WANDB_RUN_ID="mine", **OFFLINE)
    assert "3 epochs completed" in output
    assert output.count("wb.on_train_epoch_end of Ultralytics' own integration failed") == 1
    assert epochs(of(home, home.run_folder().uid)) == [1, 2, 3]


def test_a_callback_that_relies_on_the_integrations_run_logs_into_ours(home):
    output = home.run(home.script(RELIES_ON_THE_INTEGRATION), "wandb", **OFFLINE)
    ours = of(home, home.run_folder().uid)
    assert [value for _, value in ours.points("mine")] == [0, 10, 20]  # the final validation is announced as an epoch
    assert ours.points("other", "log_step") == [(100, 0), (101, 1), (102, 2)]
    assert epochs(ours) == [1, 2]
    assert output.count("are ignored: no W&B run is open in this process") == 1
    assert "integrations disabled for this run: wb" in output
    assert "afterwards: None" in output
    assert len(list((home.work / "wandb").glob("offline-run-*"))) == 1


def test_a_run_that_the_user_opens_in_mid_training_gets_what_is_logged_from_then_on(home):
    home.run(home.script(OPENS_A_RUN_IN_MID_TRAINING), "wandb", **OFFLINE)
    assert [value for _, value in of(home, home.run_folder().uid).points("mine")] == [0]
    assert [value for _, value in of(home, "late").points("mine")] == [1]
    assert of(home, "late").exits == [0]


def test_what_is_logged_behind_the_training_goes_into_its_run(home):
    command = home.script()
    with (home.work / "train.py").open("a") as script:
        script.write('import tracking_hooks\ntracking_hooks.log({"late/score": 0.5}, step=3)\n')
    home.run(command, "wandb", **OFFLINE)
    home.wait_for_delivery()
    training, addendum = sorted((home.work / "wandb").glob("offline-run-*"), key=lambda path: len(path.name))
    assert addendum.name.startswith(training.name)
    assert WandbFiles(addendum).points("late/score", "log_step") == [(3, 0.5)]
    assert WandbFiles(addendum).runs[0].run_id == WandbFiles(training).runs[0].run_id
    assert WandbFiles(addendum).exits == WandbFiles(training).exits == [0]
