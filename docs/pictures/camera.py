"""Takes pictures of pages, in a browser that reaches nothing but this machine."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from docs.pictures import SIZES
from docs.pictures.files import write_png
from tests.support import browser

_ANONYMISE = """
root => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode())
        if (texts.currentNode.data.includes(root)) texts.currentNode.data = texts.currentNode.data.replaceAll(root, '');
}
"""
"""Paths are shown as they are on the machine of the user in the pictures."""

_REST = 1500
"""Milliseconds until what moves into its place has come to rest."""


class Camera:
    """A page of the browser."""

    def __init__(self, page: Any, folder: Path, root: Path) -> None:
        self.page = page
        self._folder = folder
        self._root = root

    @contextmanager
    def picture(self, name: str, *, left: int = 0, top: int = 0) -> Iterator[Any]:
        """Give the page the size of a picture, and take it when the page shows what it is to.

        :param left: pixels of the page that are not in it, a column of settings
        :param top: the same above
        """
        width, height = SIZES[name]
        self.resize(left + width, top + height)
        yield self.page
        write_png(self._folder / name, self.take().crop((left, top, left + width, top + height)))

    def resize(self, width: int, height: int) -> None:
        """Give the page a size."""
        self.page.set_viewport_size({"width": width, "height": height})

    def take(self) -> Image.Image:
        """Take a picture of the page as it is."""
        self.page.mouse.move(0, 0)  # away from what shows more of itself under it
        self.page.wait_for_timeout(_REST)
        self.page.evaluate(_ANONYMISE, str(self._root))
        return Image.open(io.BytesIO(self.page.screenshot(animations="disabled")))


@contextmanager
def camera(folder: Path, root: Path) -> Iterator[Camera]:
    """Open a browser.

    :param folder: for the pictures
    :param root: the folder that is the root of the file system for the user in the pictures
    """
    with browser.new_page() as page:
        yield Camera(page, folder, root)
