"""One training is one run, however often it is resumed."""

import shutil
import signal

import pytest

pytestmark = pytest.mark.e2e

# Sends a signal to its own process when an event comes for the n-th time: `{event}`, `{count}`, `{signal}`.
SIGNAL_AT = """
import os, signal
seen = 0
def strike(trainer):
    global seen
    seen += 1
    if seen == {count}:
        os.kill(os.getpid(), signal.{signal})
model.add_callback("{event}", strike)
"""


def last(home, name="train"):
    return home.work / "runs" / name / "weights" / "last.pt"


def resume(home, name="train"):
    return [home.yolo()[0], "train", "resume", f"model={last(home, name)}"]


def assert_whole(home, scalars, epochs, *, store=None, fitness_from=1):
    """Assert that every tracker holds each epoch once, with the values of results.csv."""
    expected = home.results()
    assert list(expected) == list(range(1, epochs + 1))
    reader = home.reader(store)
    run = reader.only_run()
    assert run.info.status == "FINISHED"
    curves = scalars(home.work / "runs/train")
    for name in next(iter(expected.values())).keys() - {"time"}:
        values = [(epoch, pytest.approx(row[name], rel=1e-4, nan_ok=True)) for epoch, row in expected.items()]
        assert reader.history(run, name.replace("(B)", "B")) == values, name
        assert curves[name] == values, name
    for curve in (reader.history(run, "fitness"), curves["metrics/fitness"]):
        assert [step for step, _ in curve] == list(range(fitness_from, epochs + 1))
    return run


@pytest.mark.parametrize(
    ("event", "count", "number"),
    [
        ("on_train_batch_end", 3, "SIGKILL"),  # in the second epoch
        ("on_model_save", 2, "SIGKILL"),  # the second epoch's checkpoint is written, the epoch is not settled
        ("on_train_epoch_start", 3, "SIGKILL"),  # between two epochs
        ("on_train_batch_end", 5, "SIGINT"),
    ],
)
def test_a_training_that_was_ended_and_resumed_is_one_run(home, scalars, event, count, number):
    text = SIGNAL_AT.format(event=event, count=count, signal=number)
    process = home.start(home.script(text, epochs=3), "mlflow,tensorboard")
    output, _ = process.communicate()
    assert process.returncode != 0, output
    output = home.run(resume(home), "mlflow,tensorboard")
    assert "tracking-hooks: resuming run" in output
    assert " in mlflow" in output
    assert_whole(home, scalars, 3)
    starts = [call.args["resumed"] for call in home.calls() if call.hook == "on_run_start"]
    ends = [call.args["status"] for call in home.calls() if call.hook == "on_run_end"]
    assert starts == [False, True]
    assert ends == [{"SIGKILL": "killed", "SIGINT": "interrupted"}[number], "finished"]


def test_a_resume_on_another_machine_with_only_save_dir_copied_finds_its_run(home, scalars, start_server, port):
    uri = f"http://127.0.0.1:{port}"
    start_server()
    text = SIGNAL_AT.format(event="on_model_save", count=2, signal="SIGKILL")
    killed = home.script(text, epochs=3)
    home.run(killed, "mlflow,tensorboard", code=-signal.SIGKILL, MLFLOW_TRACKING_URI=uri)
    home.wait_for_delivery()
    shutil.rmtree(home.run_folder().path.parent)  # stays behind, as the index does
    shutil.rmtree(home.folder / "state")
    home.run(resume(home), "mlflow,tensorboard", MLFLOW_TRACKING_URI=uri, MLFLOW_EXPERIMENT_NAME="elsewhere")
    run = assert_whole(home, scalars, 3, store=uri)
    assert run.data.tags["tracking_hooks.run_uid"] == home.run_folder().uid


def test_a_tracker_that_is_added_at_the_resume_gets_the_whole_run(home, scalars):
    text = SIGNAL_AT.format(event="on_train_batch_end", count=3, signal="SIGKILL")
    home.run(home.script(text, epochs=3), "tensorboard", code=-signal.SIGKILL)
    home.run(resume(home), "tensorboard,mlflow")
    assert_whole(home, scalars, 3)


def test_a_training_that_was_not_tracked_is_told_from_its_start_when_it_is_resumed(home, scalars):
    text = SIGNAL_AT.format(event="on_train_batch_end", count=5, signal="SIGKILL")
    home.run(home.script(text, epochs=3), code=-signal.SIGKILL)
    output = home.run(resume(home), "mlflow,tensorboard")
    assert "it is a new one" in output
    assert_whole(home, scalars, 3, fitness_from=2)  # results.csv does not have it, the checkpoint has its own epoch's


def test_a_resume_of_what_is_finished_leaves_its_run_as_it_was(home):
    text = SIGNAL_AT.format(event="on_fit_epoch_end", count=2, signal="SIGKILL")
    home.run(home.script(text, epochs=2), "mlflow", code=-signal.SIGKILL)
    home.wait_for_call("on_run_end")
    before = home.run_folder().journal.read_bytes()
    assert "nothing to resume" in home.run(resume(home), "mlflow", code=1)
    assert home.run_folder().journal.read_bytes() == before


def test_epochs_that_are_done_again_from_an_older_checkpoint_are_settled_once(home, scalars):
    home.run(home.yolo(epochs=3, save_period=1, plots=False), "mlflow,tensorboard")
    settled = home.results()
    first = home.work / "runs/train/weights/epoch0.pt"
    output = home.run([home.yolo()[0], "train", "resume", f"model={first}"], "mlflow,tensorboard")
    assert "epochs up to 3 were settled before the resume and stay as they are" in output
    curve = [(epoch, pytest.approx(row["train/box_loss"], rel=1e-4)) for epoch, row in settled.items()]
    reader = home.reader()
    assert reader.history(reader.only_run(), "train/box_loss") == curve
    assert scalars(home.work / "runs/train")["train/box_loss"] == curve
