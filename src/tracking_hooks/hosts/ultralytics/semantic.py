"""Sees which class each pixel is taken for."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np

from tracking_hooks.hosts.ultralytics import classes, maps
from tracking_hooks.hosts.ultralytics.looking import Sight, Watch
from tracking_hooks.predictions import SeenImage

_NONE = 255
"""No class, here as with Ultralytics."""


class Semantic:
    """Reads the class maps of a ``SemanticSegmentationValidator``."""

    def __init__(self) -> None:
        """Look at nothing so far."""
        self.seen: MutableMapping[Path, Sight] = {}
        self.watch = Watch()

    @staticmethod
    def can_read(validator: Any) -> bool:
        """Whether it is one of these."""
        return bool(validator.args.task == "semantic")

    def attach(self, validator: Any, wanted: Callable[[Path], bool]) -> None:
        """Look at these images from now on; only the instance is changed."""

        def look(_: None, predicted: Any, batch: dict[str, Any]) -> None:
            files = [Path(file) for file in batch["im_file"]]
            if rows := [row for row, file in enumerate(files) if wanted(file)]:
                self._look(rows, files, predicted, batch, classes.named(validator.names))

        self.watch.after(validator, "update_metrics", look)

    def _look(
        self, rows: list[int], files: list[Path], predicted: Any, batch: dict[str, Any], names: dict[int, str]
    ) -> None:
        true = batch["semantic_mask"]
        counts = _counts(true[rows], predicted[rows], max(len(names), 2))
        for row, of_image in zip(rows, counts):
            file, (height, width) = files[row], map(int, batch["ori_shape"][row])
            score, reason = judge(of_image, names)
            sight = Sight(
                SeenImage(path=file.as_posix(), width=width, height=height, picture="", score=score, reason=reason)
            )
            self.seen[file] = sight
            if file in self.seen:  # it keeps the worst ones only, perhaps
                shown = _without_padding(width, height, batch["ratio_pad"][row])
                sight.maps = {
                    name: maps.resized(_indices(maps.of_batch(of_all[row][shown]), len(names)), width, height)
                    for name, of_all in (("label_map", true), ("predicted_map", predicted))
                }


def judge(counts: Any, names: dict[int, str]) -> tuple[float | None, str]:
    """Return 1 - mIoU of the classes that an image has, and the worst of them; None if no pixel is labelled.

    Of a single class, there is nothing else but the ground, which does not count.

    :param counts: pixels by their true class (rows) and by the class they are taken for (columns)
    """
    intersection, labelled = np.diagonal(counts), counts.sum(1)
    union = labelled + counts.sum(0) - intersection
    is_single = len(names) == 1
    there = [1] if is_single and union[1] else [] if is_single else np.flatnonzero(labelled).tolist()
    if not there:
        return (0.0 if labelled.any() else None), ""
    overlaps = intersection[there] / union[there]
    worst = int(overlaps.argmin())
    score = round(1 - float(overlaps.mean()), 4)
    name = names.get(0 if is_single else there[worst], str(there[worst]))
    return score, f"{name}: IoU {overlaps[worst]:.2f}" if score else ""


def _counts(true: Any, predicted: Any, number: int) -> Any:
    """Count the pixels of each image by their true class and by the class they are taken for, as the metrics do."""
    images = len(true)
    is_valid = (true >= 0) & (true < number) & (predicted >= 0) & (predicted < number)
    first = true.new_tensor(range(images)).view(-1, 1, 1) * number**2
    pairs = (first + true * number + predicted).where(is_valid, first.new_tensor(images * number**2))
    counts = pairs.flatten().bincount(minlength=images * number**2 + 1)[:-1]
    return counts.view(images, number, number).cpu().numpy()


def _without_padding(width: int, height: int, ratio_pad: Any) -> tuple[slice, slice]:
    """Return which rows and columns of a batch's map are the image's."""
    (gain_y, gain_x), (left, top) = ratio_pad
    top, left = round(top - 0.1), round(left - 0.1)  # as Ultralytics rounds it
    return (
        slice(top, top + max(round(height * gain_y), 1)),
        slice(left, left + max(round(width * gain_x), 1)),
    )


def _indices(values: Any, number: int) -> Any:
    """Return a map of indices of classes; Ultralytics counts those of a single class from 1, and 0 is the ground."""
    values = values.astype(np.int32)
    if number == 1:
        values = values - 1
    return np.where((values >= 0) & (values < number), values, _NONE).astype(np.uint8)
