"""What is recorded of the final validation beside its metrics, and when nothing is."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from msgspec import structs

pytest.importorskip("ultralytics")

from tests.support import mistakes
from tracking_hooks.hosts.ultralytics import looking, portions
from tracking_hooks.hosts.ultralytics.album import Album
from tracking_hooks.hosts.ultralytics.final import FinalValidation
from tracking_hooks.hosts.ultralytics.looking import Sight
from tracking_hooks.hosts.ultralytics.worst import WholeValidation
from tracking_hooks.predictions import SeenImage, read_member
from tracking_hooks.recording import given
from tracking_hooks.recording.process import recorders
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import worst
from tracking_hooks.settings import Settings
from tracking_hooks.testing import sample_run


class Reader:
    """Sees an image that is right, and wrong ones of several scores."""

    def __init__(self, files, error=None):
        self.seen, self.error, self.files, self.is_attached = {}, None, files, False
        self._later = error

    def attach(self, _, wanted):
        self.is_attached = True

    def look(self):
        for number, file in enumerate(self.files):
            reason = "square taken for circle" if number else ""
            self.seen[file] = Sight(
                SeenImage(path="", width=90, height=60, picture="", score=number / 10, reason=reason)
            )
        self.error = self._later

    def detach(self):
        self.is_attached = False


@pytest.fixture
def trainer(tmp_path):
    files = [tmp_path / f"data/images/{number}.png" for number in range(4)]
    files[0].parent.mkdir(parents=True)
    for path in files:
        cv2.imwrite(str(path), np.zeros((60, 90, 3), np.uint8))
    matrix = np.array([[5.0, 1.0], [2.0, 7.0]])
    return SimpleNamespace(
        args=SimpleNamespace(plots=True, task="classify"), metrics={"metrics/accuracy_top1": 0.8},
        data={"path": tmp_path / "data"}, best=tmp_path / "train/weights/best.pt", files=files,
        validator=SimpleNamespace(
            names={0: "square", 1: "circle"}, metrics=SimpleNamespace(),
            confusion_matrix=SimpleNamespace(matrix=matrix),
            dataloader=SimpleNamespace(dataset=SimpleNamespace(im_files=list(map(str, files)))),
        ),
    )  # fmt: skip


@pytest.fixture
def recorder(tmp_path, environment):
    run = sample_run(tmp_path / "train")
    run.save_dir.mkdir(parents=True)
    settings = Settings(mode="offline", system_every=0.0, console="off")
    recorder = Recorder.start(run, {}, settings, logging.getLogger("host"), params={}, environment=environment)
    recorder.begin(params={}, environment=environment)
    yield recorder
    recorder.end("finished")
    recorders.clear()


@pytest.fixture
def validate(recorder, trainer, monkeypatch):
    """Validate the best checkpoint after epochs of these fitnesses, and return what was recorded."""

    def validate(*fitnesses, error=None, times=1):
        for epoch, fitness in enumerate(fitnesses, 1):
            recorder.record("on_epoch_end", epoch=epoch, step=epoch, metrics={"fitness": fitness}, per_class=None)
        reader, album = Reader(trainer.files, error), Album(recorder)
        monkeypatch.setattr(looking, "reader_for", lambda _: reader)
        final = FinalValidation(recorder, album)
        final.begin(trainer, trainer.validator)
        if reader.is_attached:
            reader.look()
        final.stop()
        assert not reader.is_attached
        final.keep(trainer, trainer.validator)
        for _ in range(times):
            final.record(trainer)
        album.close(60)
        return list(recorder.calls("on_final_validation", "on_predictions", "on_table", "on_artifact"))

    return validate


def test_the_worst_images_the_pairs_and_the_list_come_behind_the_validation(validate, trainer):
    calls = validate(0.1, 0.5, 0.5, 0.2)
    assert [(call.hook, call.args["artifact"].name if "artifact" in call.args else "") for call in calls] == [
        ("on_final_validation", ""), ("on_table", "mistakes"), ("on_artifact", "label_next.csv"),
        ("on_predictions", "worst"),
    ]  # fmt: skip
    assert mistakes.by_pair(calls) == mistakes.of_matrix(calls) == {("circle", "square"): 1, ("square", "circle"): 2}
    assert [row.path for row in mistakes.listed(calls)] == ["images/3.png", "images/2.png", "images/1.png"]
    assert [Path(row.filepath) for row in mistakes.listed(calls)] == trainer.files[:0:-1]
    epoch, images = mistakes.shown(calls)
    assert epoch == 3, "of equal fitness, the later epoch's weights are kept"
    assert [image.path for image in images] == ["images/3.png", "images/2.png", "images/1.png"]
    archive = calls[-1].args["artifact"].path
    assert all(read_member(archive, image.picture).startswith(b"\xff\xd8") for image in images)


def test_a_script_that_logs_under_these_names_does_not_change_what_the_command_shows(validate, recorder):
    calls = validate(0.1, 0.5)
    table = given.table(recorder.folder, worst.PAIRS, [{"mine": 1}], large_texts=False)
    recorder.record("on_table", artifact=table, step=None)
    told = worst.read(recorder.folder)
    assert {(row["true"], row["predicted"]): row["count"] for row in told.pairs} == mistakes.of_matrix(calls)
    assert worst.read_list(told.list_file) == mistakes.listed(calls)
    assert told.step == 2


def test_an_event_that_is_fired_twice_tells_of_the_worst_images_once(validate):
    hooks = Counter(call.hook for call in validate(0.1, times=2))
    assert (hooks["on_predictions"], hooks["on_table"], hooks["on_artifact"]) == (1, 1, 1)


@pytest.mark.parametrize("off", ["plots", "setting"])
def test_nothing_is_looked_at_where_no_plots_are_drawn_or_it_is_off(validate, trainer, recorder, off):
    if off == "plots":
        trainer.args.plots = False
    else:
        recorder.settings = structs.replace(recorder.settings, predictions="off")
    assert [call.hook for call in validate(0.1)] == ["on_final_validation"]


def test_a_failure_costs_the_worst_images_and_is_said(validate, caplog):
    assert [call.hook for call in validate(0.1, error=ValueError("no boxes"))] == ["on_final_validation"]
    assert "looking at the final validation failed: ValueError: no boxes" in caplog.text


@pytest.fixture
def others(recorder, trainer):
    """Have a second rank validate a share, and leave what it has counted."""

    def leave(error=None):
        trainer.world_size = 2
        trainer.validator.dataloader.sampler = SimpleNamespace(num_replicas=2)
        whole = WholeValidation(reader := Reader(trainer.files), {})
        reader.error = error
        portions.leave(recorder.folder, 1, whole)

    return leave


def test_what_another_rank_could_not_count_is_said_and_no_half_of_it_recorded(validate, others, recorder, caplog):
    others(error=ValueError("odd shape"))
    assert [call.hook for call in validate(0.1)] == ["on_final_validation"]
    assert "the worst images are not recorded: on rank 1: ValueError: odd shape" in caplog.text
    assert not list(recorder.folder.path.glob("*-1.json"))


def test_a_rank_that_shares_no_folder_with_this_one_is_said(validate, others, recorder, trainer, caplog):
    others()
    (recorder.folder.path / "worst-1.json").unlink()
    assert len(mistakes.listed(validate(0.1))) == 3
    assert "are those of a part of the validation set: rank 1 has left nothing" in caplog.text


def test_where_one_rank_validates_all_nothing_is_missed(validate, trainer, caplog):
    trainer.world_size = 2
    assert len(mistakes.listed(validate(0.1))) == 3
    assert "worst images" not in caplog.text


def test_the_table_is_one_as_log_table_makes_them(validate):
    (table,) = [call.args["artifact"] for call in validate(0.1) if call.hook == "on_table"]
    assert (table.name, table.kind) == (worst.PAIRS, "table")
    assert json.loads(table.path.read_text()) == {
        "columns": ["true", "predicted", "count"], "data": [["square", "circle", 2], ["circle", "square", 1]],
    }  # fmt: skip
