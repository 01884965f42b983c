"""What README says of that which people use today, in its table beside ours."""

import sys

import pytest

pytestmark = pytest.mark.e2e

KILLED_IN_ITS_SECOND_EPOCH = """
import os, signal
model.add_callback("on_fit_epoch_end", lambda trainer: trainer.epoch == 1 and os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.fixture
def theirs(home):
    """A machine where Ultralytics' own integration for MLflow is on."""
    home.run([home.yolo()[0], "settings", "mlflow=True"])
    return home


def test_their_mlflow_run_of_a_killed_training_stays_running_and_a_resume_makes_another(theirs):
    process = theirs.start(theirs.script(KILLED_IN_ITS_SECOND_EPOCH, epochs=3))
    process.communicate()
    reader = theirs.reader()
    assert reader.only_run().info.status == "RUNNING"
    theirs.run([theirs.yolo()[0], "train", "resume", f"model={theirs.work / 'runs/train/weights/last.pt'}"])
    assert sorted(run.info.status for run in reader.runs()) == ["FINISHED", "RUNNING"]


def test_their_mlflow_records_nothing_where_the_server_is_down(theirs, port):
    down = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    assert "Not tracking this run" in theirs.run(theirs.yolo(epochs=1), **down)


def test_wandbs_integration_says_which_ultralytics_it_is_for(home):
    output = home.run([sys.executable, "-c", "from wandb.integration.ultralytics import add_wandb_callback"])
    assert "supported for ultralytics v8.0.238 and below" in output
