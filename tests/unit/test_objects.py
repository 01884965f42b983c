"""What a detector sees is told as Ultralytics itself writes it down, in pixels of the image on disk."""

from __future__ import annotations

import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ultralytics")

from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.models.yolo.obb import OBBValidator
from ultralytics.utils import metrics

from tests.support import seeing
from tracking_hooks.hosts.ultralytics import looking, objects
from tracking_hooks.predictions import CONFIDENT

TWO = [[0, 0.3, 0.3, 0.2, 0.3], [1, 0.6, 0.7, 0.3, 0.2], [2, 0.8, 0.2, 0.1, 0.2]]
MANY = [[n % 3, 0.02 + n % 20 * 0.05, 0.03 + n // 20 * 0.06, 0.04, 0.05] for n in range(320)]
OBB = [[0, 0.2, 0.2, 0.5, 0.2, 0.5, 0.4, 0.2, 0.4], [1, 0.6, 0.6, 0.9, 0.6, 0.9, 0.8, 0.6, 0.8]]
POSE = [[*line, 0.3, 0.3, 2, 0.4, 0.5, 0] for line in TWO]
SEGMENTS = [[0, 0.2, 0.2, 0.5, 0.2, 0.5, 0.5, 0.2, 0.5], [2, 0.6, 0.6, 0.9, 0.6, 0.9, 0.9]]
LINES = {"obb": OBB, "pose": POSE, "segment": SEGMENTS}


@pytest.fixture
def nothing_is_drawn(monkeypatch):
    """Plots are counted for, and not drawn: that takes seconds."""
    for name in ("plot_pr_curve", "plot_mc_curve"):
        monkeypatch.setattr(metrics, name, lambda *_, **__: None)
    monkeypatch.setattr(metrics.ConfusionMatrix, "plot", lambda *_, **__: None)
    for name in ("plot_val_samples", "plot_predictions"):
        monkeypatch.setattr(DetectionValidator, name, lambda *_, **__: None)
        monkeypatch.setattr(OBBValidator, name, lambda *_, **__: None)


def images(lines):
    return {
        "a/1.png": ((60, 100, 3), np.uint8, lines),
        "b/1.png": ((90, 61), np.uint8, lines),
        "deep.png": ((50, 50), np.uint16, lines),
        "long.jpg": ((33, 200, 3), np.uint8, lines),
        "nothing.png": ((64, 64, 3), np.uint8, []),
        "no label.png": ((64, 64, 3), np.uint8, None),
        "square.png": ((64, 64, 3), np.uint8, lines),
    }


def written(validator, folder):
    """What Ultralytics has written of each image: (class, coordinates, confidence), the most confident first."""
    found = {}
    for name in validator.dataloader.dataset.im_files:
        parts = Path(name).relative_to(validator.label_root).with_suffix("").parts
        path = folder / "val/labels" / f"{'_'.join(parts)}.txt"
        rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        rows = [(int(row[0]), np.array(row[1:-1], float), float(row[-1])) for row in rows]
        found[Path(name)] = sorted((row for row in rows if row[2] >= CONFIDENT), key=lambda row: -row[2])
    return found


HOWS = [(kind, {"rect": True}) for kind in ("detect", "obb", "pose", "segment", "rtdetr")]


@pytest.mark.parametrize(("kind", "how"), [*HOWS, ("detect", {"single_cls": True, "imgsz": 96})], ids=str)
def test_it_is_what_ultralytics_writes(tmp_path, kind, how):
    data = seeing.write(tmp_path / "data", images(LINES.get(kind, TWO)))
    validator, reader = seeing.validate(kind, data, tmp_path, seeing.near, save_txt=True, save_conf=True, **how)

    theirs = written(validator, tmp_path)
    assert reader.watch.error is None
    assert len(reader.seen) == len(theirs) == 7
    assert sum(map(len, theirs.values())) > 10
    for file, rows in theirs.items():
        image = reader.seen[file].image
        boxes = image.predictions
        size = np.array([image.width, image.height])
        assert [box.label for box in boxes] == [validator.names[row[0]] for row in rows]
        assert [box.confidence for box in boxes] == pytest.approx([row[2] for row in rows], abs=1e-5)
        for box, (_, numbers, _) in zip(boxes, rows):
            if kind == "obb":
                assert np.array(box.polygon) == pytest.approx(numbers.reshape(4, 2) * size, abs=0.02)
            elif kind != "segment":
                x, y, width, height = numbers[:4] * [*size, *size]
                corners = x - width / 2, y - height / 2, x + width / 2, y + height / 2
                assert box.box == pytest.approx(corners, abs=0.02)
            if kind == "pose":
                assert np.array(box.keypoints) == pytest.approx(numbers[4:].reshape(2, 3) * [*size, 1], abs=0.02)


def test_labels_are_where_people_have_put_them(tmp_path):
    for kind, lines in {"detect": TWO, **LINES}.items():
        data = seeing.write(tmp_path / kind, images(lines))
        _, reader = seeing.validate(kind, data, tmp_path, seeing.near, rect=True)
        assert reader.watch.error is None
        for file, sight in reader.seen.items():
            boxes, size = sight.image.labels, np.array([sight.image.width, sight.image.height])
            if "no" in file.name:
                assert boxes == []
                continue
            assert Counter(box.label for box in boxes) == Counter(seeing.NAMES[int(line[0])] for line in lines)
            for box in boxes if kind in ("detect", "pose") else ():
                x, y, width, height = next(line for line in lines if seeing.NAMES[line[0]] == box.label)[1:5]
                corners = np.array([[x - width / 2, y - height / 2], [x + width / 2, y + height / 2]]) * size
                assert box.box == pytest.approx(corners.flatten(), abs=0.6)
            if kind == "pose":
                assert boxes[0].keypoints[0] == pytest.approx((*(size * 0.3), 2), abs=0.6)
                assert boxes[0].keypoints[1][2] == 0
            if kind in ("obb", "segment"):
                for box in boxes:
                    line = next(line for line in lines if seeing.NAMES[line[0]] == box.label)
                    corners = np.array(line[1:]).reshape(-1, 2) * size
                    outline = np.array(box.polygon)
                    tolerance = (
                        1.0 if kind == "obb" else 3.0 * max(size) / 64
                    )  # a mask's pixel is four of the network's
                    assert outline.min(0) == pytest.approx(corners.min(0), abs=tolerance)
                    assert outline.max(0) == pytest.approx(corners.max(0), abs=tolerance)


@pytest.mark.usefixtures("nothing_is_drawn")
@pytest.mark.parametrize("kind", ["detect", "obb"])
def test_mistakes_are_those_of_the_confusion_matrix(tmp_path, kind):
    data = seeing.write(tmp_path / "data", images(LINES.get(kind, TWO)))
    validator, reader = seeing.validate(kind, data, tmp_path, seeing.near, plots=True, conf=CONFIDENT)

    counted = np.zeros((4, 4))
    index = {name: number for number, name in seeing.NAMES.items()}
    for image in (sight.image for sight in reader.seen.values()):
        right = 0
        for box in image.predictions:
            true = 3 if box.match is None else index[image.labels[box.match].label]
            counted[index[box.label], true] += 1
            right += index[box.label] == true
        for box in image.labels:
            counted[3, index[box.label]] += box.match is None
        both = len(image.labels) + len(image.predictions)
        assert image.score == pytest.approx(1 - 2 * right / both if both else 0, abs=1e-4)
    assert counted.tolist() == validator.confusion_matrix.matrix.tolist()
    assert counted[3].sum()
    assert np.trace(counted)


def test_of_300_objects_and_more_the_most_confident_are_listed(tmp_path):
    data = seeing.write(tmp_path / "data", {"many.png": ((80, 80), np.uint8, MANY)})
    _, reader = seeing.validate("detect", data, tmp_path, seeing.near, conf=0.001)

    (image,) = [sight.image for sight in reader.seen.values()]
    assert len(image.labels) == 300
    assert len(image.predictions) < 300
    assert image.left_out == len(MANY) - 300
    assert [box.confidence for box in image.predictions] == sorted(
        (b.confidence for b in image.predictions), reverse=True
    )
    found = [box for box in image.predictions if box.match is not None]
    assert len(found) > 100
    for box in found:
        counterpart = image.labels[box.match]
        assert image.predictions[counterpart.match] is box
        assert counterpart.iou == box.iou > 0.45


@pytest.mark.usefixtures("nothing_is_drawn")
def test_metrics_and_the_validator_are_the_same_as_without_us(tmp_path):
    data = seeing.write(tmp_path / "data", images(TWO))
    ours, _ = seeing.validate("detect", data, tmp_path, seeing.near, plots=True)
    theirs, _ = seeing.validate("detect", data, tmp_path, seeing.near, plots=True, look=False)

    assert ours.metrics.results_dict == theirs.metrics.results_dict
    assert ours.confusion_matrix.matrix.tolist() == theirs.confusion_matrix.matrix.tolist()
    assert vars(ours).keys() == vars(theirs).keys()


def test_what_fails_in_us_costs_what_was_seen_and_nothing_else(tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("no such image")

    monkeypatch.setattr(objects, "sight", fail)
    data = seeing.write(tmp_path / "data", images(TWO))
    validator, reader = seeing.validate("detect", data, tmp_path, seeing.near)

    assert str(reader.watch.error) == "no such image"
    assert reader.seen == {}
    assert validator.metrics.results_dict["metrics/mAP50(B)"] > 0
    assert "_process_batch" not in vars(validator)


def test_a_method_that_the_user_has_replaced_is_put_back():
    class Validator:
        def count(self):
            return 1

    validator = Validator()
    validator.count = mine = lambda: 2
    watch, told = looking.Watch(), []
    watch.before(validator, "count", lambda: told.append("before"))
    watch.after(validator, "count", told.append)
    assert validator.count() == 2
    watch.end()
    assert told == ["before", 2]
    assert validator.count is mine


def test_of_what_has_failed_the_sentence_is_kept_and_the_batch_is_let_go():
    class Batch:
        pass

    class Validator:
        def count(self, batch):
            return 1

    def fail(batch):
        raise ValueError("no such image")

    validator, watch, batch = Validator(), looking.Watch(), Batch()
    watch.before(validator, "count", fail)
    assert validator.count(batch) == 1
    assert str(watch.error) == "no such image"
    batch = weakref.ref(batch)
    assert batch() is None, "it may lie in the memory of the GPU"


def test_an_outline_runs_along_the_edges_of_the_pixels_of_the_largest_part():
    mask = np.zeros((40, 40), np.uint8)
    mask[3:13, 5:25] = 1
    mask[30, 30] = 1
    outline = objects.outline(mask)
    assert outline.min(0) == pytest.approx([5, 3], abs=0.2)
    assert outline.max(0) == pytest.approx([25, 13], abs=0.2)
    rough = (np.random.default_rng(0).random((40, 40)) < 0.6).astype(np.uint8)
    assert 3 <= len(objects.outline(rough, 50)) <= 50
    assert len(objects.outline(np.eye(40, dtype=np.uint8)[:1], 50)) >= 3
    assert len(objects.outline(np.zeros((40, 40), np.uint8))) == 0
