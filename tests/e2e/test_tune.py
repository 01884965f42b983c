"""A tuning is one run, and each of its trials a run below it."""

import json
from pathlib import Path

import pytest

from tracking_hooks.run import layout

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples/ray_tune.py"

TUNE = """
from ultralytics import YOLO
arguments = {arguments!r}
model = YOLO(arguments.pop("model"))
model.tune(iterations={iterations}, **arguments)
{afterwards}
"""


def tuning(home, *, iterations=2, afterwards="", **arguments):
    arguments = as_text(home.arguments(epochs=1, name="tune", **arguments))
    text = TUNE.format(arguments=arguments, iterations=iterations, afterwards=afterwards)
    (home.work / "tune.py").write_text(text)
    return [home.python, "tune.py"]


def as_text(arguments):
    return {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}


def family(reader):
    """Return the run that is nobody's trial, and the trials by name."""
    runs = reader.runs()
    trials = {run.info.run_name: run for run in runs if "mlflow.parentRunId" in run.data.tags}
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials.values()} <= {parent.info.run_id}
    return parent, trials


def rows(home, name="tune"):
    text = (home.work / "runs" / name / "tune_results.ndjson").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_tuning_is_a_run_with_a_trial_below_it_for_each_iteration(home, scalars):
    home.forks = False  # a trial is reached by its environment alone
    again = home.script("model = YOLO('yolo26n.yaml')", epochs=1)
    afterwards = (home.work / again[1]).read_text()
    home.run(tuning(home, afterwards=afterwards), "mlflow,tensorboard")
    reader = home.reader()
    runs = {run.info.run_name: run for run in reader.runs()}
    assert set(runs) == {"tune", "trial-1", "trial-2", "train"}
    parent = runs["tune"]
    assert {run.info.experiment_id for run in runs.values()} == {parent.info.experiment_id}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert "mlflow.parentRunId" not in runs["train"].data.tags, "a later training is no trial"

    expected = rows(home)
    assert [row["iteration"] for row in expected] == [1, 2]
    for row in expected:
        trial = runs[f"trial-{row['iteration']}"]
        assert trial.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert float(trial.data.params["lr0"]) == row["hyperparameters"]["lr0"]
        assert {"weights/best.pt", "weights/last.pt", "results.csv"} <= reader.artifacts(trial)
        assert scalars(home.work / "runs/tune" / trial.info.run_name)["train/box_loss"]
    for key, name in {"tune/fitness": "fitness"}.items():
        assert reader.history(parent, key) == [(row["iteration"], pytest.approx(row[name])) for row in expected]
    assert reader.history(parent, "tune/lr0") == [
        (row["iteration"], pytest.approx(row["hyperparameters"]["lr0"])) for row in expected
    ]
    best = max(expected, key=lambda row: row["fitness"])
    assert parent.data.metrics["best/trial"] == best["iteration"]
    assert parent.data.metrics["best/fitness"] == pytest.approx(best["fitness"])
    assert parent.data.params["space.lr0"] == "[1e-05, 0.01]"
    assert {"tune_results.ndjson", "best_hyperparameters.yaml", "weights/best.pt"} <= reader.artifacts(parent)
    assert scalars(home.work / "runs/tune")["tune/fitness"]


def test_trials_whose_folders_were_deleted_while_the_tracker_was_down_are_delivered_whole(home, port, start_server):
    uri = f"http://127.0.0.1:{port}"
    quick = {"TRACKING_HOOKS_EXIT_WAIT": "1"}
    output = home.run(tuning(home, iterations=2), "mlflow", MLFLOW_TRACKING_URI=uri, **quick)
    assert "iterations complete" in output
    left = [path for path in (home.work / "runs").glob("multitrain*/*") if path.is_dir()]
    assert len(left) == 1, "the tuning keeps the best trial's folder only"
    start_server()
    home.run(["tracking-hooks", "sync"], MLFLOW_TRACKING_URI=uri)
    reader = home.reader(uri)
    parent, trials = family(reader)
    assert parent.info.run_name == "tune"
    assert set(trials) == {"trial-1", "trial-2"}
    for trial in trials.values():
        assert trial.info.status == "FINISHED"
        assert {"weights/best.pt", "weights/last.pt", "results.csv"} <= reader.artifacts(trial)
        assert [step for step, _ in reader.history(trial, "train/box_loss")] == [1]
    assert "Nothing is pending" in home.run(["tracking-hooks", "sync"])


def test_a_training_on_several_data_sets_is_a_run_with_one_below_it_for_each(home, scalars):
    other = home.copy_of_data("other")
    command = home.script(data=[str(home.data), str(other)], epochs=1)
    text = (home.work / command[1]).read_text().replace("'name': 'train'", "'name': None")
    (home.work / command[1]).write_text(text)
    home.run(command, "mlflow,tensorboard")
    reader = home.reader()
    parent, trainings = family(reader)
    assert parent.info.run_name == "multitrain"
    assert set(trainings) == {"shapes", "other"}
    results = json.loads((home.work / "runs/multitrain/multitrain_results.json").read_text())["results"]
    for number, (name, metrics) in enumerate(results.items(), 1):
        value = metrics["metrics/mAP50(B)"]
        assert reader.history(parent, f"{name}/metrics/mAP50B") == [(number, pytest.approx(value))]
        assert scalars(home.work / "runs/multitrain" / name)["train/box_loss"]
    assert "multitrain_results.json" in reader.artifacts(parent)


def test_a_tuning_that_is_resumed_goes_on_with_its_run(home):
    home.run(tuning(home, iterations=1), "mlflow")
    home.run(tuning(home, iterations=2, resume=True), "mlflow")
    reader = home.reader()
    parent, trials = family(reader)
    assert set(trials) == {"trial-1", "trial-2"}
    assert [step for step, _ in reader.history(parent, "tune/fitness")] == [1, 2]
    assert len(layout.find_runs(home.work)) == 3


def test_a_tuning_with_ray_is_a_run_with_its_trials_below_it(home, scalars, await_):
    pytest.importorskip("ray.tune", reason="Ray Tune is not installed")
    home.forks = False  # Ray starts its own processes after the example of this one
    arguments = home.arguments(epochs=2, name="tune", trials=2, grace_period=1)
    ray = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    home.run(["yolo", "settings", "raytune=True"])  # what reports to Ray's scheduler
    command = [home.python, str(EXAMPLE), *(f"{name}={value}" for name, value in arguments.items())]
    home.run(command, "mlflow,tensorboard", **ray)
    home.wait_for_delivery()
    reader = home.reader()
    parent, trials = family(reader)
    assert parent.info.run_name == "tune"
    assert set(trials) == {"tune_00000", "tune_00001"}
    assert parent.info.status == "FINISHED"
    assert [step for step, _ in reader.history(parent, "tune/lr0")] == [1, 2]
    tried = sorted(float(trial.data.params["lr0"]) for trial in trials.values())
    assert sorted(value for _, value in reader.history(parent, "tune/lr0")) == pytest.approx(tried)
    assert "best/trial" in parent.data.metrics
    assert "FINISHED" in {trial.info.status for trial in trials.values()}, "the better one was trained to its end"
    for name, trial in trials.items():
        curve = [(epoch, pytest.approx(row["train/box_loss"], rel=1e-4)) for epoch, row in home.results(name).items()]
        assert reader.history(trial, "train/box_loss") == curve
        assert scalars(home.work / "runs/tune" / name)["train/box_loss"] == curve
        weights = home.work / "runs/tune" / name / "weights"  # Ray may end a trial between its last.pt and its best.pt
        assert {"results.csv", *(f"weights/{path.name}" for path in weights.glob("*.pt"))} <= reader.artifacts(trial)


def test_where_no_weights_are_delivered_neither_the_tuning_nor_a_trial_has_a_model(home):
    home.run(tuning(home), "mlflow", TRACKING_HOOKS_CHECKPOINTS="none")
    client = home.reader().client
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert len(family(home.reader())[1]) == 2
    assert not client.search_logged_models(experiments)
