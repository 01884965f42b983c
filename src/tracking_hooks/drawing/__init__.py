"""Draws an image as people compare it: what is labelled on the left, what is predicted on the right.

For plugins whose trackers show pictures and nothing more. Needs Pillow, which is imported when something is drawn.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from tracking_hooks.predictions import SeenImage

__all__ = ["draw", "names"]


def draw(
    image: SeenImage, archive: Path, classes: Mapping[int, str], *, title: str = "", width: int = 900, text: int = 32,
    square: bool = False, kind: Literal["PNG", "JPEG", "WEBP"] = "JPEG",
) -> bytes:  # fmt: skip
    """Return a picture file that shows the labels of an image beside the predictions.

    Each class has one colour, in all pictures of all runs with these classes. Up to 20 boxes of each half have a text,
    mistakes first: as many as fit without covering each other or most of the picture.

    :param archive: the file that has the image's members; for one that it lacks, a grey area says so
    :param classes: index to name
    :param title: what is said of the predictions beside "predicted", such as ``epoch 12``
    :param width: in pixels
    :param text: the size of the letters, in pixels of such a picture
    :param square: whether the picture is made square by a transparent area below it, as a PNG or WEBP file
    :raises OSError, zipfile.BadZipFile: if the archive cannot be read
    """
    from tracking_hooks.drawing.page import Page

    return Page(image, archive, classes, title=title, width=width, text=text).encoded(kind, square=square)


def names(images: Sequence[SeenImage]) -> list[str]:
    """Return a short name for each image: that of its file, with folders where others have the same.

    They are made for titles: without slashes, and long ones are shortened in the middle.
    """
    depth, shown = 1, [_tail(image.path, 1) for image in images]
    while (taken := Counter(shown)).total() > len(taken) and depth < max(image.path.count("/") for image in images) + 1:
        depth += 1
        shown = [_tail(image.path, depth) if taken[name] > 1 else name for image, name in zip(images, shown)]
    return _numbered([_shortened(name) for name in shown])


_LONGEST = 40  # characters: what the title of a card in MLflow has room for, behind "predictions/", in two lines


def _tail(path: str, parts: int) -> str:
    return " ".join(path.split("/")[-parts:])


def _shortened(name: str) -> str:
    if len(name) <= _LONGEST:
        return name
    half = (_LONGEST - 2) // 2
    return f"{name[:half]}..{name[-half:]}"


def _numbered(shown: Sequence[str]) -> list[str]:
    """Give those a number that are still equal to an earlier one."""
    numbered: dict[str, None] = {}
    for name in shown:
        others = (f"{name} {number}" for number in itertools.count(2))
        numbered[next(one for one in itertools.chain([name], others) if one not in numbered)] = None
    return [*numbered]
