"""Delivers what is pending, without a trainer: for ``sync``, for ``run`` and for the adopter."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from tracking_hooks.delivery.spawn import BUSY, DELIVERED, HANGING, PENDING, REFUSED, end_process, start_relay
from tracking_hooks.run import journal, layout, state
from tracking_hooks.run.layout import Cursor, Health, RelayFolder, RunFolder, read_json
from tracking_hooks.run.liveness import Lock, request_release
from tracking_hooks.settings import SELECTION, Settings, read_settings

_POLL = 0.1
_REST = 30.0
"""Seconds after which a watcher restarts a relay that has ended without delivering everything."""
_END_PATIENCE = 2.0
"""Seconds in which the lock of a run is given back by a relay that writes the run's end."""
_AT_ONCE = 16
"""Relays that a watcher runs at the same time."""

_ENDS = {PENDING: "its tracker is down", HANGING: "a call of the plugin did not return"}


class Delivery(Struct, kw_only=True):
    """The result for one plugin of one run."""

    folder: RunFolder
    label: str
    delivered: int = 0
    """Events delivered by this call."""
    dead: int = 0
    """Dead letters of the run, including earlier ones."""
    done: bool = False
    """Whether every event is delivered or set aside."""
    busy: bool = False
    """Whether another relay delivers it at the moment."""
    note: str = ""


def deliver(folders: Iterable[RunFolder], settings: Settings, *, busy_wait: float = 0.0) -> Iterator[Delivery]:
    """Deliver what is pending in these runs, one relay after the other, each to its recorded destination.

    If a tracker is down, other runs with the same destination are not tried. Runs that are over but still have a
    relay come last.

    :param busy_wait: seconds to wait for such relays, in total; a relay that waits for a tracker that is down is
        replaced
    """
    down: dict[str, str] = {}
    busy: list[tuple[RunFolder, str, str, Cursor]] = []
    for folder in folders:
        try:
            head, _ = journal.read_head(folder.journal)
            waiting = [label for _, label in state.pending([folder])]
        except (journal.JournalError, OSError) as error:
            yield Delivery(folder=folder, label="-", note=str(error))
            continue
        replays = folder.replays()
        for label in waiting:
            place = repr(replays[label] if label in replays else (label, head.plugins[label]))
            if place in down:
                yield Delivery(folder=folder, label=label, note=down[place])
                continue
            plugin = replays[label].plugin if label in replays else label
            before = folder.relay(label).read_cursor()
            result = _deliver(folder, label, plugin, settings, before)
            if result.busy and busy_wait and _is_over(folder):
                busy.append((folder, label, plugin, before))
                continue
            health = read_json(folder.relay(label).health, Health)
            if not result.done and health and health.state == "down":
                down[place] = health.error
            yield result
    deadline = time.monotonic() + busy_wait
    for folder, label, plugin, before in busy:
        while (result := _deliver(folder, label, plugin, settings, before)).busy and time.monotonic() < deadline:
            _wait_for_relay(folder, label, deadline)
        yield result


class Watcher:
    """Keeps a relay running for each run and plugin with pending events, live runs included."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._relays: dict[tuple[Path, str], subprocess.Popen[bytes]] = {}
        self._rest: dict[tuple[Path, str], float] = {}

    def look(self, folders: Iterable[RunFolder]) -> Iterator[tuple[RunFolder, str, str]]:
        """Start missing relays; yield (run, label, news)."""
        for folder in folders:
            try:
                waiting = list(state.pending([folder]))
            except (journal.JournalError, OSError):
                continue  # perhaps just being created
            for _, label in waiting:
                replay = folder.replays().get(label)
                if not _is_allowed(replay.plugin if replay else label):
                    continue
                key = (folder.path, label)
                relay = self._relays.get(key)
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
            cursor = folder.relay(label).read_cursor()
            if code == DELIVERED:
                yield folder, label, f"complete, {cursor.delivered} events, {cursor.dead} dead letters"
            elif code != BUSY:
                yield folder, label, _why(folder.relay(label), code)

    def close(self) -> None:
        """End the relays that were started here. They can be ended at any moment."""
        for relay in self._relays.values():
            end_process(relay)


def adopt(home: Path) -> None:
    """Deliver what other runs in the same folder have left pending, one after the other."""
    lock = Lock(home / "adopter.lock")
    if not lock.acquire():
        return  # one at a time
    try:
        over = (folder for folder in layout.find_runs(home) if not state.is_running(folder))
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
    return health.error if health and health.error else _ENDS.get(code, f"its relay ended with exit code {code}")


def _is_over(folder: RunFolder) -> bool:
    """Whether nobody records a run; a relay that is just writing its end is given the time for that."""
    deadline = time.monotonic() + _END_PATIENCE
    while state.is_running(folder) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return not state.is_running(folder)


def _wait_for_relay(folder: RunFolder, label: str, deadline: float) -> None:
    """Wait until a running relay ends; end it if it waits for a tracker that is down."""
    files = folder.relay(label)
    time.sleep(_POLL)  # a relay on another machine cannot be observed further
    while state.has_relay(folder, label) and time.monotonic() < deadline:
        if (health := read_json(files.health, Health)) and health.state == "down":
            request_release(files.lock, patience=5.0)
        time.sleep(_POLL)


def _deliver(folder: RunFolder, label: str, plugin: str, settings: Settings, before: Cursor) -> Delivery:
    files = folder.relay(label)
    result = Delivery(folder=folder, label=label, dead=before.dead)
    if not _is_allowed(plugin):
        result.note = f"skipped. To run this class, name it: {SELECTION}={plugin} tracking-hooks sync …"
        return result
    size = folder.journal.stat().st_size
    # Another relay may have delivered it meanwhile.
    code = DELIVERED if state.is_delivered(folder, label) else _drain(folder, label, settings)
    cursor = files.read_cursor()
    result.delivered = cursor.delivered - before.delivered
    result.dead = cursor.dead
    result.done = code == DELIVERED and cursor.offset >= size  # a plugin may have ended the process with 0, too
    result.busy = code == BUSY
    if result.busy:
        result.note = "a relay is at work on it"
    elif not result.done:
        reason = _why(files, code)
        result.note = reason if code == REFUSED else f"{reason} (log: {files.log})"
    return result


def _drain(folder: RunFolder, label: str, settings: Settings) -> int:
    relay = start_relay(folder, label, settings, drain=True)
    try:
        return relay.wait()
    except KeyboardInterrupt:
        end_process(relay)  # it has a session of its own, where Ctrl-C does not reach
        raise
