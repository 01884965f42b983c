"""Takes pictures of pages, in a browser that reaches nothing but this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docs.pictures import SIZES
from docs.pictures.files import write_png
from tests.support import browser

_REST = 1500
"""Milliseconds until what moves into its place has come to rest."""


class Camera:
    """A page of the browser."""

    def __init__(self, page: Any, folder: Path) -> None:
        self.page = page
        self._folder = folder

    @contextmanager
    def picture(self, name: str) -> Iterator[Any]:
        """Give the page the size of a picture, and take it when the page shows what it is to."""
        width, height = SIZES[name]
        self.page.set_viewport_size({"width": width, "height": height})
        yield self.page
        self.page.mouse.move(0, 0)  # away from what shows more of itself under it
        self.page.wait_for_timeout(_REST)
        write_png(self._folder / name, self.page.screenshot(animations="disabled"))


@contextmanager
def camera(folder: Path) -> Iterator[Camera]:
    """Open a browser.

    :param folder: for the pictures
    """
    with browser.new_page() as page:
        yield Camera(page, folder)
