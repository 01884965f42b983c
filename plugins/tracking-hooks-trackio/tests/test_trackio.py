import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from trackio.sqlite_storage import SQLiteStorage

from tests.support.systems import posix
from tracking_hooks import Unavailable
from tracking_hooks.events import Missing
from tracking_hooks.testing import STARTED, play, recorded, recorded_run, sample_run, write_run
from tracking_hooks_trackio import reader, trainer
from tracking_hooks_trackio.tracker import TrackioTracker


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("TRACKIO_DIR", "TRACKIO_PROJECT", "TRACKIO_STORAGE_MODE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(tmp_path):
    return sample_run(tmp_path / "run")


@pytest.fixture
def calls(tmp_path):
    return recorded_run(tmp_path / "run")


@pytest.fixture
def store(tmp_path):
    return {"folder": str(tmp_path / "store"), "project": "shapes", "name": "train", "group": None}


class TestCapture:
    def test_by_default_the_store_is_that_of_trackio(self, run, monkeypatch):
        monkeypatch.setenv("HF_HOME", "/data/hf")
        assert trainer.capture(run, None).destination == {
            "folder": "/data/hf/trackio", "project": run.project, "name": run.name, "group": None,
        }  # fmt: skip

    def test_without_any_variable_it_is_where_the_client_looks(self, run, tmp_path):
        home = {**os.environ, "HOME": str(tmp_path)}
        command = [sys.executable, "-c", "import trackio; print(trackio.TRACKIO_DIR)"]
        theirs = subprocess.run(command, env=home, capture_output=True, text=True, check=True).stdout.strip()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(tmp_path))
            assert trainer.capture(run, None).destination["folder"] == theirs

    def test_the_variables(self, run, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("TRACKIO_DIR", "my store")
        monkeypatch.setenv("TRACKIO_PROJECT", "kisten")
        captured = trainer.capture(run, None)
        assert captured.destination["project"] == "kisten"
        assert captured.summary == f"TRACKIO_DIR='{tmp_path}/my store' trackio show --project kisten"
        assert captured.place == (tmp_path / "my store").as_uri()

    @pytest.mark.parametrize(
        ("project", "shown"),
        [("kisten/süd", "kisten-süd"), ("/home/ada/runs/detect", "detect"), ("v1.2", "v1-2"), ("", "Ultralytics")],
    )
    def test_a_project_that_the_client_keeps_as_it_is(self, run, project, shown):
        assert trainer.capture(replace(run, project=project), None).destination["project"] == shown

    @pytest.mark.parametrize(("name", "shown"), [("a/b", "a-b"), ("../..", "..-.."), ("..", "-"), ("größe (2)",) * 2])
    def test_a_name_leads_out_of_no_folder(self, run, name, shown):
        assert trainer.capture(replace(run, name=name), None).destination["name"] == shown

    def test_a_trial_is_in_the_group_of_its_tuning(self, run, monkeypatch):
        tuning = trainer.capture(replace(run, name="tune"), None).destination
        monkeypatch.setenv("TRACKIO_DIR", "/elsewhere")
        trial = trainer.capture(replace(run, name="trial-1", parent="uid-of-the-tuning"), tuning).destination
        assert trial == {**tuning, "name": "trial-1", "group": "tune"}

    def test_a_group_is_a_group(self, run):
        assert trainer.capture(replace(run, group="5-fold"), None).destination["group"] == "5-fold"


class TestDelivery:
    def test_nothing_is_connected_to(self, run, calls, store, monkeypatch):
        def refuse(*args):
            raise AssertionError(args)

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        play(TrackioTracker(), calls, run, destination=store)
        assert len(reader.observe(store)) == 1

    def test_the_client_shows_it(self, run, calls, store):
        play(TrackioTracker(), calls, run, destination=store)

        def shown(*arguments):
            command = [sys.executable, "-c", "from trackio.cli import main; main()", *arguments, "--project", "shapes"]
            environment = {**os.environ, "TRACKIO_DIR": store["folder"], "HF_HUB_OFFLINE": "1"}
            done = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, check=True)
            return json.loads(done.stdout)

        about = shown("get", "run", "--run", "train")
        assert about["config"]["run/status"] == "finished"
        assert about["config"]["lr0"] == 0.01
        points = shown("get", "metric", "--run", "train", "--metric", "train/box_loss")["values"]
        assert [(point["step"], point["value"]) for point in points] == [(1, 2.0), (2, 1.0), (3, pytest.approx(2 / 3))]

    def test_two_runs_of_one_process_in_two_stores(self, run, calls, store, tmp_path):
        other = {**store, "folder": str(tmp_path / "other")}
        play(TrackioTracker(), calls, run, destination=store)
        play(TrackioTracker(), calls, replace(run, uid="another", name="train2"), destination={**other, "name": "two"})
        assert [seen["name"] for seen in reader.observe(store)] == ["train"]
        assert [seen["name"] for seen in reader.observe(other)] == ["two"]
        assert reader.observe(store)[0]["media"]

    def test_runs_of_one_name_are_two_runs(self, run, calls, store):
        play(TrackioTracker(), calls, run, destination=store)
        play(TrackioTracker(), calls, replace(run, uid="another"), destination=store)
        assert [seen["name"] for seen in reader.observe(store)] == ["train", "train"]

    def test_a_run_that_was_renamed_keeps_its_name(self, run, calls, store):
        *before, end = calls
        state = play(TrackioTracker(), before, run, destination=store)
        SQLiteStorage.rename_run("shapes", "train", "the good one", run_id=run.uid)
        play(TrackioTracker(), [end], run, destination=store, state=state, before=before)
        (seen,) = reader.observe(store)
        assert (seen["name"], seen["config"]["run/status"]) == ("the good one", "finished")

    def test_a_run_that_was_deleted_is_not_made_again(self, run, calls, store):
        *before, end = calls
        state = play(TrackioTracker(), before, run, destination=store)
        SQLiteStorage.delete_run("shapes", "train", run_id=run.uid)
        with pytest.raises(Unavailable, match="is not in Trackio's project shapes") as raised:
            play(TrackioTracker(), [end], run, destination=store, state=state, before=before)
        assert raised.value.only_this_run

    def test_a_run_of_which_nothing_was_written_is_not_missed(self, run, calls, store):
        console = [call for call in recorded("everything", run.save_dir).calls if call.hook == "on_console"]
        state = play(TrackioTracker(), console, run, destination=store)  # its start was set aside
        play(TrackioTracker(), calls, run, destination=store, state=state)
        assert len(reader.observe(store)) == 1

    def test_endings_and_actions_are_alerts(self, tmp_path, store):
        failed = recorded("failed", tmp_path / "failed")
        play(TrackioTracker(), failed.calls, failed.run, destination=store)
        (alert,) = reader.observe(store)[0]["alerts"]
        assert (alert["level"], alert["title"]) == ("error", "Training failed")
        assert alert["text"].startswith("RuntimeError: ")

    def test_a_long_table_is_cut(self, run, tmp_path, store):
        everything = recorded("everything", tmp_path / "run")
        table = next(call for call in everything.calls if call.hook == "on_table")
        table.args["artifact"].path.write_text(json.dumps({"columns": ["a", "b"], "data": [[1, "x"]] * 2000}))
        play(TrackioTracker(), [everything.calls[0], table], everything.run, destination=store)
        (row,) = [row for row in reader.observe(store)[0]["rows"] if "errors" in row]
        assert row["errors"]["_value"] == [{"a": 1, "b": "x"}] * 1000

    def test_of_very_many_images_24_are_drawn(self, run, calls, tmp_path, store):
        seen = next(call for call in recorded("everything", tmp_path / "run").calls if call.hook == "on_predictions")
        seen.args["images"] = [replace(seen.args["images"][0], path=f"{number}.jpg") for number in range(100)]
        play(TrackioTracker(), [calls[0], seen], run, destination=store)
        shown = [name for row in reader.observe(store)[0]["rows"] for name in row if name.startswith("predictions/")]
        assert shown == [f"predictions/{number}.jpg" for number in range(24)]

    def test_what_is_missing_is_in_the_config(self, run, calls, store):
        lost = Missing(hook="on_artifact", name="results.png", reason="it is gone", first=9, last=9)
        state = play(TrackioTracker(), calls, run, destination=store, missing=[lost])
        assert "results.png" in reader.observe(store)[0]["config"]["run/incomplete"]
        play(TrackioTracker(), [], run, destination=store, state=state, before=calls, missing=[])
        assert reader.observe(store)[0]["config"]["run/incomplete"] == ""

    def test_an_addendum_goes_on_while_the_run_does(self, run, calls, store):
        play(TrackioTracker(), calls[:1], run, destination=store)
        later = TrackioTracker()
        later.open(run, 0, STARTED, {}, store)
        added = TrackioTracker()
        added.open(replace(run, addendum="added"), 0, STARTED, {}, store)
        added.on_params({"note": "second camera"})
        added.flush({}, store)
        later.on_run_end("finished", None, 99, 1e9, {})
        later.flush({}, store)
        config = reader.observe(store)[0]["config"]
        assert (config["note"], config["run/status"]) == ("second camera", "finished")


class TestRefusals:
    def test_a_database_that_cannot_be_opened_is_unavailable(self, run, calls, store):
        Path(store["folder"], "shapes.db").mkdir(parents=True)
        with pytest.raises(Exception, match="unable to open database file"):
            play(TrackioTracker(), calls, run, destination=store)

    def test_a_database_that_is_lost_while_it_is_written_is_unavailable(self, run, store):
        tracker = TrackioTracker()
        tracker.open(run, 0, STARTED, {}, store)
        tracker.on_log({"a": 1.0}, 1, 1, 0.0)
        Path(store["folder"], "shapes.db").mkdir(parents=True)
        with pytest.raises(Unavailable, match="unable to open database file"):
            tracker.flush({}, store)

    def test_a_file_that_cannot_be_noted_down_is_no_fault_of_the_file(self, run, store, tmp_path):
        saved = [call.args for call in recorded_run(tmp_path / "run") if call.hook == "on_checkpoint_saved"]
        tracker = TrackioTracker()
        tracker.open(run, 0, STARTED, {}, store)
        tracker.on_checkpoint_saved(**saved[-1])
        Path(store["folder"], "shapes.db").mkdir(parents=True)
        with pytest.raises(Unavailable, match="unable to open database file"):
            tracker.flush({}, store)

    @posix("flock")
    def test_a_store_that_somebody_else_holds_is_an_oserror(self, run, calls, store):
        import fcntl

        Path(store["folder"]).mkdir()
        with Path(store["folder"], "shapes.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(OSError, match="database lock"):
                play(TrackioTracker(), calls[:2], run, destination=store)

    def test_sqlite_on_a_network_is_not_written(self, run, calls, store, monkeypatch):
        monkeypatch.setenv("TRACKIO_STORAGE_MODE", "jsonl")  # as "auto" decides on NFS
        with pytest.raises(Unavailable, match="TRACKIO_STORAGE_MODE=sqlite"):
            play(TrackioTracker(), calls, run, destination=store)

    def test_a_project_that_the_client_does_not_allow(self, run, calls, store):
        with pytest.raises(ValueError, match="registry-"):
            play(TrackioTracker(), calls, run, destination={**store, "project": "registry-x"})


def test_a_relay_delivers_it(run, calls, store, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = write_run(run, calls, {"trackio": store})
    command = [sys.executable, "-c", "from tracking_hooks.cli import main; main()", "sync", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (seen,) = reader.observe(store)
    assert seen["config"]["run/status"] == "finished"
