"""Text in pictures, in Pillow's own font, and the colours of classes."""

from __future__ import annotations

import functools
import unicodedata
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Colour: TypeAlias = tuple[int, int, int]

INK: Colour = (16, 16, 16)
GREY: Colour = (105, 105, 105)
PAPER: Colour = (255, 255, 255)
NOTHING: Colour = (208, 208, 208)

_PALETTE: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
    (187, 187, 187), (136, 34, 85), (153, 221, 255),
)  # fmt: skip
"""Okabe and Ito's colours, which people with any colour vision tell apart, and three more."""
_IN_BETWEEN = 0.19
"""The luminance on which white and black stand out alike."""
_LONGEST = 300
"""Letters that are more than any picture has room for: a script's class may have a name of any length."""


class Classes:
    """The classes of a data set, as pictures show them.

    :param names: index to name
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self._indices = {name: index for index, name in names.items()}

    def colour(self, name: str) -> Colour:
        """Return the colour of a class; also of one that is not among them."""
        return self.colour_of(self._indices.get(name, zlib.crc32(name.encode())))

    def colour_of(self, index: int) -> Colour:
        """Return the colour of a class by its index."""
        return _PALETTE[index % len(_PALETTE)]

    def text(self, name: str) -> str:
        """Return a class's name in letters that can be drawn; its index, if it cannot be told in such letters."""
        text = plain(name[:_LONGEST])
        return text if "?" not in text or "?" in name else f"class {self._indices.get(name, '?')}"

    def text_of(self, index: int) -> str:
        """Return the same by the index."""
        return self.text(self._names[index]) if index in self._names else f"class {index}"


def plain(text: str) -> str:
    """Return a text in the letters that Pillow's own font has, which are those of English; ``?`` for others."""
    parts = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    return "".join(c if " " <= c <= "~" else "?" for c in parts if not unicodedata.combining(c))


@functools.lru_cache(maxsize=8)
def font(size: int) -> FreeTypeFont:
    """Return Pillow's own font in a size."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def fitted(text: str, size: int, width: float, *, keep_end: bool = False) -> str:
    """Return a text of which as much is left as a width has room for.

    :param keep_end: whether it is shortened at its front
    """
    text = text[-_LONGEST:] if keep_end else text[:_LONGEST]
    if font(size).getlength(text) <= width:
        return text
    for count in range(len(text) - 1, 0, -1):
        shorter = f"..{text[-count:]}" if keep_end else f"{text[:count].rstrip()}.."
        if font(size).getlength(shorter) <= width:
            return shorter
    return ""


def ink_on(colour: Colour) -> Colour:
    """Return black or white: what stands out more on a colour, as WCAG measures contrast."""
    red, green, blue = ((part / 255) ** 2.2 for part in colour)
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > _IN_BETWEEN else PAPER
