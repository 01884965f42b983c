"""Small pictures of a data set's images, as Ultralytics reads those: turned as EXIF says, 16 bits taken as 8."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tracking_hooks.predictions import LONG_SIDE

_QUALITY = 85


def size(width: int, height: int) -> tuple[int, int]:
    """Return width and height of an image's picture."""
    by = min(LONG_SIDE / max(width, height), 1.0)
    return max(round(width * by), 1), max(round(height * by), 1)


def member(name: str, suffix: str = ".jpg") -> str:
    """Return the name of a picture in an archive: that of an image has slashes, and whatever its user liked."""
    return hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).hexdigest() + suffix


def picture(path: Path, flag: int = cv2.IMREAD_COLOR, smaller: tuple[int, int] | None = None) -> bytes:
    """Return a JPEG file of an image.

    :param flag: as the data set reads it
    :param smaller: width and height of the picture; None: as ``size`` returns them
    :raises ValueError: if it cannot be read
    """
    image = _read(str(path), flag)
    if image is None:
        raise ValueError(f"{path} cannot be read")
    if image.ndim == 3:
        image = image[..., :3] if image.shape[2] > 2 else image[..., 0]  # more channels than colours
    height, width = image.shape[:2]
    smaller = smaller or size(width, height)
    if smaller != (width, height):
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    return _encoded(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])


def pixels(values: Any) -> bytes:
    """Return a PNG file of a map: an array of bytes in two dimensions."""
    return _encoded(".png", np.ascontiguousarray(values, dtype=np.uint8), [])


def _read(path: str, flag: int) -> Any:
    try:
        from ultralytics.utils.patches import imread
    except ImportError:  # a name below its API, which a release need not have
        imread = cv2.imread
    return imread(path, flag)


def _encoded(suffix: str, image: Any, how: list[int]) -> bytes:
    is_done, data = cv2.imencode(suffix, np.ascontiguousarray(image), how)
    if not is_done:
        raise ValueError(f"no {suffix} can be made of it")
    return bytes(data)
