"""Says of which classes the trackers get curves, where there are many: to the user, in the trackers, in the pointer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.run import journal
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.perclass import Choice
from tracking_hooks.run.pointer import PointerFile
from tracking_hooks.settings import variable

PARAM = "per_class_curves"
"""The param by which a tracker shows what was chosen."""


class ChosenClasses:
    """The choice of one run, as soon as its journal tells it."""

    def __init__(
        self,
        folder: RunFolder,
        known: list[str],
        pointer: PointerFile,
        record: Callable[..., None],
        complain: Complaints,
    ) -> None:
        """Wait for a validation.

        :param known: what an earlier part of the run has chosen and said
        """
        self._folder, self._known, self._pointer = folder, known, pointer
        self._record, self._complain = record, complain
        self._choice: Choice | None = None
        self._is_told = False

    def look(self, per_class: Mapping[str, Any]) -> None:
        """Take in that a validation was recorded. Never raises."""
        if not self._is_told:
            self._complain.guard(lambda: self._look(per_class), "choosing the classes that get curves")

    def _look(self, per_class: Mapping[str, Any]) -> None:
        if self._choice is None:
            self._choice = Choice(self._folder.journal, journal.read_head(self._folder.journal)[0])
        chosen = self._choice.classes() if self._choice.concerns(per_class) else None
        if chosen is None:  # there are few, or the event waits in memory for room on the disk
            return
        self._is_told = True
        self._pointer.note_classes(chosen)
        if not chosen or chosen == self._known:
            return
        self._record("on_params", params={PARAM: chosen})
        self._complain.tell(
            f"the trackers get curves of {len(chosen)} of {len(per_class):,} validated classes, and tables of all: "
            f"{variable('per_class')}=all sends all curves"
        )
