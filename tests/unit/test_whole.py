"""Of each image that a classifier is validated on, it is told what it is taken for, in whatever order they come."""

from types import SimpleNamespace

import pytest

pytest.importorskip("ultralytics", reason="ultralytics is not installed")

import torch
from PIL import Image
from ultralytics.data import build_dataloader
from ultralytics.models.yolo.classify import ClassificationValidator

from tracking_hooks.hosts.ultralytics import maps
from tracking_hooks.hosts.ultralytics.order import OrderError
from tracking_hooks.hosts.ultralytics.whole import Whole

NAMES = {0: "square", 1: "circle", 2: "star", 3: "cross", 4: "ring", 5: "moon"}
IMAGES = 11


class Dataset:
    """Images of Ultralytics' own data set of classes, whose pixels are their number."""

    def __init__(self, folder):
        self.samples = [[str(folder / f"{number}.png"), number % len(NAMES), None, None] for number in range(IMAGES)]
        for file, *_ in self.samples:
            Image.new("L", (30, 20)).save(file)

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, number):
        return {"img": torch.full((3, 4, 4), number), "cls": self.samples[number][1]}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return Dataset(tmp_path_factory.mktemp("images"))


@pytest.fixture
def new_validator(images, tmp_path):
    def make(workers=0, batch=2, **options):
        loader = build_dataloader(images, batch, workers, **options)
        return ClassificationValidator(dataloader=loader, save_dir=tmp_path, args={"task": "classify", "imgsz": 32})

    return make


def probabilities(number):
    """What the network says of an image: of every third one the truth."""
    generator = torch.Generator().manual_seed(number)
    scores = torch.rand(len(NAMES), generator=generator)
    if number % 3 == 0:
        scores[number % len(NAMES)] = 2
    return scores.softmax(0)


def validate(validator, reader=None, wanted=lambda _: True, network=probabilities):
    """Validate as ``BaseValidator.__call__`` does; return the metrics."""
    if reader:
        reader.attach(validator, wanted)
    validator.init_metrics(SimpleNamespace(names=NAMES))
    for batch in validator.dataloader:
        scores = torch.stack([network(int(image[0, 0, 0])) for image in batch["img"]])
        validator.update_metrics(validator.postprocess(scores), batch)
    if reader:
        reader.watch.end()
    return validator.get_stats()


def told(reader):
    """Number of the image to what is told of it."""
    return {int(file.stem): sight.image for file, sight in reader.seen.items()}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch", [2, 8])  # so small a set is loaded for the next validation before this one is over
@pytest.mark.parametrize("shuffle", [True, False])
def test_each_image_has_its_own_probabilities_in_each_validation(new_validator, workers, batch, shuffle):
    validator = new_validator(workers, batch, shuffle=shuffle)
    for _ in range(4):
        reader = Whole()
        metrics = validate(validator, reader)
        assert reader.watch.error is None
        images = told(reader)
        assert images.keys() == set(range(IMAGES))
        for number, image in images.items():
            expected = probabilities(number)
            best = [NAMES[index] for index in expected.argsort(descending=True).tolist()[:5]]
            assert list(image.probabilities) == best
            assert image.probabilities[best[0]] == pytest.approx(float(expected.max()), abs=1e-4)
            assert image.label == NAMES[number % len(NAMES)]
            assert image.score == pytest.approx(1 - float(expected[number % len(NAMES)]), abs=1e-4)
            assert (image.width, image.height) == (30, 20)
        wrong = [image for image in images.values() if image.reason]
        assert 1 - len(wrong) / IMAGES == pytest.approx(metrics["metrics/accuracy_top1"])
        validate(validator)  # nobody looks


def test_a_mistake_is_told_in_words(new_validator):
    reader = Whole()
    validate(new_validator(), reader, network=lambda _: torch.tensor([0.05, 0.9, 0.05, 0.0, 0.0, 0.0]))
    images = told(reader)
    assert images[0].reason == "square taken for circle (0.90)"
    assert images[1].reason == ""


def test_logits_become_probabilities(new_validator):
    reader = Whole()
    validate(new_validator(), reader, network=lambda _: torch.tensor([1.0, 3.0, -2.0, 0.0, 0.0, 0.0]))
    assert sum(told(reader)[0].probabilities.values()) == pytest.approx(1, abs=0.01)


def test_only_what_is_wanted_is_looked_at_and_the_metrics_are_the_same(new_validator):
    reader = Whole()
    validator = new_validator()
    with_it = validate(validator, reader, lambda file: file.stem in ("2", "7"))
    assert sorted(told(reader)) == [2, 7]
    assert with_it == validate(validator)
    assert not {"init_metrics", "update_metrics"} & vars(validator).keys(), "it is left as it was"


def test_the_batches_are_those_that_come_without_it(new_validator):
    def batches(validator, reader):
        validator.update_metrics = lambda _, batch: found.append(batch["img"][:, 0, 0, 0].tolist())
        if reader:
            reader.attach(validator, lambda _: False)
        for _ in range(3):
            found = []
            validator.init_metrics(SimpleNamespace(names=NAMES))
            for batch in validator.dataloader:
                validator.update_metrics(None, batch)
            yield found

    torch.manual_seed(3)
    without = list(batches(new_validator(2), None))
    torch.manual_seed(3)
    assert list(batches(new_validator(2), Whole())) == without


def test_a_size_is_asked_only_of_images_that_are_kept(new_validator, monkeypatch):
    class Forgetful(dict):
        def __setitem__(self, file, sight):
            rows.append((file, sight.image.score))

    rows, reader = [], Whole()
    reader.seen = Forgetful()
    monkeypatch.setattr(maps, "size", lambda _: pytest.fail("it is read"))
    validate(new_validator(), reader)
    assert len(rows) == IMAGES
    assert reader.watch.error is None


def test_a_batch_that_names_its_files_is_believed(new_validator):
    validator, reader = new_validator(), Whole()
    reader.attach(validator, lambda _: True)
    validator.init_metrics(SimpleNamespace(names=NAMES))
    file = validator.dataloader.dataset.samples[4][0]
    validator.update_metrics(probabilities(4)[None], {"cls": torch.tensor([4]), "im_file": [file]})
    assert list(told(reader)) == [4]


def test_of_what_was_drawn_before_anybody_looked_nothing_is_told(new_validator):
    validator = new_validator(workers=2)
    loader = validator.dataloader
    loader.iterator = loader._get_iterator()  # as older releases do at once
    first, later = Whole(), Whole()
    validate(validator, first)
    assert isinstance(first.watch.error, OrderError)
    assert not first.seen
    validate(validator)  # of so small a set, a part of this one was drawn at once, too
    validate(validator, later)
    assert later.watch.error is None
    assert {number: image.label for number, image in told(later).items()} == {
        number: NAMES[number % len(NAMES)] for number in range(IMAGES)
    }
    assert all(
        image.score == pytest.approx(1 - float(probabilities(number)[number % len(NAMES)]), abs=1e-4)
        for number, image in told(later).items()
    )
