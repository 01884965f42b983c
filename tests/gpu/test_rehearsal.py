"""The script for a GPU, on a machine without one: all of it but CUDA itself."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from tests.gpu import __main__ as command
from tests.gpu.checks import Checks, Failed, interval, mean_batch, mixed
from tests.gpu.device import _SHARE, Gpu
from tests.gpu.trainer import Watch
from tests.gpu.trainings import ALL, BARE, BARE_AGAIN, EACH_BATCH, ROOT, TRACKED, WATCHED, Done, Trainings
from tests.makefile import commands


def done(**changes):
    told = {"batches": [[9.0], [1.0, 3.0]], "weights": "a", "amp": True, "batch": 4, "calls": 10, "waits": []}
    return Done(**{**told, "save_dir": None, **changes})


def checks(rounds=1, **by_variant):
    """The checks, where the trainings have come to this."""
    here = SimpleNamespace(train=lambda variant: by_variant.get(variant.name, done()), device="0", epochs=2)
    return Checks(here, rounds)


# -- the command ----------------------------------------------------------------------------------------------


def test_make_gpu_runs_it():
    (line,) = commands("gpu")
    assert line.endswith("-m tests.gpu ")


def test_without_a_gpu_it_says_so_and_is_no_failure(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False)))
    monkeypatch.setattr(sys, "argv", ["tests.gpu"])
    command.main()
    assert capsys.readouterr().out.startswith("Skipped: PyTorch sees no GPU")


def test_a_training_that_hangs_fails_its_check_and_no_other_one(monkeypatch, capsys):
    def hang(_):
        raise subprocess.TimeoutExpired("python", 900)

    monkeypatch.setattr(Checks, "weights", hang)
    monkeypatch.setattr(Checks, "waits", lambda _: "none")
    monkeypatch.setattr(
        sys, "argv", ["tests.gpu", "--device", "cpu", "--quick", "--only", "weights", "--only", "waits"]
    )
    with pytest.raises(SystemExit) as ended:
        command.main()
    said = capsys.readouterr().out
    assert ended.value.code
    assert "weights: FAILED: Command 'python' timed out after 900 seconds" in said
    assert "waits: none" in said


@pytest.mark.e2e
def test_an_epoch_that_is_begun_again_for_lack_of_memory_has_one_value(monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["tests.gpu", "--device", "cpu", "--quick", "--only", "memory"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    said = capfd.readouterr().out
    assert ended.value.code == 0, said
    assert "memory: from batches of 4 to 2; one value an epoch, as in results.csv, in tensorboard and mlflow" in said


@pytest.mark.e2e
def test_a_batch_of_a_quick_training_on_a_gpu_is_too_large_for_what_pytorch_holds_anyway(tmp_path):
    here = Trainings(tmp_path, "0", quick=True)
    need = here.batch * saved_for_backward(here._arguments(tmp_path)["imgsz"])
    lacks = (1 - _SHARE) * need
    assert lacks > 3 * 20 * 2**20, "PyTorch takes 20 MiB at once, of which a part may be free"


def saved_for_backward(size):
    """The bytes of one image that the network of a quick training keeps on a GPU, where AMP halves them."""
    import torch
    from ultralytics.nn.tasks import DetectionModel

    network = DetectionModel(str(ROOT / "tests/data/yolo26n.yaml"), nc=3, verbose=False).train()
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        network(torch.zeros(1, 3, size, size))
    return sum(kept.values())


# -- what the checks make of it -------------------------------------------------------------------------------


def test_other_weights_with_tracking_are_a_failure_and_other_weights_without_it_tell_nothing():
    assert checks().weights() == (
        "the same with AMP in 2 bare and 3 tracked trainings, one of them with histograms and the graph"
    )
    with pytest.raises(Failed, match="a tracked training comes to other weights"):
        checks(**{ALL.name: done(weights="b")}).weights()
    with pytest.raises(Failed, match="nothing can be told"):
        checks(**{BARE_AGAIN.name: done(weights="b")}).weights()


def test_a_callback_that_waits_for_work_is_a_failure_and_one_that_asks_an_idle_device_is_none():
    asks, waits = (
        {"event": "on_train_batch_end", "where": ["session.py:7"], "was idle": idle} for idle in (True, False)
    )
    assert (
        "1 of 10 callbacks ask the device, 0 of these while it works"
        in checks(**{WATCHED.name: done(waits=[asks])}).waits()
    )
    with pytest.raises(Failed, match=r"1 of 10 callbacks wait for work: 1 in on_train_batch_end, at session\.py:7"):
        checks(**{WATCHED.name: done(waits=[asks, waits])}).waits()
    with pytest.raises(Failed, match="none of our callbacks was called"):
        checks(**{WATCHED.name: done(calls=0)}).waits()


def test_the_time_of_a_batch_is_told_as_a_difference_with_its_interval():
    one = checks(rounds=3, **{EACH_BATCH.name: done(batches=[[9.0], [12.0]])})
    said = one.batches()
    assert "2 µs a batch without tracking, 3 rounds" in said
    assert f"{TRACKED.name}: +0 ± 0 µs" in said
    assert f"{EACH_BATCH.name}: +10 ± 0 µs" in said
    assert one.samples[BARE.name] == [2.0, 2.0, 2.0]


def test_an_interval_is_that_of_students_t():
    middle, half = interval([1.0, 2.0, 3.0])
    assert (middle, round(half, 3)) == (2.0, round(4.303 / math.sqrt(3), 3))
    assert interval([5.0]) == (5.0, math.inf)


def test_the_first_epoch_is_not_timed():
    assert mean_batch([[1000.0], [1.0], [3.0]]) == 2.0


def test_no_variant_always_comes_first():
    orders = [mixed([BARE, TRACKED, ALL], number) for number in range(6)]
    assert [sum(order[0] is one for order in orders) for one in (BARE, TRACKED, ALL)] == [2, 2, 2]


# -- what a training tells ------------------------------------------------------------------------------------


class Queue:
    """A device that is at work until somebody waits for it."""

    def __init__(self):
        self.is_at_work, self.found = True, None

    def is_idle(self):
        return not self.is_at_work

    @contextmanager
    def waits(self):
        self.found = []
        yield self.found

    def wait(self, _):
        self.is_at_work = False
        self.found.append("session.py:7")


def test_only_our_callbacks_are_watched_and_it_is_told_whether_the_device_was_at_work():
    queue, called = Queue(), []

    def theirs(_):
        called.append("theirs")

    def ours(trainer):
        queue.wait(trainer)

    ours.__module__ = "tracking_hooks.hosts.ultralytics.session"
    callbacks = {"on_train_epoch_start": [], "on_train_batch_start": [], "on_train_epoch_end": [ours, ours, theirs]}
    watch = Watch(queue, runs_short=False, looks=True)
    watch.begin(SimpleNamespace(callbacks=callbacks))
    for listener in callbacks["on_train_epoch_end"][1:]:
        listener(None)
    assert (watch.calls, called) == (2, ["theirs"])
    assert [(wait["where"], wait["was idle"]) for wait in watch.waits] == [
        (["session.py:7"], False),
        (["session.py:7"], True),
    ]


# -- CUDA, as PyTorch documents it ----------------------------------------------------------------------------


@pytest.fixture
def cuda(monkeypatch):
    """A GPU of 1,000 bytes, of which 100 are held, and 300 were when a batch was trained."""
    cuda = SimpleNamespace(
        modes=[], share=None, empty_cache=lambda: None, memory_allocated=lambda: 100, max_memory_allocated=lambda: 300,
        get_device_properties=lambda _: SimpleNamespace(total_memory=1000),
    )  # fmt: skip
    cuda.set_sync_debug_mode = cuda.modes.append
    cuda.set_per_process_memory_fraction = lambda share: setattr(cuda, "share", share)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    return cuda


def test_what_is_left_of_the_memory_is_too_little_for_a_batch_and_enough_for_half_of_it(cuda):
    gpu = Gpu()
    gpu.run_short(None)
    assert 100 + 200 / 2 < 1000 * cuda.share < 300
    gpu.relieve()
    assert cuda.share == 1.0


def test_what_pytorch_says_of_calls_that_wait_is_taken_and_not_what_it_says_of_its_mode(cuda):
    with Gpu().waits() as found:
        warnings.warn("Synchronization debug mode does not yet detect all synchronizing operations", stacklevel=1)
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
    (where,) = found
    assert where.startswith("test_rehearsal.py:")
    assert cuda.modes == ["warn", "default"]
