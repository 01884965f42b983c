"""However a training ends, its run ends with the status that it deserves."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.gate import Gate
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.e2e

FAIL_IN_EPOCH_2 = """
def fail(trainer):
    if trainer.epoch == 1:
        raise ValueError("the augmentation ate the batch")
model.add_callback("on_train_batch_end", fail)
"""

WAIT_IN_EPOCH_2 = """
import os, time
def wait(trainer):
    if trainer.epoch == 1:
        open("waiting", "w").close()
        time.sleep(600)
model.add_callback("on_train_batch_start", wait)
"""

FORK_A_WORKER = """
def fork(trainer):
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    open("worker", "w").write(str(pid))
model.add_callback("on_train_start", fork)
"""


def end_of(home):
    (end,) = [call for call in home.calls() if call.hook == "on_run_end"]
    return end.args


def test_a_training_that_raises_is_failed_with_its_traceback(home):
    output = home.run(home.script(FAIL_IN_EPOCH_2), "mlflow", code=1)

    assert "ValueError: the augmentation ate the batch" in output
    assert end_of(home)["status"] == "failed"
    assert end_of(home)["error"].message == "the augmentation ate the batch"
    reader = home.reader()
    run = reader.only_run()
    assert run.info.status == "FAILED"
    assert run.data.tags["tracking_hooks.error"] == "ValueError: the augmentation ate the batch"
    path = reader.client.download_artifacts(run.info.run_id, "traceback.txt")
    assert "in fail" in Path(path).read_text()
    assert [step for step, _ in reader.history(run, "train/box_loss")] == [1]
    assert "weights/last.pt" in reader.artifacts(run)


def test_ctrl_c_is_killed_in_mlflow_and_says_what_was_delivered(home, await_):
    home.forks = False  # Ctrl-C goes through all that a process does until its end

    def interrupt(trackers):
        (home.work / "waiting").unlink(missing_ok=True)
        process = home.start(home.script(WAIT_IN_EPOCH_2), trackers)
        await_((home.work / "waiting").exists, "epoch 2")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, output

    code, output = interrupt("mlflow")

    assert "KeyboardInterrupt" in output
    assert "tracking-hooks: mlflow: all" in output
    assert end_of(home) == {"status": "interrupted", "error": None}
    run = home.reader().only_run()
    assert run.info.status == "KILLED"
    untracked, _ = interrupt("off")  # -SIGINT, or 1 where another package, as Ray, makes Python forget the signal
    assert code == untracked != 0


def test_a_killed_training_is_ended_by_its_relay_while_a_forked_worker_lives_on(home, await_):
    process = home.start(home.script(WAIT_IN_EPOCH_2 + FORK_A_WORKER), "mlflow")
    await_((home.work / "waiting").exists, "epoch 2")
    worker = int((home.work / "worker").read_text())
    process.kill()
    try:
        reader = home.reader()
        await_(lambda: [run.info.status for run in reader.runs()] == ["KILLED"], "KILLED in MLflow")
        os.kill(worker, 0)  # it is still there
    finally:
        os.kill(worker, signal.SIGKILL)
    assert end_of(home)["status"] == "killed"
    home.wait_for_delivery()
    run = reader.only_run()
    assert [step for step, _ in reader.history(run, "train/box_loss")] == [1]
    assert {"weights/last.pt", "results.csv"} <= reader.artifacts(run)


def test_sigterm_is_killed_too(home, await_):
    process = home.start(home.script(WAIT_IN_EPOCH_2), "tensorboard")
    await_((home.work / "waiting").exists, "epoch 2")
    process.terminate()
    process.wait()

    assert process.returncode == -signal.SIGTERM
    home.wait_for_call("on_run_end", status="killed")


def test_a_data_set_that_is_missing_is_a_failed_run(home, await_):
    output = home.run(home.script(data="nowhere.yaml"), "tensorboard", code=1)

    assert "nowhere.yaml" in output
    assert end_of(home)["status"] == "failed"
    assert "nowhere.yaml" in end_of(home)["error"].message
    start = next(call for call in home.calls() if call.hook == "on_run_start")
    assert start.args["params"]["data"] == "nowhere.yaml"


def test_sys_exit_in_a_callback_is_failed_and_keeps_its_exit_code(home):
    home.forks = False  # the interpreter's own end gives the exit code
    home.run(
        home.script("import sys\nmodel.add_callback('on_train_epoch_end', lambda t: sys.exit(7))"),
        "tensorboard",
        code=7,
    )
    assert end_of(home)["status"] == "failed"


def test_a_users_callback_that_raises_in_teardown_does_not_keep_the_run_open(home):
    text = "def fail(trainer): raise RuntimeError('mine')\nmodel.add_callback('teardown', fail)"
    home.run(home.script(text), "tensorboard", code=1)
    assert end_of(home)["status"] == "finished"


FORKED = """
import multiprocessing

def train():
    from ultralytics import YOLO
    YOLO({model!r}).train(**{arguments!r})

process = multiprocessing.get_context("fork").Process(target=train)
process.start()
process.join()
print("the end of the script:", process.exitcode)
"""


def test_a_training_in_a_forked_process_waits_until_a_slow_server_has_it(home, start_server, port):
    arguments = {name: str(v) if isinstance(v, Path) else v for name, v in home.arguments().items()}
    (home.work / "train.py").write_text(FORKED.format(model=arguments.pop("model"), arguments=arguments))
    start_server()

    def slowly(_):
        time.sleep(0.2)
        return True

    with Gate(f"http://127.0.0.1:{port}", slowly).open() as gate:
        output = home.run([home.python, "train.py"], "mlflow", MLFLOW_TRACKING_URI=gate.address)
        gate.allows = lambda _: False  # as where the container ends with the script

    told = output[: output.index("the end of the script: 0")]
    assert "events delivered. See:" in told
    reader = home.reader(f"http://127.0.0.1:{port}")
    run = reader.only_run()
    assert run.info.status == "FINISHED"
    assert [step for step, _ in reader.history(run, "metrics/mAP50B")] == [1, 2]
    assert "weights/best.pt" in reader.artifacts(run)


PRUNED = """
class TrialPruned(Exception):  # as Optuna's
    pass

def prune(trainer):
    if trainer.epoch == 0:
        raise TrialPruned
model.add_callback("on_fit_epoch_end", prune)
train = model.train
def train_on(**arguments):
    for number in range(2):
        try:
            train(**arguments)
        except TrialPruned:
            print("pruned")
model.train = train_on
"""


def test_pruned_trials_of_a_script_that_goes_on_are_interrupted_runs_and_no_failures(home):
    output = home.run(home.script(PRUNED), "mlflow")

    assert output.count("pruned\n") == 2
    reader = home.reader()
    runs = reader.runs()
    assert [run.info.status for run in runs] == ["KILLED", "KILLED"]
    for run in runs:
        assert "tracking_hooks.error" not in run.data.tags
        assert [step for step, _ in reader.history(run, "train/box_loss")] == [1]
