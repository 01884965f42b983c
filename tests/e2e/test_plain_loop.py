"""A loop without a training library is tracked by the same recorder and the same plugins."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples/plain_loop.py"


@pytest.fixture
def loop(home):
    """The command of a training for so many epochs."""
    shutil.copy(EXAMPLE, home.work)
    return lambda epochs, *more: [sys.executable, EXAMPLE.name, "runs/plain", str(epochs), *more]


def test_a_plain_loop_is_killed_and_resumed_in_one_run(home, loop, scalars, await_):
    training = home.start(loop(100_000), "mlflow,tensorboard")
    home.wait_for_call("on_epoch_end", epoch=2)
    training.kill()
    training.wait()
    await_(lambda: "KILLED" in {run.info.status for run in home.reader().runs()}, "the end of the killed run")
    home.wait_for_delivery()
    killed = home.reader().only_run()
    assert home.reader().artifacts(killed) >= {"weights/last.pt"}, "declared after the start, recorded after the death"
    last = max(call.args["epoch"] for call in home.calls() if call.hook == "on_epoch_end")
    home.run(loop(last + 3, "--resume"), "mlflow,tensorboard")
    reader = home.reader()
    run = reader.only_run()
    assert run.info.status == "FINISHED"
    assert run.data.params["lr"] == "0.01"
    curve = [
        (call.args["epoch"], pytest.approx(call.args["metrics"]["train/loss"], rel=1e-4))
        for call in home.calls()
        if call.hook == "on_epoch_end"
    ]
    assert [epoch for epoch, _ in curve] == list(range(1, last + 4)), "each epoch once"
    assert reader.history(run, "train/loss") == curve
    (events,) = (home.work / "runs/plain").glob("**/events*")
    assert scalars(events.parent)["train/loss"] == curve
