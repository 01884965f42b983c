"""What a run leaves behind is collected by its plan, and by nothing else."""

import logging
import os
from pathlib import Path

import msgspec
import pytest

from tests.support.runs import read_calls
from tracking_hooks.events import Plan
from tracking_hooks.recording.folders import new_uid
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import files
from tracking_hooks.run.layout import POINTER, Pointer, RunFolder, read_json
from tracking_hooks.run.pointer import PointerFile
from tracking_hooks.run.story import Story
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run, sample_run


@pytest.fixture
def save_dir(tmp_path):
    folder = tmp_path / "root/train"
    recorded_run(folder)
    return folder


@pytest.fixture
def folder(save_dir):
    folder = RunFolder.beside(save_dir, "20260101-000000-aaaaaaaa")
    folder.create()
    PointerFile(folder, save_dir).write(0, {})
    return folder


@pytest.fixture
def names(folder, save_dir):
    """The files that are collected by a story."""

    def names(**told):
        found = [args for _, args in files.final_files(folder, save_dir, Story(**told))]
        return {(args.get("artifact") or args["checkpoint"]).path.suffix for args in found}, len(found)

    return names


def test_by_patterns_and_by_the_names_of_weights(names):
    plan = Plan(checkpoints={"best": "weights/best.pt", "last": "weights/last.pt"}, files=["*.csv", "*.yaml", "*.png"])
    assert names(plan=plan) == ({".pt", ".csv", ".yaml", ".png"}, 5)


def test_nothing_that_an_earlier_run_has_left_in_the_folder(names, save_dir):
    plan = Plan(checkpoints={"best": "weights/best.pt"}, files=["*.csv", "*.png"], since=1_000_000_000.0)
    for path in (save_dir / "weights/best.pt", *save_dir.glob("*.png")):
        os.utime(path, (0, 999_999_999))
    assert names(plan=plan) == ({".csv"}, 1)


def test_nothing_without_a_plan(names):
    assert names() == (set(), 0)


@pytest.mark.parametrize("pattern", ["../*.csv", "/etc/*.yaml", "**x.csv", "", "~/*.csv", "weights/../../*.csv"])
def test_a_pattern_leads_to_nothing_outside_and_is_no_reason_to_fail(names, save_dir, pattern):
    (save_dir.parent / "secret.csv").write_text("not of this run")
    assert names(plan=Plan(files=[pattern])) == (set(), 0)


def test_links_are_not_followed(names, save_dir):
    secret = save_dir.parent / "secret.csv"
    secret.write_text("not of this run")
    (save_dir / "link.csv").symlink_to(secret)
    (save_dir / "link.pt").symlink_to(save_dir / "weights/best.pt")
    plan = Plan(checkpoints={"best": "link.pt", "last": "../secret.csv"}, files=["link.csv"])
    assert names(plan=plan, checkpoints={secret: "action", Path("/etc/passwd"): "action"}) == (set(), 0)


def test_the_folder_of_another_run_is_left_alone(names, folder, save_dir):
    other = RunFolder.beside(save_dir, "20260102-000000-bbbbbbbb")
    PointerFile(other, save_dir).write(0, {}, of_another=True)
    assert names(plan=Plan(files=["*.csv"])) == (set(), 0)


def test_the_end_of_an_older_run_does_not_take_the_folder_back(folder, save_dir):
    other = RunFolder.beside(save_dir, "20260102-000000-bbbbbbbb")
    PointerFile(other, save_dir).write(3, {}, of_another=True)
    PointerFile(folder, save_dir).write(1, {})
    PointerFile(folder, save_dir).settle(2)
    assert read_json(save_dir / POINTER, Pointer).uid == other.uid


def test_a_run_in_the_folder_of_an_earlier_one_collects_its_own_files(tmp_path, environment):
    save_dir = tmp_path / "root/train"
    save_dir.mkdir(parents=True)
    plan = Plan(files=["*.png", "*.yaml"])
    collected = []

    def train(*names):
        run = msgspec.structs.replace(sample_run(save_dir), uid=new_uid())
        for name in names:
            (save_dir / name).write_text(run.uid)
        log = logging.getLogger("host")
        settings = Settings(system_every=0.0, console="off")
        recorder = Recorder.start(run, {}, settings, log, params={}, environment=environment, plan=plan)
        recorder.check()
        recorder.begin(params={}, environment=environment)
        recorder.record_final_files()
        recorder.end("finished")
        calls = [call for call in read_calls(recorder.folder.journal) if call.hook == "on_artifact"]
        collected.append([call.args["artifact"].name for call in calls])

    train("args.yaml", "confusion_matrix.png")
    os.utime(save_dir / "confusion_matrix.png", (0, 0))  # long ago, by any clock
    train("args.yaml")
    assert collected == [["args.yaml", "confusion_matrix.png"], ["args.yaml"]]


def test_a_copy_that_is_recorded_is_not_written_again(tmp_path):
    """A relay may just be reading it, and the disk may be full."""
    folder = RunFolder.beside(tmp_path / "train", "20260101-000000-aaaaaaaa")
    folder.create()
    table = tmp_path / "results.csv"
    table.write_text("epoch,loss")
    first, before = files.config(folder, table, "a").path, None
    before = first.stat()
    assert files.config(folder, table, "b").path == first
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    first.write_text("torn")
    assert files.config(folder, table, "c").path.read_text() == "epoch,loss"
