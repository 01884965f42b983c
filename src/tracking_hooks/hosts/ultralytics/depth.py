"""Sees how far away each pixel is said to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from tracking_hooks.hosts.ultralytics import maps
from tracking_hooks.hosts.ultralytics.looking import Sight, Watch
from tracking_hooks.predictions import SeenImage

_FAR = 255
_STEP = 4
"""Every fourth grey is used: a PNG file of all is half as large again, and nobody sees the difference."""
_ERROR = "metrics/abs_rel"


class Depth:
    """Reads the depth maps of a ``DepthValidator``."""

    def __init__(self) -> None:
        """Look at nothing so far."""
        self.seen: MutableMapping[Path, Sight] = {}
        self.watch = Watch()
        self._files: Iterator[Path] = iter(())  # of the batch

    @staticmethod
    def can_read(validator: Any) -> bool:
        """Whether it is one of these."""
        return bool(validator.args.task == "depth")

    def attach(self, validator: Any, wanted: Callable[[Path], bool]) -> None:
        """Look at these images from now on; only the instance and its metrics are changed."""

        def begin(*_: Any) -> None:
            metrics = validator.metrics
            sums = _Sums(metrics)

            def look(_: None, predicted: Any, true: Any) -> None:
                file, score = next(self._files), sums.latest()
                if wanted(file):
                    self._look(file, predicted, true, score, metrics)

            self.watch.after(metrics, "update_stats", look)  # to which both come in one size
            metrics.update_stats = _one_by_one(metrics.update_stats)

        def name(_: Any, batch: dict[str, Any]) -> None:
            self._files = map(Path, batch["im_file"])

        self.watch.after(validator, "init_metrics", begin)
        self.watch.before(validator, "update_metrics", name)

    def _look(self, file: Path, predicted: Any, true: Any, score: float | None, metrics: Any) -> None:
        reason = "" if score is None else f"abs_rel {score:.2f}"
        sight = Sight(SeenImage(path=file.as_posix(), width=0, height=0, picture="", score=score, reason=reason))
        self.seen[file] = sight
        if file in self.seen:  # it keeps the worst ones only, perhaps
            width, height = maps.size(file)
            arrays = [maps.of_batch(part.reshape(part.shape[-2:]).float()) for part in (true, predicted)]
            of_labels, of_predictions = [maps.resized(array, width, height) for array in arrays]
            label_map, predicted_map, depths = in_one_scale(of_labels, of_predictions, metrics)
            if depths:  # without a scale, maps would be taken for those of classes
                sight.maps = {"label_map": label_map, "predicted_map": predicted_map}
            sight.image = structs.replace(sight.image, width=width, height=height, depths=depths)


class _Sums:
    """What a metric has added up; it goes through a batch image by image, and so tells of each one."""

    def __init__(self, metrics: Any) -> None:
        self._metrics = metrics
        self._position = metrics.keys.index(_ERROR)
        self._before = self._now()

    def _now(self) -> tuple[float, float]:
        totals = self._metrics._totals
        return float(self._metrics._count), 0.0 if totals is None else float(totals[self._position])

    def latest(self) -> float | None:
        """Return the latest image's mean relative error; None of one that has too few labelled pixels.

        An image counts once, or in older releases as often as it has labelled pixels.
        """
        before, self._before = self._before, self._now()
        count, total = self._before[0] - before[0], self._before[1] - before[1]
        return round(total / count, 4) if count else None


def _one_by_one(update_stats: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Give a metric the images of a batch one by one: it adds up the same numbers in the same order."""

    def update(predicted: Any, true: Any) -> None:
        for row in range(len(true)):
            update_stats(predicted[row : row + 1], true[row : row + 1])

    return update


def in_one_scale(true: Any, predicted: Any, metrics: Any) -> tuple[Any, Any, tuple[float, float] | None]:
    """Return the two maps in grey, and what the darkest and the brightest grey are; None where no depth is known.

    The predicted depths are aligned to the true ones, if the metric aligns them. Of no true one, the scale is theirs.
    """
    is_true = (true > metrics.min_depth) & (true < metrics.max_depth)
    is_predicted = np.isfinite(predicted)
    known = true[is_true] if is_true.any() else predicted[is_predicted]
    if not known.size:
        return np.zeros(true.shape, np.uint8), np.zeros(true.shape, np.uint8), None
    both = is_true & is_predicted
    if getattr(metrics, "align", "none") == "median" and both.any():
        predicted = predicted * (np.median(true[both]) / np.median(predicted[both].clip(metrics.min_depth)))
    low, high = float(known.min()), float(known.max())
    greys = []
    for depths, is_there in ((true, is_true), (predicted, is_predicted)):
        parts = ((np.where(is_there, depths, low) - low) / max(high - low, 1e-9)).clip(0, 1)
        greys.append(np.where(is_there, _grey(parts), 0).astype(np.uint8))
    return greys[0], greys[1], (low, high)


def _grey(parts: Any) -> Any:
    """Return greys from 1 to 255 of what is from 0 to 1; both of these exactly."""
    steps = (_FAR - 1) / _STEP
    return np.minimum(1 + np.round(parts * steps) * _STEP, _FAR)
