import json
import re
import socket
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.answering import answering
from tests.support.mlflow_parts import play_to_mlflow
from tests.support.runs import write_run
from tracking_hooks.delivery.sync import deliver as deliver_runs
from tracking_hooks.events import Missing, Unavailable
from tracking_hooks.settings import Settings
from tracking_hooks.testing import play, recorded_run, sample_run
from tracking_hooks_mlflow.errors import reason
from tracking_hooks_mlflow.files import MLflowFiles
from tracking_hooks_mlflow.tracker import MLflowTracker
from tracking_hooks_mlflow.trainer import probe

pytestmark = pytest.mark.e2e


def deliver(calls, destination, state=None, **options):
    run = sample_run(Path("runs/train").absolute())  # as the fixture `run`
    return play_to_mlflow(calls, run, destination=destination, state=state, **options)


def test_what_a_server_missed_is_delivered_once_it_is_up(address, save_dir, request):
    """Stands first in this file: the server is not started yet."""
    calls = recorded_run(save_dir)
    destination = {"tracking_uri": address, "experiment": "late"}
    state = {}
    for _ in range(2):
        with pytest.raises(Unavailable, match=re.escape(address)):
            deliver(calls, destination, state)
    request.getfixturevalue("server")
    deliver(calls, destination, state)
    client = MlflowClient(tracking_uri=address)
    run = client.get_run(state["run_id"])
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(state["run_id"], "fitness")) == 3
    place = f"{run.info.experiment_id}/runs/{state['run_id']}?workflowType=machine_learning"
    assert state["url"] == f"{address}/#/experiments/{place}"


def test_a_server_holds_a_run_once_however_often_it_is_sent(server, save_dir, run):
    calls = recorded_run(save_dir)
    destination = {"tracking_uri": server, "experiment": "twice"}
    state = deliver(calls, destination)
    deliver(calls, destination)
    deliver(calls, destination, state)
    client = MlflowClient(tracking_uri=server)
    experiment = client.get_experiment_by_name("twice")
    (found,) = client.search_runs([experiment.experiment_id])
    for key in found.data.metrics:
        history = client.get_metric_history(found.info.run_id, key)
        assert len(history) == len({point.step for point in history}), key
    assert [info.path for info in client.list_artifacts(found.info.run_id, "weights")] == [
        "weights/best.pt",
        "weights/last.pt",
    ]


def test_a_lost_answer_to_create_run_makes_no_second_run(server, save_dir, monkeypatch):
    calls = recorded_run(save_dir)
    destination = {"tracking_uri": server, "experiment": "lost answer"}
    create = MlflowClient.create_run

    def lose_the_answer(self, *args, **options):
        create(self, *args, **options)
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", lose_the_answer)
        with pytest.raises(ConnectionResetError):
            deliver(calls, destination)
    deliver(calls, destination)
    client = MlflowClient(tracking_uri=server)
    assert len(client.search_runs([client.get_experiment_by_name("lost answer").experiment_id])) == 1


def test_a_create_run_that_the_server_gets_to_late_leaves_no_second_run(server, save_dir, monkeypatch):
    calls = recorded_run(save_dir)
    destination = {"tracking_uri": server, "experiment": "late create"}
    given_up = []

    def time_out(self, *args, **options):
        given_up.append((args, options))
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", time_out)
        with pytest.raises(TimeoutError):
            deliver(calls, destination)
    state = deliver(calls[:5], destination)
    client = MlflowClient(tracking_uri=server)
    for args, options in given_up:
        client.create_run(*args, **options)
    deliver(calls[5:], destination, state, before=calls[:5])
    (found,) = client.search_runs([client.get_experiment_by_name("late create").experiment_id])
    assert found.info.run_id == state["run_id"]


def test_a_run_deleted_on_the_server_is_waited_for(server, save_dir):
    calls = recorded_run(save_dir)
    destination = {"tracking_uri": server, "experiment": "deleted"}
    state = deliver(calls[:6], destination)
    MlflowClient(tracking_uri=server).delete_run(state["run_id"])
    with pytest.raises(Unavailable, match=rf"{re.escape(server)}.*deleted.*restore"):
        deliver(calls[6:10], destination, state, before=calls[:6])
    with pytest.raises(Unavailable, match=r"no-such-run"):
        deliver(calls, {**destination, "run_id": "no-such-run"})


@pytest.mark.parametrize(
    ("status", "body", "meaning", "words"),
    [
        (500, "oops", Unavailable, "is not available"),
        (502, "<html>bad gateway</html>", Unavailable, "is not available"),
        (503, json.dumps({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "busy"}), Unavailable, "503"),
        (429, "slow down", Unavailable, "is not available"),
        (408, "", Unavailable, "is not available"),
        (404, "<html>no such page</html>", Unavailable, "error code 404"),
        (401, "who are you", Unavailable, "MLFLOW_TRACKING_USERNAME"),
        (403, json.dumps({"error_code": "PERMISSION_DENIED", "message": "no"}), Unavailable, "MLFLOW_TRACKING_TOKEN"),
        (403, "Invalid Host header", Unavailable, "--allowed-hosts"),
        (400, json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": "bad name"}), Unavailable, "bad name"),
        (200, "<html>a login page</html>", Unavailable, "login page"),
    ],
)
def test_what_an_answer_means(save_dir, status, body, meaning, words):
    with answering(status, body) as (uri, asked), pytest.raises(meaning) as caught:
        deliver(recorded_run(save_dir), {"tracking_uri": uri, "experiment_id": "1"})
    assert words in str(caught.value)
    assert uri in str(caught.value)
    assert len(asked) == 1, "retries are the relay's"


def test_mlflows_own_server_is_known_as_one_before_a_training(server):
    assert probe({"tracking_uri": server}, 20.0) == f"the server at {server} answers"


def test_known_mistakes_are_named_while_the_tracker_is_waited_for(save_dir, monkeypatch):
    calls = recorded_run(save_dir)
    with answering(401, "who are you") as (uri, _):
        https = uri.replace("http:", "https:")
        with pytest.raises(Unavailable, match=f"does not speak https: set MLFLOW_TRACKING_URI={uri}"):
            deliver(calls, {"tracking_uri": https})
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "open-sesame")
        with pytest.raises(Unavailable, match="not accepted: MLFLOW_TRACKING_TOKEN is wrong"):
            deliver(calls, {"tracking_uri": uri})
    words = "Another server than MLflow answers there"
    with answering(404, "<html>no such page</html>") as (uri, _), pytest.raises(Unavailable, match=words):
        deliver(calls, {"tracking_uri": uri})


def test_a_server_that_hangs_is_not_waited_for_long(save_dir, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unavailable, match="time"):
            deliver(recorded_run(save_dir), {"tracking_uri": uri})


def test_credentials_come_from_the_relays_environment_and_go_nowhere_else(save_dir, monkeypatch):
    with answering(401, "who are you") as (uri, asked):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.replace("//", "//ada:secret@"))
        with pytest.raises(Unavailable) as caught:
            deliver(recorded_run(save_dir), {"tracking_uri": uri})
    assert asked[0].authorization.startswith("Basic ")
    assert "secret" not in str(caught.value)
    with answering(401, "who are you") as (other, asked), pytest.raises(Unavailable):
        deliver(recorded_run(save_dir), {"tracking_uri": other})
    assert not asked[0].authorization


@pytest.mark.parametrize("user", ["ada:secret@", "ada:s@cret@", "token@"])
def test_messages_hold_no_credentials(user):
    error = RuntimeError(f"API request to https://{user}host:5000/api failed\nmore")
    assert reason(error) == "API request to https://host:5000/api failed"


def test_a_file_that_is_gone_is_named_on_the_runs_page_until_it_is_delivered_after_all(server, save_dir, run):
    calls = recorded_run(save_dir)
    destination = {"tracking_uri": server, "experiment": "gone"}
    folder = write_run(run, calls, {"mlflow": destination, "mlflow.files": destination})
    plot = save_dir / "results.png"
    content = plot.read_bytes()
    plot.unlink()
    assert all(result.done for result in deliver_runs([folder], Settings()))
    client = MlflowClient(tracking_uri=server)
    (found,) = client.search_runs([client.get_experiment_by_name("gone").experiment_id])
    words = found.data.tags["tracking_hooks.incomplete.files"]
    assert re.match(r"event \d+, on_artifact results\.png: .*results\.png", words)
    assert f"**Incomplete:** of what was recorded, MLflow does not have\n\n- {words}" in described(found)
    assert "tracking_hooks.incomplete" not in found.data.tags, "the numbers are all there"

    plot.write_bytes(content)
    assert all(result.done for result in deliver_runs([folder], Settings(), retry=True))
    again = client.get_run(found.info.run_id)
    assert "tracking_hooks.incomplete.files" not in again.data.tags
    assert described(again) == described(found).partition("\n\n**Incomplete:**")[0]
    assert "results.png" in [info.path for info in client.list_artifacts(found.info.run_id)]


def test_both_parts_may_say_at_the_same_time_what_is_missing(server, save_dir, run):
    calls = recorded_run(save_dir)
    destination = {"tracking_uri": server, "experiment": "at once"}
    play_to_mlflow(calls, run, destination=destination)
    missing = [Missing(hook="on_log", reason="not that", first=7, last=7)]
    both = [
        threading.Thread(
            target=play, args=(part(), [], run),
            kwargs={"destination": destination, "before": calls, "missing": missing},
        )
        for part in (MLflowTracker, MLflowFiles)
    ]  # fmt: skip
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    client = MlflowClient(tracking_uri=server)
    (found,) = client.search_runs([client.get_experiment_by_name("at once").experiment_id])
    assert described(found).count("- event 7, on_log: not that") == 2
    assert described(found).count("**Incomplete:**") == 1
    assert "**Result:** mAP50-95(B) 0.71, mAP50(B) 0.91, finished after 3 epochs" in described(found)


def described(found):
    return found.data.tags["mlflow.note.content"]
