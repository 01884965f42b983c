import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support import forking
from tests.support.mlflow_parts import play_to_mlflow
from tracking_hooks.events import Unavailable
from tracking_hooks.testing import play, recorded_run, sample_run
from tracking_hooks_mlflow import store as store_module
from tracking_hooks_mlflow.store import connect
from tracking_hooks_mlflow.tracker import MLflowTracker

pytestmark = pytest.mark.e2e
forked = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")

RELAY = """
import sys
from pathlib import Path
from msgspec.structs import replace
from tracking_hooks.testing import play, recorded_run, sample_run
from tracking_hooks_mlflow.files import MLflowFiles
from tracking_hooks_mlflow.tracker import MLflowTracker
uri, uid, folder = sys.argv[1:]
calls = recorded_run(Path(folder))
print("ready", flush=True)
run = replace(sample_run(Path(folder)), uid=uid)
destination = {"tracking_uri": uri, "experiment": "shapes"}
play(MLflowTracker(), calls, run=run, destination=destination)
play(MLflowFiles(), calls, run=run, destination=destination)
"""


def relay(uri, uid, folder):
    folder.mkdir()
    command = [sys.executable, "-c", RELAY, uri, uid, str(folder)]
    return forking.Forked(forking.address_of_relays(), command, env=os.environ, cwd=str(folder))


def runs(uri):
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("shapes")
    return client.search_runs([experiment.experiment_id])


@forked
def test_four_relays_at_once_make_one_fresh_store(tmp_path):
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    relays = [relay(uri, f"uid-{i}", tmp_path / f"{i}") for i in range(4)]
    outputs = [process.communicate()[0] for process in relays]
    assert [process.returncode for process in relays] == [0, 0, 0, 0], outputs
    found = runs(uri)
    assert {run.data.tags["tracking_hooks.run_uid"] for run in found} == {f"uid-{i}" for i in range(4)}
    assert {run.info.status for run in found} == {"FINISHED"}
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"mlflow.db", "mlruns"}, "and no lock is left"


@forked
def test_a_relay_killed_while_it_makes_the_store_leaves_none_half_made(tmp_path):
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    first = relay(uri, "uid-1", tmp_path / "1")
    new = tmp_path / "new/.mlflow.db.new"
    while not (new.exists() and new.stat().st_size > 100_000):
        assert first.poll() is None, first.communicate()[0]
    first.kill()
    first.communicate()
    assert not (tmp_path / "new/mlflow.db").exists()
    second = relay(uri, "uid-2", tmp_path / "2")
    output, _ = second.communicate()
    assert second.returncode == 0, output
    assert len(runs(uri)) == 1
    assert not new.exists()


def test_artifacts_lie_beside_the_database_wherever_the_relay_runs(store, tmp_path, monkeypatch, save_dir):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    state = play_to_mlflow(recorded_run(save_dir), sample_run(save_dir), destination=store)
    assert not list(elsewhere.iterdir())
    assert Path.cwd() == elsewhere
    beside = list((tmp_path / "tracked/mlruns").rglob("weights/best.pt"))
    assert [path.read_bytes() for path in beside] == [b"best weights"]
    # Another process, somewhere else, is given the URI only.
    code = """
import sys
from pathlib import Path
from mlflow import MlflowClient
uri, run = sys.argv[1:]
print(Path(MlflowClient(tracking_uri=uri).download_artifacts(run, "weights/best.pt")).read_text())
"""
    command = [sys.executable, "-c", code, store["tracking_uri"], state["run_id"]]
    out = subprocess.run(command, cwd="/", check=True, stdout=-1, text=True)
    assert out.stdout.strip() == "best weights"


def test_a_folder_with_a_space(database, tmp_path, save_dir, monkeypatch):
    from tracking_hooks_mlflow import uris

    folder = tmp_path / "my runs"
    folder.mkdir()
    shutil.copy(database, folder)
    uri = uris.absolute("sqlite:///mlflow.db", folder)
    play_to_mlflow(
        recorded_run(save_dir),
        sample_run(save_dir),
        destination={"tracking_uri": uri, "experiment": "shapes"},
    )
    assert len(runs(uri)) == 1
    assert list((folder / "mlruns").rglob("best.pt"))


def test_a_locked_database_is_waited_for(store, tmp_path, save_dir, monkeypatch):
    calls = recorded_run(save_dir)
    state = play(MLflowTracker(), calls[:5], sample_run(save_dir), destination=store)
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

    def locked(*_args, **_options):
        # MLflow waits 20 seconds by itself before it says so.
        raise MlflowException("(sqlite3.OperationalError) database is locked\n[SQL: …]", TEMPORARILY_UNAVAILABLE)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", locked)
        with pytest.raises(Unavailable, match=r"sqlite:.*database is locked"):
            play(MLflowTracker(), calls[5:], sample_run(save_dir), destination=store, state=state, before=calls[:5])
    play(MLflowTracker(), calls[5:], sample_run(save_dir), destination=store, state=state, before=calls[:5])
    assert runs(store["tracking_uri"])[0].info.status == "FINISHED"


def test_a_store_that_cannot_be_opened_is_waited_for(tmp_path, save_dir):
    broken = tmp_path / "mlflow.db"
    with sqlite3.connect(broken) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('from the future')")
    connection.close()
    with pytest.raises(Unavailable, match=r"mlflow\.db cannot be opened"):
        play(
            MLflowTracker(),
            recorded_run(save_dir),
            sample_run(save_dir),
            destination={"tracking_uri": f"sqlite:///{broken}"},
        )


def test_a_place_that_cannot_be_written_is_named_with_what_to_do(tmp_path):
    (tmp_path / "no folder").write_text("")
    said = r"no folder/new/mlflow\.db cannot be written: Not a directory\. Set MLFLOW_TRACKING_URI to another place"
    with pytest.raises(Unavailable, match=said):
        connect(f"sqlite:///{tmp_path}/no folder/new/mlflow.db")


def test_a_module_that_a_store_needs_is_named_and_is_no_outage(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"mlflow\.db cannot be opened: .*: pip install mlflow"):
        connect(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no folder that not even root can write")
def test_a_store_in_a_folder_that_cannot_be_written_says_what_to_do(save_dir):
    destination = {"tracking_uri": "sqlite:////proc/mlflow.db"}
    with pytest.raises(Unavailable, match=r"mlflow\.db cannot be written: .*Set MLFLOW_TRACKING_URI"):
        play(MLflowTracker(), recorded_run(save_dir), sample_run(save_dir), destination=destination)
