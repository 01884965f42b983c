"""A file of weights names its run: where it lies, and as a copy elsewhere; never somebody else's."""

import logging
import shutil

import pytest

from tracking_hooks.events import Checkpoint
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.finals import Finals
from tracking_hooks.run import checkpoints, files, index, orphans
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
        finals.keep({"checkpoint": Checkpoint(path=path, kind=kind, size=size, digest=sha)})
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
