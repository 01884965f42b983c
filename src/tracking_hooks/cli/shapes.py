"""A small data set to try things on: squares, circles and triangles that a detector learns in half a minute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from numpy.random import Generator
    from PIL.Image import Image

CLASSES = ("square", "circle", "triangle")

_COLOURS = ((220, 40, 40), (40, 200, 60), (60, 80, 235))
_LOYAL = 0.8
"""Share of the shapes that have the colour of their class; the others have a random light colour."""

_MOST = 3
"""Maximum number of shapes in an image."""

_RADIUS = (0.15, 0.28)
"""Half the width of a shape, relative to the width of the image."""

_Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""


def make_shapes(folder: Path, *, train: int = 200, val: int = 48, size: int = 64, seed: int = 0) -> Path:
    """Write a detection data set in YOLO's format; the same arguments give the same files.

    :param train: number of images to train with
    :param val: number of images to validate with
    :param size: width and height of an image, in pixels
    :returns: the path of its ``data.yaml``
    """
    try:
        import numpy as np
        from PIL import Image
    except ImportError as error:
        raise ImportError("Drawing shapes needs NumPy and Pillow: pip install numpy pillow") from error
    folder = folder.resolve()
    for number, (split, images) in enumerate({"train": train, "val": val}.items()):
        rng = np.random.default_rng([seed, number])
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(images):
            noise = rng.integers(60, 130, 3) + rng.normal(0, 12, (size, size, 3))
            picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
            labels = _draw_shapes(picture, rng)
            picture.save(folder / f"images/{split}/{index:04}.png")
            (folder / f"labels/{split}/{index:04}.txt").write_text("".join(labels))
    data = folder / "data.yaml"
    # JSON is valid YAML, and quotes any folder name.
    content = {"path": str(folder), "train": "images/train", "val": "images/val", "names": CLASSES}
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in content.items()]
    data.write_text("".join(lines), encoding="utf-8")
    return data


def _draw_shapes(picture: Image, rng: Generator) -> list[str]:
    """Draw one to three shapes that do not touch; return a line in YOLO's format for each."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    boxes: list[_Box] = []
    labels = []
    for _ in range(rng.integers(1, _MOST, endpoint=True)):
        box = _free_box(boxes, picture.width, rng)
        if box is None:
            continue
        boxes.append(box)
        left, top, right, bottom = box
        kind = int(rng.integers(len(CLASSES)))
        fill = _COLOURS[kind] if rng.random() < _LOYAL else tuple(rng.integers(150, 256, 3).tolist())
        if CLASSES[kind] == "square":
            draw.rectangle(box, fill=fill)
        elif CLASSES[kind] == "circle":
            draw.ellipse(box, fill=fill)
        else:
            draw.polygon([((left + right) / 2, top), (left, bottom), (right, bottom)], fill=fill)
        centre_and_size = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        labels.append(f"{kind} " + " ".join(f"{part / picture.width:.5f}" for part in centre_and_size) + "\n")
    return labels


def _free_box(taken: list[_Box], size: int, rng: Generator) -> _Box | None:
    """Return a square that touches none of the others, or None after twenty tries."""
    for _ in range(20):
        radius = rng.uniform(*_RADIUS) * size
        x, y = rng.uniform(radius, size - radius, 2)
        box = (x - radius, y - radius, x + radius, y + radius)
        if all(box[2] < t[0] or t[2] < box[0] or box[3] < t[1] or t[3] < box[1] for t in taken):
            return box
    return None
