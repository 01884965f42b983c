"""Whatever fails beside the training, the training goes on and the trackers get everything in the end."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.processes import PATIENCE
from tracking_hooks.run.liveness import is_alive, read_holder

pytestmark = pytest.mark.e2e

WAIT_FOR_GO = """
import os, time
def wait(trainer):
    if trainer.epoch == 1:
        open("waiting", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.05)
model.add_callback("on_train_epoch_start", wait)
"""

BAD_PLUGINS = """
import os, time
from tracking_hooks import hookimpl

class Raises:
    @hookimpl
    def on_run_start(self): raise KeyError("no such thing")
    @hookimpl
    def on_epoch_end(self): raise KeyError("no such thing")
    @hookimpl
    def on_run_end(self): raise KeyError("no such thing")

class Sleeps:
    @hookimpl
    def on_run_start(self): time.sleep(10_000)

class Exits:
    @hookimpl
    def on_epoch_end(self): os._exit(7)
"""


def check_complete(reader, rows):
    run = reader.only_run()
    for column in ("train/box_loss", "lr/pg0", "metrics/mAP50(B)", "val/box_loss"):
        history = reader.history(run, column.replace("(", "").replace(")", ""))
        assert [step for step, _ in history] == list(rows)
        assert [value for _, value in history] == pytest.approx([row[column] for row in rows.values()], rel=1e-5)
    return run


def test_a_killed_relay_costs_nothing(home, scalars, await_):
    process = home.start(home.script(WAIT_FOR_GO, epochs=3), "tensorboard,mlflow")
    await_((home.work / "waiting").exists, "epoch 2")
    for plugin in ("tensorboard", "mlflow"):
        files = home.run_folder().relay(plugin)
        await_(lambda files=files: files.read_cursor().seq >= 6, "epoch 1 delivered")
        os.kill(read_holder(files.lock).pid, signal.SIGKILL)
    (home.work / "go").touch()
    output, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0, output
    assert "tensorboard: all" in output and "mlflow: all" in output
    rows = home.results()
    check_complete(home.reader(), rows)
    for column in ("train/box_loss", "metrics/mAP50(B)"):
        assert [step for step, _ in scalars(home.work / "runs/train")[column]] == list(rows)


def test_an_mlflow_server_that_is_down_gets_everything_by_sync(home, port, start_server, tmp_path):
    uri = f"http://127.0.0.1:{port}"
    output = home.run(home.yolo(), "mlflow", MLFLOW_TRACKING_URI=uri, TRACKING_HOOKS_LINGER="0")

    assert f"events are not delivered yet: MLflow at {uri} is not available" in output
    assert "\n  to deliver them: tracking-hooks sync " in output
    assert "\n  if the address is wrong: tracking-hooks sync --set tracking_uri=… " in output
    assert "\n  to give it up: tracking-hooks sync --forget mlflow " in output
    start_server()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    output = home.run(["tracking-hooks", "sync"], cwd=elsewhere)

    assert "events delivered" in output
    run = check_complete(home.reader(uri), home.results())
    assert run.info.status == "FINISHED"
    assert "Nothing is pending" in home.run(["tracking-hooks", "sync"], cwd=elsewhere)


def test_an_mlflow_server_that_comes_up_gets_everything_by_itself(home, port, start_server, await_):
    uri = f"http://127.0.0.1:{port}"
    home.run(home.yolo(), "mlflow", MLFLOW_TRACKING_URI=uri)  # the relay lingers behind it
    start_server()

    files = home.run_folder().relay("mlflow")
    await_(lambda: files.read_cursor().ended, "the end, delivered by the lingering relay")
    check_complete(home.reader(uri), home.results())


def test_bad_plugins_harm_nobody(home, scalars, await_):
    (home.work / "bad.py").write_text(BAD_PLUGINS)
    output = home.run(
        home.script(), "tensorboard,bad:Raises,bad:Sleeps,bad:Exits",
        TRACKING_HOOKS_EXIT_WAIT="10", TRACKING_HOOKS_CALL_TIMEOUT="12", TRACKING_HOOKS_LINGER="0",
    )  # fmt: skip

    names = ("tensorboard", "bad:Raises", "bad:Sleeps", "bad:Exits")
    lines = [line.removeprefix("tracking-hooks: ") for line in output.splitlines()]
    ends = {name: line.removeprefix(f"{name}: ") for name in names for line in lines if line.startswith(f"{name}: ")}
    assert ends["tensorboard"].startswith("all ")
    assert "events set aside, for: KeyError: 'no such thing'" in ends["bad:Raises"]
    assert "for: KeyError: 'no such thing'\n  all reasons: tracking-hooks status" in output
    assert " events are not delivered yet" in ends["bad:Sleeps"]
    assert "bad:Exits" in ends
    rows = home.results()
    assert [step for step, _ in scalars(home.work / "runs/train")["train/box_loss"]] == list(rows)
    aside = home.run_folder().relay("bad:Raises").read_aside()
    assert [event.reason for event in aside] == ["KeyError: 'no such thing'"] * 4
    for plugin in ("bad:Raises", "bad:Sleeps", "bad:Exits"):
        lock = home.run_folder().relay(plugin).lock
        await_(lambda lock=lock: not is_alive(lock, heartbeat=lock, silence=0), f"the end of {plugin}'s relay")
