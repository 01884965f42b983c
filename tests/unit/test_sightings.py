"""Of which epochs it is recorded what the model sees, with which pictures, and what becomes of failures."""

from __future__ import annotations

import io
import itertools
import threading
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ultralytics")

from ultralytics.engine.trainer import BaseTrainer

from tracking_hooks.hosts.ultralytics import album, choosing, looking, pictures, shares, sightings
from tracking_hooks.hosts.ultralytics.looking import Sight
from tracking_hooks.predictions import SeenImage, read_member
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings
from tracking_hooks.testing import sample_run

NO_UTF_8 = "caf\udce9.png"


class Recorder:
    """Takes what is recorded, as the real one does, and what is complained of."""

    def __init__(self, folder, before=(), predictions="16"):
        self.folder, self.settings = folder, Settings(predictions=predictions)
        self.resumed, self.before = bool(before), list(before)
        self.plan = SimpleNamespace(host="Ultralytics")
        self.events, self.complaints = [], []
        self.threads = set()

    def record(self, hook, **args):
        assert hook == "on_predictions"
        self.threads.add(threading.current_thread().name)
        self.events.append(args)

    def calls(self, hook):
        return [Call(seq=1, hook=hook, time=0.0, args=args) for args in self.before]

    @property
    def complain(self):
        return Complain(self.complaints)

    @property
    def steps(self):
        return [args["step"] for args in self.events]


class Complain:
    def __init__(self, said):
        self.said = said

    def __call__(self, sentence):
        self.said.append(sentence)

    def guard(self, action, _):
        action()


class Trainer(BaseTrainer):
    """A trainer in which each epoch has the fitness that it is told."""

    def __init__(self, files, epochs, world_size=1):
        self.args = SimpleNamespace(plots=True, task="detect", data="shapes.yaml")
        self.data = {"path": files[0].parent}
        self.epochs, self.epoch, self.world_size = epochs, -1, world_size
        self.fitness = self.best_fitness = None
        dataset = SimpleNamespace(im_files=list(map(str, files)), labels=[{"cls": [0]} for _ in files])
        self.test_loader = SimpleNamespace(dataset=dataset)
        self.validator = SimpleNamespace(dataloader=self.test_loader, names={0: "square"})


class Reader:
    """Sees one thing in each image that is wanted."""

    def __init__(self, files, error=None, maps=None):
        self.seen, self.error, self.files, self.maps = {}, error, files, maps or {}
        self.is_attached = False

    def attach(self, _, wanted):
        self.is_attached = True
        for file in filter(wanted, self.files):
            self.seen[file] = Sight(SeenImage(path=str(file), width=90, height=60, picture=""), dict(self.maps))

    def detach(self):
        self.is_attached = False


@pytest.fixture
def folder(tmp_path):
    run = sample_run(tmp_path / "root/train")
    found = RunFolder.beside(run.save_dir, run.uid)
    found.path.mkdir(parents=True)
    return found


@pytest.fixture
def files(tmp_path):
    made = [tmp_path / f"data/{number}.png" for number in range(3)]
    made[0].parent.mkdir()
    for number, path in enumerate(made):
        cv2.imwrite(str(path), np.full((60, 90, 3), 80 * number, np.uint8))
    return made


@pytest.fixture
def train(folder, files, monkeypatch):
    """Train epochs of these fitnesses; each is validated by what a function returns for it."""

    def train(fitnesses, epochs=None, recorder=None, start=0, reader=lambda _: Reader(files)):
        recorder = recorder or Recorder(folder)
        looker, trainer = sightings.Sightings(recorder), Trainer(files, epochs or len(fitnesses) + start)
        for number, fitness in enumerate(fitnesses, start):
            trainer.epoch = number
            if fitness is not None:
                one = reader(number + 1)
                monkeypatch.setattr(looking, "reader_for", lambda _, one=one: one)
                looker.begin(trainer, trainer.validator)
                looker.stop()
                assert not (one and one.is_attached)
                looker.keep(trainer, trainer.validator)
                trainer.fitness, trainer.best_fitness = fitness, max(fitness, trainer.best_fitness or 0.0)
            looker.epoch_ended(trainer, number + 1)
        looker.finish()
        return recorder

    return train


# -- when ------------------------------------------------------------------------------------------------------


def test_the_first_every_tenth_the_last_and_the_best_epoch_are_recorded_once_each(train):
    recorder = train([0.1] * 12 + [0.9] + [0.2] * 12)
    assert recorder.steps == [1, 10, 20, 25, 13]
    assert len({args["artifact"].digest for args in recorder.events}) == 1
    assert recorder.threads == {"tracking-hooks-pictures"}


def test_of_a_training_that_stops_early_the_last_epoch_is_recorded_at_its_end(train):
    assert train([0.1, 0.5, 0.4], epochs=100).steps == [1, 3, 2]
    assert train([0.1, 0.5, 0.5], epochs=3).steps == [1, 3]


@pytest.mark.parametrize("epochs", [1, 2, 9, 10, 69, 70, 71, 100, 109, 300, 1000, 1605, 5000])
def test_of_a_long_training_there_are_nine_at_most(epochs):
    due = [epoch for epoch in range(1, epochs + 1) if sightings.is_due(epoch, epochs)]
    assert len(due) <= 8, "and perhaps the best one"
    assert {1, epochs} <= set(due)
    assert epochs < 20 or len(due) > 3
    assert epochs < 20 or max(b - a for a, b in itertools.pairwise(due)) <= max(20, epochs / 4), "they are evenly apart"


def test_wherever_a_training_stops_there_are_nine_at_most_and_the_last_one_is_among_them(train, folder):
    for stopped in (2, 10, 50, 61, 69):
        steps = train([0.1, 0.9] + [0.2] * (stopped - 2), epochs=70, recorder=Recorder(folder)).steps
        assert {1, 2, stopped} <= set(steps)
        assert len(steps) == len(set(steps)) <= 9


def test_an_epoch_without_a_validation_has_none(train):
    assert train([None, None, 0.3]).steps == [3]


def test_an_epoch_that_was_validated_and_not_finished_is_left_to_the_resumed_training(folder, files, monkeypatch):
    monkeypatch.setattr(looking, "reader_for", lambda _: Reader(files))
    recorder = Recorder(folder)
    looker, trainer = sightings.Sightings(recorder), Trainer(files, 30)
    trainer.epoch, trainer.fitness, trainer.best_fitness = 9, 0.1, 0.1
    looker.begin(trainer, trainer.validator)
    looker.stop()
    looker.keep(trainer, trainer.validator)
    looker.finish()
    assert recorder.events == []


@pytest.mark.parametrize("order", [["own", "other"], ["other", "own"], ["other"]], ids="-".join)
def test_what_a_callback_validates_with_the_same_validator_does_not_take_the_place_of_the_epoch(
    folder, files, tmp_path, monkeypatch, order
):
    recorder = Recorder(folder)
    looker, trainer = sightings.Sightings(recorder), Trainer(files, 1)
    trainer.epoch = 0
    other = Trainer([tmp_path / "test/1.png"], 1).test_loader
    for loader in ({"own": trainer.test_loader, "other": other}[name] for name in order):
        trainer.validator.dataloader = loader
        reader = Reader([Path(file) for file in loader.dataset.im_files])
        monkeypatch.setattr(looking, "reader_for", lambda _, reader=reader: reader)
        looker.begin(trainer, trainer.validator)
        looker.stop()
        looker.keep(trainer, trainer.validator)
    looker.epoch_ended(trainer, 1)
    looker.finish()
    if "own" in order:
        assert recorder.steps == [1]
        assert sorted(image.path for image in recorder.events[0]["images"]) == ["0.png", "1.png", "2.png"]
    else:
        (said,) = recorder.complaints
        assert said.endswith("that happens: no image of the trainer's validation set was validated")


def test_after_a_resume_nothing_is_doubled_and_the_archive_is_the_same(train, folder):
    first = train([0.1] * 10, epochs=30)
    second = train([0.1] * 21, epochs=30, start=9, recorder=Recorder(folder, before=first.events))
    assert first.steps == [1, 10]
    assert second.steps == [20, 30]
    assert second.events[0]["artifact"].digest == first.events[0]["artifact"].digest


def test_with_plots_off_and_with_the_setting_off_nobody_looks(train, folder, files, monkeypatch):
    monkeypatch.setattr(looking, "reader_for", lambda _: pytest.fail("looked"))
    looker = sightings.Sightings(Recorder(folder))
    trainer = Trainer(files, 1)
    trainer.args.plots = False
    looker.begin(trainer, trainer.validator)
    assert train([0.5], recorder=Recorder(folder, predictions="off")).events == []


# -- what goes wrong -------------------------------------------------------------------------------------------


def test_a_failure_costs_the_pictures_of_its_epoch(train, files):
    def reader(epoch):
        return Reader(files, error=ValueError("odd shape") if epoch < 4 else None)

    recorder = train([0.1, 0.2, 0.3, 0.4], reader=reader)
    assert recorder.steps == [4]
    assert recorder.complaints == [
        "what the model sees in epoch 1 is not recorded, nor in others where that happens: ValueError: odd shape"
    ], "it is said once"


def test_a_release_that_does_not_show_them_is_said_once(train):
    recorder = train([0.1, 0.2], reader=lambda _: None)
    assert recorder.events == []
    (told,) = recorder.complaints
    assert "this release of Ultralytics does not show it for the task 'detect'" in told


def test_a_data_set_of_the_users_own_that_does_not_name_its_files_is_said_once(train, monkeypatch):
    def fail(*_):
        raise AttributeError("no im_files")

    monkeypatch.setattr(choosing, "chosen", fail)
    assert train([0.1, 0.2]).complaints == ["what the model sees is not recorded: AttributeError: no im_files"]


def test_an_image_that_cannot_be_read_does_not_cost_the_others(train, files):
    files[1].write_bytes(b"no image")
    recorder = train([0.1])
    assert sorted(image.path for image in recorder.events[0]["images"]) == ["0.png", "2.png"]
    assert "a picture of predictions is left out" in recorder.complaints[0]


def test_a_thread_that_hangs_is_not_waited_for_forever(folder, files, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(pictures, "picture", lambda *_: go_on.wait(60))
    recorder = Recorder(folder)
    one = album.Album(recorder)
    reader = Reader(files)
    reader.attach(None, lambda _: True)
    names = dict.fromkeys(files, "1")
    one.add(album.Page(name="predictions", step=1, sights=reader.seen, names=names, classes={}, flag=1))
    one.close(0.01)
    assert recorder.complaints == ["pictures of predictions are left out: not made within 0.01 s"]
    go_on.set()


def test_a_run_has_less_than_a_bound_of_them(train, monkeypatch):
    monkeypatch.setattr(album, "MOST", 3500)
    recorder = train([0.1] * 100)
    assert len(recorder.events) < 11
    assert recorder.complaints[0].startswith("no more pictures of predictions: the run has 0 MB of them.")


def test_behind_that_bound_nothing_more_is_written_or_said(train, files, folder, monkeypatch):
    monkeypatch.setattr(album, "MOST", 20_000)

    def reader(epoch):
        values = np.random.default_rng(epoch).integers(0, 255, (20, 30), dtype=np.uint8)
        return Reader(files, maps={"label_map": values, "predicted_map": values})

    recorder = train([0.1] * 100, reader=reader)
    assert len(recorder.complaints) == 1
    assert len(recorder.events) <= len(list(folder.files.iterdir())) <= len(recorder.events) + 1


def test_a_name_that_is_no_utf_8_costs_no_picture(train, files):
    files[1] = files[1].rename(files[1].with_name(NO_UTF_8))
    recorder = train([0.1])
    assert recorder.complaints == []
    assert len(recorder.events[0]["images"]) == 3


# -- pictures --------------------------------------------------------------------------------------------------


def shown(path, **how):
    return Image.open(io.BytesIO(pictures.picture(path, **how)))


def test_a_large_image_becomes_a_small_picture_and_a_small_one_stays_as_it_is(tmp_path):
    cv2.imwrite(str(tmp_path / "large.jpg"), np.zeros((600, 1300, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((3, 5000, 3), np.uint8))
    assert shown(tmp_path / "large.jpg").size == pictures.size(1300, 600) == (640, 295)
    assert shown(tmp_path / "small.png").size == (640, 1)


def test_grey_and_deep_images_are_read_as_ultralytics_reads_them(tmp_path):
    for kind, most in ((np.uint8, 255), (np.uint16, 65535)):
        path = tmp_path / f"{most}.png"
        cv2.imwrite(str(path), np.full((20, 30), most // 2, kind))
        for flag in (cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE):
            picture = shown(path, flag=flag)
            assert picture.mode == ("L" if flag == cv2.IMREAD_GRAYSCALE else "RGB")
            assert np.array(picture).mean() == pytest.approx(127, abs=2)


def test_a_release_without_a_reader_of_its_own_has_pictures_too(tmp_path, monkeypatch):
    monkeypatch.delattr("ultralytics.utils.patches.imread")
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((20, 40, 3), np.uint8))
    assert shown(tmp_path / "1.png").size == (40, 20)


def test_an_image_is_turned_as_its_camera_says(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "1.jpg", exif=turned)
    assert shown(tmp_path / "1.jpg").size == (20, 40)


def test_maps_are_members_of_the_archive_and_the_picture_is_as_large(train, files):
    values = np.arange(6, dtype=np.uint8).reshape(2, 3)
    recorder = train([0.1], reader=lambda _: Reader(files, maps={"label_map": values, "predicted_map": values + 1}))
    (event,) = recorder.events
    image = event["images"][0]
    stored = read_member(event["artifact"].path, image.predicted_map)
    assert np.array(Image.open(io.BytesIO(stored))).tolist() == (values + 1).tolist()
    assert Image.open(io.BytesIO(read_member(event["artifact"].path, image.picture))).size == (3, 2)


# -- several processes -----------------------------------------------------------------------------------------


def test_what_other_ranks_have_left_for_this_epoch_is_put_together(folder, files):
    def of(file):
        return Sight(
            SeenImage(path=str(file), width=90, height=60, picture=""), {"label_map": np.eye(3, dtype=np.uint8)}
        )

    files[1] = files[1].with_name(NO_UTF_8)
    shares.leave(folder, 1, 4, {files[1]: of(files[1])})
    shares.leave(folder, 2, 3, {files[2]: of(files[2])})
    found = shares.of_others(folder, SimpleNamespace(world_size=4), 4)
    assert list(found) == [files[1]]
    assert not list(folder.path.glob("seen-*")), "nothing of it stays"
    assert found[files[1]].image == of(files[1]).image
    assert found[files[1]].maps["label_map"].tolist() == np.eye(3).tolist()
    assert shares.of_others(folder, SimpleNamespace(world_size=1), 4) == {}


class Validator:
    """What each rank calls: the others leave their share before rank 0 goes on behind this."""

    def gather_stats(self):
        pass


@pytest.fixture
def rank(folder, files, monkeypatch):
    """Validate an epoch on rank 1, with a reader."""

    def validate(reader, epoch):
        monkeypatch.setattr(shares, "RANK", 1)
        monkeypatch.setattr(shares, "asked_for", lambda _: (16, folder))
        monkeypatch.setattr(looking, "reader_for", lambda _: reader)
        looker, trainer, validator = shares.Rank(), Trainer(files, 5, world_size=2), Validator()
        trainer.epoch = epoch - 1
        looker.begin(trainer, validator)
        validator.gather_stats()
        looker.stop()

    return validate


def test_what_another_rank_could_not_see_is_said_by_the_one_that_records(rank, folder, files, monkeypatch):
    rank(Reader(files[:1], error=ValueError("odd shape")), 3)
    recorder = Recorder(folder)
    looker, trainer = sightings.Sightings(recorder), Trainer(files, 5, world_size=2)
    trainer.epoch = 2
    monkeypatch.setattr(looking, "reader_for", lambda _: Reader(files[1:]))
    looker.begin(trainer, trainer.validator)
    looker.stop()
    looker.keep(trainer, trainer.validator)
    looker.epoch_ended(trainer, 3)
    looker.finish()
    assert recorder.events == []
    (said,) = recorder.complaints
    assert said.endswith("nor in others where that happens: on rank 1: ValueError: odd shape")


def test_what_other_ranks_have_left_stays_nowhere_where_the_one_that_records_could_not_look(rank, train, folder, files):
    rank(Reader(files[:1]), 1)
    assert list(folder.path.glob("seen-*"))
    (folder.path / "worst-1.json").touch()
    train([0.5], reader=lambda _: None)
    assert not list(folder.path.glob("*-1.json"))
