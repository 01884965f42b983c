"""The pointer in ``save_dir``: which run the folder belongs to, and how far that has come.

It is replaced as a whole, except at the end of an epoch: the training waits for that, so only the number is rewritten,
in its place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tracking_hooks.run import portable
from tracking_hooks.run.layout import POINTER, Pointer, RunFolder, read_json, replace_file

_WIDTH = 9
"""Characters that an epoch has room for: JSON allows spaces before a number."""


class PointerFile:
    """The pointer of one run, in the folder that it saves to."""

    def __init__(self, folder: RunFolder, save_dir: Path, classes: Sequence[str] = ()) -> None:
        """Point from a folder to a run.

        :param classes: those whose curves the trackers get, if that was chosen
        """
        self._uid = folder.uid
        self._save_dir = save_dir
        self._path = save_dir / POINTER
        self._classes, self._has_news = list(classes), False
        names = json.dumps({"uid": folder.uid, "folder": str(folder.path)}).rstrip("}")
        self._front = f'{names}, "epoch":  '.encode()  # two spaces: where there is one, the number has no room

    def write(self, epoch: int, links: Mapping[str, str], *, of_another: bool = False) -> None:
        """Say whose the folder is, if it is there: that of a trial may be deleted by now.

        :param epoch: the last one that was settled
        :param links: plugin name to URL
        :param of_another: whether to take the folder over from another run
        :raises OSError: if it cannot be written
        """
        if not self._save_dir.is_dir():
            return
        found = None if of_another else read_json(self._path, Pointer)
        if found is None or found.uid == self._uid:
            more: dict[str, Any] = {"links": dict(links)} | ({"classes": self._classes} if self._classes else {})
            rear = f", {json.dumps(more)[1:]}\n".encode()
            replace_file(self._path, self._front + _in_place(epoch) + rear)
        self._has_news = False

    def note_classes(self, classes: Sequence[str]) -> None:
        """Have the classes stand there whose curves the trackers get, from the next epoch's end on."""
        self._has_news = self._classes != list(classes)
        self._classes = list(classes)

    def settle(self, epoch: int) -> None:
        """Say that an epoch was settled: a resume from a copy of ``save_dir`` alone goes by it.

        :raises OSError: if it cannot be written
        """
        if self._has_news or not self._rewrite(epoch):
            self.write(epoch, {})

    def _rewrite(self, epoch: int) -> bool:
        """Write the number in its place; return whether that could be done."""
        with suppress(OSError):  # it is gone, or can be replaced only
            file = portable.open_file(self._path, os.O_RDWR)
            try:
                if os.read(file, len(self._front)) == self._front:
                    os.write(file, _in_place(epoch))
                    return True
            finally:
                os.close(file)
        return False


def _in_place(epoch: int) -> bytes:
    return f"{epoch:{_WIDTH}}".encode()
