"""What a model sees in images, beside what people have labelled there: plain data that hooks receive.

All coordinates are pixels of the image on disk: x to the right, y down, from its upper left corner. The images
themselves come reduced, as members of one archive.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

LONG_SIDE = 640
"""Pixels of the longer side of a picture in the archive, at most."""
CONFIDENT = 0.25
"""The confidence from which a prediction counts, as in most confusion matrices of detectors."""
OVERLAP = 0.45
"""The intersection over union above which a prediction can be a label's, as in the same."""

_LONG_AGO = (1980, 1, 1, 0, 0, 0)


class Box(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An object, as it is labelled or as it is predicted."""

    label: str
    """The name of its class."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom; of an oriented box, the upright one around it."""
    confidence: float | None = None
    """From 0 to 1; None for a label."""
    match: int | None = None
    """The index of its counterpart in the other list; None: a label that was missed, or a false positive."""
    iou: float | None = None
    """The intersection over union with its counterpart."""
    polygon: list[tuple[float, float]] = []
    """The outline of its mask; of an oriented box, the four corners."""
    keypoints: list[tuple[float, float, float]] = []
    """x, y, and the visibility (label) or the confidence (prediction) of each."""


class SeenImage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An image with its labels and predictions. Which of the fields are set is a matter of the task."""

    path: str
    """Below the root of the data set, with forward slashes; its name in trackers."""
    width: int
    """Of the image on disk, in pixels."""
    height: int
    picture: str
    """The member of the archive that shows it: a JPEG or PNG file, its long side ``LONG_SIDE`` at most."""
    score: float | None = None
    """How wrong the predictions are: 0 is right, 1 is all wrong; of a depth map, its mean relative error."""
    reason: str = ""
    """The mistakes in words, such as ``2 missed, 1 false positive``."""
    labels: list[Box] = []
    predictions: list[Box] = []
    """Those with a confidence of at least ``CONFIDENT``, the most confident first."""
    left_out: int = 0
    """How many objects are left out of the two lists, which have so many."""
    label: str | None = None
    """The true class of a whole image."""
    probabilities: dict[str, float] = {}
    """Class name to probability of a whole image, the most probable first: five at most."""
    label_map: str = ""
    """The member of the archive that labels each pixel: a PNG file in grey, as large as the picture; its values are
    indices of classes, 255 for none; or depths from 1 to 255 of ``depths``, 0 for none."""
    predicted_map: str = ""
    """The same for what is predicted."""
    depths: tuple[float, float] | None = None
    """What 1 and 255 stand for in the two maps, in the unit of the labels."""


def write_archive(members: Mapping[str, bytes]) -> bytes:
    """Return an archive, the same for the same members.

    :param members: names to contents
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(members.items()):
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), content)
    return buffer.getvalue()


def read_member(archive: Path, name: str) -> bytes:
    """Return the content of a member, such as ``SeenImage.picture``.

    :raises KeyError: if there is none of that name
    :raises OSError, zipfile.BadZipFile: if the archive cannot be read
    """
    with zipfile.ZipFile(archive) as opened:
        return opened.read(name)
