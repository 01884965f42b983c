"""What releases of Ultralytics name otherwise or lack: trainings and tunings of each are tracked."""

import io
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("ultralytics")

from tracking_hooks.hosts.ultralytics import ddp, releases


def trainer(**given):
    """A trainer as the releases before 8.3.193 have it."""
    args = {"model": "yolov8n.yaml", "resume": None, "device": None, **given}
    return SimpleNamespace(args=SimpleNamespace(**args))


@pytest.mark.parametrize("device", ["0,1", [0, 1], (0, 1)])
def test_a_trainer_that_is_given_several_devices_only_launches_workers(monkeypatch, device):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert releases.only_launches_workers(trainer(device=device))
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert not releases.only_launches_workers(trainer(device=device)), "a worker has the same arguments"


@pytest.mark.parametrize("device", [None, "", "cpu", "0", 0, [0], torch.device("cpu")])
def test_a_trainer_that_is_given_one_device_trains_itself(monkeypatch, device):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert not releases.only_launches_workers(trainer(device=device))


def test_a_trainer_that_knows_it_is_believed():
    assert releases.only_launches_workers(SimpleNamespace(ddp=True))
    assert not releases.only_launches_workers(SimpleNamespace(ddp=False))


def test_the_workers_of_an_older_release_are_launched_by_what_it_gives(monkeypatch):
    monkeypatch.setattr(ddp, "describe_run", lambda trainer: trainer)
    monkeypatch.setattr(ddp, "track", lambda run, *_, **__: None)
    given = trainer()
    assert ddp.generate_ddp_command(lambda *args: args, 2, given) == (2, given)
    assert ddp.generate_ddp_command(lambda *args: args, given) == (given,)


@pytest.mark.parametrize("resume", [None, False, True])
def test_the_checkpoint_of_a_resumed_training_is_the_model_where_nothing_else_names_it(resume):
    assert releases.resumed_from(trainer(model="a/weights/last.pt", resume=resume)).as_posix() == "a/weights/last.pt"


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    torch.save({"train_metrics": {"fitness": 0.5}, "epoch": 3}, tmp_path / "last.pt")
    assert releases.checkpoint_content(tmp_path / "last.pt")["train_metrics"] == {"fitness": 0.5}


def test_a_gpu_is_named_as_ultralytics_prints_it(monkeypatch):
    found = SimpleNamespace(name="NVIDIA H100", total_memory=80 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: found)
    assert releases.gpu(0) == "NVIDIA H100, 81920MiB"


def test_the_trials_of_an_older_tuner_are_rows_of_a_table(tmp_path):
    tuner = SimpleNamespace(tune_csv=tmp_path / "tune_results.csv")
    tuner.tune_csv.write_text("fitness,lr0,momentum\n0.25,0.01,0.9\n0.5,0.02,0.8\n")
    first, second = releases.trials(releases.table_of_trials(tuner))
    assert first == {
        "iteration": 1, "fitness": 0.25, "hyperparameters": {"lr0": 0.01, "momentum": 0.9}, "datasets": {},
    }  # fmt: skip
    assert (second["iteration"], second["fitness"]) == (2, 0.5)


def test_a_bar_of_tqdm_is_drawn_until_it_is_closed():
    screen = io.StringIO()
    bar = pytest.importorskip("tqdm").tqdm(range(2), file=screen)
    assert releases.file_of_bar(bar) is not None
    bar.close()
    assert releases.file_of_bar(bar) is None
