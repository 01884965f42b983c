"""The shapes as a data set for each task, and a network of few layers for each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from tracking_hooks.cli.shapes import CLASSES

_FEW_LAYERS = Path(__file__).parents[1] / "data/yolo26n.yaml"

HEADS = {
    "segment": "[[2, 3, 4], 1, Segment26, [nc, 8, 16]]",
    "pose": "[[2, 3, 4], 1, Pose26, [nc, kpt_shape]]",
    "obb": "[[2, 3, 4], 1, OBB26, [nc, 1]]",
    "classify": "[-1, 1, Classify, [nc]]",
    "semantic": "[[2, 3], 1, SemanticSegment, [nc]]",
    "depth": "[[2, 3, 4], 1, Depth, [16]]",
    "rtdetr": "[[2, 3, 4], 1, RTDETRDecoder, [nc, 32, 10, 2, 2, 1, 32]]",
}
"""What stands on top of the few layers, by the task, or the kind of detector."""

_MORE = {"pose": {"kpt_shape": [2, 3]}, "semantic": {"masks_dir": "masks", "names": [*CLASSES, "ground"]}}
_IMAGES = {"train": 8, "val": 4}

_Object: TypeAlias = tuple[int, float, float, float, float]
"""Class, left, top, right, bottom; from 0 to 1."""


def network(folder: Path, kind: str) -> Path:
    """Write the network; return its YAML."""
    *layers, detect = _FEW_LAYERS.read_text().splitlines()
    path = folder / f"{kind}-tiny.yaml"
    head = f"  - {HEADS[kind]}" if kind in HEADS else detect
    path.write_text("\n".join(["kpt_shape: [2, 3]", *layers, head]) + "\n")
    return path


def data(shapes: Path, folder: Path, kind: str) -> Path:
    """Write the data set; return what ``data=`` takes.

    :param shapes: the ``data.yaml`` of the shapes, whose images are taken
    """
    for split, count in _IMAGES.items():
        for path in sorted((shapes.parent / f"images/{split}").glob("*.png"))[:count]:
            lines = (shapes.parent / f"labels/{split}/{path.stem}.txt").read_text().splitlines()
            objects = [_object(*line.split()) for line in lines]
            if kind == "classify":
                _write_crops(folder / split, path, objects)
            else:
                (folder / f"images/{split}").mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / f"images/{split}")
                _write_labels(folder, split, path.stem, kind, objects)
    if kind == "classify":
        return folder
    content = {"path": str(folder), "train": "images/train", "val": "images/val", "names": CLASSES}
    yaml = folder / "data.yaml"
    yaml.write_text(json.dumps({**content, **_MORE.get(kind, {})}))
    return yaml


def _object(kind: str, x: str, y: str, width: str, height: str) -> _Object:
    half = float(width) / 2, float(height) / 2
    return int(kind), float(x) - half[0], float(y) - half[1], float(x) + half[0], float(y) + half[1]


def _write_crops(folder: Path, path: Path, objects: list[_Object]) -> None:
    with Image.open(path) as picture:
        for number, (kind, *corners) in enumerate(objects):
            of_class = folder / CLASSES[kind]
            of_class.mkdir(parents=True, exist_ok=True)
            picture.crop(tuple(round(part * picture.width) for part in corners)).save(  # type: ignore[arg-type]
                of_class / f"{path.stem}-{number}.png"
            )


def _write_labels(folder: Path, split: str, stem: str, kind: str, objects: list[_Object]) -> None:
    if kind in ("semantic", "depth"):
        pixels = np.full((64, 64), len(CLASSES), dtype=np.uint8)
        for number, *corners in objects:
            left, top, right, bottom = (round(part * 64) for part in corners)
            pixels[top:bottom, left:right] = number
        place = folder / ("masks" if kind == "semantic" else "depth") / split
        place.mkdir(parents=True, exist_ok=True)
        if kind == "semantic":
            Image.fromarray(pixels).save(place / f"{stem}.png")
        else:
            np.save(place / f"{stem}.npy", pixels.astype(np.float32) + 1)  # the ground is four metres away
        return
    place = folder / "labels" / split
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{stem}.txt").write_text("".join(f"{_label(kind, one)}\n" for one in objects))


def _label(kind: str, one: _Object) -> str:
    number, left, top, right, bottom = one
    if kind in ("segment", "obb"):
        numbers = [left, top, right, top, right, bottom, left, bottom]
    else:
        numbers = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    if kind == "pose":
        numbers += [left, top, 2, right, bottom, 2]
    return " ".join(map(str, [number, *numbers]))
