"""The next line of the user's script finds the run in MLflow, as with Ultralytics' own integration."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from tests.support.gate import Gate
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.e2e

IN_AN_OPEN_RUN = """
import mlflow
with mlflow.start_run() as r:
    {train}
    print("mAP50:", mlflow.get_run(r.info.run_id).data.metrics["metrics/mAP50B"])
    print("weights:", mlflow.artifacts.download_artifacts(f"runs:/{{r.info.run_id}}/weights/best.pt"))
    (model,) = mlflow.get_run(r.info.run_id).outputs.model_outputs
    version = mlflow.register_model(f"models:/{{model.model_id}}", "shapes")
    print("registered:", version.name, version.version, version.run_id == r.info.run_id)
"""

AFTERWARDS = """
import mlflow
{train}
run = mlflow.last_active_run()
print("mAP50:", run.data.metrics["metrics/mAP50B"])
print("uid:", run.data.tags["tracking_hooks.run_uid"])
"""

WITHOUT_A_SERVER = """
import mlflow
class Open:
    class info:
        run_id, experiment_id = "0123456789abcdef0123456789abcdef", "0"
mlflow.active_run = lambda: Open  # it was opened when the server was there
{train}
print("the script goes on")
"""

SEVERAL_DATA_SETS = """
import mlflow
with mlflow.start_run() as r:
    {train}
    print("mean:", mlflow.get_run(r.info.run_id).data.metrics["mean/metrics/mAP50B"])
"""

INTERRUPTED = """
import mlflow
with mlflow.start_run():
    try:
        {train}
    except KeyboardInterrupt:
        open("interrupted", "w").close()
"""


@pytest.fixture
def script(home):
    """Write a script, with the training where it has a place for that."""

    def write(text, **arguments):
        arguments = {name: str(v) if isinstance(v, Path) else v for name, v in home.arguments(**arguments).items()}
        model = arguments.pop("model")
        train = f"YOLO({model!r}).train(**{arguments!r})"
        (home.work / "train.py").write_text("from ultralytics import YOLO\n" + text.format(train=train))
        return [home.python, "train.py"]

    return write


@pytest.fixture
def server(start_server, port):
    start_server()
    return f"http://127.0.0.1:{port}"


def slowly(_):
    time.sleep(0.2)
    return True


def test_a_script_with_an_open_run_reads_downloads_and_registers_in_its_next_line(home, script, server):
    with Gate(server, slowly).open() as gate:
        output = home.run(script(IN_AN_OPEN_RUN), "mlflow", MLFLOW_TRACKING_URI=gate.address)
    (found,) = [line for line in output.splitlines() if line.startswith("mAP50:")]
    assert float(found.split()[1]) == pytest.approx(home.results()[2]["metrics/mAP50(B)"], abs=1e-5)
    (weights,) = [line for line in output.splitlines() if line.startswith("weights:")]
    assert weights.endswith("best.pt")
    assert "registered: shapes 1 True" in output


def test_a_script_without_one_finds_the_run_as_the_last_active_one_if_train_is_to_wait(home, script, server):
    with Gate(server, slowly).open() as gate:
        output = home.run(
            script(AFTERWARDS), "mlflow", MLFLOW_TRACKING_URI=gate.address, TRACKING_HOOKS_WAIT="train"
        )  # fmt: skip
    assert "mAP50: " in output
    assert f"uid: {home.run_folder().uid}" in output


def test_several_trainings_that_are_one_call_are_waited_for_as_one(home, script, server):
    command = script(SEVERAL_DATA_SETS, data=[str(home.data), str(home.copy_of_data("others"))], epochs=1)
    with Gate(server, slowly).open() as gate:
        output = home.run(command, "mlflow", MLFLOW_TRACKING_URI=gate.address)
    assert "mean: " in output


def test_a_tracker_that_is_down_keeps_no_script_from_its_next_line(home, script, port):
    output = home.run(
        script(WITHOUT_A_SERVER), "mlflow", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}",
        TRACKING_HOOKS_LINGER="0",
    )  # fmt: skip
    told = output[: output.index("the script goes on")]
    assert "events are not delivered yet" in told
    assert f"tracking-hooks sync {home.run_folder().path}" in told


def test_ctrl_c_while_train_waits_is_raised_there_and_loses_nothing(home, script, server, await_):
    home.forks = False
    stands_still, goes_on = threading.Event(), threading.Event()

    def allows(request):
        if request.headers.get("User-Agent", "").startswith("mlflow-python-client") and stands_still.is_set():
            goes_on.wait()
        return True

    with Gate(server, allows).open() as gate:
        process = home.start(script(INTERRUPTED), "mlflow", MLFLOW_TRACKING_URI=gate.address)
        home.wait_for_call("on_train_start")
        stands_still.set()
        home.wait_for_call("on_run_end")
        process.send_signal(signal.SIGINT)
        await_((home.work / "interrupted").exists, "the end of the wait")
        goes_on.set()
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert [call.args["status"] for call in home.calls() if call.hook == "on_run_end"] == ["finished"]
    run = home.reader(server).only_run()
    assert run.info.status == "FINISHED"
    assert "weights/best.pt" in home.reader(server).artifacts(run)
