"""Makes the files of a run that is about to be recorded, or opens those of one that is gone on with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from tracking_hooks.events import Capture, Destination, Run
from tracking_hooks.plugins import first_label, first_part
from tracking_hooks.recording import resumption
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.folders import make_folder
from tracking_hooks.recording.resumption import Earlier
from tracking_hooks.run import destinations, index, state, story
from tracking_hooks.run.journal import FORMAT, Head, Journal
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.liveness import Heart, Lock
from tracking_hooks.run.story import Story
from tracking_hooks.settings import Settings

_PATIENCE = 10.0
"""Seconds in which a relay that is writing the end of a run's earlier part gives its lock back."""


class Opened(Struct, kw_only=True):
    """The files of a run, held by this process."""

    folder: RunFolder
    lock: Lock
    journal: Journal
    story: Story
    captures: dict[str, Capture]
    """Label to what its plugin noted down."""
    firsts: dict[str, str]
    """Label to that of the first part of its plugin."""
    resumed: bool = False
    is_new: bool = True
    """Whether the files were made now: not those of a resumed run, if they are here."""
    classes: list[str] = []
    """Those whose curves the trackers get, as an earlier part of the run has chosen them."""
    added: list[str] = []
    """Labels of the trackers that the run did not have before it was resumed."""

    def undo(self) -> None:
        """Leave nothing behind of what was made: nothing was recorded."""
        for label in self.added:
            self.folder.forget_replay(label)
        if self.is_new:
            self.folder.remove()
            index.forget(self.folder)


def open_run(
    run: Run,
    captures: Mapping[str, Capture],
    settings: Settings,
    home: Path | None,
    earlier: Earlier | None,
    complain: Complaints,
) -> Opened:
    """Make the files of a run, or go on with those that are there.

    :param home: the folder to make the run folder in; by default the one beside ``save_dir``
    :param earlier: the run so far, if this one is resumed
    :raises JournalError, OSError: if that cannot be done
    """
    if earlier and earlier.journal:
        opened = _go_on(*earlier.journal, run.save_dir, captures, complain)
    else:
        opened = _begin(run, captures, settings, home, complain, earlier.classes if earlier else [])
        if earlier:
            opened.resumed, opened.story.epoch = True, earlier.epoch
    if earlier:
        opened.classes = earlier.classes
    return opened


def _begin(
    run: Run,
    captures: Mapping[str, Capture],
    settings: Settings,
    home: Path | None,
    complain: Complaints,
    classes: list[str],
) -> Opened:
    folder = make_folder(run, home, [capture.place for capture in captures.values()], complain)
    lock = hold(folder)
    head = Head(
        format=FORMAT,
        created=time.time(),
        run=run,
        plugins={name: capture.destination for name, capture in captures.items()},
        places={name: capture.place for name, capture in captures.items() if capture.place},
        metrics=settings.metrics,
        thin=settings.thin == "on",
        per_class=settings.class_limit(),
        classes=classes,
        checkpoints=settings.checkpoints,
        home=folder.path.parent,
    )
    try:
        log = Journal.create(folder.journal, head)
    except BaseException:
        lock.release()
        raise
    firsts = {name: first_part(name) for name in captures}
    return Opened(folder=folder, lock=lock, journal=log, story=Story(), captures=dict(captures), firsts=firsts)


def _go_on(
    folder: RunFolder, head: Head, save_dir: Path, captures: Mapping[str, Capture], complain: Complaints
) -> Opened:
    """Open the files of a run that is resumed.

    It is delivered to where it has been delivered so far; a tracker that is new gets all of it.
    """
    lock = hold(folder)
    by_label: dict[str, Capture] = {}
    firsts = {}
    added: list[str] = []
    try:
        before = folder.replays()
        resumption.take_over(folder)
        for name, capture in captures.items():
            known = None if state.is_forgotten(folder, name) else _destination(folder, head, name)
            label = name
            if known is None:
                label = folder.add_replay(name, capture.destination, capture.place)
                if label not in before:
                    added.append(label)
            elif known != capture.destination and first_part(name) == name:
                complain(f"{name} goes on where this run was begun, not where a new one would go: {known}")
            by_label[label] = capture
            firsts[label] = first_label(label, name)
        log, so_far = story.reopen(folder.journal)
    except BaseException:
        for label in added:
            folder.forget_replay(label)
        lock.release()
        raise
    so_far.move(head.run.save_dir, save_dir)
    return Opened(
        folder=folder, lock=lock, journal=log, story=so_far, captures=by_label, firsts=firsts, resumed=True,
        is_new=False, added=added,
    )  # fmt: skip


def _destination(folder: RunFolder, head: Head, name: str) -> Destination | None:
    """Return where a run was begun to be delivered to, or where that is now if it was moved with the run."""
    recorded = head.plugins.get(name)
    return None if recorded is None else destinations.as_moved(folder, head, recorded)[1]


def hold(folder: RunFolder) -> Lock:
    """Take the lock of a run, and give the first sign of life.

    :raises OSError: if another process keeps it
    """
    lock = Lock(folder.lock)
    lock.take(_PATIENCE)
    Heart(folder.heartbeat).beat()
    return lock
