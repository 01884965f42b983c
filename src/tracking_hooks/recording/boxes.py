"""Boxes that a script gives with a picture: checked, and compared with each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from tracking_hooks import redact
from tracking_hooks.mistakes import match, mistakes
from tracking_hooks.predictions import CONFIDENT, Box, SeenImage
from tracking_hooks.recording import naming
from tracking_hooks.recording.given import archive, small
from tracking_hooks.recording.naming import Unfit
from tracking_hooks.run import worst
from tracking_hooks.run.layout import RunFolder

MOST = 300
"""Labels of an image that are kept, and predictions, at most."""

_TAKEN = ("predictions", worst.IMAGES)
"""Names by which plugins know what a training shows."""
_MEMBER = "picture.jpg"
_FORM = "{'label': 'car', 'box': [left, top, right, bottom], 'confidence': 0.9}"
_KEYS = ("label", "box", "confidence", "polygon", "keypoints")


def image(
    folder: RunFolder, called: object, picture: object, boxes: object, classes: Mapping[int, str]
) -> dict[str, Any]:
    """Keep a picture with boxes, and return what ``on_predictions`` tells of it.

    :param picture: as ``given.image`` takes it
    :param boxes: those that have a confidence are predictions, the others labels
    :param classes: those of the run's data set by index; what has none of them gets an index behind these
    :raises Unfit, OSError: if one of them is none, or the picture cannot be kept
    """
    title = naming.of_file(called)
    if title in _TAKEN:
        raise Unfit(f"name={called!r} is what a training shows by itself: a picture with boxes needs another name")
    content, size = small(picture)
    seen = _seen(title, size, boxes)
    labels = {box.label for box in (*seen.labels, *seen.predictions)}
    others = enumerate(sorted(labels - {*classes.values()}), max(classes, default=-1) + 1)
    artifact = archive(folder, title, {_MEMBER: content})
    return {"artifact": artifact, "images": [seen], "classes": {**classes, **dict(others)}}


def _seen(called: str, size: tuple[int, int], boxes: object) -> SeenImage:
    if not isinstance(boxes, (list, tuple)):
        raise Unfit(f"boxes={type(boxes).__name__} is no list of boxes such as {_FORM}")
    found = [_box(f"boxes[{i}]", one, size) for i, one in enumerate(boxes)]
    if found and max(size) > 1 and all(0 <= at <= 1 for box in found for at in box.box):
        raise Unfit("boxes: all of them are within 0 to 1; they are given in pixels of the image")
    labels = [box for box in found if box.confidence is None]
    sure = [box for box in found if box.confidence is not None and box.confidence >= CONFIDENT]
    predictions = sorted(sure, key=lambda box: -(box.confidence or 0.0))
    shown = SeenImage(
        path=called,
        width=size[0],
        height=size[1],
        picture=_MEMBER,
        labels=labels[:MOST],
        predictions=predictions[:MOST],
        left_out=max(len(labels) - MOST, 0) + max(len(predictions) - MOST, 0),
    )
    return _compared(shown) if 0 < len(labels) < len(found) else shown


# -- checking -------------------------------------------------------------------------------------------------


def _box(argument: str, given: object, size: tuple[int, int]) -> Box:
    if isinstance(given, Box):
        given = {name: value for name, value in structs.asdict(given).items() if name in _KEYS}
    if not isinstance(given, Mapping):
        raise Unfit(f"{argument}={type(given).__name__} is no box such as {_FORM}")
    if unknown := [key for key in given if key not in _KEYS]:
        raise Unfit(f"{argument} has {unknown[0]!r}, which is none of: {', '.join(_KEYS)}")
    label = given.get("label")
    if not isinstance(label, str) or not label.split():
        raise Unfit(f"{argument}: label={label!r} is not the name of a class")
    polygon = [(x, y) for x, y in _points(f"{argument}: polygon", given.get("polygon"), (2,))]
    if 0 < len(polygon) < 3:
        raise Unfit(f"{argument}: polygon has {len(polygon)} points; an outline has at least three")
    keypoints = [
        (point[0], point[1], point[2] if len(point) > 2 else 1.0)
        for point in _points(f"{argument}: keypoints", given.get("keypoints"), (2, 3))
    ]
    return Box(
        label=redact.text(" ".join(label.split())),
        box=_corners(argument, given.get("box"), polygon, size),
        confidence=_confidence(argument, given.get("confidence")),
        polygon=polygon,
        keypoints=keypoints,
    )


def _corners(
    argument: str, given: object, polygon: list[tuple[float, float]], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    if given is None and polygon:
        given = [min(x for x, _ in polygon), min(y for _, y in polygon)]
        given += [max(x for x, _ in polygon), max(y for _, y in polygon)]
    numbers = _numbers(given)
    if numbers is None or len(numbers) != 4 or numbers[0] > numbers[2] or numbers[1] > numbers[3]:
        raise Unfit(f"{argument}: box={given!r} is not [left, top, right, bottom]")
    left, top, right, bottom = numbers
    width, height = size
    if left > width or top > height or right < 0 or bottom < 0:
        raise Unfit(f"{argument}: box={given!r} lies outside of the image, which has {width} x {height} pixels")
    return max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))


def _confidence(argument: str, given: Any) -> float | None:
    if given is None:
        return None
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise Unfit(f"{argument}: confidence={given!r} is not a number from 0 to 1")
    return number


def _points(argument: str, given: Any, lengths: tuple[int, ...]) -> list[list[float]]:
    plain = given.tolist() if callable(getattr(given, "tolist", None)) else given
    points = [_numbers(point) for point in plain] if isinstance(plain, (list, tuple)) else None if plain else []
    if points is None or any(point is None or len(point) not in lengths for point in points):
        raise Unfit(f"{argument}={given!r} is not a list of points [x, y]")
    return [point for point in points if point is not None]


def _numbers(given: Any) -> list[float] | None:
    """Return the numbers of a list, an array or a tensor; None if it is none."""
    plain = given.tolist() if callable(getattr(given, "tolist", None)) else given
    if not isinstance(plain, (list, tuple)):
        return None
    try:
        numbers = [float(number) for number in plain]
    except (TypeError, ValueError, RuntimeError):
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


# -- comparing ------------------------------------------------------------------------------------------------


def _compared(shown: SeenImage) -> SeenImage:
    try:
        import numpy
    except ImportError as error:
        raise Unfit("boxes: comparing predictions with labels needs NumPy: pip install numpy") from error
    overlaps = [[_overlap(label.box, found.box) for found in shown.predictions] for label in shown.labels]
    matches = match(numpy.array(overlaps))
    result = mistakes([box.label for box in shown.labels], [box.label for box in shown.predictions], matches)
    labels, predictions = list(shown.labels), list(shown.predictions)
    for prediction, label in matches.items():
        iou = round(overlaps[label][prediction], 4)
        labels[label] = structs.replace(labels[label], match=prediction, iou=iou)
        predictions[prediction] = structs.replace(predictions[prediction], match=label, iou=iou)
    return structs.replace(
        shown, labels=labels, predictions=predictions, score=round(result.score, 4), reason=result.reason
    )


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Return the intersection over union of two boxes."""
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - shared
    return shared / both if both else 0.0
