"""One settled value an epoch, whatever Ultralytics' events do."""

from __future__ import annotations

import pytest

from tests.support.home import Home

pytestmark = pytest.mark.e2e

NAN_ONCE = """
def poison(trainer, done=[]):
    if trainer.epoch == 1 and not done:
        done.append(True)
        trainer.loss = trainer.loss * float("nan")
model.add_callback("on_train_epoch_end", poison)
"""

OUT_OF_MEMORY_ONCE = """
def arm(trainer, done=[]):
    original = trainer.preprocess_batch
    def preprocess_batch(batch):
        if trainer.epoch == 0 and len(done) < 2:
            done.append(True)
            if len(done) == 2:
                raise RuntimeError("CUDA out of memory (made to happen)")
        return original(batch)
    trainer.preprocess_batch = preprocess_batch
model.add_callback("on_train_start", arm)
"""

FITNESS_FALLS = """
def arm(trainer):
    original = trainer.validate
    def validate():
        metrics, _ = original()
        fitness = 0.9 - 0.1 * trainer.epoch
        trainer.best_fitness = 0.9
        return metrics, fitness
    trainer.validate = validate
model.add_callback("on_train_start", arm)
"""

# At the end of each epoch a metric of the user's own, and an exception when that event comes in the second epoch.
RAISE_IN_THE_SECOND = """
def add(trainer):
    trainer.metrics["mine/score"] = trainer.epoch + 1.0
def fail(trainer):
    if trainer.epoch == 1:
        raise RuntimeError("mine")
model.add_callback("on_fit_epoch_end", add)
model.add_callback("{event}", fail)
"""


def epochs(home, hook):
    return [call.args["epoch"] for call in home.calls() if call.hook == hook]


def check_each_epoch_once(home, scalars):
    rows = home.results()
    curves = scalars(home.work / "runs/train")
    assert epochs(home, "on_epoch_end") == list(rows)
    for column in ("train/box_loss", "lr/pg0", "metrics/mAP50(B)", "val/box_loss"):
        assert [step for step, _ in curves[column]] == list(rows)
        assert [v for _, v in curves[column]] == pytest.approx([row[column] for row in rows.values()], rel=1e-5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shapes, settings):
    """A home folder where three epochs were trained, and every batch recorded."""
    home = Home(tmp_path_factory.mktemp("trained") / "home", shapes)
    home.env["YOLO_CONFIG_DIR"] = str(settings)
    home.run(home.yolo(epochs=3), "tensorboard", TRACKING_HOOKS_BATCH_EVERY="1")
    yield home
    home.close()


def test_the_final_validation_is_no_epoch(trained, scalars):
    home = trained
    check_each_epoch_once(home, scalars)
    assert [call.hook for call in home.calls()].count("on_final_validation") == 1
    assert [step for step, _ in scalars(home.work / "runs/train")["validation/best/metrics/mAP50(B)"]] == [3]


def test_an_early_stop_ends_at_the_last_epoch_trained(home, scalars):
    home.run(home.script(FITNESS_FALLS, epochs=6, patience=2), "tensorboard")

    assert len(home.results()) == 3
    check_each_epoch_once(home, scalars)
    assert [call.hook for call in home.calls()].count("on_final_validation") == 1


def test_an_epoch_thrown_away_for_nan_counts_once(home, scalars):
    home.run(home.script(NAN_ONCE, epochs=3), "tensorboard")

    check_each_epoch_once(home, scalars)
    assert epochs(home, "on_train_epoch_end") == [1, 2, 2, 3]
    (restart,) = [call for call in home.calls() if call.hook == "on_epoch_restart"]
    assert restart.args == {"epoch": 2, "attempt": 1, "reason": "NaN or infinite loss"}


def test_an_epoch_begun_again_for_memory_counts_once(home, scalars):
    output = home.run(home.script(OUT_OF_MEMORY_ONCE), "tensorboard")

    assert "out of memory" in output
    check_each_epoch_once(home, scalars)
    (restart,) = [call for call in home.calls() if call.hook == "on_epoch_restart"]
    assert restart.args == {"epoch": 1, "attempt": 1, "reason": "out of memory"}


@pytest.mark.parametrize("event", ["on_fit_epoch_end", "on_model_save"])
def test_an_epoch_in_results_csv_is_there_when_a_users_callback_raises_behind_it(home, scalars, event):
    home.run(home.script(RAISE_IN_THE_SECOND.format(event=event), epochs=3), "tensorboard", code=1)

    assert list(home.results()) == [1, 2]
    check_each_epoch_once(home, scalars)
    expected = [(1, 1.0), (2, 2.0)] if event == "on_fit_epoch_end" else [(1, 1.0)]
    assert scalars(home.work / "runs/train")["mine/score"] == expected, "what the user adds is tracked"
    (end,) = [call for call in home.calls() if call.hook == "on_run_end"]
    assert (end.args["status"], end.args["error"].message) == ("failed", "mine")


def test_no_zeros_stand_in_for_validations_that_did_not_run(home, scalars):
    home.run(home.yolo(epochs=3, val=False), "tensorboard")

    curves = scalars(home.work / "runs/train")
    assert [step for step, _ in curves["train/box_loss"]] == [1, 2, 3]
    assert [step for step, _ in curves["val/box_loss"]] == [3]  # Ultralytics validates the last epoch anyway
    assert [step for step, _ in curves["metrics/mAP50(B)"]] == [3]


def test_steps_count_batches_over_all_epochs(trained):
    assert [(c.args["epoch"], c.args["step"]) for c in trained.calls() if c.hook == "on_batch_end"] == [
        (1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6),
    ]  # fmt: skip


def test_two_trainings_of_one_process_are_two_runs(home):
    again = home.arguments(name="second")
    arguments = {key: str(value) if key in ("data", "project") else value for key, value in again.items()}
    arguments.pop("model")
    home.run(home.script(f"model.train(**{arguments!r})"), "tensorboard")

    first, second = home.runs()
    for folder in (first, second):
        hooks = [call.hook for call in home.calls(folder)]
        assert (hooks.count("on_run_start"), hooks.count("on_epoch_end"), hooks.count("on_run_end")) == (1, 2, 1)
