"""What MLflow would refuse to every event is waited for, and one sentence says what to do."""

import json

import mlflow
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INVALID_PARAMETER_VALUE
from sqlalchemy import exc

from tests.support.mlflow_parts import play_to_mlflow
from tracking_hooks.events import Rejected, Unavailable
from tracking_hooks.testing import play, recorded_run
from tracking_hooks_mlflow.errors import reason, told_of_file, told_to_relay
from tracking_hooks_mlflow.files import MLflowFiles
from tracking_hooks_mlflow.tracker import MLflowTracker
from tracking_hooks_mlflow.trainer import capture

PARTS = [MLflowTracker, MLflowFiles]
STALE = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("part", PARTS)
def test_a_stale_number_of_an_experiment_is_named_with_what_to_do(store, save_dir, run, monkeypatch, part):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store["tracking_uri"])
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "999")
    destination = capture(run, None).destination
    with pytest.raises(Unavailable, match=r"no experiment 999, which MLFLOW_EXPERIMENT_ID names.*sync --to mlflow"):
        play(part(), recorded_run(save_dir), run, destination=destination)


@pytest.mark.parametrize("part", PARTS)
def test_a_stale_number_of_a_run_is_named_with_what_to_do(store, save_dir, run, monkeypatch, part):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store["tracking_uri"])
    monkeypatch.setenv("MLFLOW_RUN_ID", STALE)
    destination = capture(run, None).destination
    with pytest.raises(Unavailable, match=rf"no run {STALE}.*Unset MLFLOW_RUN_ID.*sync --to mlflow"):
        play(part(), recorded_run(save_dir), run, destination=destination)


def test_an_experiment_that_was_set_in_another_store_is_named_with_what_to_do(store, tmp_path, client, save_dir, run):
    """The number that ``set_experiment`` left is that of the store which was in use then."""
    try:
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/first.db")
        mlflow.set_experiment("yolo1")
        mlflow.set_tracking_uri(store["tracking_uri"])
        destination = capture(run, None).destination
    finally:
        mlflow.set_tracking_uri(None)
        mlflow.tracking.fluent._active_experiment_id = None
    calls = recorded_run(save_dir)
    with pytest.raises(Unavailable, match=r"no experiment 1, .*call mlflow\.set_tracking_uri\(\) first"):
        play(MLflowTracker(), calls, run, destination=destination)
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("known_by", ["name", "number", "the run"])
def test_a_deleted_experiment_is_named_with_the_command_that_restores_it(store, client, save_dir, run, part, known_by):
    calls = recorded_run(save_dir)
    number = client.create_experiment("shapes")
    destination = {**store, "experiment_id": number} if known_by == "number" else store
    state = play_to_mlflow(calls[:5], run, destination=destination) if known_by == "the run" else {}
    client.delete_experiment(number)
    own = state.get("files", {}) if part is MLflowFiles else state
    with pytest.raises(Unavailable, match=f"'shapes' was deleted.*mlflow experiments restore --experiment-id {number}"):
        play(part(), calls, run, destination=destination, state=own)
    client.restore_experiment(number)
    for found in client.search_runs([number], run_view_type=mlflow.entities.ViewType.DELETED_ONLY):
        client.restore_run(found.info.run_id)
    play_to_mlflow(calls, run, destination=destination, state=state)
    (found,) = client.search_runs([number])
    assert found.info.status == "FINISHED"


def of_database(kind):
    """What a server answers when its database fails like this: its store wraps the error so."""
    error = kind("UPDATE runs", {}, Exception("connection already closed"))
    return MlflowException(message=error, error_code=BAD_REQUEST)


TROUBLE = [exc.InterfaceError, exc.InternalError, exc.DatabaseError, exc.ProgrammingError, exc.NotSupportedError]


@pytest.mark.parametrize("over_http", [False, True], ids=["in process", "over HTTP"])
@pytest.mark.parametrize("kind", TROUBLE)
def test_trouble_of_the_database_is_no_refusal(kind, over_http):
    error = of_database(kind)
    assert "sqlalche.me/e/" in str(error)
    if over_http:
        error = RestException(json.loads(error.serialize_as_json()))
    with pytest.raises(Unavailable, match="connection already closed"), told_to_relay("http://host:5000"):
        raise error


def test_a_server_without_free_connections_is_waited_for():
    message = exc.TimeoutError("QueuePool limit of size 5 overflow 10 reached, timed out", code="3o7r")
    with pytest.raises(Unavailable, match="QueuePool"), told_to_relay("http://host:5000"):
        raise MlflowException(message, error_code=BAD_REQUEST)


@pytest.mark.parametrize("kind", [exc.DataError, exc.IntegrityError])
def test_data_that_the_database_does_not_take_is_a_refusal(kind):
    with pytest.raises(Rejected, match="connection already closed"), told_to_relay("http://host:5000"):
        raise of_database(kind)


def test_what_somebody_else_has_made_at_the_same_moment_is_no_refusal():
    error = exc.IntegrityError("INSERT INTO tags", {}, Exception("UNIQUE constraint failed: tags.key, tags.run_uuid"))
    with pytest.raises(Unavailable, match="UNIQUE constraint failed"), told_to_relay("http://host:5000"):
        raise MlflowException(message=error, error_code=BAD_REQUEST)


def test_a_refusal_is_one_whatever_words_the_values_have_that_it_names():
    values = {"value": "a duplicate of the unique run"}
    error = exc.IntegrityError("INSERT INTO tags", values, Exception("NOT NULL constraint failed: tags.key"))
    with pytest.raises(Rejected, match="NOT NULL constraint failed"), told_to_relay("http://host:5000"):
        raise MlflowException(message=error, error_code=BAD_REQUEST)


def test_what_came_in_a_trouble_of_the_database_is_delivered_behind_it(store, client, save_dir, run, monkeypatch):
    calls = recorded_run(save_dir)
    state = play(MLflowTracker(), calls[:5], run, destination=store)

    def fail(*_args, **_options):
        raise of_database(exc.InternalError)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", fail)
        with pytest.raises(Unavailable):
            play(MLflowTracker(), calls[5:], run, destination=store, state=state, before=calls[:5])
    play(MLflowTracker(), calls[5:], run, destination=store, state=state, before=calls[:5])
    found = client.get_run(state["run_id"])
    assert found.info.status == "FINISHED"
    assert len(client.get_metric_history(state["run_id"], "fitness")) == 3


def test_what_is_refused_to_one_event_alone_is_its_own_affair(store, client, save_dir, run, monkeypatch):
    calls = recorded_run(save_dir)

    def refuse(*_args, **_options):
        raise MlflowException("no such data", INVALID_PARAMETER_VALUE)

    state = play(MLflowTracker(), calls[:1], run, destination=store)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_inputs", refuse)
        with pytest.raises(Rejected, match="refuses this: no such data"):
            play(MLflowTracker(), calls[1:2], run, destination=store, state=state, before=calls[:1])
    play(MLflowTracker(), calls[2:], run, destination=store, state=state, before=calls[:2])
    assert client.get_run(state["run_id"]).info.status == "FINISHED"


def test_a_workspace_without_credentials_is_named_with_what_to_set(save_dir, run, monkeypatch, tmp_path):
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CONFIG_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Unavailable, match=r"Set DATABRICKS_HOST and DATABRICKS_TOKEN, or"):
        play(MLflowTracker(), recorded_run(save_dir), run, destination={"tracking_uri": "databricks"})


def test_a_request_that_is_too_large_is_set_aside_for_a_while():
    answer = "API request to endpoint /x failed with error code 413 != 200. Response body: '<html>too large</html>'"
    with pytest.raises(Rejected, match="client_max_body_size") as caught, told_to_relay("http://host:5000"):
        raise MlflowException(answer)
    assert caught.value.retry_after == 3600


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            MlflowException(
                "API request to endpoint /api/2.0/mlflow/runs/get failed with error code 503 != 200. "
                "Response body: 'upstream is starting'"
            ),
            "error code 503, upstream is starting",
        ),
        (
            MlflowException(
                "API request to endpoint /api/2.0/mlflow/runs/get failed with error code 502 != 200. "
                "Response body: '<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>'"
            ),
            "error code 502",
        ),
        (
            requests.HTTPError(
                "413 Client Error: Request Entity Too Large for url: http://host:5000/api/2.0/mlflow-artifacts/"
                "artifacts/1/8a/artifacts/weights/best.pt. Response text: <html>\r\n</html>"
            ),
            "413 Client Error: Request Entity Too Large",
        ),
        (
            MlflowException(
                "API request to http://host:5000/api/2.0/mlflow/runs/get failed with exception HTTPConnectionPool("
                "host='host', port=5000): Max retries exceeded with url: /api/2.0/mlflow/runs/get (Caused by "
                "ProtocolError('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer')))"
            ),
            "connection reset by peer",
        ),
        (FileNotFoundError(2, "No such file or directory", "/mnt/store"), "No such file or directory: '/mnt/store'"),
    ],
)
def test_an_answer_is_said_in_short(error, words):
    assert reason(error) == words


@pytest.mark.parametrize(
    ("error", "needed"),
    [
        (ModuleNotFoundError("No module named 'boto3'"), "install that module"),
        (PermissionError(13, "Permission denied"), "give this machine access to that place"),
    ],
)
def test_a_store_that_clients_write_themselves_is_out_of_reach_for_want_of_a_module_or_of_a_right(error, needed):
    with pytest.raises(Unavailable, match=needed), told_of_file("http://mlflow.example", "weights/best.pt"):
        raise error
