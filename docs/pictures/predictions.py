"""Four images of the demo's validation set, as the trackers have them: labels beside predictions."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from docs.pictures import SIZES
from tracking_hooks.drawing import draw
from tracking_hooks.predictions import Box, SeenImage
from tracking_hooks.run import journal, layout

_KINDS = ("missed", "false positive", "taken for")
"""The mistakes, as they are told of an image."""
_CLEAR = 5
"""Boxes in an image that is clear, in both halves, at most."""
_EACH = 620
"""Pixels of the width of one."""


def compose(save_dir: Path) -> Image.Image:
    """Return the four that show most kinds of mistakes and classes, of the last epoch that has them."""
    (run,) = [folder for folder in layout.find_runs(save_dir) if folder.has_journal()]
    seen = [call.args for call in journal.calls(run.journal, {"on_predictions"})]
    best = max(reversed(seen), key=lambda args: (_variety(four(args["images"]))[:2], args["step"]))
    title = f"epoch {best['step']}"
    pictures = [
        draw(image, best["artifact"].path, best["classes"], title=title, width=_EACH, text=20, kind="PNG")
        for image in four(best["images"])
    ]
    whole = Image.new("RGB", SIZES["predictions.png"], "white")
    for content, (y, x) in zip(pictures, itertools.product((0, whole.height // 2), (0, whole.width - _EACH))):
        whole.paste(Image.open(io.BytesIO(content)), (x, y))
    return whole


def four(images: Sequence[SeenImage]) -> list[SeenImage]:
    """Return four that differ in their mistakes and classes, of those in which something is found, but not too much."""
    clear = [image for image in images if image.predictions and len(_boxes(image)) <= _CLEAR]
    left = clear if len(clear) >= 4 else [*images]
    chosen: list[SeenImage] = []
    for _ in range(4):
        chosen.append(max(left, key=lambda image: (_variety([*chosen, image]), -len(_boxes(image)))))
        left.remove(chosen[-1])
    return chosen


def _variety(images: Sequence[SeenImage]) -> tuple[int, ...]:
    """Return how many kinds of mistakes they show, classes, and different sums of mistakes."""
    kinds = {kind for image in images for kind in _KINDS if kind in image.reason}
    classes = {box.label for image in images for box in _boxes(image)}
    return len(kinds), len(classes), len({image.reason for image in images})


def _boxes(image: SeenImage) -> list[Box]:
    return [*image.labels, *image.predictions]
