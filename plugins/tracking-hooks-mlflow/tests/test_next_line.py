"""What the next line of a script finds that has imported MLflow: the active run, and the last active one."""

import sys

import mlflow
import pytest
from msgspec.structs import replace

from tracking_hooks_mlflow import last_active
from tracking_hooks_mlflow.trainer import capture, train_returns


@pytest.fixture
def in_store(store):
    """A script that has set a store of its own."""
    mlflow.set_tracking_uri(store["tracking_uri"])
    mlflow.set_experiment("by hand")
    yield
    last_active.become(None)
    mlflow.set_tracking_uri(None)


@pytest.fixture
def recorded(in_store):
    """The id of a run that another process has recorded."""
    client = mlflow.MlflowClient()
    return client.create_run(client.get_experiment_by_name("by hand").experiment_id).info.run_id


def test_train_waits_where_the_script_has_a_run_open(run, in_store):
    with mlflow.start_run():
        assert capture(run, None).is_held
    assert not capture(run, None).is_held


def test_train_does_not_wait_for_a_run_that_a_variable_names(run, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0123456789abcdef")
    assert not capture(run, None).is_held


def test_a_trial_is_not_waited_for(run, in_store):
    with mlflow.start_run():
        tuning = capture(run, None).destination
        assert not capture(replace(run, parent="tuning"), tuning).is_held


def test_a_training_of_a_group_is_waited_for(run, in_store):
    with mlflow.start_run():
        above = capture(replace(run, task="group"), None).destination
        assert capture(replace(run, parent="above", group="5-fold"), above).is_held


def test_the_last_active_run_is_that_of_the_training(recorded):
    assert mlflow.last_active_run() is None
    train_returns({"run_id": recorded})
    assert mlflow.last_active_run().info.run_id == recorded


def test_a_run_that_the_script_has_open_stays_the_last_active_one(recorded):
    with mlflow.start_run() as mine:
        train_returns({"run_id": recorded})
        assert mlflow.last_active_run().info.run_id == mine.info.run_id
    assert mlflow.last_active_run().info.run_id == mine.info.run_id


def test_a_script_that_opens_a_run_later_finds_that_one(recorded):
    train_returns({"run_id": recorded})
    with mlflow.start_run() as mine:
        pass
    assert mlflow.last_active_run().info.run_id == mine.info.run_id


def test_a_tracker_that_does_not_have_the_run_changes_nothing(in_store):
    train_returns({})
    assert mlflow.last_active_run() is None


def test_a_script_that_has_not_imported_mlflow_is_left_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "mlflow")
    train_returns({"run_id": "0123456789abcdef"})
    assert "mlflow" not in sys.modules


@pytest.mark.parametrize("value", [None, "a plain text"])
def test_a_release_that_keeps_the_last_active_run_elsewhere_is_left_as_it_is(recorded, monkeypatch, value):
    from mlflow.tracking import fluent

    with monkeypatch.context() as patched:
        if value is None:
            patched.delattr(fluent, last_active._VARIABLE)
        else:
            patched.setattr(fluent, last_active._VARIABLE, value)
        train_returns({"run_id": recorded})
        assert getattr(fluent, last_active._VARIABLE, None) == value
    assert mlflow.last_active_run() is None
