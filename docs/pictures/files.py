"""Writes the files of pictures, as small as they look the same."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

_IN_GIF = 96
"""Colours of a picture of a page."""


def write_png(path: Path, content: bytes | Image.Image) -> None:
    """Write a picture with the 256 colours that suit it."""
    picture = content if isinstance(content, Image.Image) else Image.open(io.BytesIO(content))
    _with(256, picture).save(path, optimize=True)


def write_gif(path: Path, frames: Sequence[tuple[Image.Image, float]]) -> None:
    """Write a film that is played again and again.

    :param frames: pictures, and the seconds for which each is shown
    """
    few = [frame if frame.mode == "P" else _with(_IN_GIF, frame) for frame, _ in frames]
    durations = [round(100 * seconds) * 10 for _, seconds in frames]  # the format knows hundredths of a second
    few[0].save(path, save_all=True, append_images=few[1:], duration=durations, loop=0, optimize=True)


def _with(colours: int, picture: Image.Image) -> Image.Image:
    return picture.convert("RGB").quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
