"""An Ultralytics YOLO model for MLflow: takes images, returns a table of what is in them.

This file is stored with the model, and MLflow runs it where the model is loaded or served. It needs Ultralytics and
the dependencies of MLflow.
"""

from __future__ import annotations

import base64
import os.path
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

PARAMS: dict[str, Any] = {"conf": 0.25, "iou": 0.7, "imgsz": 640, "max_det": 300}
"""The parameters of a prediction, as Ultralytics names them."""

_FOUND = ("class", "class_id", "confidence")
_BOX = (*_FOUND, "x1", "y1", "x2", "y2")

COLUMNS = {
    "detect": _BOX,
    "segment": (*_BOX, "mask"),
    "pose": (*_BOX, "keypoints"),
    "obb": (*_BOX, "xywhr", "corners"),
    "classify": _FOUND,
    "semantic": ("class", "class_id", "share", "size", "counts"),
    "depth": ("min", "max", "depth"),
}
"""The columns for a task, beside the number of the image."""

_TYPES = {
    "image": "int64", "class": "str", "class_id": "int64",
    **dict.fromkeys(("confidence", "x1", "y1", "x2", "y2", "share", "min", "max"), "float64"),
}  # fmt: skip

_BATCH = 16
"""Number of images in a batch for the network."""


class YoloModel(PythonModel):  # type: ignore[misc]
    """Finds in images what the network was trained to find."""

    def load_context(self, context: Any) -> None:
        """Load the weights."""
        from ultralytics import YOLO

        self._yolo = YOLO(context.artifacts["weights"])
        if "RTDETR" in type(self._yolo.model.model[-1]).__name__:  # older releases take it for a YOLO
            from ultralytics import RTDETR

            if not isinstance(self._yolo, RTDETR):
                self._yolo = RTDETR(context.artifacts["weights"])
        self._one_at_a_time = threading.Lock()  # a server calls from several threads

    # MLflow enforces the annotation where it can; a table is the only input of ours for which it does not.
    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a table with one row for each thing that was found.

        :param model_input: one image or many, in a list or in a table's column ``image``. An image is the path of a
            file, text in base64 or the bytes of one, or an array as OpenCV reads it (height, width, blue-green-red)
        :param params: see ``PARAMS``
        """
        del context  # its weights are loaded
        options = {**PARAMS, **{name: value for name, value in (params or {}).items() if value is not None}}
        images = list(read_images(model_input))
        rows = []
        for start in range(0, len(images), _BATCH):
            with self._one_at_a_time:
                results = self._yolo.predict(images[start : start + _BATCH], save=False, verbose=False, **options)
            for index, result in enumerate(results, start):
                rows += [{"image": index, **row} for row in _rows(result, options["max_det"])]
        table = pd.DataFrame(rows, columns=["image", *COLUMNS[self._yolo.task]])
        return table.astype({name: kind for name, kind in _TYPES.items() if name in table})  # also of an empty one


def read_images(data: Any) -> Iterator[np.ndarray]:
    """Yield each image as an array.

    :raises ValueError: saying what cannot be read
    """
    if isinstance(data, pd.DataFrame):
        if "image" not in data and len(data.columns) != 1:
            raise ValueError(f"Expected the images in a column named 'image'; the columns are {list(data.columns)}.")
        yield from read_images(list(data["image"] if "image" in data else data.iloc[:, 0]))
    elif isinstance(data, Mapping):
        if "image" not in data:
            raise ValueError(f"Expected the images under the name 'image'; the names are {list(data)}.")
        yield from read_images(data["image"])
    elif isinstance(data, str):
        yield _decode(_content(data), f"{data[:80]!r} is no image's path (of a file here) or base64")
    elif isinstance(data, (bytes, bytearray)):
        yield _decode(bytes(data), f"these {len(data)} bytes are no image")
    elif isinstance(data, np.ndarray) and data.dtype.kind in "biuf":
        yield from _split(data)
    elif isinstance(data, (list, tuple)) and _is_numeric(data):
        yield from _split(np.asarray(data))
    elif isinstance(data, (list, tuple, np.ndarray, pd.Series)):
        for item in np.ravel(data) if isinstance(data, np.ndarray) else data:
            yield from read_images(item)
    else:
        raise ValueError(f"An image is a path, base64 text, bytes or an array, not {type(data).__name__}.")


def _content(text: str) -> bytes:
    """Return the bytes of an image given as text: a file's path, or base64 with or without ``data:…;base64,``."""
    if os.path.isfile(text):  # noqa: PTH113 unlike Path's, it takes text of any length
        return Path(text).read_bytes()
    head, comma, tail = text.partition(",")
    try:
        return base64.b64decode("".join((tail if comma and head.startswith("data:") else text).split()), validate=True)
    except ValueError:
        return b""


def _decode(content: bytes, complaint: str) -> np.ndarray:
    import cv2

    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if image is None:
        raise ValueError(f"Expected an image that OpenCV can read: {complaint}.")
    return image


def _split(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the images of an array, which is one image or a batch."""
    if array.ndim not in {2, 3, 4}:
        raise ValueError(f"An image is an array of 2 or 3 dimensions, a batch one of 4; this one has {array.ndim}.")
    if array.dtype not in (np.uint8, np.uint16):
        if array.dtype.kind == "f" or (array.size and (array.min() < 0 or array.max() > 255)):
            raise ValueError(f"An image holds whole numbers from 0 to 255; this array has others ({array.dtype}).")
        array = array.astype(np.uint8)
    yield from array if array.ndim == 4 else [array]


def _is_numeric(data: Any) -> bool:
    """Whether these nested lists are an array that came as JSON."""
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (int, float, np.number))


def _rows(result: Any, limit: int) -> Iterator[dict[str, Any]]:
    """Yield what was found in one image, the most confident first."""
    if result.probs is not None:
        scores = result.probs.data.tolist()
        for index in sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:limit]:
            yield {"class": result.names[index], "class_id": index, "confidence": scores[index]}
        return
    if getattr(result, "semantic_mask", None) is not None:  # older releases know neither of these two
        yield from _regions(np.asarray(result.semantic_mask.cpu().data), result.names)
        return
    if getattr(result, "depth", None) is not None:
        yield _depths(np.asarray(result.depth.cpu().data, dtype=float))
        return
    obb = getattr(result, "obb", None)  # older releases have none
    found = result.boxes if obb is None else obb
    more: dict[str, list[Any]] = {}
    if result.masks is not None:
        more["mask"] = [outline.tolist() for outline in result.masks.xy]
    if result.keypoints is not None:
        more["keypoints"] = result.keypoints.data.tolist()
    if obb is not None:
        more = {"xywhr": found.xywhr.tolist(), "corners": found.xyxyxyxy.tolist()}
    for index, (box, confidence, number) in enumerate(
        zip(found.xyxy.tolist(), found.conf.tolist(), found.cls.tolist())
    ):
        yield {
            "class": result.names[int(number)],
            "class_id": int(number),
            "confidence": confidence,
            **dict(zip(("x1", "y1", "x2", "y2"), box)),
            **{name: values[index] for name, values in more.items()},
        }


def _regions(classes: np.ndarray, names: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    """Yield the region of each class, the largest first, with its mask as COCO has it: run lengths down the columns."""
    if len(names) == 1:  # of a single class, 1 is what belongs to it
        classes = np.where(classes == 1, 0, -1)
    found, pixels = np.unique(classes, return_counts=True)
    for index in np.argsort(-pixels, kind="stable"):
        number = int(found[index])
        if number in names:  # else it is left open
            mask = (classes == number).ravel(order="F")
            ends = np.flatnonzero(np.diff(mask, prepend=False))
            yield {
                "class": names[number],
                "class_id": number,
                "share": pixels[index] / classes.size,
                "size": list(classes.shape),
                "counts": np.diff(ends, prepend=0, append=mask.size).tolist(),
            }


def _depths(depth: np.ndarray) -> dict[str, Any]:
    """Return the depths of an image in metres, in rows of pixels, to the millimetre; 0 is unknown."""
    known = depth[depth > 0]
    span = {"min": known.min(), "max": known.max()} if known.size else {"min": np.nan, "max": np.nan}
    return {**span, "depth": depth.round(3).tolist()}


set_model(YoloModel())
