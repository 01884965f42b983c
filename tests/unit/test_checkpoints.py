"""A file of weights names its run: where it lies, and as a copy elsewhere; never somebody else's."""

import logging
import os
import shutil
from pathlib import Path

import pytest

from tracking_hooks.events import Checkpoint
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.finals import Finals
from tracking_hooks.run import checkpoints, files, index, orphans, story
from tracking_hooks.run.liveness import Lock
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run


@pytest.fixture
def mine(record_run):
    """A run of mine whose final weights were recorded."""
    run = record_run()
    index.enter(run.folder)
    finals = Finals(run.folder, run.save_dir, Settings(), Complaints(logging.getLogger("test")))
    for kind in ("best", "last"):
        path = run.save_dir / f"weights/{kind}.pt"
        size, sha = files.digest(path)
        finals.keep(Checkpoint(path=path, kind=kind, size=size, digest=sha))
    return run


def test_weights_in_their_place_are_of_the_run_beside_them(mine):
    found = checkpoints.find(mine.save_dir / "weights/last.pt")
    assert (found.folder.path, found.checkpoint.kind) == (mine.folder.path, "last")


@pytest.mark.parametrize("exported", ["best.onnx", "best_saved_model/assets/x.tflite", "best_openvino_model"])
def test_what_was_exported_beside_the_weights_is_of_their_run(mine, exported):
    path = mine.save_dir / "weights" / exported
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"exported")
    found = checkpoints.find(path)
    assert (found.folder.path, found.checkpoint.kind) == (mine.folder.path, "best")


def test_weights_that_were_only_put_into_the_folder_of_a_run_are_not_of_it(mine):
    path = mine.save_dir / "yolo26n.pt"
    path.write_bytes(b"pretrained")
    assert checkpoints.run_of(path) is None


@pytest.fixture
def unindexed(record_run):
    """A run of mine that was killed before its weights had a digest, or that records none."""
    run = record_run()
    index.enter(run.folder)
    return run


def date(path, after):
    """Say that a file was written so many seconds after the last event of ``recorded_run``."""
    last = recorded_run(path.parents[1])[-1].time
    os.utime(path, (last + after, last + after))


def test_weights_without_a_digest_are_of_the_run_that_was_recorded_when_they_were_written(unindexed):
    last = unindexed.save_dir / "weights/last.pt"
    date(last, after=-5)
    assert checkpoints.run_of(last).path == unindexed.folder.path


@pytest.mark.parametrize("file", ["best.pt", "best.onnx", "epoch3.pt"])
def test_what_an_untracked_training_has_written_over_the_weights_of_a_run_is_not_of_it(mine, file):
    (mine.save_dir / "weights/best.pt").write_bytes(b"of an untracked training")
    path = mine.save_dir / "weights" / file
    path.touch()
    assert checkpoints.run_of(path) is None


def test_weights_that_lay_there_before_the_run_began_are_not_of_it(record_run):
    run = record_run(created=recorded_run(Path("any"))[0].time)
    index.enter(run.folder)
    old = run.save_dir / "weights/last.pt"
    date(old, after=-3600)
    assert checkpoints.run_of(old) is None


def test_the_weights_of_a_run_that_is_being_recorded_are_its_own(unindexed):
    lock = Lock(unindexed.folder.lock)
    assert lock.acquire()
    try:
        assert checkpoints.run_of(unindexed.save_dir / "weights/last.pt").path == unindexed.folder.path
    finally:
        lock.release()


def test_the_time_of_the_last_event_is_read_off_the_end_of_a_journal(record_run, monkeypatch):
    run = record_run()
    last = run.calls()[-1].time
    assert story.last_time(run.folder.journal) == last
    monkeypatch.setattr(story, "_TAIL", 10)  # less than a line
    assert story.last_time(run.folder.journal) == last
    assert story.last_time(record_run(calls=[], name="empty").folder.journal) == 0.0


def test_a_copy_elsewhere_is_known_by_its_content(mine, tmp_path):
    copy = shutil.copy(mine.save_dir / "weights/last.pt", tmp_path / "shipped.pt")
    found = checkpoints.find(copy)
    assert (found.folder.path, found.checkpoint.kind, found.checkpoint.path) == (mine.folder.path, "last", copy)


def test_a_copy_of_what_a_killed_training_has_left_is_known_too(record_run, tmp_path):
    whole = recorded_run(tmp_path / "project/train", status="killed")
    run = record_run(calls=[call for call in whole if call.hook not in ("on_run_end", "on_artifact")])
    for path in (run.save_dir / "weights").iterdir():
        path.write_bytes(path.read_bytes() + b"rewritten since")
    index.enter(run.folder)
    assert orphans.end_orphan(run.folder)
    copy = shutil.copy(run.save_dir / "weights/last.pt", tmp_path / "shipped.pt")
    assert checkpoints.run_of(copy).path == run.folder.path


def test_a_file_is_not_read_unless_a_checkpoint_of_its_size_is_known(mine, tmp_path, monkeypatch):
    other = tmp_path / "other.pt"
    other.write_bytes(b"x" * 12345)
    monkeypatch.setattr(files, "digest", lambda _: pytest.fail("the file was read"))
    assert checkpoints.run_of(other) is None


def test_another_user_s_run_is_not_mine(record_run):
    run = record_run()
    assert checkpoints.run_of(run.save_dir / "weights/best.pt") is None


def test_what_is_no_file_is_of_no_run(tmp_path):
    assert checkpoints.run_of(tmp_path / "yolo26n.yaml") is None


def test_prune_forgets_the_checkpoints_of_a_run_that_is_removed(mine, tmp_path, cli):
    copy = shutil.copy(mine.save_dir / "weights/best.pt", tmp_path / "shipped.pt")
    assert checkpoints.run_of(copy)
    cli("prune", mine.folder.path)
    assert not mine.folder.path.exists()
    assert list((tmp_path / "state/tracking-hooks/checkpoints").iterdir()) == []
