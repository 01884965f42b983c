import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pluggy
import pytest
import wandb
from msgspec.structs import replace

from tracking_hooks.markers import PROJECT
from tracking_hooks.trainerspecs import TrainerSpecs
from tracking_hooks_wandb import trainer


@pytest.fixture
def capture():
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(TrainerSpecs)
    manager.register(trainer)
    manager.check_pending()
    return lambda run, parent=None: manager.hook.capture(run=run, parent=parent)


@pytest.fixture
def theirs(monkeypatch):
    """A run that the user's own code has open in this process."""

    def open_run(mode="online", **more):
        settings = SimpleNamespace(mode=mode, base_url="http://ada:secret@wandb.example/")
        fields = {"id": "abc", "entity": "us", "project": "own", "group": "", "settings": settings, "disabled": False}
        monkeypatch.setattr(wandb, "run", SimpleNamespace(**{**fields, **more}))

    return open_run


def test_the_training_process_does_not_import_wandb(tmp_path):
    code = """
import json, sys
from pathlib import Path
from tracking_hooks.testing import sample_run
from tracking_hooks_wandb.trainer import capture
captured = capture(sample_run(Path("train")), None)
print(json.dumps([captured.destination, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
    path = os.pathsep.join(sys.path)
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, check=True, stdout=-1
    )
    destination, modules = json.loads(out.stdout)
    assert destination["mode"] == "online"
    assert not {"wandb", "pydantic", "PIL", "google", "numpy"} & set(modules)


def test_names_are_those_of_ultralytics_own_integration(capture, run):
    captured = capture(run)
    assert captured.disables == "wb"
    destination = captured.destination
    assert (destination["project"], destination["name"], destination["job_type"]) == ("shapes", "train", "train")
    assert destination["id"] == run.uid
    assert capture(replace(run, project="")).destination["project"] == "Ultralytics"
    assert capture(replace(run, project="team/shapes: 50%")).destination["project"] == "team-shapes- 50-"
    assert capture(replace(run, project="/home/ada/shapes")).destination["project"] == "shapes"
    assert len(capture(replace(run, project="x" * 200)).destination["project"]) == 128


def test_wandbs_own_variables_come_first(capture, run, monkeypatch, tmp_path):
    given = {
        "ENTITY": "us", "PROJECT": "p", "NAME": "n", "RUN_GROUP": "g", "JOB_TYPE": "j", "NOTES": "some notes",
        "TAGS": "a, b", "BASE_URL": "http://ada:secret@wandb.example/", "DIR": str(tmp_path / "elsewhere"),
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    captured = capture(replace(run, tags={"team": "vision"}, parent="tuning"))
    assert captured.destination == {
        "mode": "online", "base_url": "http://wandb.example", "entity": "us", "project": "p", "id": run.uid,
        "name": "n", "group": "g", "job_type": "j", "tags": "a,b,team=vision", "notes": "some notes", "sweep": "",
    }  # fmt: skip
    assert captured.summary == f"http://wandb.example, us/p/{run.uid}"
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / f"elsewhere/wandb/offline-run-20251009_085320-{run.uid}"
    assert capture(run).destination["folder"] == str(folder)
    assert "0123456789" not in str(captured)
    assert "secret" not in str(captured)


def test_trials_of_a_tuning_are_a_group_beside_it(capture, run, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "p")
    monkeypatch.setenv("WANDB_ENTITY", "us")
    tuning = capture(replace(run, uid="20251009-080000-aaaaaaaa", name="tune")).destination
    monkeypatch.setenv("WANDB_PROJECT", "elsewhere")
    trial = replace(run, name="trial-1", parent="20251009-080000-aaaaaaaa")
    destination = capture(trial, tuning).destination
    assert (destination["entity"], destination["project"]) == ("us", "p")
    assert (destination["id"], destination["name"], destination["job_type"]) == (run.uid, "trial-1", "train")
    assert destination["group"] == tuning["id"] == "20251009-080000-aaaaaaaa"
    assert capture(trial).destination["group"] == tuning["id"], "also if the tuning went to another tracker"
    assert capture(trial, {**tuning, "group": "g"}).destination["group"] == "g"


def test_the_runs_of_a_group_and_its_own_are_in_one_group(capture, run, monkeypatch):
    fold = replace(run, group="5-fold")
    own = replace(run, uid="20251009-080000-aaaaaaaa", name="5-fold", task="group")
    assert capture(fold).destination["group"] == "5-fold"
    above = capture(own).destination
    assert above["group"] == "5-fold"
    assert capture(replace(fold, parent=own.uid), above).destination["group"] == "5-fold"
    assert capture(own, capture(fold).destination).destination["group"] == "5-fold", "recorded behind its runs"
    monkeypatch.setenv("WANDB_RUN_GROUP", "mine")
    assert capture(fold).destination["group"] == "mine"


def test_where_the_script_holds_a_run_a_training_of_a_group_is_waited_for_and_a_trial_is_not(capture, run, theirs):
    above = capture(replace(run, name="5-fold", task="group")).destination
    theirs()
    assert capture(replace(run, parent="above", group="5-fold"), above).is_held
    assert not capture(replace(run, parent="above"), above).is_held


@pytest.fixture
def fold(run):
    return replace(run, name="fold-1", parent="20251009-080000-aaaaaaaa", group="5-fold")


@pytest.fixture
def five_fold(run):
    return replace(run, uid="20251009-080000-aaaaaaaa", name="5-fold", task="group")


def test_the_run_that_the_script_has_opened_for_a_fold_is_that_of_the_fold(capture, fold, five_fold, theirs):
    above = capture(five_fold).destination
    theirs("online")
    captured = capture(fold, above)
    assert (captured.disables, captured.guards) == (None, "wb"), "Ultralytics' own integration logs to it"
    assert captured.destination["beside"] == "us/own/abc"
    assert (captured.destination["project"], captured.destination["group"]) == ("own", "5-fold")
    theirs("online", group="folds of mine")
    assert capture(fold, above).destination["group"] == "folds of mine"
    theirs("shared")
    captured = capture(fold, above)
    assert (captured.destination["mode"], captured.destination["id"]) == ("shared", "abc")
    assert captured.destination["joined"]
    assert captured.disables == "wb"


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_where_the_script_has_a_run_for_all_folds_it_gets_what_the_integration_logs(
    capture, fold, five_fold, theirs, mode
):
    theirs(mode)
    above = capture(five_fold).destination
    captured = capture(fold, above)
    assert captured.guards == "wb"
    assert (captured.destination["mode"], captured.destination["id"]) == (mode, fold.uid)
    assert captured.destination["group"] == above["group"] == "5-fold"


def test_a_group_in_a_shared_run_has_folds_beside_that(capture, fold, five_fold, theirs):
    theirs("shared")
    above = capture(five_fold).destination
    assert above["id"] == "abc"
    captured = capture(fold, above)
    assert (captured.destination["mode"], captured.destination["id"]) == ("online", fold.uid)
    assert captured.disables == "wb"


def test_with_ours_left_out_a_fold_is_in_the_scripts_run_or_in_one_of_ours(
    capture, fold, five_fold, theirs, monkeypatch
):
    monkeypatch.setenv("TRACKING_HOOKS_WANDB_BESIDE", "off")
    theirs("online")
    above = capture(five_fold).destination
    captured = capture(fold, above)
    assert (captured.destination["mode"], captured.guards) == ("disabled", "wb")
    monkeypatch.setattr(wandb, "run", None)  # the script has ended it, or this is a process of its own
    for below in (fold, replace(fold, group=None)):
        captured = capture(below, above)
        assert (captured.destination["mode"], captured.disables) == ("online", "wb")
        assert captured.destination["group"] == "5-fold"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert capture(fold, above).destination["mode"] == "disabled"


def test_trials_of_an_offline_tuning_lie_beside_it(capture, run, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    tuning = capture(replace(run, uid="20251009-080000-aaaaaaaa", name="tune")).destination
    (tmp_path / "worker").mkdir()
    monkeypatch.chdir(tmp_path / "worker")  # as Ray does it
    monkeypatch.delenv("WANDB_MODE")
    destination = capture(replace(run, parent="20251009-080000-aaaaaaaa"), tuning).destination
    assert destination["mode"] == "offline"
    assert destination["folder"] == str(tmp_path / f"wandb/offline-run-20251009_085320-{run.uid}")


def test_trials_do_not_join_the_run_that_their_tuning_has_joined(capture, run, monkeypatch, theirs):
    for name, value in {"RUN_ID": "mine", "SWEEP_ID": "s1", "NAME": "n"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    tuning = capture(replace(run, uid="20251009-080000-aaaaaaaa")).destination
    trial = replace(run, name="trial-1", parent="20251009-080000-aaaaaaaa")
    theirs("shared")
    shared = capture(replace(run, uid="20251009-080000-aaaaaaaa")).destination
    for parent in (tuning, shared):
        destination = capture(trial, parent).destination
        assert "joined" not in destination
        assert (destination["mode"], destination["id"], destination["sweep"]) == ("online", run.uid, "")
        assert (destination["name"], destination["group"]) == ("trial-1", trial.parent)
        assert destination["job_type"] == "train"


def test_wandbs_settings_files_count(capture, run, monkeypatch, tmp_path):
    home = tmp_path / "home/.config/wandb"
    home.mkdir(parents=True)
    (home / "settings").write_text("[default]\nbase_url = http://own.example\nmode = offline\n")
    assert capture(run).destination["base_url"] == "http://own.example"
    assert capture(run).destination["mode"] == "offline"
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/settings").write_text("[default]\nentity = us\nproject = 100%\n")
    assert capture(run).destination["entity"] == "us"
    assert capture(run).destination["project"] == "100%"
    monkeypatch.setenv("WANDB_MODE", "online")
    assert capture(run).destination["mode"] == "online"
    (home / "settings").write_text("no settings at all")
    assert capture(run).destination["base_url"] == ""


@pytest.mark.parametrize(
    ("variable", "value", "mode"),
    [
        ("WANDB_MODE", "offline", "offline"),
        ("WANDB_MODE", "dryrun", "offline"),
        ("WANDB_MODE", "shared", "online"),
        ("WANDB_MODE", "disabled", "disabled"),
        ("WANDB_DISABLED", "true", "disabled"),
    ],
)
def test_modes(capture, run, monkeypatch, variable, value, mode):
    monkeypatch.setenv(variable, value)
    destination = capture(run).destination
    assert destination["mode"] == mode
    assert ("id" in destination) == (mode != "disabled"), "what the handle's ids name"


def test_a_mode_that_does_not_exist_stops_the_training(capture, run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "of line")
    with pytest.raises(ValueError, match="WANDB_MODE='of line' must be online, offline or disabled"):
        capture(run)


def test_the_start_line_of_an_offline_run_says_how_to_deliver_it(capture, run, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / f"wandb/offline-run-20251009_085320-{run.uid}"
    assert capture(run).summary == f"wandb sync {folder}"
    (tmp_path / ".wandb").mkdir()
    assert f"{tmp_path}/.wandb/" in capture(run).summary
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert capture(run).summary == "switched off by WANDB_MODE"


def test_runs_of_one_service_or_one_folder_have_one_place(capture, run, theirs, monkeypatch, tmp_path):
    assert capture(run).place == "https://api.wandb.ai"
    monkeypatch.setenv("WANDB_BASE_URL", "http://ada:secret@wandb.example/")
    assert capture(run).place == "http://wandb.example"
    theirs("shared")
    assert capture(run).place == "http://wandb.example"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert capture(run).place == (tmp_path / "wandb").as_uri()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert capture(run).place == ""


def test_a_run_named_in_the_environment_is_joined(capture, run, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    destination = capture(run).destination
    assert (destination["id"], destination["joined"], destination["sweep"]) == ("mine", True, "s1")
    assert (destination["name"], destination["job_type"]) == ("", "")  # the run has its own


def test_a_run_opened_in_shared_mode_is_joined(capture, run, theirs):
    theirs("shared")
    destination = capture(run).destination
    assert destination["mode"] == "shared"
    assert destination["joined"]
    assert (destination["entity"], destination["project"], destination["id"]) == ("us", "own", "abc")
    assert destination["base_url"] == "http://wandb.example"


@pytest.mark.parametrize(("mode", "ours"), [("online", "online"), ("offline", "offline")])
def test_beside_a_run_opened_otherwise_ours_is_another(capture, run, theirs, mode, ours):
    theirs(mode, group="pair")
    captured = capture(run)
    assert captured.destination["mode"] == ours
    assert captured.destination["id"] == run.uid
    assert captured.destination["beside"] == "us/own/abc"
    assert captured.destination["project"] == "own"
    assert captured.destination["group"] == "pair"
    assert captured.summary.endswith(", beside your own run us/own/abc")


def test_ultralytics_own_integration_stays_on_in_a_run_that_the_script_has_opened(capture, run, theirs):
    assert (capture(run).disables, capture(run).guards) == ("wb", None)
    theirs("online")
    assert (capture(run).disables, capture(run).guards) == (None, "wb")
    theirs("shared")
    assert (capture(run).disables, capture(run).guards) == ("wb", None), "ours writes to that one itself"


def test_the_run_beside_can_be_left_out(capture, run, theirs, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS_WANDB_BESIDE", "off")
    assert capture(run).destination["mode"] == "online"
    theirs("offline")
    assert capture(run).destination["mode"] == "disabled"
    assert capture(run).summary == "left to your own run us/own/abc"
    monkeypatch.setenv("TRACKING_HOOKS_WANDB_BESIDE", "of")
    with pytest.raises(ValueError, match="TRACKING_HOOKS_WANDB_BESIDE='of' must be on or off"):
        capture(run)


@pytest.mark.parametrize("mode", ["shared", "online", "offline"])
def test_train_waits_where_the_script_has_a_run_open_but_not_for_a_trial(capture, run, theirs, mode):
    assert not capture(run).is_held
    theirs(mode)
    tuning = capture(run)
    assert tuning.is_held
    assert not capture(replace(run, parent="tuning"), tuning.destination).is_held


def test_a_run_that_is_none_is_not_looked_at(capture, run, theirs, monkeypatch):
    theirs(disabled=True)
    assert "beside" not in capture(run).destination
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace())  # a folder of that name
    assert "beside" not in capture(run).destination


def test_a_real_open_run_is_seen(capture, run, tmp_path):
    with wandb.init(mode="offline", project="own", id="abc", dir=str(tmp_path), settings={"silent": True}):
        destination = capture(run).destination
    assert destination["mode"] == "offline"
    assert destination["beside"] == "own/abc"


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_without_a_home_folder_and_from_a_deleted_working_directory(capture, run, tmp_path, monkeypatch, mode):
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.delenv("WANDB_CONFIG_DIR", raising=False)
    monkeypatch.setattr(trainer.Path, "home", _no_home)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setenv("PWD", str(gone))
    gone.rmdir()
    destination = capture(run).destination
    assert destination["mode"] == mode
    assert destination.get("folder", str(tmp_path)).startswith(str(tmp_path))


def _no_home():
    raise RuntimeError("Could not determine home directory.")


def test_the_page_of_a_run_or_of_its_project_is_opened():
    url = "https://wandb.ai/ada/shapes/runs/abc"
    assert trainer.page({"url": url}, False).url == url
    assert trainer.page({"url": url}, True).url == "https://wandb.ai/ada/shapes"
    assert trainer.page({"url": ""}, False) is None
