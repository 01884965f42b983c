"""What is shown of a validation is what ``predict`` finds in the same images with the same weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ultralytics")

import torch
from ultralytics import YOLO
from ultralytics.utils.metrics import box_iou

from tests.support import seeing, tasks
from tracking_hooks.hosts.ultralytics import looking

LINES = {
    "detect": [[0, 0.3, 0.3, 0.2, 0.3]],
    "obb": [[0, 0.2, 0.2, 0.5, 0.2, 0.5, 0.4, 0.2, 0.4]],
    "pose": [[0, 0.3, 0.3, 0.2, 0.3, 0.3, 0.3, 2, 0.4, 0.5, 0]],
    "segment": [[0, 0.2, 0.2, 0.5, 0.2, 0.5, 0.5, 0.2, 0.5]],
}
KINDS = [("detect", {}), ("detect", {"nms": False}), ("obb", {}), ("pose", {}), ("segment", {})]


@pytest.fixture
def data(tmp_path):
    """A function that writes a data set of square images, as large as the network's input, with objects of one class.

    One of them lies on its side on the disk, and is turned when it is read.
    """

    def data(kind):
        folder = tmp_path / "data"
        names = ("a/1.png", "b/1.png", "grey.png", "deep.png", "turned.jpg")
        shapes = {"grey.png": ((64, 64), np.uint8), "deep.png": ((64, 64, 3), np.uint16)}
        yaml = seeing.write(folder, {name: (*shapes.get(name, ((64, 64, 3), np.uint8)), LINES[kind]) for name in names})
        turned = folder / "images/turned.jpg"
        exif = Image.Exif()
        exif[0x0112] = 6  # orientation
        with Image.open(turned) as picture:
            picture.load()
        picture.save(turned, exif=exif)
        yaml.write_text(json.dumps({**json.loads(yaml.read_text()), "names": {0: "thing"}}))
        return yaml

    return data


def network(folder, kind):
    """A network that has learned nothing, and finds objects all the same, of very different confidence."""
    yaml = tasks.network(folder, "pose" if kind == "detect" else kind)
    text = yaml.read_text().replace("nc: 80", "nc: 1")
    yaml.write_text(text.replace(tasks.HEADS["pose"], "[[2, 3, 4], 1, Detect, [nc]]") if kind == "detect" else text)
    torch.manual_seed(0)
    model = YOLO(str(yaml), task=kind)
    for name in ("cv3", "one2one_cv3"):
        for branch in getattr(model.model.model[-1], name):
            branch[-1].weight.data *= 30
            branch[-1].bias.data.fill_(-0.5)
    return model


@pytest.mark.parametrize(("kind", "how"), KINDS, ids=str)
def test_it_is_what_predict_finds(tmp_path, data, kind, how):
    model = network(tmp_path, kind)
    readers = []

    def attach(validator):
        readers.append(looking.reader_for(validator))
        readers[0].attach(validator, lambda _: True)

    model.add_callback("on_val_start", attach)
    same = {"imgsz": 64, "device": "cpu", "verbose": False, **how}
    model.val(data=str(data(kind)), rect=False, plots=False, workers=0, project=str(tmp_path), name="val", **same)

    (reader,) = readers
    assert reader.watch.error is None
    assert len(reader.seen) == 5
    number = 0
    for file, sight in reader.seen.items():
        found = model.predict(str(file), conf=0.25, **same)[0]
        boxes = found.obb if kind == "obb" else found.boxes
        seen = sight.image.predictions
        if kind == "segment":  # predict leaves out what has an empty mask; a validation does not
            assert len(seen) >= len(boxes) > 0
        else:
            assert sorted(box.confidence for box in seen) == pytest.approx(sorted(boxes.conf.tolist()), abs=0.02)
        if seen:
            overlaps = box_iou(boxes.xyxy.clamp(0, 64), torch.tensor([box.box for box in seen]))
            is_close = (boxes.conf[:, None] - torch.tensor([box.confidence for box in seen])).abs() < 0.02
            assert ((overlaps > 0.9) & is_close).any(1).all()
        number += len(seen)
    assert number > 10
