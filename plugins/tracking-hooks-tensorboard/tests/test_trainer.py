import subprocess
import sys
from pathlib import Path

import pluggy
import pytest
from msgspec.structs import replace

from tracking_hooks.events import Run
from tracking_hooks.markers import PROJECT
from tracking_hooks.trainerspecs import TrainerSpecs
from tracking_hooks_tensorboard import trainer


@pytest.fixture
def capture(monkeypatch):
    monkeypatch.delenv(trainer.LOGDIR, raising=False)
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(TrainerSpecs)
    manager.register(trainer)
    manager.check_pending()
    return lambda run, parent=None: manager.hook.capture(run=run, parent=parent)


def run_in(save_dir: Path, uid: str = "uid-1") -> Run:
    return Run(uid=uid, name="train", project="shapes", task="detect", save_dir=save_dir)


def test_the_event_file_is_in_save_dir_as_ultralytics_own(capture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    captured = capture(run=run_in(Path("runs/detect/train")))
    assert captured.destination == {"logdir": str(tmp_path / "runs/detect/train")}
    assert captured.disables == "tensorboard"


def test_the_start_line_says_what_to_type_and_where_the_run_is(capture, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", object())  # a library has imported it, as comet_ml does
    folder = tmp_path / "it's a $HOME"
    command, _, place = capture(run=run_in(folder)).summary.partition("; in ")
    assert command == "tracking-hooks open uid-1 --tracker tensorboard"
    assert place == str(folder)


def test_in_a_notebook_the_start_line_has_what_a_cell_takes(capture, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    summary = capture(run=run_in(tmp_path)).summary
    assert summary == f"%load_ext tensorboard, then %tensorboard --logdir {tmp_path}"


def test_an_outage_is_one_of_the_folder(capture, tmp_path):
    assert capture(run=run_in(tmp_path / "train 1")).place == f"{tmp_path.as_uri()}/train%201"


def test_a_folder_for_all_runs(capture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(trainer.LOGDIR, "all runs")
    assert capture(run=run_in(tmp_path)).destination == {"logdir": str(tmp_path / "all runs/train")}
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(trainer.LOGDIR, "~/tb")
    assert capture(run=run_in(tmp_path)).destination == {"logdir": str(tmp_path / "tb/train")}


def test_two_runs_of_one_name_are_kept_apart(capture, tmp_path, monkeypatch):
    monkeypatch.setenv(trainer.LOGDIR, str(tmp_path))
    (tmp_path / "train").mkdir()
    (tmp_path / "train/events.out.tfevents.1760000000.host.uid-1").touch()
    assert capture(run=run_in(tmp_path, "uid-1")).destination == {"logdir": str(tmp_path / "train")}
    assert capture(run=run_in(tmp_path, "uid-2")).destination == {"logdir": str(tmp_path / "train-uid-2")}


@pytest.mark.parametrize("theirs", ["uid-1", "4711.0"], ids=["tracked", "by Ultralytics' own integration"])
def test_a_run_in_the_folder_of_an_earlier_one_is_shown_beside_it(capture, tmp_path, theirs):
    (tmp_path / f"events.out.tfevents.1760000000.host.{theirs}").touch()
    assert capture(run=run_in(tmp_path, "uid-2")).destination == {"logdir": str(tmp_path / "uid-2")}


def test_a_trial_is_shown_with_its_tuning_in_a_folder_that_no_clean_up_deletes(capture, tmp_path, monkeypatch):
    tuning = {"logdir": str(tmp_path / "tune")}
    monkeypatch.setenv(trainer.LOGDIR, str(tmp_path / "elsewhere"))
    trial = replace(run_in(tmp_path / "multitrain-2" / "shapes"), name="trial-2")
    assert capture(trial, tuning).destination == {"logdir": str(tmp_path / "tune" / "trial-2")}


def test_the_runs_of_a_group_are_in_one_folder(capture, tmp_path, monkeypatch):
    fold = replace(run_in(tmp_path / "train"), group="5-fold")
    in_one_process = {"logdir": str(tmp_path / "groups/5-fold")}
    assert capture(replace(fold, parent="g"), in_one_process).destination == {
        "logdir": f"{tmp_path}/groups/5-fold/train"
    }
    assert capture(fold).destination == {"logdir": f"{tmp_path}/train"}
    behind = replace(run_in(tmp_path / "5-fold"), name="5-fold", task="group")
    assert capture(behind, {"logdir": f"{tmp_path}/train"}).destination == {"logdir": f"{tmp_path}/5-fold"}
    monkeypatch.setenv(trainer.LOGDIR, str(tmp_path / "tb"))
    assert capture(fold).destination == {"logdir": f"{tmp_path}/tb/5-fold/train"}


def test_an_address_is_no_folder(capture, tmp_path, monkeypatch):
    monkeypatch.setenv(trainer.LOGDIR, "s3://bucket/tb")
    with pytest.raises(ValueError, match="_TENSORBOARD_LOGDIR must be a folder on this machine"):
        capture(run=run_in(tmp_path))


def test_the_training_process_imports_no_tensorboard():
    code = "import sys, tracking_hooks_tensorboard.trainer; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"tensorboard", "google.protobuf", "numpy", "torch"} & set(done.stdout.split())
