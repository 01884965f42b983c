"""A file that stands in a folder under a fixed name."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class _Folder(Protocol):
    path: Path


class Within:
    """Its path, made when it is first asked for: lists name thousands of folders, and look at a few files of each."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __set_name__(self, _: type, attribute: str) -> None:
        """Note under which attribute it is asked for."""
        self._attribute = attribute

    def __get__(self, folder: _Folder, _: type) -> Path:
        """Return its path in this folder, and leave it where the next one who asks finds it first."""
        path = folder.path / self._name
        vars(folder)[self._attribute] = path
        return path
