"""Four images of the demo's validation set, as the trackers have them: labels beside predictions."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from docs.pictures import SIZES
from tracking_hooks.drawing import draw
from tracking_hooks.predictions import SeenImage
from tracking_hooks.run import journal, layout

_KINDS = ("missed", "false positive", "taken for")
"""The mistakes, as they are told of an image."""
_EACH = 620
"""Pixels of the width of one."""


def compose(save_dir: Path) -> Image.Image:
    """Return the four that show most kinds of mistakes, of the epoch that has them."""
    (run,) = [folder for folder in layout.find_runs(save_dir) if folder.has_journal()]
    seen = [call.args for call in journal.calls(run.journal, {"on_predictions"})]
    best = max(seen, key=lambda args: _variety(four(args["images"])))
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
    """Return four that differ in their mistakes, those with few boxes first."""
    chosen: list[SeenImage] = []
    for _ in range(4):
        known = _variety(chosen)

        def gain(image: SeenImage, known: tuple[int, int] = known) -> tuple[int, ...]:
            kinds, reasons = _variety([*chosen, image])
            return kinds - known[0], reasons - known[1], -len([*image.labels, *image.predictions])

        chosen.append(max((image for image in images if image not in chosen), key=gain))
    return chosen


def _variety(images: Sequence[SeenImage]) -> tuple[int, int]:
    """Return how many kinds of mistakes they show, and how many different sums of them."""
    kinds = {kind for image in images for kind in _KINDS if kind in image.reason}
    return len(kinds), len({image.reason for image in images})
