"""What the contract does not know of: sessions that are imported, lines that are torn, servers that refuse."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from msgspec.structs import replace

from tracking_hooks import Rejected, Unavailable
from tracking_hooks.testing import play, recorded, recorded_run, sample_run
from tracking_hooks_clearml import reader
from tracking_hooks_clearml.tracker import ClearmlTracker
from tracking_hooks_clearml.trainer import capture


@pytest.fixture
def offline(tmp_path):
    return {"project": "shapes", "folder": str(tmp_path / "sessions")}


def _points(content):
    return {
        tuple(event.get(name) for name in ("type", "metric", "variant", "iter", "msg")) for event in content["events"]
    }


def online(server):
    return {"project": "shapes", "host": server.url, "config": ""}


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_the_client_imports_a_session(form, offline, servers, tmp_path):
    run, calls = recorded("everything", tmp_path / "run")
    state = play(ClearmlTracker(), calls, run, destination=offline)
    session = tmp_path / "elsewhere" / state["id"]
    shutil.move(tmp_path / "sessions" / state["id"], session)
    path = shutil.make_archive(str(session), "zip", session) if form == "zip" else str(session)

    server = servers()
    code = "import sys; from clearml import Task; Task.import_offline_session(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, path], check=True, env=dict(os.environ), cwd=tmp_path, timeout=120)

    (imported,) = server.observe()
    task, (session,) = imported["task"], reader.observe({"folder": str(tmp_path / "elsewhere")})
    assert (task["name"], task["tags"], task["status"]) == ("train", [run.uid], "completed")
    assert task["hyperparams"] == session["task"]["hyperparams"]
    assert {name.split("/")[-1] for name in imported["files"]} == {name.split("/")[-1] for name in session["files"]}
    assert {artifact["hash"] for artifact in task["execution"]["artifacts"]} <= set(imported["files"].values())
    assert _points(imported) == _points(session)
    assert all(event["url"].endswith(event["key"]) for event in imported["events"] if "url" in event)


def test_a_line_in_which_a_process_died_is_written_again(offline, tmp_path):
    run, calls = sample_run(tmp_path), recorded_run(tmp_path)
    state = play(ClearmlTracker(), calls, run, destination=offline)
    whole = reader.observe(offline)
    events = tmp_path / "sessions" / state["id"] / "metrics.jsonl"
    os.truncate(events, events.stat().st_size - 100)
    play(ClearmlTracker(), calls, run, destination=offline)
    assert reader.observe(offline) == whole


def test_of_very_many_images_24_are_drawn(offline, tmp_path):
    run, calls = recorded("everything", tmp_path / "run")
    seen = next(call for call in calls if call.hook == "on_predictions")
    seen.args["images"] = [replace(seen.args["images"][0], path=f"{number}.jpg") for number in range(100)]
    play(ClearmlTracker(), [calls[0], seen], run, destination=offline)
    (session,) = reader.observe(offline)
    shown = [event["variant"] for event in session["events"] if event["metric"] == "predictions"]
    assert sorted(shown) == sorted(f"{number}.jpg" for number in range(24))


def test_a_session_that_was_deleted_is_not_begun_in_the_middle(offline, tmp_path):
    run, calls = sample_run(tmp_path), recorded_run(tmp_path)
    state = play(ClearmlTracker(), calls, run, destination=offline)
    shutil.rmtree(tmp_path / "sessions")
    with pytest.raises(Unavailable, match="is not there"):
        play(ClearmlTracker(), calls[-1:], run, destination=offline, state=state, before=calls[:-1])


def test_the_server_sees_status_and_models(servers, tmp_path):
    server = servers()
    state = play(
        ClearmlTracker(), recorded_run(tmp_path, status="failed"), sample_run(tmp_path), destination=online(server)
    )
    (task,) = server.tasks.values()
    assert (task["status"], task["status_reason"]) == ("failed", "failed")
    assert task["status_message"]
    assert state["url"].startswith(f"{server.url}/projects/")
    models = {model["name"]: model["uri"] for model in server.models.values()}
    assert models and all(uri.removeprefix(server.url + "/") in server.files for uri in models.values())


@pytest.mark.parametrize(
    ("endpoint", "status", "subcode", "raised"),
    [
        ("events.add_batch", 500, 0, Unavailable),
        ("events.add_batch", 403, 20, Unavailable),
        ("tasks.edit_hyper_params", 400, 101, Unavailable),  # the task was deleted
        ("tasks.edit_hyper_params", 400, 12, Rejected),
        ("", 413, 0, Rejected),  # the file server
        ("auth.login", 401, 20, Exception),
    ],
)
def test_what_a_refusal_means(endpoint, status, subcode, raised, servers, tmp_path):
    server = servers()
    server.refused[endpoint] = (status, subcode)
    with pytest.raises(raised, match=r"refused by the test|413"):
        play(ClearmlTracker(), recorded_run(tmp_path), sample_run(tmp_path), destination=online(server))


def test_a_server_that_goes_away_is_waited_for(servers, tmp_path):
    server = servers()
    run, calls = sample_run(tmp_path), recorded_run(tmp_path)
    state = play(ClearmlTracker(), calls[:5], run, destination=online(server))
    server.stop()
    with pytest.raises(Exception, match=r"refused|Max retries"):
        play(ClearmlTracker(), calls[5:], run, destination=online(server), state=state, before=calls[:5])


def test_where_a_run_goes(monkeypatch, tmp_path):
    run = sample_run(tmp_path)
    with pytest.raises(ValueError, match="clearml-init"):
        capture(run)
    (tmp_path / "clearml.conf").touch()
    assert capture(run).destination["config"] == str(tmp_path / "clearml.conf")
    monkeypatch.setenv("CLEARML_API_HOST", "https://ada:secret@api.example.org")
    assert "secret" not in json.dumps(capture(run).destination)
    assert capture(run).place == "https://api.example.org"
    monkeypatch.setenv("CLEARML_OFFLINE_MODE", "1")
    assert capture(run).destination == {"project": "shapes", "folder": str(tmp_path / "cache/offline")}
    assert capture(run).disables == "clearml"
