"""Which run a training goes on with where another one, that was not tracked, has come between."""

import logging

import pytest

pytest.importorskip("ultralytics")
run = pytest.importorskip("tracking_hooks.hosts.ultralytics.run")

from types import SimpleNamespace  # noqa: E402

from ultralytics.utils import LOGGER  # noqa: E402

HEAD = "epoch,time,train/box_loss,train/cls_loss,metrics/mAP50(B),lr/pg0\n"


@pytest.fixture
def places(record_run, installed, caplog, monkeypatch):
    """Resume the training of a folder whose table is given; return the folders where a run is looked for."""
    monkeypatch.setattr(LOGGER, "propagate", True)
    caplog.set_level(logging.WARNING)

    def resume(table):
        save_dir = record_run("notes").save_dir
        if table is None:
            (save_dir / "results.csv").unlink()
        else:
            (save_dir / "results.csv").write_text(table)
        checkpoint = str(save_dir / "weights/last.pt")
        trainer = SimpleNamespace(save_dir=save_dir, args=SimpleNamespace(resume=checkpoint), resume=True)
        return [place.name for place in run._places(trainer)]

    return resume


def test_a_training_that_is_resumed_goes_on_with_its_run(places, caplog):
    assert places(HEAD + "1,1.5,2.00001,3,0.4,0.01\n2,3,1,1.5,0.65,0.005\n") == ["train"]
    assert not caplog.messages


def test_so_does_one_that_was_gone_on_with_untracked_meanwhile(places):
    rows = "".join(f"{epoch},{epoch},{2 / epoch},{3 / epoch},0.5,0.01\n" for epoch in range(1, 9))
    assert places(HEAD + rows) == ["train"]


def test_an_untracked_training_over_a_tracked_one_is_not_that_ones_run(places, caplog):
    assert places(HEAD + "1,1.5,2.31,3.4,0.4,0.01\n") == []
    (said,) = caplog.messages
    assert "holds another training than the run 20251009-085320-train that was recorded there" in said


@pytest.mark.parametrize("table", [None, "", "epoch\n", HEAD, HEAD + "7,1,1,1,1,1\n", HEAD + "one,two\n"])
def test_a_table_that_tells_nothing_decides_nothing(places, table):
    assert places(table) == ["train"]
