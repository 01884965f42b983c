"""Where MLflow shows a run, and who serves that."""

import pytest

from tracking_hooks.events import Unavailable
from tracking_hooks_mlflow import uris
from tracking_hooks_mlflow.trainer import page

STATE = {"run_id": "abc", "experiment_id": "3", "view": True}
RUN = "#/experiments/3/runs/abc/model-metrics?workflowType=machine_learning"


def asked(uri, *, state=STATE, overview=False):
    return page(state, {"tracking_uri": uri}, overview)


def test_a_server_is_opened_at_the_metrics_of_the_run():
    found = asked("http://host:5000/")
    assert (found.url, found.command) == (f"http://host:5000/{RUN}", [])


def test_all_runs_are_opened_at_the_view_where_there_is_one():
    place = "http://host:5000/#/experiments/3/runs?workflowType=machine_learning"
    shown = f"{place}&viewStateShareKey=tracking_hooks&compareRunsMode=CHART"
    assert asked("http://host:5000", overview=True).url == shown
    assert asked("http://host:5000", state={**STATE, "view": False}, overview=True).url == place


@pytest.fixture
def stores(tmp_path):
    """Stores that are there: a database, and a folder."""
    (tmp_path / "it's mine/mlruns").mkdir(parents=True)
    (tmp_path / "it's mine/mlflow.db").touch()
    folder = uris.absolute("sqlite:///mlflow.db", tmp_path / "it's mine")
    return [folder, (tmp_path / "it's mine/mlruns").as_uri()]


@pytest.mark.parametrize("number", [0, 1])
def test_a_store_without_a_server_is_served_for_this_machine_alone(stores, number):
    uri = stores[number]
    found = asked(uri)
    assert found.url == RUN
    assert found.store == uri
    assert found.environment["MLFLOW_BACKEND_STORE_URI"] == uri
    assert found.command[found.command.index("--host") + 1] == "127.0.0.1"
    assert found.command[found.command.index("--port") + 1] == "{port}"


def test_a_store_that_was_deleted_is_said_to_be_gone_and_not_made_anew(stores, tmp_path):
    (tmp_path / "it's mine").rename(tmp_path / "elsewhere")
    for uri in stores:
        with pytest.raises(Unavailable, match=r"it's mine/ml.* is gone"):
            asked(uri)


def test_the_password_of_a_database_is_that_of_this_shell_and_in_no_command_line(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://ada:sesame@host/mlflow")
    found = asked("postgresql://host/mlflow")
    assert found.environment["MLFLOW_BACKEND_STORE_URI"] == "postgresql://ada:sesame@host/mlflow"
    assert found.store == "postgresql://host/mlflow"
    assert "sesame" not in " ".join(found.command)


def test_there_is_no_page_of_a_run_that_mlflow_does_not_have_or_of_a_store_without_pages():
    assert asked("http://host:5000", state={}) is None
    assert asked("databricks") is None
