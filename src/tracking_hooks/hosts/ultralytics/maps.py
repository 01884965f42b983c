"""Maps that tell something of each pixel of an image, as large as the picture of it that is shown."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from ultralytics.data.utils import exif_size

from tracking_hooks.predictions import LONG_SIDE

_PIXELS = 320 * 240
"""About so many a map has at most: an archive has two of each image, and there is an archive for each epoch."""


def reduced(width: int, height: int) -> tuple[int, int]:
    """Return width and height of the maps of an image on disk, and so those of its picture."""
    scale = min(1.0, LONG_SIDE / max(width, height), math.sqrt(_PIXELS / (width * height)))
    return max(round(width * scale), 1), max(round(height * scale), 1)


def resized(values: Any, width: int, height: int) -> Any:
    """Resize a map; no value is made up.

    :param values: an array of rows and columns
    :param width: of the image on disk, as is the height
    """
    return cv2.resize(values, reduced(width, height), interpolation=cv2.INTER_NEAREST)


def of_batch(part: Any) -> Any:
    """Return a map of a batch as an array."""
    return np.ascontiguousarray(part.detach().cpu().numpy())


def size(file: Path) -> tuple[int, int]:
    """Return width and height of an image as Ultralytics reads it; its pixels are not read."""
    with Image.open(file) as image:
        width, height = exif_size(image)
    return width, height
