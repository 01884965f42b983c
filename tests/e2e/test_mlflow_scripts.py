"""Scripts that use MLflow beside their trainings: each training is whole, in a run that can be told from the others."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

STRAY = """
import mlflow
for name in ("a", "b"):
    model = YOLO("yolo26n.yaml")
    model.add_callback("on_fit_epoch_end", lambda trainer: mlflow.log_metric("mine", 1.0, step=trainer.epoch))
    model.train(**{arguments!r}, name=name)
"""

FOLDS = """
import mlflow
with mlflow.start_run(run_name="folds"):
    for fold in (1, 2):
        YOLO("yolo26n.yaml").train(**{arguments!r}, name=f"fold{{fold}}")
"""


@pytest.fixture
def run_script(home, start_server, port):
    """Run a script, with the arguments of its trainings where it has a place for them; return what the server has."""

    def run(text):
        start_server()
        address = f"http://127.0.0.1:{port}"
        arguments = {name: str(v) if isinstance(v, Path) else v for name, v in home.arguments(epochs=1).items()}
        for name in ("model", "name"):
            del arguments[name]
        (home.work / "train.py").write_text("from ultralytics import YOLO\n" + text.format(arguments=arguments))
        home.run([home.python, "train.py"], "mlflow", MLFLOW_TRACKING_URI=address)
        return home.reader(address)

    return run


def test_a_call_without_an_open_run_costs_no_training_its_run(run_script):
    reader = run_script(STRAY)
    runs = {run.info.run_name: run for run in reader.runs() if "tracking_hooks.run_uid" in run.data.tags}
    assert sorted(runs) == ["a", "b"]
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert [step for step, _ in reader.history(run, "metrics/mAP50B")] == [1]
        assert "mine" not in run.data.metrics
    (stray,) = [run for run in reader.runs() if "tracking_hooks.run_uid" not in run.data.tags]
    assert set(stray.data.metrics) == {"mine"}


def test_folds_in_one_open_run_are_told_apart(run_script):
    reader = run_script(FOLDS)
    (mine, *others) = sorted(reader.runs(), key=lambda run: "mlflow.parentRunId" in run.data.tags)
    assert (mine.info.run_name, mine.data.params["name"]) == ("folds", "fold1")
    assert [(run.info.run_name, run.data.params["name"]) for run in others] == [("fold2", "fold2")]
    assert others[0].data.tags["mlflow.parentRunId"] == mine.info.run_id
    for run in (mine, *others):
        assert run.info.status == "FINISHED"
        assert [step for step, _ in reader.history(run, "metrics/mAP50B")] == [1]
        assert "weights/best.pt" in reader.artifacts(run)
