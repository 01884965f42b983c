"""One half of a picture of objects: boxes, outlines and keypoints, with a text at each that matters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tracking_hooks.drawing.lettering import INK, PAPER, Classes, Colour, fitted, font, ink_on
from tracking_hooks.predictions import CONFIDENT, Box

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_MOST_TEXTS = 20
_COVERED = 0.4
"""The share of a half that texts may cover at most: what they are about is to be seen."""
_CORNERS = 4  # of an oriented box; what has more is the outline of a mask

Area = tuple[float, float, float, float]
"""Left, top, right, bottom."""


class Object(NamedTuple):
    """What is drawn of a box."""

    box: Box
    counterpart: Box | None

    @property
    def is_mistake(self) -> bool:
        """Whether it was missed, is a false positive, or is of another class."""
        return self.counterpart is None or self.counterpart.label != self.box.label


def objects(boxes: Sequence[Box], others: Sequence[Box]) -> list[Object]:
    """Return what of a list of boxes is shown, the most important first: mistakes, then the most confident."""
    found = [
        Object(box, others[box.match] if box.match is not None and 0 <= box.match < len(others) else None)
        for box in boxes
        if (box.confidence is None or box.confidence >= CONFIDENT) and _is_finite(box)
    ]
    return sorted(found, key=lambda one: (not one.is_mistake, -_weight(one)))


def draw_half(
    picture: Image, shown: Sequence[Object], classes: Classes, *, scale: tuple[float, float], origin: tuple[int, int],
    text: int, is_compared: bool,
) -> None:  # fmt: skip
    """Draw objects into one half of a picture.

    :param scale: pixels of the half for each pixel of the image, by direction
    :param origin: where in the half the image begins
    :param text: size of the letters
    :param is_compared: whether there is another half with something in it
    """
    from PIL import ImageDraw

    line = max(2, round(text / 8))
    for rank, one in reversed([*enumerate(shown)]):
        _Shape(one, scale, origin).draw(
            picture, classes.colour(one.box.label), width=line if rank < _MOST_TEXTS else max(1, line // 2),
            is_mistake=is_compared and one.is_mistake and rank < _MOST_TEXTS,
        )  # fmt: skip
    bounds = [_Shape(one, scale, origin).bounds for one in shown[:_MOST_TEXTS]]
    drawing, taken = ImageDraw.Draw(picture), _Taken(picture.width, picture.height, bounds)
    for one, of in zip(shown, bounds):
        _Tag(one, classes, text, is_compared=is_compared, widest=0.9 * picture.width).draw(drawing, of, taken)


class _Shape:
    """The outline of an object, in the pixels of a half."""

    def __init__(self, one: Object, scale: tuple[float, float], origin: tuple[int, int]) -> None:
        (across, down), (left, top), box = scale, origin, one.box

        def moved(x: float, y: float) -> tuple[float, float]:
            return left + x * across, top + y * down

        (x0, y0), (x1, y1) = moved(*box.box[:2]), moved(*box.box[2:])
        self.bounds: Area = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        self._is_mask = len(box.polygon) > _CORNERS
        self._polygon = [moved(*point) for point in box.polygon]
        least = CONFIDENT if box.confidence is not None else math.ulp(0.0)
        self._keypoints = [moved(x, y) for x, y, seen in box.keypoints if seen >= least]

    def draw(self, picture: Image, colour: Colour, *, width: int, is_mistake: bool) -> None:
        from PIL import ImageDraw

        if self._is_mask:
            ImageDraw.Draw(picture, "RGBA").polygon(self._polygon, fill=(*colour, 90))
        drawing = ImageDraw.Draw(picture)
        left, top, right, bottom = self.bounds
        corners = self._polygon or [(left, top), (right, top), (right, bottom), (left, bottom)]
        if len(corners) < 3:
            corners = [corners[0], corners[-1], corners[0]]
        closed = [*corners, corners[0]]
        if is_mistake:
            drawing.line(closed, fill=INK, width=2 * width, joint="curve")
            for start, end in _dashes(closed, 4 * width):
                drawing.line([start, end], fill=colour, width=2 * width)
        else:
            drawing.line(closed, fill=INK, width=width + 2, joint="curve")  # seen on what has the class's own colour
            drawing.line(closed, fill=colour, width=width, joint="curve")
        for x, y in self._keypoints:
            drawing.ellipse((x - width - 1, y - width - 1, x + width + 1, y + width + 1), fill=colour, outline=INK)


class _Taken:
    """Where texts stand in a half.

    :param objects: what they are to leave free, where they can
    """

    def __init__(self, width: int, height: int, objects: Sequence[Area] = ()) -> None:
        self._width, self._height = width, height
        self._objects = objects
        self._areas: list[Area] = []
        self._left = _COVERED * width * height

    def place(self, bounds: Area, width: float, height: float) -> tuple[float, float] | None:
        """Return a free place for a text, near an object; None if there is none."""
        if self._areas and width * height > self._left:
            return None
        free = [
            area for area in self._near(bounds, width, height) if not any(_common(area, one) for one in self._areas)
        ]
        if not free:
            return None
        best = min(free, key=lambda area: sum(_common(area, one) for one in self._objects if one != bounds))
        self._areas.append(best)
        self._left -= width * height
        return best[:2]

    def _near(self, bounds: Area, width: float, height: float) -> Iterator[Area]:
        for x, y in _near(bounds, width, height):
            left = min(max(0.0, x), max(0.0, self._width - width))
            top = min(max(0.0, y), max(0.0, self._height - height))
            yield left, top, left + width, top + height


class _Tag:
    """The text at an object."""

    def __init__(self, one: Object, classes: Classes, size: int, *, is_compared: bool, widest: float) -> None:
        self._size, self._pad = size, max(2, size // 6)
        self._colour = classes.colour(one.box.label)
        self._is_mistake = is_compared and one.is_mistake
        confidence = "" if one.box.confidence is None else f" {one.box.confidence:.2f}"
        said = _said(one, classes) if self._is_mistake else ""
        room = widest - 2 * self._pad - font(size).getlength(confidence + said)
        name = fitted(classes.text(one.box.label), size, max(room, 4 * size))
        self._text = fitted(f"{name}{confidence}{said}", size, widest - 2 * self._pad)

    def draw(self, drawing: ImageDraw, bounds: Area, taken: _Taken) -> None:
        width = font(self._size).getlength(self._text) + 2 * self._pad
        height = round(1.25 * self._size)
        place = taken.place(bounds, width, height)
        if place is None:
            return
        left, top = place
        ground = INK if self._is_mistake else self._colour
        outline = self._colour if self._is_mistake else INK
        drawing.rectangle(
            (left, top, left + width - 1, top + height - 1), fill=ground, outline=outline,
            width=max(1, self._size // 12) if self._is_mistake else 1,
        )  # fmt: skip
        ink = PAPER if self._is_mistake else ink_on(self._colour)
        drawing.text((left + self._pad, top + height / 2), self._text, fill=ink, font=font(self._size), anchor="lm")


def _said(one: Object, classes: Classes) -> str:
    """Return what is wrong about an object, in words."""
    is_label = one.box.confidence is None
    if one.counterpart is None:
        return " missed" if is_label else " false"
    return (
        f", seen as {classes.text(one.counterpart.label)}"
        if is_label
        else f", not {classes.text(one.counterpart.label)}"
    )


def _weight(one: Object) -> float:
    """Return by what an object is more important than another: its confidence, or that of what it is seen as."""
    for box in (one.box, one.counterpart):
        if box is not None and box.confidence is not None:
            return box.confidence
    left, top, right, bottom = one.box.box
    return abs(right - left) * abs(bottom - top)  # of those that were missed, the largest first


def _is_finite(box: Box) -> bool:
    points = (*box.box, *(value for point in (*box.polygon, *box.keypoints) for value in point))
    return all(math.isfinite(value) and abs(value) < 1e6 for value in points)


def _near(bounds: Area, width: float, height: float) -> Iterator[tuple[float, float]]:
    """Yield places for a text near an object, the best first: above it, below it, in it, beside it."""
    left, top, right, bottom = bounds
    for y in (top - height, bottom, top, bottom - height):
        for x in (left, right - width):
            yield x, y
    for x in (right, left - width):
        for y in (top, (top + bottom - height) / 2, bottom - height):
            yield x, y


def _common(one: Area, other: Area) -> float:
    """Return the size of the area that two have in common."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _dashes(
    points: Iterable[tuple[float, float]], length: float
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Yield every other piece of a line."""
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        total = math.hypot(x1 - x0, y1 - y0)
        pieces = 2 * round(total / length / 2) + 1  # so that corners are drawn
        for piece in range(0, min(pieces, 2001), 2):
            start, end = piece / pieces, (piece + 1) / pieces
            yield (x0 + (x1 - x0) * start, y0 + (y1 - y0) * start), (x0 + (x1 - x0) * end, y0 + (y1 - y0) * end)
