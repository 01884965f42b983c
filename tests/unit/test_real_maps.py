"""Ultralytics validates a classifier, class maps and depth maps: what is told of each image is that image's."""

import json

import cv2
import numpy as np
import pytest

pytest.importorskip("ultralytics", reason="ultralytics is not installed")

import torch
from ultralytics import YOLO

from tests.support import tasks
from tracking_hooks.hosts.ultralytics import looking, maps

NAMES = {0: "square", 1: "circle", 2: "triangle", 3: "ground"}
SIZES = {"wide": (96, 40), "tall/a": (50, 128), "square": (64, 64), "other/a": (1500, 1000), "large": (900, 1200)}
"""Width and height by name; two have the same base name."""
SIDE = 64


def pattern(name):
    """What is labelled in an image: large parts, different ones in each image."""
    width, height = SIZES[name]
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    number = list(SIZES).index(name)
    return ((x + y * (number + 1) > 0.8).astype(np.uint8) + (y > 0.7)).astype(np.uint8)


@pytest.fixture
def write(tmp_path):
    """Write a data set of a kind; return its YAML, or its folder."""

    def written(kind):
        rng = np.random.default_rng(0)
        for number, (name, (width, height)) in enumerate(SIZES.items()):
            place = f"val/{NAMES[number % 3]}/{name.replace('/', '-')}" if kind == "classify" else f"images/val/{name}"
            file = (tmp_path / place).with_suffix(".png")
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
            if kind == "semantic":
                label = (tmp_path / f"masks/val/{name}").with_suffix(".png")
                label.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(label), pattern(name))
            if kind == "depth":
                label = (tmp_path / f"depth/val/{name}").with_suffix(".npy")
                label.parent.mkdir(parents=True, exist_ok=True)
                np.save(label, pattern(name).astype(np.float32) * 3 + 2)
        if kind == "classify":
            (tmp_path / "train").symlink_to(tmp_path / "val")
            return tmp_path
        yaml = tmp_path / "data.yaml"
        more = {"masks_dir": "masks"} if kind == "semantic" else {}
        images = {"train": "images/val", "val": "images/val"}
        yaml.write_text(json.dumps({"path": str(tmp_path), **images, "names": NAMES, **more}))
        return yaml

    return written


@pytest.fixture
def validate(tmp_path, write):
    """Validate; return the network, the validator and its reader."""

    def validated(kind, answer=None, *, look=True, **args):
        network = tasks.network(tmp_path, kind)
        network.write_text(network.read_text().replace("nc: 80", f"nc: {len(NAMES)}"))
        torch.manual_seed(0)
        model = YOLO(str(network), task=kind)
        model.model.names = NAMES
        data = args.pop("data", None) or write(kind)
        options = {"data": str(data), "imgsz": SIDE, "batch": 2, "device": "cpu", "plots": False, "mode": "val", **args}
        validator = model.task_map[kind]["validator"](save_dir=tmp_path / "val", args=options)
        if answer:
            batches = []
            prepare = validator.preprocess
            validator.preprocess = lambda batch: batches.append(prepare(batch)) or batches[-1]
            validator.postprocess = lambda _: answer(batches[-1])
        reader = looking.reader_for(validator) if look else None
        if reader:
            reader.attach(validator, lambda _: True)
        validator.metrics_found = validator(model=model.model)
        if reader:
            reader.watch.end()
            assert reader.watch.error is None
        return model, validator, reader, data

    return validated


def name(file):
    return file.as_posix().split("images/val/")[1].removesuffix(".png")


@pytest.mark.parametrize("rect", [True, False])
def test_the_label_map_is_the_mask_in_the_shape_of_the_picture(validate, rect):
    _, validator, reader, data = validate("semantic", lambda batch: batch["semantic_mask"].clone(), rect=rect)
    assert {name(file) for file in reader.seen} == set(SIZES)
    for file, sight in reader.seen.items():
        width, height = SIZES[name(file)]
        assert (sight.image.width, sight.image.height) == (width, height)
        expected = cv2.resize(pattern(name(file)), maps.reduced(width, height), interpolation=cv2.INTER_NEAREST)
        assert sight.maps["label_map"].shape == expected.shape
        assert (sight.maps["label_map"] == expected).mean() > 0.93, "at the edges, pixels of the network are larger"
        assert (sight.maps["predicted_map"] == sight.maps["label_map"]).all()
        assert (sight.image.score, sight.image.reason) == (0.0, "")
    _, without, _, _ = validate(
        "semantic", lambda batch: batch["semantic_mask"].clone(), rect=rect, look=False, data=data
    )
    assert without.metrics_found == validator.metrics_found


def test_what_the_network_says_of_pixels_is_compared_as_the_metrics_compare_it(validate):
    _, validator, reader, data = validate("semantic")
    _, without, _, _ = validate("semantic", look=False, data=data)
    assert without.metrics_found == validator.metrics_found
    assert without.confusion_matrix.matrix.tolist() == validator.confusion_matrix.matrix.tolist()
    assert len(reader.seen) == len(SIZES)
    assert all(0 < sight.image.score <= 1 and "IoU" in sight.image.reason for sight in reader.seen.values())


def test_the_true_depths_are_those_of_the_file_and_the_scores_those_of_the_metric(validate):
    _, validator, reader, data = validate("depth", rect=True)
    assert {name(file) for file in reader.seen} == set(SIZES)
    for file, sight in reader.seen.items():
        width, height = SIZES[name(file)]
        assert (sight.image.width, sight.image.height) == (width, height)
        low, high = sight.image.depths
        assert (low, high) == (2, 8)
        true = pattern(name(file)) * 3 + 2
        expected = cv2.resize(true.astype(np.float32), maps.reduced(width, height), interpolation=cv2.INTER_NEAREST)
        told = low + (sight.maps["label_map"].astype(float) - 1) / 254 * (high - low)
        assert (np.abs(told - expected) < 0.1).mean() > 0.93
    scores = [sight.image.score for sight in reader.seen.values()]
    assert np.mean(scores) == pytest.approx(validator.metrics_found["metrics/abs_rel"], abs=1e-4)
    _, without, _, _ = validate("depth", rect=True, look=False, data=data)
    assert without.metrics_found == validator.metrics_found


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_is_taken_for_what_it_is_taken_for_when_it_is_predicted_alone(validate, workers):
    model, validator, reader, data = validate("classify", workers=workers)
    assert len(reader.seen) == len(SIZES)
    for file, sight in reader.seen.items():
        (alone,) = model.predict(str(file), imgsz=SIDE, device="cpu", verbose=False)
        expected = {NAMES[index]: float(alone.probs.data[index]) for index in alone.probs.top5}
        assert sight.image.probabilities == pytest.approx(expected, abs=1e-3)
        assert sight.image.label == file.parent.name
        assert (sight.image.width, sight.image.height) == SIZES[file.stem.replace("-", "/")]
    right = [not sight.image.reason for sight in reader.seen.values()]
    assert np.mean(right) == pytest.approx(validator.metrics_found["metrics/accuracy_top1"])
    _, without, _, _ = validate("classify", workers=workers, look=False, data=data)
    assert without.metrics_found == validator.metrics_found
