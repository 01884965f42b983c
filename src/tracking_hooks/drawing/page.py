"""The picture as a whole: two halves side by side, each below a heading, and lines about the image below them."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracking_hooks.counts import counted
from tracking_hooks.drawing import maps
from tracking_hooks.drawing.lettering import GREY, INK, NOTHING, PAPER, Classes, fitted, font, ink_on, plain
from tracking_hooks.drawing.objects import draw_half, objects
from tracking_hooks.predictions import SeenImage, read_member

if TYPE_CHECKING:
    from PIL.Image import Image

_TALLEST = 0.42
"""Height of a half, at most, relative to the width of the picture."""
_LEAST = 0.2
"""The same, at least: a long strip stands in an area that has room for texts."""
_LINE = 1.4
"""Height of a line, relative to its letters."""

_HOW: dict[str, dict[str, Any]] = {
    "PNG": {"optimize": True},
    "JPEG": {"quality": 88, "subsampling": 0},  # otherwise coloured letters are blurred
    "WEBP": {"quality": 85, "method": 2},
}
"""How files are written."""


class Page:
    """Draws one image; see ``draw``."""

    def __init__(
        self, image: SeenImage, archive: Path, classes: Mapping[int, str], *, title: str, width: int, text: int
    ) -> None:
        self._image = image
        self._archive = archive
        self._classes = Classes(classes)
        self._title = title
        self._width = width
        self._text = text
        self._gap = max(2, width // 100)

    def encoded(self, kind: str, *, square: bool) -> bytes:
        """Return it as a file."""
        from PIL import Image

        page = self._page()
        if square and page.height < page.width:
            larger = Image.new("RGBA", (page.width, page.width))
            larger.paste(page, (0, 0))
            page = larger
        buffer = io.BytesIO()
        page.save(buffer, kind, **_HOW[kind])
        return buffer.getvalue()

    def _page(self) -> Image:
        from PIL import Image, ImageDraw

        left, right = self._halves()
        legend = self._legend()
        lines = self._lines()
        height = round(_LINE * self._text)
        below = height + left.height + self._gap + (legend.height if legend else 0)
        page = Image.new("RGB", (self._width, below + len(lines) * height), PAPER)
        drawing = ImageDraw.Draw(page)
        second = self._width - right.width
        headings = {0: "labelled", second: f"predicted, {self._title}" if self._title else "predicted"}
        for x, heading in headings.items():
            shown = fitted(plain(heading), self._text, left.width - self._gap)
            drawing.text((x + self._gap, height / 2), shown, INK, font(self._text), "lm")
        page.paste(left, (0, height))
        page.paste(right, (second, height))
        if legend:
            page.paste(legend, (self._gap, height + left.height + self._gap))
        for number, line in enumerate(lines):
            shown = fitted(plain(line), self._text, self._width - 2 * self._gap, keep_end=not number)
            y = below + (number + 0.5) * height
            drawing.text((self._gap, y), shown, GREY if number else INK, font(self._text), "lm")
        return page

    def _lines(self) -> list[str]:
        image = self._image
        facts = [
            image.reason or ("no mistakes" if image.score == 0 else ""),
            f"score {image.score:.2f}" if image.score else "",
            counted(image.left_out, "more object") if image.left_out else "",
        ]
        return [image.path, ", ".join(filter(None, facts)) or " "]

    # -- the halves -------------------------------------------------------------------------------------------

    def _halves(self) -> tuple[Image, Image]:
        image = self._image
        if image.label_map or image.predicted_map:
            return self._of_map(image.label_map), self._of_map(image.predicted_map)
        if image.label is not None or image.probabilities:
            return self._of_label(), self._of_probabilities()
        labels, predictions = objects(image.labels, image.predictions), objects(image.predictions, image.labels)
        halves = self._area(), self._area()
        scale, origin = self._scale()
        for half, shown in zip(halves, (labels, predictions)):
            draw_half(
                half, shown, self._classes, scale=scale, origin=origin, text=self._text,
                is_compared=image.score is not None,
            )  # fmt: skip
        return halves

    @functools.cached_property
    def _size(self) -> tuple[int, int]:
        """Width and height of the image in a half."""
        across = (self._width - self._gap) // 2
        width, height = max(1, self._image.width), max(1, self._image.height)
        scale = min(across / width, _TALLEST * self._width / height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    @functools.cached_property
    def _picture(self) -> Image:
        """The image, as large as in a half."""
        from PIL import Image

        found = self._member(self._image.picture)
        if found is None:
            return self._missing()
        is_enlarged = found.width < self._size[0]
        how = Image.Resampling.BICUBIC if is_enlarged else Image.Resampling.LANCZOS
        return found.convert("RGB").resize(self._size, how)

    def _member(self, name: str) -> Image | None:
        """Return a picture of the archive; None if that has none of this name, or what it has is no picture."""
        from PIL import Image

        try:
            content = read_member(self._archive, name)
        except KeyError:
            return None
        try:
            found = Image.open(io.BytesIO(content))
            found.load()
        except (ImportError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # for other bytes
            return None
        return found

    def _missing(self) -> Image:
        from PIL import Image, ImageDraw

        grey = Image.new("RGB", self._size, NOTHING)
        said = fitted("no picture", self._text, grey.width)
        ImageDraw.Draw(grey).text((grey.width / 2, grey.height / 2), said, GREY, font(self._text), "mm")
        return grey

    def _area(self, content: Image | None = None) -> Image:
        """Return a half with a picture in its middle."""
        from PIL import Image

        content = content or self._picture
        area = Image.new("RGB", self._half, (240, 240, 240))
        area.paste(content, self._origin)
        return area

    @property
    def _half(self) -> tuple[int, int]:
        return (self._width - self._gap) // 2, max(self._size[1], round(_LEAST * self._width))

    @property
    def _origin(self) -> tuple[int, int]:
        return (self._half[0] - self._size[0]) // 2, (self._half[1] - self._size[1]) // 2

    def _scale(self) -> tuple[tuple[float, float], tuple[int, int]]:
        width, height = self._size
        return (width / max(1, self._image.width), height / max(1, self._image.height)), self._origin

    def _of_map(self, name: str) -> Image:
        values = self._member(name) if name else None
        if values is None:
            return self._area(self._missing())
        values = values.convert("L")
        if self._image.depths:
            return self._area(maps.of_depths(values, self._size))
        return self._area(maps.of_classes(values, self._picture, self._classes))

    def _legend(self) -> Image | None:
        image = self._image
        found = [
            values.convert("L")
            for name in (image.label_map, image.predicted_map)
            if name and (values := self._member(name))
        ]
        if not found:
            return None
        width = self._width - 2 * self._gap
        if image.depths:
            return maps.legend_of_depths(image.depths, width, self._text)
        return maps.legend_of_classes(found, self._classes, width, self._text)

    def _of_label(self) -> Image:
        """Return the image with its class."""
        from PIL import ImageDraw

        half = self._area()
        if self._image.label is not None:
            pad, size = max(2, self._text // 6), self._text
            colour = self._classes.colour(self._image.label)
            said = fitted(self._classes.text(self._image.label), size, half.width - 2 * pad)
            drawing = ImageDraw.Draw(half)
            drawing.rectangle((0, 0, font(size).getlength(said) + 2 * pad, 1.25 * size), fill=colour, outline=INK)
            drawing.text((pad, 0.625 * size), said, ink_on(colour), font(size), "lm")
        return half

    def _of_probabilities(self) -> Image:
        """Return a bar for each of the most probable classes; the true one is framed."""
        from PIL import Image, ImageDraw

        half = Image.new("RGB", self._half, PAPER)
        drawing, text = ImageDraw.Draw(half), self._text
        row = min(half.height / max(1, len(self._image.probabilities)), 2 * text)
        size = min(text, round(row / 1.2))
        for number, (name, value) in enumerate(self._image.probabilities.items()):
            top, bottom = number * row + 1, (number + 1) * row - 2
            share, is_true = min(1.0, max(0.0, value)), name == self._image.label
            drawing.rectangle((0, top, half.width - 1, bottom), fill=(240, 240, 240))
            drawing.rectangle((0, top, share * (half.width - 1), bottom), fill=_paler(self._classes.colour(name)))
            if is_true:
                drawing.rectangle((0, top, half.width - 1, bottom), outline=INK, width=max(2, text // 8))
            number_shown = f"{value:.2f}"
            room = half.width - 1.2 * size - font(size).getlength(number_shown)
            drawing.text(
                (0.4 * size, (top + bottom) / 2), fitted(self._classes.text(name), size, room), INK, font(size), "lm"
            )
            drawing.text((half.width - 0.4 * size, (top + bottom) / 2), number_shown, INK, font(size), "rm")
        return half


def _paler(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = ((part + 255) // 2 for part in colour)
    return red, green, blue
