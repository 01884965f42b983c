"""What a rank above 0 raises is said by rank 0, whenever it was raised."""

from types import SimpleNamespace

import pytest

pytest.importorskip("ultralytics")

from tracking_hooks.events import Error
from tracking_hooks.hosts.ultralytics import ddp
from tracking_hooks.recording.tracking import LAUNCHED, Launch
from tracking_hooks.run.journal import FORMAT, Head, Journal
from tracking_hooks.run.layout import RunFolder, read_json
from tracking_hooks.testing import sample_run


def test_a_rank_that_fails_before_the_run_has_begun_leaves_its_error(tmp_path, monkeypatch):
    run = sample_run(tmp_path / "root/train")
    run.save_dir.mkdir(parents=True)
    folder = RunFolder.beside(run.save_dir, run.uid)
    folder.create()
    Journal.create(folder.journal, Head(format=FORMAT, created=0.0, run=run, plugins={})).close()
    monkeypatch.setenv(LAUNCHED, "")
    Launch(run.uid, {}, []).hand_on()
    monkeypatch.setattr(ddp, "RANK", 1)

    def train(_):
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError):
        ddp.train(train, SimpleNamespace(save_dir=run.save_dir))
    error = read_json(folder.crash(1), Error)
    assert error.message == "rank 1: CUDA out of memory"
    assert error.traceback.count("File ") == 1  # where it was raised, and no frame of ours
