"""The pointer in a training's folder: whose it is, and which epochs are settled, also if the training is killed."""

import json
import shutil
import signal

import pytest

from tests.support.systems import posix
from tracking_hooks.run.layout import POINTER, Pointer, RunFolder, read_json, write_json
from tracking_hooks.run.pointer import PointerFile

KILLED = """
import logging, os, signal
from pathlib import Path
from tracking_hooks.recording.environment import describe
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.settings import Settings
from tracking_hooks.testing import sample_run
run = sample_run(Path({save_dir!r}))
start = {{"params": {{}}, "environment": describe([], [])}}
recorder = Recorder.start(run, {{}}, Settings(system_every=0.0), logging.getLogger(), **start)
recorder.begin(**start)
for epoch in range(1, 12):
    recorder.record("on_epoch_end", epoch=epoch, step=epoch, metrics={{}}, per_class=None)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def save_dir(tmp_path):
    folder = tmp_path / "root/train"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def pointer(save_dir):
    pointer = PointerFile(RunFolder.beside(save_dir, "20260101-000000-aaaaaaaa"), save_dir)
    pointer.write(0, {"notes": "https://notes.example/7"})
    return pointer


def epoch_in(save_dir):
    return read_json(save_dir / POINTER, Pointer).epoch


@posix("SIGKILL")
def test_of_a_training_that_was_killed_a_copy_of_its_folder_tells_the_last_settled_epoch(python, save_dir, tmp_path):
    python(KILLED.format(save_dir=str(save_dir)), code=-signal.SIGKILL)
    shutil.copytree(save_dir, tmp_path / "copied")
    assert epoch_in(tmp_path / "copied") == 11


def test_an_epochs_end_makes_and_replaces_no_file(pointer, save_dir):
    path = save_dir / POINTER
    before, words = path.stat(), json.loads(path.read_bytes())
    for epoch in (1, 9, 10, 99, 100, 123_456_789):
        pointer.settle(epoch)
        assert json.loads(path.read_bytes()) == words | {"epoch": epoch}
        assert (path.stat().st_ino, path.stat().st_size) == (before.st_ino, before.st_size)
    assert [*save_dir.iterdir()] == [path]


def test_a_pointer_that_was_deleted_or_that_another_release_has_written_is_written_again(pointer, save_dir):
    path = save_dir / POINTER
    path.unlink()
    pointer.settle(3)
    assert epoch_in(save_dir) == 3
    ours = read_json(path, Pointer)
    write_json(path, Pointer(uid=ours.uid, folder=ours.folder, epoch=3))
    pointer.settle(4)
    assert epoch_in(save_dir) == 4


def test_the_pointer_of_another_run_stays_as_it_is(pointer, save_dir):
    PointerFile(RunFolder.beside(save_dir, "20260102-000000-bbbbbbbb"), save_dir).write(5, {}, of_another=True)
    before = (save_dir / POINTER).read_bytes()
    pointer.settle(6)
    assert (save_dir / POINTER).read_bytes() == before


def test_a_folder_that_is_gone_gets_no_pointer(pointer, save_dir):
    shutil.rmtree(save_dir)
    pointer.settle(1)
    assert not save_dir.exists()


def test_the_classes_that_get_curves_are_written_at_the_end_of_the_epoch_in_which_they_were_chosen(pointer, save_dir):
    pointer.note_classes(["cat", "größe"])
    pointer.settle(1)
    found = read_json(save_dir / POINTER, Pointer)
    assert (found.epoch, found.classes) == (1, ["cat", "größe"])
    before = (save_dir / POINTER).stat()
    pointer.settle(2)
    assert (save_dir / POINTER).stat().st_ino == before.st_ino, "later ones rewrite the number alone"
    found = read_json(save_dir / POINTER, Pointer)
    assert (found.epoch, found.classes) == (2, ["cat", "größe"])
