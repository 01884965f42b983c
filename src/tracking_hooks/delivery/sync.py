"""Delivers what is pending, without a trainer: for ``sync``, for ``run`` and for the adopter."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from tracking_hooks import plugins
from tracking_hooks.counts import counted
from tracking_hooks.delivery import retention
from tracking_hooks.delivery.spawn import (
    BUSY,
    DELIVERED,
    HANGING,
    IDLE,
    PENDING,
    adopter_file,
    end_process,
    start_relay,
)
from tracking_hooks.delivery.target import Target
from tracking_hooks.delivery.workers import Workers
from tracking_hooks.run import index, journal, missing, state
from tracking_hooks.run.layout import Health, RelayFolder, RunFolder, SetAside, read_json
from tracking_hooks.run.liveness import Lock, request_release
from tracking_hooks.settings import SELECTION, Settings, read_settings

_POLL = 0.1
_REST = 30.0
"""Seconds after which a watcher restarts a relay that has ended without delivering everything."""
_AT_ONCE = 16
"""Relays that a watcher runs at the same time."""

_NO_END = "the run's end is not known: this is a copy, and only where it was recorded can its end be told"
_ENDS = {PENDING: "its tracker is down", HANGING: "a call of the plugin did not return"}


class Delivery(Struct, kw_only=True):
    """The result for one plugin of one run."""

    folder: RunFolder
    label: str
    delivered: int = 0
    """Events delivered by this call."""
    aside: list[SetAside] = []
    """What is set aside, by earlier calls too."""
    done: bool = False
    """Whether every event is delivered or set aside."""
    busy: bool = False
    """Whether another relay delivers it at the moment."""
    note: str = ""


class _Job(Struct, frozen=True):
    """A label of a run that has something to deliver."""

    folder: RunFolder
    label: str
    target: Target
    before: int
    """Events that were delivered before."""


def deliver(
    folders: Iterable[RunFolder], settings: Settings, *, busy_wait: float = 0.0, retry: bool = False
) -> Iterator[Delivery]:
    """Deliver what is pending in these runs, one run after the other, each to its recorded destination.

    If a tracker is down, other runs of the same tracker are not tried. Runs that are over but still have a relay come
    last.

    :param busy_wait: seconds to wait for such relays, in total; a relay that waits for a tracker that is down is
        replaced
    :param retry: try again whatever was set aside
    """
    round_ = _Round(settings, retry=retry)
    busy: list[_Job] = []
    try:
        for folder in folders:
            try:
                jobs = _jobs(folder, retry=retry)
            except (journal.JournalError, OSError) as error:
                yield Delivery(folder=folder, label="-", note=str(error))
                continue
            if not jobs:
                index.note_delivered(folder)
            is_busy: set[str] = set()
            for job in jobs:
                first = plugins.first_label(job.label, job.target.plugin)
                if first in is_busy:
                    busy.append(job)  # a further part comes after the first
                    continue
                result = round_.deliver(job)
                if result.busy and busy_wait and state.is_over(folder):
                    busy.append(job)
                    is_busy.add(first)
                else:
                    yield result
        deadline = time.monotonic() + busy_wait
        for job in busy:
            while (result := round_.deliver(job)).busy and time.monotonic() < deadline:
                _wait_for_relay(job.folder, job.label, deadline)
            yield result
    finally:
        round_.close()


class _Round:
    """One call of ``deliver``: its processes, and what it has found to be down."""

    def __init__(self, settings: Settings, *, retry: bool) -> None:
        self._workers = Workers(settings, retry=retry)
        self._retry = retry
        self._down: dict[tuple[str, str], str] = {}
        self._hung: set[tuple[str, str]] = set()

    def close(self) -> None:
        """End the processes."""
        self._workers.close()

    def deliver(self, job: _Job) -> Delivery:
        """Deliver to one plugin of one run, unless its tracker is known to be down."""
        folder, label, plugin, place = job.folder, job.label, job.target.plugin, job.target.place
        result = Delivery(folder=folder, label=label, aside=folder.relay(label).read_aside())
        for part in (plugins.first_part(plugin), plugin):
            if reason := self._down.get((place, part)):
                result.note = reason
                return result
        if not _is_allowed(plugin):
            result.note = f"skipped. To run this class, name it: {SELECTION}={plugin} tracking-hooks sync …"
            return result
        # Another relay may have delivered it meanwhile.
        is_done = not self._retry and not _is_worth_a_try(folder, label, state.owed(folder, label))
        try:
            code = DELIVERED if is_done else self._workers.deliver(folder, label, plugin)
        except OSError as error:  # a disk that is full or cannot be written
            result.note = str(error)
            return result
        owed = state.owed(folder, label)
        result.delivered = owed.delivered - job.before
        result.aside = owed.aside
        result.done = code == DELIVERED and not owed.pending  # a plugin may have ended the process with 0, too
        result.busy = code == BUSY
        if result.done:
            index.note_delivered(folder)
            if not owed.is_over and not state.is_running(folder):
                result.note = _NO_END
            elif missing.unreported(folder, label) is not None:
                result.note = f"what is missing could not be said in the tracker (log: {folder.relay(label).log})"
        elif result.busy:
            result.note = "a relay is at work on it"
        else:
            result.note = _why(folder.relay(label), code)
            self._note_outage(job, code, result.note)
        return result

    def _note_outage(self, job: _Job, code: int, reason: str) -> None:
        place = job.target.place, job.target.plugin
        if code == HANGING and place not in self._hung:
            self._hung.add(place)  # this run may be the reason: the next one is tried, or it would block all for ever
            return
        health = read_json(job.folder.relay(job.label).health, Health)
        if health and health.state == "down" and not health.only_this_run:
            self._down[place] = reason


def _jobs(folder: RunFolder, *, retry: bool) -> list[_Job]:
    """Return what a run has to deliver, the first part of each plugin first.

    :raises JournalError, OSError: if the journal cannot be read
    """
    if index.delivered(folder):
        return []
    head, _ = journal.read_head(folder.journal)
    jobs = []
    for label in state.labels(folder):
        owed = state.owed(folder, label)
        if (retry and owed.aside) or _is_worth_a_try(folder, label, owed):
            jobs.append(_Job(folder, label, Target.of(folder, label, head), owed.delivered))
    return sorted(jobs, key=lambda job: plugins.first_part(job.target.plugin) != job.target.plugin)


def _is_worth_a_try(folder: RunFolder, label: str, owed: state.Owed) -> bool:
    """Whether there is hope for something to deliver, or something to say of what is missing."""
    return owed.is_worth_a_try or (not owed.packed and missing.unreported(folder, label) is not None)


class Watcher:
    """Keeps a relay running for each run and plugin with pending events, live runs included."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._relays: dict[tuple[Path, str], subprocess.Popen[bytes]] = {}
        self._rest: dict[tuple[Path, str], float] = {}
        self._copied: dict[tuple[Path, str], int] = {}  # of copies, whose end is not known: how far they are delivered

    def look(self, folders: Iterable[RunFolder]) -> Iterator[tuple[RunFolder, str, str]]:
        """Start missing relays; yield (run, label, news)."""
        for folder in folders:
            try:
                waiting = [] if index.delivered(folder) else list(state.pending([folder]))
            except (journal.JournalError, OSError):
                continue  # perhaps just being created
            for _, label in waiting:
                replay = folder.replays().get(label)
                if not _is_allowed(replay.plugin if replay else label):
                    continue
                key = (folder.path, label)
                relay = self._relays.get(key)
                if self._copied.get(key) == folder.journal.stat().st_size:
                    continue
                if relay is None and time.monotonic() >= self._rest.get(key, 0.0) and len(self._relays) < _AT_ONCE:
                    self._relays[key] = start_relay(folder, label, self._settings)
                    if key not in self._rest:
                        yield folder, label, "delivering"
        for (path, label), relay in list(self._relays.items()):
            code = relay.poll()
            if code is None:
                continue
            del self._relays[path, label]
            self._rest[path, label] = time.monotonic() + _REST
            folder = RunFolder(path)
            if code == DELIVERED:
                owed = state.owed(folder, label)
                if not owed.is_over and not state.is_running(folder):
                    self._copied[path, label] = folder.relay(label).read_cursor().offset
                yield folder, label, f"complete, {counted(owed.delivered, 'event')}, {len(owed.aside)} set aside"
            elif code not in (BUSY, IDLE):
                yield folder, label, _why(folder.relay(label), code)

    def close(self) -> None:
        """End the relays that were started here. They can be ended at any moment."""
        for relay in self._relays.values():
            end_process(relay)


def adopt(home: Path, keep: str = "") -> None:
    """Deliver what this user's other runs in the same folder have left pending, one after the other.

    :param keep: which delivered run folders stay: see ``retention``
    """
    lock = Lock(adopter_file(home, ".lock"))
    if not lock.acquire():
        return  # one at a time
    try:
        for line in retention.remove(keep):
            print(line)  # noqa: T201 its log
        over = (folder for folder in index.undelivered(home) if not state.is_running(folder))
        for result in deliver(over, read_settings()):
            print(result.folder.uid, result.label, f"{result.delivered} delivered", result.note)  # noqa: T201 its log
    finally:
        lock.release()


def _is_allowed(plugin: str) -> bool:
    """Whether this plugin may be loaded: a journal is data, so a class that it names is not imported for that alone."""
    return ":" not in plugin or plugin in [item.strip() for item in os.environ.get(SELECTION, "").split(",")]


def _why(files: RelayFolder, code: int) -> str:
    """Return why a relay ended early: its own message, or one derived from its exit code."""
    health = read_json(files.health, Health)
    if health and health.error:
        return health.error
    return f"{_ENDS.get(code, f'its relay ended with exit code {code}')} (log: {files.log})"


def _wait_for_relay(folder: RunFolder, label: str, deadline: float) -> None:
    """Wait until a running relay ends; end it if it waits for a tracker that is down."""
    files = folder.relay(label)
    time.sleep(_POLL)  # a relay on another machine cannot be observed further
    while state.has_relay(folder, label) and time.monotonic() < deadline:
        if (health := read_json(files.health, Health)) and health.state == "down":
            request_release(files.lock, patience=5.0)
        time.sleep(_POLL)
