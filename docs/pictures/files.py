"""Writes the files of pictures, as small as they look the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageSequence


def write_png(path: Path, picture: Image.Image) -> None:
    """Write a picture with the 256 colours that suit it."""
    _with_few_colours(picture).save(path, optimize=True)


def write_film(path: Path, frames: Sequence[tuple[Image.Image, float]]) -> None:
    """Write a film that is played again and again.

    :param frames: pictures, and the seconds for which each is shown
    """
    few = [frame if frame.mode == "P" else _with_few_colours(frame) for frame, _ in frames]
    durations = [round(100 * seconds) * 10 for _, seconds in frames]  # the format knows hundredths of a second
    few[0].save(path, save_all=True, append_images=few[1:], duration=durations, loop=0, optimize=True)


def end_of_film(path: Path, count: int) -> list[Image.Image]:
    """Return the last pictures of a film."""
    with Image.open(path) as film:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(film)]
    return frames[-count:]


def _with_few_colours(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
