"""Addenda: what comes after the end of a run of mine, or from another process than its training.

Each process has one for each run, open until the process ends or has added to many other runs: a run folder of its own,
whose head names the run.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from tracking_hooks import redact
from tracking_hooks.events import Capture, Run
from tracking_hooks.plugins import first_label
from tracking_hooks.recording import configuration, process
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.folders import enter_in_index, make_folder, new_uid
from tracking_hooks.recording.opening import Opened, hold
from tracking_hooks.recording.sampler import Sampler
from tracking_hooks.recording.supervisor import Supervisor
from tracking_hooks.recording.writer import Writer
from tracking_hooks.run import copies, destinations, index, journal
from tracking_hooks.run.journal import Head, Journal
from tracking_hooks.run.layout import Replay, RunFolder
from tracking_hooks.run.liveness import Heart
from tracking_hooks.run.perclass import Choice
from tracking_hooks.run.story import Story
from tracking_hooks.settings import Settings

_MOST = 16
"""How many addenda are open at once: each has files, a thread and relays. A script may validate those of 500 runs."""

_complaints: dict[str, Complaints] = {}
# Module state, since who asks again for what is refused has nothing else to know by what was said.


def open_for(folder: RunFolder, logger: logging.Logger) -> Addendum | None:
    """Return this process's addendum to a run of mine, made at the first call; None, with a sentence, if none can be.

    Never raises.

    :param folder: the run's
    :param logger: where the user reads what we have to say
    """
    if open_now := open_to(folder):
        return open_now[0]
    complain = _complaints.setdefault(folder.uid, Complaints(logger))
    if not (index.names(folder) or _is_of_this_process(folder)):
        complain(f"nothing is added to the run {folder.uid}: you have not recorded it on this machine, or it is gone")
        return None
    return complain.guard(lambda: Addendum.begin(folder, complain), f"adding to the run {folder.uid}")


def open_to(folder: RunFolder) -> list[Addendum]:
    """Return this process's addendum to a run, if there is one that is open."""
    return [one for one in made_to(folder) if one.is_open]


def made_to(folder: RunFolder) -> list[Addendum]:
    """Return what this process has added to a run: more than one if it has added to many runs in between."""
    return [one for one in process.addenda if one.run.uid == folder.uid and one.pid == os.getpid() and one.is_kept]


def _is_of_this_process(folder: RunFolder) -> bool:
    """Whether this process has recorded a run: a user whose state folder cannot be written has no index."""
    return folder.has_journal() and any(one.folder.path == folder.path for one in process.trainings())


class Addendum:
    """What this process adds to a run."""

    def __init__(self, run: Run, opened: Opened, settings: Settings, complain: Complaints) -> None:
        """Record to files that are open; see ``open_for``."""
        self.run = run
        self.folder = opened.folder
        self.settings = settings
        self.complain = complain
        self.pid = os.getpid()
        self.supervisor = Supervisor(self.folder, opened.captures, opened.firsts, settings)
        self._journal = opened.journal
        self._writer = Writer(opened.journal, opened.lock, complain)
        self._heart = Heart(self.folder.heartbeat)
        self._pulse = Sampler(self.record, complain, 0, self)
        self._looking = threading.Lock()

    @classmethod
    def begin(cls, of: RunFolder, complain: Complaints) -> Addendum:
        """Make the files of an addendum, and start the relays.

        :raises ConfigurationError, JournalError, OSError: if that cannot be done
        """
        settings = configuration.read_all_settings()
        redact.learn(os.environ)
        opened, run = _make(of, complain)
        addendum = cls(run, opened, settings, complain)
        for oldest in [one for one in process.addenda if one.is_open][: -(_MOST - 1)]:
            oldest.close()
        process.enter_addendum(addendum)
        enter_in_index(addendum.folder, complain)
        complain.guard(addendum._pulse.live, "giving signs of life")
        if settings.mode != "offline":
            complain.guard(addendum.supervisor.start, "starting the relays")
        return addendum

    @property
    def is_open(self) -> bool:
        """Whether this process still adds to it: a forked one has inherited us."""
        return not self._writer.has_ended and os.getpid() == self.pid

    @property
    def is_kept(self) -> bool:
        """Whether it has a folder: one that was closed without an event has none."""
        return self.is_open or self._journal.seq > 0

    def record(self, hook: str, **args: Any) -> None:
        """Append one hook call to the journal. Never raises.

        :param hook: a name from ``LifecycleSpecs``; an addendum has neither start nor end
        :param args: the hook's own parameters
        """
        if self.is_open:
            self.complain.guard(lambda: self._append(hook, args), f"recording {hook}")

    def _append(self, hook: str, args: dict[str, Any]) -> None:
        file = copies.of_call(args)
        is_kept = file is None or copies.keep(self.folder, file)
        self._writer.append(hook, args)
        if not is_kept:  # no link can be made here
            copies.copy_owed(self.folder)
        self.supervisor.recorded(hook, self._journal.seq)
        self._note_size()
        self.look_after_relays()

    def beat(self) -> None:
        """Give a sign of life, and look after the relays: they rest, and one may have ended as the last event came."""
        self._heart.beat()
        self.look_after_relays()

    def look_after_relays(self) -> None:
        """Start relays that there is something for, and those that died. Never raises."""
        if os.getpid() == self.pid and self._looking.acquire(blocking=False):
            try:
                self.complain.guard(lambda: self.complain.each(self.supervisor.restart()), "looking after the relays")
            finally:
                self._looking.release()

    def close(self) -> None:
        """Record nothing more. Never raises."""
        if self.is_open:
            self.complain.guard(self._close, "closing the journal")

    def _close(self) -> None:
        self._pulse.stop()
        if self._writer.close():
            self._note_size()
        else:  # where that has failed, there may be events
            self.supervisor.stop()
            self.folder.remove()
            index.forget(self.folder)

    def tell_outcome(self) -> None:
        """Say what was delivered where. Never raises."""
        if self._journal.seq:
            self.complain.guard(self._tell_outcome, "telling what was delivered")

    def _tell_outcome(self) -> None:
        for line in self.supervisor.outcome():
            self.complain.tell(f"added to {self.run.name}: {line}")
        if self.supervisor.are_done():
            copies.Sweep(self.folder).now()

    def _note_size(self) -> None:
        """Say up to where it is to be delivered: each event may be the last one."""
        self.supervisor.finish(self.folder.journal.stat().st_size, self._journal.seq)


def _make(of: RunFolder, complain: Complaints) -> tuple[Opened, Run]:
    """Make the folder of an addendum, which goes where the run goes by now.

    :raises JournalError, OSError: if that cannot be done
    """
    head, _ = journal.read_head(of.journal)
    targets = destinations.of(of, head)
    run, _ = destinations.as_moved(of, head, {})
    run = structs.replace(run, addendum=new_uid())
    classes = Choice(of.journal, head).classes() or []
    folder = make_folder(run, of.path.parent, (), complain)
    try:
        return _opened(folder, structs.replace(head, created=time.time(), run=run, classes=classes), targets), run
    except BaseException:
        folder.remove()  # or each call would leave one more while the disk is full
        raise


def _opened(folder: RunFolder, head: Head, targets: Mapping[str, Replay]) -> Opened:
    lock = hold(folder)
    try:
        recorded = {label: target for label, target in targets.items() if label == target.plugin}
        own = structs.replace(
            head,
            plugins={label: target.destination for label, target in recorded.items()},
            places={label: target.place for label, target in recorded.items() if target.place},
            home=folder.path.parent,
        )
        log = Journal.create(folder.journal, own)
        for label, target in targets.items():
            if label not in recorded:
                folder.add_replay(target.plugin, target.destination, target.place)
    except BaseException:
        lock.release()
        raise
    captures = {label: Capture(destination=target.destination, place=target.place) for label, target in targets.items()}
    firsts = {label: first_label(label, target.plugin) for label, target in targets.items()}
    return Opened(folder=folder, lock=lock, journal=log, story=Story(), captures=captures, firsts=firsts)
