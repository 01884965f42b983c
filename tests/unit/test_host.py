"""What is put on a trainer, and on which."""

import pickle
from collections import defaultdict

import cloudpickle
import pytest

from tracking_hooks.run import layout

host = pytest.importorskip("tracking_hooks.hosts.ultralytics.session", reason="ultralytics is not installed")


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    """A trainer as Ultralytics has it at the moment when integrations are added."""
    monkeypatch.setenv("TRACKING_HOOKS", "notes")
    trainer = object.__new__(host.BaseTrainer)
    trainer.callbacks = defaultdict(list)
    trainer.ddp = False
    trainer.save_dir = tmp_path / "project/train"
    trainer.save_dir.mkdir(parents=True)
    return trainer


def test_callbacks_come_back_from_a_pickle_as_the_same_functions():
    for callback in host._CALLBACKS.values():
        assert pickle.loads(cloudpickle.dumps(callback)) is callback


@pytest.mark.parametrize("rank", [1, 2, 7])
def test_only_rank_0_records(trainer, monkeypatch, rank, tmp_path):
    monkeypatch.setattr(host, "RANK", rank)
    host.attach_to(trainer)
    assert not trainer.callbacks
    assert layout.find_runs(tmp_path) == []


def test_the_process_that_only_launches_workers_does_not_record(trainer, tmp_path):
    trainer.ddp = True
    host.attach_to(trainer)
    assert not trainer.callbacks
    assert layout.find_runs(tmp_path) == []


def test_what_is_no_trainer_is_left_alone(trainer):
    host.attach_to(object())  # a validator, a predictor, an exporter


def test_nothing_of_ours_that_fails_keeps_a_trainer_from_being_made(trainer, caplog, installed):
    host.attach_to(trainer)  # it has no `args`, which we could not foresee
    assert not trainer.callbacks


def test_a_callback_that_fails_ends_no_training(trainer):
    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("could not be foreseen")

    host._sessions[trainer] = Broken()
    for event in ("on_train_start", "on_fit_epoch_end", "teardown"):
        host._CALLBACKS[event](trainer)
    assert trainer not in host._sessions
