"""Reads what detectors see: boxes, oriented boxes, outlines of masks, keypoints, in pixels of the image on disk."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from msgspec import structs
from ultralytics.utils import metrics, ops

from tracking_hooks.hosts.ultralytics import classes
from tracking_hooks.hosts.ultralytics.looking import Sight, Watch
from tracking_hooks.mistakes import match, mistakes
from tracking_hooks.predictions import CONFIDENT, Box, SeenImage

MOST = 300
"""Objects of an image that are listed, at most, of labels and of predictions."""
_POINTS = 50
"""Points of an outline, at most."""
_POINTS_OF_ALL = 3000
"""Points of all outlines of one list, about."""
_FEWEST = 6
_FINER = 4

_NEEDED = ("_process_batch", "_prepare_batch", "_prepare_pred", "scale_preds")
"""What a validator has whose batches are dicts that name the file, and hold the boxes of the network's own input."""


class Objects:
    """Reads the objects of images while a detector is validated."""

    def __init__(self) -> None:
        """Read nothing so far."""
        self.seen: MutableMapping[Path, Sight] = {}
        self.watch = Watch()

    @staticmethod
    def can_read(validator: Any) -> bool:
        """Whether this release has what is needed."""
        return all(hasattr(validator, name) for name in _NEEDED)

    def attach(self, validator: Any, wanted: Callable[[Path], bool]) -> None:
        """Look at what is compared: nothing has been changed in it by then."""

        def look(predictions: dict[str, Any], labels: dict[str, Any]) -> None:
            file = Path(labels["im_file"])
            if wanted(file):
                self.seen[file] = sight(validator, predictions, labels)

        self.watch.before(validator, "_process_batch", look)


def sight(validator: Any, predictions: dict[str, Any], labels: dict[str, Any]) -> Sight:
    """Return what is seen in an image.

    :param predictions: as ``_prepare_pred`` returns them
    :param labels: as ``_prepare_batch`` returns them
    """
    conf = predictions["conf"]
    rows = (conf >= CONFIDENT).nonzero().flatten()
    rows = rows[conf[rows].sort(descending=True, stable=True).indices]
    found = {name: value[rows] for name, value in predictions.items() if name in _READ}
    names = classes.named(validator.names)
    there = _boxes(labels, labels, names, len(labels["cls"]))
    seen = _boxes(found, labels, names, MOST)
    overlaps = _overlaps(labels["bboxes"], found["bboxes"])
    matches = match(overlaps)
    classes_of_all = [_name(names, one) for one in found["cls"].tolist()]
    result = mistakes([box.label for box in there], classes_of_all, matches)

    kept = _kept(len(there), matches, len(seen))
    places = {label: place for place, label in enumerate(kept)}
    boxes = [there[label] for label in kept]
    for prediction, label in matches.items():
        if prediction < len(seen) and label in places:
            iou = round(float(overlaps[label, prediction]), 4)
            seen[prediction] = structs.replace(seen[prediction], match=places[label], iou=iou)
            boxes[places[label]] = structs.replace(boxes[places[label]], match=prediction, iou=iou)
    height, width = labels["ori_shape"][:2]
    image = SeenImage(
        path=Path(labels["im_file"]).as_posix(),
        width=int(width),
        height=int(height),
        picture="",
        score=round(result.score, 4),
        reason=result.reason,
        labels=boxes,
        predictions=seen,
        left_out=len(there) + len(classes_of_all) - len(boxes) - len(seen),
    )
    return Sight(image)


_READ = ("bboxes", "cls", "conf", "masks", "keypoints")


def _kept(labels: int, matches: dict[int, int], predictions: int) -> list[int]:
    """Choose the labels that are listed: before all those that were found, after all those whose prediction is not."""
    found_by = {label: prediction for prediction, label in matches.items()}

    def rank(label: int) -> int:
        prediction = found_by.get(label)
        return 1 if prediction is None else 0 if prediction < predictions else 2

    return sorted(sorted(range(labels), key=rank)[:MOST])


def _overlaps(labels: Any, predictions: Any) -> Any:
    """Return the intersection over union of each label (rows) with each prediction, as a confusion matrix takes it."""
    if not (len(labels) and len(predictions)):
        return np.zeros((len(labels), len(predictions)))
    overlap = metrics.batch_probiou if labels.shape[1] == 5 else metrics.box_iou
    return overlap(labels, predictions).float().cpu().numpy()


def _boxes(found: dict[str, Any], batch: dict[str, Any], names: dict[int, str], most: int) -> list[Box]:
    """Return objects in pixels of the image on disk, the first ones of them.

    :param batch: tells how the image was scaled
    """
    given = found["bboxes"][:most].detach().float().cpu()
    indices = found["cls"][:most].tolist()
    confidences: list[float | None] = [None] * len(indices)
    if "conf" in found:
        confidences = [round(value, 5) for value in found["conf"][:most].tolist()]
    corners = given
    outlines: list[Any] = [[]] * len(indices)
    keypoints: list[Any] = [[]] * len(indices)
    if len(indices):
        is_oriented = given.shape[1] == 5
        scaled = _scale(given, batch, is_oriented)
        corners = scaled
        if is_oriented:
            points = ops.xywhr2xyxyxyxy(scaled)
            upright = np.concatenate([points.amin(1).numpy(), points.amax(1).numpy()], 1)
            corners = ops.clip_boxes(upright, batch["ori_shape"])
            outlines = _rounded(points, 2)
        elif len(masks := found.get("masks", ())) == len(found["bboxes"]):
            outlines = _outlines(masks[:most], batch)
    if len(indices) and "keypoints" in found:
        keypoints = _rounded(_keypoints(found["keypoints"][:most], batch, is_label="conf" not in found), 2)
    return [
        Box(
            label=_name(names, index),
            box=tuple(box),
            confidence=confidence,
            polygon=[tuple(point) for point in outline],
            keypoints=[tuple(point) for point in points],
        )
        for index, box, confidence, outline, points in zip(
            indices, _rounded(corners, 2), confidences, outlines, keypoints, strict=True
        )
    ]


def _name(names: dict[int, str], index: float) -> str:
    return names.get(int(index), str(int(index)))


def _scale(boxes: Any, batch: dict[str, Any], is_oriented: bool) -> Any:
    shapes = batch["imgsz"], batch["ori_shape"]
    return ops.scale_boxes(shapes[0], boxes.clone(), shapes[1], ratio_pad=batch["ratio_pad"], xywh=is_oriented)


def _keypoints(given: Any, batch: dict[str, Any], *, is_label: bool) -> Any:
    points = given.detach().float().cpu().numpy().copy()
    scaled = ops.scale_coords(batch["imgsz"], points, batch["ori_shape"], ratio_pad=batch["ratio_pad"])
    if scaled.shape[-1] == 2:  # nothing is said of how visible they are
        scaled = np.concatenate([scaled, np.full_like(scaled[..., :1], 2.0 if is_label else 1.0)], -1)
    return scaled


def _outlines(masks: Any, batch: dict[str, Any]) -> list[Any]:
    arrays = masks.detach().gt(0.5).byte().cpu().numpy()
    most = min(max(_POINTS_OF_ALL // max(len(arrays), 1), _FEWEST), _POINTS)
    found = [outline(array, most) for array in arrays]
    height, width = batch["imgsz"]
    of_network = np.float32([width / arrays.shape[2], height / arrays.shape[1]])
    points = np.concatenate(found) * of_network
    scaled = ops.scale_coords(batch["imgsz"], points, batch["ori_shape"], ratio_pad=batch["ratio_pad"])
    ends = np.cumsum([len(one) for one in found])
    return [part.tolist() for part in np.split(np.round(scaled.astype(float), 1), ends[:-1])]


def outline(mask: Any, most: int = _POINTS) -> Any:
    """Return the outline of the largest part of a mask, with so many points at most; none of an empty mask.

    It runs along the edges of the pixels: a mask has a quarter of the network's resolution, and thin ones count.
    """
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return np.zeros((0, 2), dtype=np.float32)
    part = cv2.copyMakeBorder(
        mask[top : top + height, left : left + width] * 255, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0
    )
    finer = cv2.resize(part, None, fx=_FINER, fy=_FINER, interpolation=cv2.INTER_LINEAR)
    contours, _ = cv2.findContours((finer > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    whole = points = max(contours, key=cv2.contourArea)
    tolerance = 1.0
    while len(points) > most:
        points = cv2.approxPolyDP(whole, tolerance, True)
        tolerance *= 1.5
    return (points.reshape(-1, 2).astype(np.float32) + 0.5) / _FINER + np.float32([left - 1, top - 1])


def _rounded(values: Any, digits: int) -> Any:
    return np.round(np.asarray(values, dtype=float), digits).tolist()
