"""Keeps the pointer in ``save_dir`` true of what is on the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.writer import Writer
from tracking_hooks.run.layout import POINTER
from tracking_hooks.run.pointer import PointerFile


class Pointing:
    """Writes the pointer of a run that is recorded."""

    def __init__(self, file: PointerFile, writer: Writer, complain: Complaints) -> None:
        self._file, self._writer, self._complain = file, writer, complain
        self._epoch = writer.story.epoch

    def begin(self) -> None:
        """Say whose the folder is from now on.

        :raises OSError: if it cannot be written
        """
        self._file.write(self._settled(), {}, of_another=True)

    def write(self, links: Mapping[str, str] = MappingProxyType({}), *, of_another: bool = False) -> None:
        """Write it as a whole. Never raises."""
        self._guard(lambda: self._file.write(self._settled(), links, of_another=of_another))

    def settle(self) -> None:
        """Write down the epoch that was settled. Never raises."""
        self._guard(lambda: self._file.settle(self._settled()))

    def _guard(self, write: Callable[[], None]) -> None:
        self._complain.guard(write, f"writing {POINTER}")

    def _settled(self) -> int:
        """Return the last epoch that is on the disk: who resumes from a copy of ``save_dir`` records none before it."""
        if not self._writer.is_behind:
            self._epoch = self._writer.story.epoch
        return self._epoch
