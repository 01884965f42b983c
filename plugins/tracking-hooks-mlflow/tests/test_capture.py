import json
import os
import re
import subprocess
import sys

import mlflow
import pytest
from msgspec.structs import replace

from tracking_hooks_mlflow import package, uris
from tracking_hooks_mlflow.trainer import capture, train_is_over


@pytest.fixture
def _mlflow_not_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "mlflow")


not_imported = pytest.mark.usefixtures("_mlflow_not_imported")


def test_the_training_process_does_not_import_mlflow(tmp_path):
    code = """
import json, sys
from pathlib import Path
from tracking_hooks.testing import sample_run
from tracking_hooks_mlflow.trainer import capture, train_is_over
before = set(sys.modules)
captured = capture(sample_run(Path("train")), None)
print(json.dumps([captured.destination, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
    path = os.pathsep.join(sys.path)
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, check=True, stdout=-1
    )
    destination, modules = json.loads(out.stdout)
    assert destination["tracking_uri"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert not {"mlflow", "requests", "sqlalchemy", "numpy"} & set(modules)


@not_imported
def test_names_are_those_of_ultralytics_own_integration(run, monkeypatch):
    captured = capture(run, None)
    assert captured.disables == "mlflow"
    assert captured.destination["experiment"] == run.project
    assert captured.destination["run_name"] == run.name
    assert capture(replace(run, project=""), None).destination["experiment"] == "/Shared/Ultralytics"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    monkeypatch.setenv("MLFLOW_RUN", "first")
    assert capture(run, None).destination["experiment"] == "mine"
    assert capture(run, None).destination["run_name"] == "first"


@not_imported
def test_an_experiment_is_named_after_the_last_part_of_an_absolute_project(run):
    destination = capture(replace(run, project="/home/ada/shapes"), None).destination
    assert destination["experiment"] == "shapes"
    assert destination["project"] == "/home/ada/shapes"


@pytest.mark.parametrize("old_store", [False, True], ids=["fresh", "mlruns with data"])
@pytest.mark.parametrize("folder", ["plain", "with space"])
def test_the_default_is_mlflows_own(run, tmp_path, monkeypatch, folder, old_store):
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    if old_store:
        (tmp_path / folder / "mlruns/0").mkdir(parents=True)
        (tmp_path / folder / "mlruns/0/meta.yaml").touch()
    expected = mlflow.get_tracking_uri()
    monkeypatch.delitem(sys.modules, "mlflow")
    assert capture(run, None).destination["tracking_uri"] == expected


@pytest.mark.parametrize(
    ("given", "captured"),
    [
        ("http://ada:secret@host:5000/base", "http://host:5000/base"),
        ("https://ada:s@cret@host", "https://host"),
        ("https://host/a@b", "https://host/a@b"),
        ("postgresql+psycopg://ada:se/cret@host:5432/mlflow?sslmode=require", None),
        ("postgresql://host/mlflow?user=ada&password=secret", "postgresql://host/mlflow"),
        ("sqlite:///mlflow.db", "sqlite:///{cwd}/mlflow.db"),
        ("sqlite:///../x/mlflow.db?timeout=5", "sqlite:///{parent}/x/mlflow.db?timeout=5"),
        ("sqlite:////data/a@b/mlflow.db", "sqlite:////data/a@b/mlflow.db"),
        ("./mlruns", "file://{cwd}/mlruns"),
        ("file:mlruns", "file://{cwd}/mlruns"),
        ("file:///data/mlruns", "file:///data/mlruns"),
        ("databricks", "databricks"),
        ("databricks://profile", "databricks://profile"),
    ],
)
@not_imported
def test_the_tracking_uri_is_absolute_and_without_credentials(run, tmp_path, monkeypatch, given, captured):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    result = capture(run, None)
    expected = captured or "postgresql+psycopg://host:5432/mlflow?sslmode=require"
    assert result.destination["tracking_uri"] == expected.format(cwd=tmp_path, parent=tmp_path.parent)
    assert result.place == result.destination["tracking_uri"]
    assert "cret" not in f"{result}"


@not_imported
def test_in_a_notebook_the_summary_has_what_a_cell_takes(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    assert capture(run, None).summary.startswith(f"!tracking-hooks open {run.uid} --tracker mlflow; in ")


@not_imported
def test_the_summary_says_where_to_look(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", object())  # a library has imported it, as comet_ml does
    command = f"tracking-hooks open {run.uid} --tracker mlflow"
    assert capture(run, None).summary == f"{command}; in sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@host:5000")
    assert capture(run, None).summary == "http://host:5000"


@not_imported
def test_a_store_that_cannot_be_written_is_said_at_the_start(run, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    said = f"/mlflow.db, which cannot be written: {tmp_path} is not writable for this user"
    assert capture(run, None).summary.endswith(said)


def test_the_users_own_active_run_is_joined(run, store):
    mlflow.set_tracking_uri(store["tracking_uri"])
    try:
        mlflow.set_experiment("by hand")
        with mlflow.start_run() as active:
            destination = capture(run, None).destination
        assert destination["run_id"] == active.info.run_id
        assert destination["tracking_uri"] == store["tracking_uri"]
        assert destination["experiment_id"] == active.info.experiment_id
    finally:
        mlflow.set_tracking_uri(None)


@pytest.fixture
def _in_use(store, monkeypatch):
    """The script uses the store in this process; nothing of it is left behind."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store["tracking_uri"])
    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
    yield
    while mlflow.active_run():
        mlflow.end_run()


in_use = pytest.mark.usefixtures("_in_use")


@in_use
def test_trials_of_a_tuning_in_the_users_run_are_in_its_experiment(run):
    with mlflow.start_run() as active:
        destination = capture(run, None).destination
    assert capture(run, destination).destination["experiment_id"] == active.info.experiment_id


@in_use
def test_a_run_that_a_stray_call_has_opened_is_not_the_users_choice_for_the_next_training(run):
    for _ in range(2):
        assert "run_id" not in capture(run, None).destination
        mlflow.log_metric("mine", 1.0)
        train_is_over(run)
    assert mlflow.active_run() is not None


@in_use
def test_a_run_that_the_user_opens_behind_a_training_is_their_choice(run):
    capture(run, None)
    train_is_over(run)
    with mlflow.start_run() as active:
        assert capture(run, None).destination["run_id"] == active.info.run_id


@in_use
def test_a_run_that_the_user_opens_within_a_group_is_their_choice(run):
    above = capture(replace(run, task="group"), None).destination
    with mlflow.start_run() as active:
        capture(replace(run, parent="above", group="5-fold"), above)
        train_is_over(run)
        assert capture(run, None).destination["run_id"] == active.info.run_id


@in_use
def test_the_run_that_the_script_has_opened_for_a_fold_is_that_of_the_fold(run):
    fold = replace(run, parent="above", group="5-fold")
    with mlflow.start_run() as outer:
        above = capture(replace(run, task="group"), None).destination
        captured = capture(fold, above)
        assert (captured.is_held, "run_id" in captured.destination) == (True, False), "nested below that of the group"
        train_is_over(fold)
        mlflow.set_experiment("folds of mine")
        with mlflow.start_run(nested=True) as inner:
            captured = capture(fold, above)
            assert captured.is_held
            assert captured.destination["run_id"] == inner.info.run_id != outer.info.run_id
            assert captured.destination["experiment_id"] == inner.info.experiment_id
            assert "run_id" not in capture(replace(fold, group=None), above).destination, "a trial joins no run"


@in_use
def test_a_run_that_a_stray_call_has_opened_is_not_that_of_the_next_fold(run):
    fold = replace(run, parent="above", group="5-fold")
    above = capture(replace(run, task="group"), None).destination
    for _ in range(2):
        assert "run_id" not in capture(fold, above).destination
        mlflow.log_metric("mine", 1.0)
        train_is_over(fold)


@in_use
def test_a_run_that_was_open_as_the_training_began_is_the_users_choice_for_the_next_one(run):
    with mlflow.start_run() as active:
        for _ in range(3):
            captured = capture(run, None)
            assert captured.destination["run_id"] == active.info.run_id
            assert captured.is_held
            mlflow.log_metric("mine", 1.0)
            train_is_over(run)


@in_use
def test_a_run_that_the_user_opens_in_place_of_a_stray_one_is_their_choice(run):
    capture(run, None)
    mlflow.log_metric("mine", 1.0)
    train_is_over(run)
    mlflow.end_run()
    with mlflow.start_run() as active:
        assert capture(run, None).destination["run_id"] == active.info.run_id


def test_a_trial_is_recorded_beside_its_tuning_and_joins_no_run(run, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0123456789abcdef")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
    tuning = {"tracking_uri": "http://host:5000", "experiment": "shapes", "run_name": "tune", "run_id": "aa"}
    expected = {"tracking_uri": "http://host:5000", "experiment": "shapes", "run_name": run.name}
    assert capture(run, tuning).destination == expected


def test_a_run_of_a_group_may_be_registered_where_its_process_says_so(run, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS_MLFLOW_REGISTER", "shapes")
    above = {"tracking_uri": "http://host:5000", "experiment": "shapes", "run_name": "5-fold"}
    fold = replace(run, parent="group", group="5-fold")
    assert capture(fold, above).destination == {**above, "run_name": run.name, "register": "shapes"}
    assert "register" not in capture(replace(run, parent="tuning"), above).destination


@not_imported
def test_the_run_named_in_the_environment_is_joined(run, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0123456789abcdef")
    assert capture(run, None).destination["run_id"] == "0123456789abcdef"


def test_without_credentials_leaves_plain_addresses_alone():
    for uri in ("http://host:5000", "postgresql://host/db", "databricks", "file:///a@b", ""):
        assert uris.without_credentials(uri) == uri


@not_imported
def test_a_name_to_register_under_is_noted(run, monkeypatch):
    assert "register" not in capture(run, None).destination
    for given in (
        "shapes@champion", " shapes ", "main.vision.shapes@best_1", "my shapes",
        "shapes@champion if metrics/mAP50-95(B)", "my shapes@champion  if val/box_loss ",
    ):  # fmt: skip
        monkeypatch.setenv("TRACKING_HOOKS_MLFLOW_REGISTER", given)
        assert capture(run, None).destination["register"] == given.strip()
    monkeypatch.setenv("TRACKING_HOOKS_MLFLOW_REGISTER", "")
    assert "register" not in capture(run, None).destination


@not_imported
@pytest.mark.parametrize(
    "given",
    ["@champion", "shapes@", "a/b", "models:/shapes", "shapes@latest", "shapes@V1", "a@b@c", "it's", "shapes@a b"],
)
def test_a_name_that_mlflow_would_refuse_stops_before_the_training(run, monkeypatch, given):
    monkeypatch.setenv("TRACKING_HOOKS_MLFLOW_REGISTER", given)
    with pytest.raises(ValueError, match=f"TRACKING_HOOKS_MLFLOW_REGISTER=.*{re.escape(given[:5])}.*shapes@champion"):
        capture(run, None)


@not_imported
@not_imported
@pytest.mark.parametrize("task", [*package.TASKS, "regression", "group"])
def test_where_there_is_no_model_of_a_task_the_start_line_says_that_nothing_is_registered(run, monkeypatch, task):
    run = replace(run, task=task)
    assert "registered" not in capture(run, None).summary
    monkeypatch.setenv("TRACKING_HOOKS_MLFLOW_REGISTER", "shapes")
    is_said = f"; nothing is registered: there is no MLflow model for the task {task!r}" in capture(run, None).summary
    assert is_said == (task not in package.TASKS and task != "group")


@pytest.mark.parametrize("given", ["shapes if metrics/mAP50-95(B)", "shapes@champion if", "shapes if"])
def test_a_condition_without_alias_or_metric_stops_before_the_training(run, monkeypatch, given):
    monkeypatch.setenv("TRACKING_HOOKS_MLFLOW_REGISTER", given)
    with pytest.raises(ValueError, match=r"a condition needs an alias before it and a metric behind it, such as"):
        capture(run, None)


def test_a_server_is_found_from_a_working_directory_that_was_deleted(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert capture(run, None).destination["tracking_uri"] == "http://host:5000"


@not_imported
@pytest.mark.parametrize(("given", "captured"), [("on", "on"), ("OFF ", "off"), ("", None)])
def test_the_setting_for_the_view_goes_with_the_run_and_its_trials(run, monkeypatch, given, captured):
    monkeypatch.setenv("TRACKING_HOOKS_MLFLOW_VIEW", given)
    destination = capture(run, None).destination
    assert destination.get("view") == captured
    assert capture(run, destination).destination.get("view") == captured


@not_imported
def test_a_setting_for_the_view_that_is_none_is_refused(run, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS_MLFLOW_VIEW", "yes")
    with pytest.raises(ValueError, match="TRACKING_HOOKS_MLFLOW_VIEW='yes' must be on or off"):
        capture(run, None)
