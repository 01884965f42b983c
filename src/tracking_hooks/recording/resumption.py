"""What a resumed training goes on with: the run that it began, found by the pointer file in its folder."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from tracking_hooks.events import Run
from tracking_hooks.run import index, journal, layout, orphans, state
from tracking_hooks.run.journal import Head, JournalError
from tracking_hooks.run.layout import POINTER, Pointer, RunFolder, read_json
from tracking_hooks.run.liveness import request_release


class Earlier(msgspec.Struct, frozen=True, kw_only=True):
    """The run so far."""

    run: Run
    epoch: int = 0
    """The last one that was settled, where there is no journal to tell it."""
    classes: list[str] = []
    """Those whose curves the trackers get, if that was chosen."""
    journal: tuple[RunFolder, Head] | None = None
    """None: on another machine, only ``save_dir`` was copied here."""


def find(run: Run, save_dirs: Iterable[Path]) -> Earlier | None:
    """Find the run that a training goes on with.

    :param run: as it would be if it were a new one
    :param save_dirs: where its pointer may be
    :returns: None if it was not tracked, or if another process is recording it right now
    :raises JournalError, OSError: if its journal cannot be read
    """
    for save_dir in save_dirs:
        pointer = read_json(save_dir / POINTER, Pointer)
        if pointer is None:
            continue
        for folder in layout.find_runs(save_dir, _refuse):
            if not state.is_over(folder, silence=0):  # what runs on another machine is not resumed on this one
                return None
            head, _ = journal.read_head(folder.journal)
            same = msgspec.structs.replace(head.run, save_dir=run.save_dir)
            return Earlier(run=same, classes=pointer.classes, journal=(folder, head))
        same = msgspec.structs.replace(run, uid=Path(pointer.uid).name)
        return Earlier(run=same, epoch=pointer.epoch, classes=pointer.classes)
    return None


def _refuse(folder: RunFolder) -> None:
    raise PermissionError(f"{folder.path} is another user's")


def take_over(folder: RunFolder) -> None:
    """Make a run folder, whose lock is held, ready to be recorded to again.

    The run so far gets its end, and its pending files are copied.

    Relays that are still at work are ended: those of the resumed training go on with a fresh configuration.

    :raises JournalError, OSError: if that cannot be done
    """
    for label in state.labels(folder):
        request_release(folder.relay(label).lock, patience=5.0)
    orphans.write_end(folder)
    orphans.secure_files(folder)
    for addendum in index.addenda([folder]):
        with suppress(JournalError, OSError):  # what was added is no reason not to go on
            orphans.secure_files(addendum)
    for crash in folder.crashes():
        crash.unlink(missing_ok=True)
