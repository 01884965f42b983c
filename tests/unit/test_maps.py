"""The maps of classes and of depths are those that the metrics are of, in the shape of the picture."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("ultralytics", reason="ultralytics is not installed")

import torch
from PIL import Image
from ultralytics.models.yolo.depth import DepthValidator
from ultralytics.models.yolo.semantic import SemanticSegmentationValidator
from ultralytics.utils.metrics import DepthMetrics

from tracking_hooks.hosts.ultralytics import maps
from tracking_hooks.hosts.ultralytics.depth import Depth, in_one_scale
from tracking_hooks.hosts.ultralytics.semantic import Semantic, judge

NAMES = {0: "square", 1: "circle", 2: "ground"}
SIDE = 64
IMAGES = 6


def everything(_):
    return True


@pytest.fixture
def files(tmp_path):
    """Images on disk that are twice as wide as they are high."""
    found = [tmp_path / f"images/{number}.png" for number in range(IMAGES)]
    found[0].parent.mkdir()
    for file in found:
        Image.new("L", (SIDE, SIDE // 2)).save(file)
    return found


# -- classes --------------------------------------------------------------------------------------------------


@pytest.fixture
def new_semantic(tmp_path, files):
    def make(names=NAMES):
        validator = SemanticSegmentationValidator(None, tmp_path, {"task": "semantic", "imgsz": SIDE, "plots": False})
        validator.dataloader = SimpleNamespace(dataset=SimpleNamespace(im_files=list(map(str, files))))
        validator.init_metrics(SimpleNamespace(names=names))
        return validator

    return make


def masks(files, seed, classes=3):
    """A batch as Ultralytics makes it: each image fills the middle of a square, nothing is labelled above and below."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.full((len(files), SIDE, SIDE), 255, dtype=torch.int32)
    size = (len(files), SIDE // 2, SIDE)
    true[:, 16:48] = torch.randint(0, classes, size, generator=generator, dtype=torch.int32)
    true[:, 20, :7] = 255
    return {
        "semantic_mask": true,
        "im_file": [str(file) for file in files],
        "ori_shape": [(SIDE // 2, SIDE)] * len(files),
        "ratio_pad": [((1.0, 1.0), (0, 16))] * len(files),
    }


def guess(batch, seed, classes=3):
    generator = torch.Generator().manual_seed(seed)
    true = batch["semantic_mask"]
    random = torch.randint(0, classes, true.shape, generator=generator, dtype=torch.int32)
    return torch.where(torch.rand(true.shape, generator=generator) < 0.6, true.clamp(max=classes - 1), random)


def test_the_class_maps_are_those_that_the_metrics_are_of(new_semantic, files):
    validator, reader = new_semantic(), Semantic()
    reader.attach(validator, everything)
    for number, part in enumerate((files[:4], files[4:])):
        batch = masks(part, number)
        validator.update_metrics(guess(batch, number + 9), batch)
    reader.watch.end()
    metrics = validator.get_stats()
    assert reader.watch.error is None

    counted = np.zeros((3, 3))
    for sight in reader.seen.values():
        true, predicted = sight.maps["label_map"], sight.maps["predicted_map"]
        assert true.shape == (SIDE // 2, SIDE)
        assert true.dtype == np.uint8
        assert (true[4, :7] == 255).all(), "nothing is labelled there"
        np.add.at(counted, (true[true < 255], predicted[true < 255]), 1)
    assert counted == pytest.approx(validator.metrics.matrix.numpy())
    overlaps = np.diag(counted) / (counted.sum(0) + counted.sum(1) - np.diag(counted))
    assert overlaps.mean() == pytest.approx(metrics["metrics/mIoU"])


def test_an_image_alone_has_the_score_that_the_metric_has_of_it(new_semantic, files):
    for number, file in enumerate(files):
        validator, reader = new_semantic(), Semantic()
        reader.attach(validator, everything)
        batch = masks([file], number, classes=2)
        validator.update_metrics(guess(batch, number), batch)
        (sight,) = reader.seen.values()
        assert sight.image.score == pytest.approx(1 - validator.get_stats()["metrics/mIoU"], abs=1e-4)
        assert (sight.image.width, sight.image.height) == (SIDE, SIDE // 2)
        assert {sight.image.reason.split(":")[0]} <= {"square", "circle"}, "of the ground nothing is labelled"


def test_the_worst_class_is_named():
    counts = np.array([[6, 2, 0], [1, 1, 0], [0, 0, 5]])
    assert judge(counts, NAMES) == (pytest.approx(1 - (6 / 9 + 1 / 4 + 1) / 3, abs=1e-4), "circle: IoU 0.25")
    assert judge(np.diag([5, 0, 3]), NAMES) == (0.0, "")
    assert judge(np.zeros((3, 3)), NAMES) == (None, "")


def test_of_a_single_class_the_ground_does_not_count(new_semantic, files):
    validator, reader = new_semantic({0: "road"}), Semantic()
    reader.attach(validator, everything)
    batch = masks(files[:1], 3, classes=2)
    validator.update_metrics(guess(batch, 3, classes=2), batch)
    (sight,) = reader.seen.values()
    assert sight.image.score == pytest.approx(1 - validator.get_stats()["metrics/mIoU"], abs=1e-4)
    assert sight.image.reason.startswith("road: IoU 0.")
    assert set(np.unique(sight.maps["label_map"])) == {0, 255}
    assert judge(np.array([[9, 0], [0, 0]]), {0: "road"}) == (0.0, "")
    assert judge(np.array([[9, 1], [0, 0]]), {0: "road"}) == (1.0, "road: IoU 0.00")


def test_only_what_is_wanted_is_looked_at_and_kept(new_semantic, files):
    class Forgetful(dict):
        def __setitem__(self, file, sight):
            scores.append(sight.image.score)

    scores, validator, reader = [], new_semantic(), Semantic()
    reader.seen = Forgetful()
    reader.attach(validator, lambda file: file in files[2:4])
    batch = masks(files, 1)
    validator.update_metrics(guess(batch, 1), batch)
    assert len(scores) == 2
    assert reader.watch.error is None


def test_the_metrics_of_classes_are_the_same_with_it_and_without(new_semantic, files):
    results = []
    for reader in (None, Semantic()):
        validator = new_semantic()
        if reader:
            reader.attach(validator, everything)
        batch = masks(files, 5)
        validator.update_metrics(guess(batch, 5), batch)
        results.append((validator.get_stats(), validator.metrics.matrix.tolist()))
        if reader:
            reader.watch.end()
            assert "update_metrics" not in vars(validator)
    assert results[0] == results[1]


# -- depths ---------------------------------------------------------------------------------------------------


@pytest.fixture
def new_depth(tmp_path):
    def make(reader=None, wanted=everything):
        validator = DepthValidator(None, tmp_path, {"task": "depth", "imgsz": SIDE, "plots": False})
        validator.data = {"max_depth": 50.0}
        if reader:
            reader.attach(validator, wanted)
        validator.init_metrics(None)
        return validator

    return make


def depths(files, seed):
    generator = torch.Generator().manual_seed(seed)
    true = 1 + 20 * torch.rand((len(files), 1, SIDE, SIDE), generator=generator)
    true[:, :, :9] = 0  # nothing is known there
    predicted = true.clamp(min=1) * (0.3 + 0.1 * torch.rand(true.shape, generator=generator))
    predicted[:, :, 20, 20] = float("nan")
    return predicted, {"depth": true, "im_file": [str(file) for file in files]}


def test_the_mean_of_the_scores_is_the_mean_relative_error(new_depth, files):
    reader = Depth()
    validator = new_depth(reader)
    for number, part in enumerate((files[:4], files[4:])):
        validator.update_metrics(*depths(part, number))
    reader.watch.end()
    assert reader.watch.error is None
    scores = [sight.image.score for sight in reader.seen.values()]
    assert len(set(scores)) > 2
    assert np.mean(scores) == pytest.approx(validator.get_stats()["metrics/abs_rel"], abs=1e-4)
    first = reader.seen[files[0]].image
    assert first.reason == f"abs_rel {scores[0]:.2f}"
    assert (first.width, first.height) == (SIDE, SIDE // 2)


def test_a_score_is_a_mean_where_an_older_release_adds_up_pixels(new_depth, files, monkeypatch):
    of_image = DepthMetrics.update_stats

    def of_pixels(self, predicted, true):
        for one, its_truth in zip(predicted, true):
            totals, count = 0 if self._totals is None else self._totals.clone(), self._count
            of_image(self, one, its_truth)
            pixels = int((its_truth > self.min_depth).sum())
            self._totals, self._count = totals + (self._totals - totals) * pixels, count + pixels

    scores = []
    for _ in range(2):
        reader = Depth()
        validator = new_depth(reader)
        validator.update_metrics(*depths(files, 3))
        assert reader.watch.error is None
        scores.append([sight.image.score for sight in reader.seen.values()])
        monkeypatch.setattr(DepthMetrics, "update_stats", of_pixels)
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)


def test_a_smaller_prediction_is_compared_as_the_metric_compares_it(new_depth, files):
    reader = Depth()
    validator = new_depth(reader)
    predicted, batch = depths(files[:2], 3)
    validator.update_metrics(predicted[:, :, ::4, ::4], batch)
    assert reader.watch.error is None
    scores = [sight.image.score for sight in reader.seen.values()]
    assert np.mean(scores) == pytest.approx(validator.get_stats()["metrics/abs_rel"], abs=1e-4)


def test_both_depth_maps_are_in_one_scale():
    metric = SimpleNamespace(min_depth=0.001, max_depth=100.0, align="median")
    true = np.array([[2.0, 4.0, 6.0], [0.0, 4.0, 200.0]])
    predicted = np.array([[1.0, 2.0, np.nan], [2.5, 2.0, 9.0]])  # half of them, which is not at fault
    label_map, predicted_map, scale = in_one_scale(true, predicted, metric)
    assert scale == (2.0, 6.0)
    assert label_map.tolist() == [[1, 129, 255], [0, 129, 0]]
    assert predicted_map.tolist() == [[1, 129, 0], [193, 129, 255]]
    metric.align = "none"
    assert in_one_scale(true, predicted, metric)[1].tolist() == [[1, 1, 0], [33, 1, 255]]


def test_where_no_depth_is_labelled_there_is_no_score_and_the_scale_is_that_of_the_predictions(new_depth, files):
    reader = Depth()
    validator = new_depth(reader)
    predicted, batch = depths(files[:2], 1)
    batch["depth"] *= 0
    predicted[1] = float("nan")
    validator.update_metrics(predicted, batch)
    one, nothing = reader.seen.values()
    assert reader.watch.error is None
    assert (one.image.score, nothing.image.score) == (None, None)
    assert one.image.depths == pytest.approx((0.3, 8.4), rel=0.2)
    assert not one.maps["label_map"].any()
    assert {1, 255} <= set(one.maps["predicted_map"].flat)
    assert (nothing.image.depths, nothing.maps) == (None, {}), "maps without a scale are those of classes"


def test_the_metrics_of_depths_are_the_same_with_it_and_without(new_depth, files):
    results = []
    for reader in (None, Depth()):
        validator = new_depth(reader, lambda file: file == files[1])
        validator.update_metrics(*depths(files, 7))
        results.append(validator.get_stats())
        results[-1]["sums"] = validator.metrics._totals.tolist()
        if reader:
            assert list(reader.seen) == [files[1]]
            reader.watch.end()
            assert "update_stats" not in vars(validator.metrics)
    assert results[0] == results[1]


# -- their size -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(4000, 3000), (640, 480), (300, 3000), (1, 9000), (20, 10)])
def test_a_map_is_small_and_in_the_shape_of_its_image(size):
    width, height = maps.reduced(*size)
    assert width * height <= 80_000
    assert max(width, height) <= 640
    assert min(width, height) >= 1
    if min(size) > 10:
        assert width / height == pytest.approx(size[0] / size[1], rel=0.05)


def test_a_small_map_stays_as_it_is():
    values = np.arange(200, dtype=np.uint8).reshape(10, 20)
    assert (maps.resized(values, 20, 10) == values).all()


def test_a_map_is_reduced_without_new_values():
    values = np.where(np.indices((900, 1200)).sum(0) % 300 < 150, 3, 250).astype(np.uint8)
    assert set(np.unique(maps.resized(values, 1200, 900))) == {3, 250}
