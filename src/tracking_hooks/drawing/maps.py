"""Maps that tell something of each pixel, classes or depths, in colours; and what the colours stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracking_hooks.drawing.lettering import GREY, INK, NOTHING, Classes, Colour, fitted, font, plain

if TYPE_CHECKING:
    from PIL.Image import Image

_NO_CLASS = 255
_NO_DEPTH = 0
_SHARE = 0.6
"""How much of a class's colour is seen, and how much of the picture below it."""

_DEPTHS: tuple[Colour, ...] = (
    (253, 231, 37), (181, 222, 43), (110, 206, 88), (53, 183, 121), (31, 158, 137), (38, 130, 142), (49, 104, 142),
    (62, 73, 137), (72, 40, 120), (68, 1, 84),
)  # fmt: skip
"""From near to far: Viridis, which people with any colour vision can read, and which stays in order in grey."""


def of_classes(classified: Image, picture: Image, classes: Classes) -> Image:
    """Return a picture with the class of each pixel in its colour."""
    from PIL import Image

    coloured = _coloured(classified, [classes.colour_of(index) for index in range(256)])
    blended = Image.blend(picture, coloured.resize(picture.size, Image.Resampling.NEAREST), _SHARE)
    known = classified.point([255] * _NO_CLASS + [0]).resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(blended, picture, known)


def of_depths(depths: Image, size: tuple[int, int]) -> Image:
    """Return depths in colours; grey where none is known."""
    from PIL import Image

    colours = [_depth(value) for value in range(256)]
    colours[_NO_DEPTH] = NOTHING
    return _coloured(depths, colours).resize(size, Image.Resampling.NEAREST)


def legend_of_classes(maps: list[Image], classes: Classes, width: int, text: int) -> Image:
    """Return a line that names the classes of the maps, those of the most pixels first."""
    from PIL import Image, ImageDraw

    line = Image.new("RGB", (width, _height(text)), "white")
    drawing, x, counts = ImageDraw.Draw(line), 0.0, [0] * 256
    for one in maps:
        counts = [a + b for a, b in zip(counts, one.histogram())]
    for index in sorted(range(_NO_CLASS), key=lambda index: -counts[index]):
        name = classes.text_of(index)
        end = x + 1.2 * text + font(text).getlength(name)
        if not counts[index] or (end > width and x):
            break
        drawing.rectangle((x, 0.25 * text, x + 0.9 * text, 1.15 * text), fill=classes.colour_of(index), outline=INK)
        drawing.text(
            (x + 1.2 * text, line.height / 2), fitted(name, text, width - x - 1.2 * text), INK, font(text), "lm"
        )
        x = end + 0.8 * text
    return line


def legend_of_depths(depths: tuple[float, float], width: int, text: int) -> Image:
    """Return a line with the scale of depths."""
    from PIL import Image, ImageDraw

    line = Image.new("RGB", (width, _height(text)), "white")
    drawing = ImageDraw.Draw(line)
    near, far = (plain(f"{value:.3g}") for value in depths)
    left, right = font(text).getlength(near) + 0.5 * text, width - font(text).getlength(far) - 0.5 * text
    drawing.text((0, line.height / 2), near, GREY, font(text), "lm")
    drawing.text((width, line.height / 2), far, GREY, font(text), "rm")
    for x in range(round(left), round(right)):
        value = 1 + round(254 * (x - left) / max(1.0, right - left))
        drawing.line((x, 0.25 * text, x, 1.15 * text), fill=_depth(value))
    return line


def _height(text: int) -> int:
    return round(1.4 * text)


def _coloured(values: Image, colours: list[Colour]) -> Image:
    values = values.convert("L")
    values.putpalette([part for colour in colours for part in colour])
    return values.convert("RGB")


def _depth(value: int) -> Colour:
    """Return the colour of a depth from 1 to 255."""
    at = max(0.0, (value - 1) / 254) * (len(_DEPTHS) - 1)
    first = min(int(at), len(_DEPTHS) - 2)
    share = at - first
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(_DEPTHS[first], _DEPTHS[first + 1]))
    return red, green, blue
