"""Where TensorBoard shows a run."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tracking_hooks.events import Unavailable
from tracking_hooks.testing import play, recorded_run, sample_run
from tracking_hooks_tensorboard import pins
from tracking_hooks_tensorboard.tracker import TensorBoardTracker
from tracking_hooks_tensorboard.trainer import page


def delivered(tmp_path):
    destination = {"logdir": str(tmp_path / "runs/train")}
    run = sample_run(tmp_path / "runs/train")
    return play(TensorBoardTracker(), recorded_run(run.save_dir), run, destination=destination), destination


def pinned(url):
    parts = urlsplit(url)
    assert parts.fragment == "timeseries"
    return [card["tag"] for card in json.loads(parse_qs(parts.query)["pinnedCards"][0]) if card["plugin"] == "scalars"]


def test_map_and_the_losses_are_pinned(tmp_path):
    found = page(*delivered(tmp_path), False)
    first, second, *losses = pinned(found.url)
    assert (first, second) == ("metrics/mAP50-95(B)", "metrics/mAP50(B)")
    assert {"train/box_loss", "val/box_loss"} <= set(losses)
    assert all(tag.startswith(("train/", "val/")) for tag in losses)


@pytest.mark.parametrize(
    ("metrics", "first"),
    [
        (("accuracy_top1", "accuracy_top5"), ["accuracy_top1", "accuracy_top5"]),
        (("pixel_acc", "mIoU"), ["mIoU", "pixel_acc"]),
        (("silog", "rmse", "abs_rel", "delta3", "delta1"), ["delta1", "abs_rel", "rmse"]),
    ],
)
def test_what_a_task_is_judged_by_is_pinned_before_the_losses(metrics, first):
    tags = ["lr/pg0", "val/loss", "train/loss", *(f"metrics/{name}" for name in metrics)]
    assert pins.of(tags) == [*(f"metrics/{name}" for name in first), "train/loss", "val/loss"]


def test_a_folder_that_was_deleted_is_said_to_be_gone(tmp_path):
    state, destination = delivered(tmp_path)
    Path(destination["logdir"]).rename(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="is gone"):
        page(state, destination, False)


def test_the_run_is_served_or_the_folder_that_it_is_in(tmp_path):
    state, destination = delivered(tmp_path)
    for overview, folder in ((False, tmp_path / "runs/train"), (True, tmp_path / "runs")):
        found = page(state, destination, overview)
        assert found.store == folder.as_uri()
        assert found.command[found.command.index("--logdir") + 1] == str(folder)
        assert found.command[found.command.index("--host") + 1] == "127.0.0.1"


def test_a_run_without_an_epoch_is_opened_without_pins(tmp_path):
    found = page({"file": "/runs/train/events"}, {"logdir": str(tmp_path)}, False)
    assert found.url == "#timeseries"


def test_there_is_no_page_of_a_run_that_has_no_event_file():
    assert page({}, {"logdir": "/runs/train"}, False) is None
