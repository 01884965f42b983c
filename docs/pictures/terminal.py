"""Draws what a terminal shows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import matplotlib as mpl
import pyte
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageColor, ImageDraw, ImageFont

from docs.pictures.cast import Cast, quickened

_CELL = (9, 20)
"""Width and height of a letter, in pixels."""
_LETTERS = 14.95
"""The size at which those of DejaVu Sans Mono are so wide."""
_MARGIN = (11, 12)
COLUMNS, ROWS = 90, 30
"""Of the terminal: a row of a validation is 88 columns wide."""
_EVERY, _SELDOM = 0.12, 0.3
"""Seconds from one picture to the next; where most of it is another one, which takes 30 kB."""
_PAPER, _INK = "#1b1f27", "#d5dae3"
_COLOURS = {"blue": "#6cb2f7", "green": "#a5d36f", "brown": "#ecc66a", "red": "#f07178"}
"""Those of the palette that trainings and the prompt use, by the names that pyte gives them."""
_EDGES = {_INK: (0.33, 0.67), **dict.fromkeys(_COLOURS.values(), (0.5,))}
"""Shades of a colour at the edges of letters, from 0 (paper) to 1."""


class Terminal:
    """A terminal of some columns and rows."""

    def __init__(self, columns: int, rows: int) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self._screen)
        width, height = (2 * edge + cell * count for edge, cell, count in zip(_MARGIN, _CELL, (columns, rows)))
        self._picture = Image.new("RGB", (width, height), _PAPER)
        self._cursor = 0

    def print(self, text: str) -> None:
        """Show more of its output."""
        self._stream.feed(text)

    @property
    def is_another(self) -> bool:
        """Whether most lines have changed since the last picture."""
        return len(self._screen.dirty) > self._screen.lines / 2

    def picture(self) -> Image.Image:
        """Return what it looks like now."""
        cursor = self._screen.cursor
        for row in self._screen.dirty | {self._cursor, cursor.y}:
            self._draw(row)
        self._screen.dirty.clear()
        self._cursor = cursor.y
        if not cursor.hidden and cursor.x < self._screen.columns:
            left, top = self._place(cursor.x, cursor.y)
            ImageDraw.Draw(self._picture).rectangle((left, top, left + _CELL[0] - 1, top + _CELL[1] - 2), _INK)
        return self._picture.quantize(palette=_palette(), dither=Image.Dither.NONE)

    def _draw(self, row: int) -> None:
        for column in range(self._screen.columns):
            cell = self._screen.buffer[row][column]
            colour = _COLOURS.get(cell.fg.removeprefix("bright"), _INK)
            self._picture.paste(_letter(cell.data, colour, cell.bold), self._place(column, row))

    @staticmethod
    def _place(column: int, row: int) -> tuple[int, int]:
        return _MARGIN[0] + column * _CELL[0], _MARGIN[1] + row * _CELL[1]


@cache
def _palette() -> Image.Image:
    """Return a picture with the few colours that a terminal needs: its files are half as large then."""
    paper = ImageColor.getrgb(_PAPER)
    colours = [paper]
    for name, shades in _EDGES.items():
        ink = ImageColor.getrgb(name)
        colours += [tuple(round(p + shade * (i - p)) for p, i in zip(paper, ink)) for shade in (*shades, 1)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in colours for part in colour])
    return palette


@cache
def _letter(character: str, colour: str, bold: bool) -> Image.Image:
    """Return the picture of a letter; that of one which the font does not have, such as an emoji, is empty."""
    picture = Image.new("RGB", _CELL, _PAPER)
    font, known = _font(bold)
    if character.strip() and known.get_char_index(ord(character[0])):
        ImageDraw.Draw(picture).text((0, _CELL[1] - 5), character, colour, font, "ls")
    return picture


@cache
def _font(bold: bool) -> tuple[ImageFont.FreeTypeFont, FT2Font]:
    path = Path(mpl.get_data_path()) / f"fonts/ttf/DejaVuSansMono{'-Bold' if bold else ''}.ttf"
    return ImageFont.truetype(path, _LETTERS), FT2Font(str(path))


def play(cast: Cast) -> Iterator[tuple[Image.Image, float]]:
    """Return what the terminal looks like, and for how many seconds."""
    terminal, began = Terminal(cast.columns, cast.rows), 0.0
    for at, _, text in quickened(cast):
        if at - began >= (_SELDOM if terminal.is_another else _EVERY):
            yield terminal.picture(), at - began
            began = at
        terminal.print(text)
