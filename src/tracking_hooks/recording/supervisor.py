"""Starts, checks and restarts the relays of one run, from the training process."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tracking_hooks.counts import counted
from tracking_hooks.delivery.spawn import BUSY, DELIVERED, IDLE, PENDING, REFUSED, end_process, start_relay
from tracking_hooks.events import Capture
from tracking_hooks.recording.readiness import Readiness
from tracking_hooks.run import copies, remedies, state
from tracking_hooks.run.layout import Cursor, Health, RunFolder, SetAside, read_json
from tracking_hooks.settings import Settings

_WAKES = copies.OF_FILES | {"on_final_validation", "on_evaluation", "on_params", "on_run_end"}
"""The events for which the further parts of a plugin are started: what a tracker keeps as a file is theirs."""

_RESTARTS = 5
_DOWN_WAIT = 2.0
"""Seconds to wait at exit for a tracker that is down, and was tried since: a hiccup is over by then."""

_LONGEST_DOWN_WAIT = 10.0
"""Seconds to wait at exit until a tracker that is down is tried once more."""


class Supervisor:
    """The relays of a run: one process for each part of a plugin.

    The first part of a plugin has a relay from the beginning; that of a further part is started when there is
    something for it, and ends when it has nothing to do. ``finish`` tells when the journal is complete.
    """

    def __init__(
        self, folder: RunFolder, captures: Mapping[str, Capture], firsts: Mapping[str, str], settings: Settings
    ) -> None:
        """Look after the relays of a run.

        :param captures: by label
        :param firsts: label to that of the first part of its plugin
        """
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.awaited = _awaited(captures, firsts, settings.wait)
        self._folder = folder
        self.captures = captures
        self._firsts = firsts
        self._parts = [name for name in captures if firsts[name] != name]
        self._wake = 0  # the last event that there is something for them in
        self._settings = settings
        self._offline = settings.mode == "offline"
        self._readiness = Readiness(folder, settings.ready_wait)
        self._restarts = dict.fromkeys(captures, 0)  # without progress in between
        self._got = dict.fromkeys(captures, 0)
        self._down: dict[str, Health] = {}  # what was last said of a tracker that is down
        self._down_at: dict[str, float] = {}  # those that are down: how long had been waited when that was seen
        self._waits: dict[str, str] = {}  # what was said of those that wait
        self._size: int | None = None
        self._again: set[str] = set()  # those that have left the rest to others, before there was more
        self._events = 0

    @property
    def disabled(self) -> list[str]:
        """The names of the host's own integrations that the plugins stand in for."""
        return [capture.disables for capture in self.captures.values() if capture.disables]

    def describe(self) -> str:
        """Return what is attached and where to look, for the start line."""
        if not self.captures:
            return f"{self._folder.path} (no tracker)"
        if self._offline:
            return f"{self._folder.path} only (offline), for {', '.join(self._first_parts())}"
        parts = self._first_parts().items()
        return ", ".join(f"{name} ({capture.summary})" if capture.summary else name for name, capture in parts)

    def _first_parts(self) -> dict[str, Capture]:
        return {name: capture for name, capture in self.captures.items() if name not in self._parts}

    def start(self) -> None:
        """Start all relays; in offline mode only to check their plugins.

        :raises OSError: if a process cannot be started
        """
        for name in self._first_parts():
            with suppress(OSError):  # in a container that is started again, the one before may have had this one's pid
                self._folder.relay(name).health.unlink()
            place = self._readiness.place(name)
            self.processes[name] = start_relay(
                self._folder, name, self._settings, check=self._offline, verdict=place
            )  # fmt: skip

    def recorded(self, hook: str, seq: int) -> None:
        """Note that an event was recorded: there may be something in it for the further parts of plugins."""
        if hook in _WAKES:
            self._wake = seq

    def verdicts(self) -> Iterator[tuple[str, bool]]:
        """Wait, for a bounded time, for relays that check a plugin which is not known to be usable.

        :returns: for each relay that is not ready, a sentence, and whether its plugin cannot be used at all
        """
        return self._readiness.await_all(self.processes)

    def faults(self) -> Iterator[str]:
        """Yield a sentence for each plugin of which a relay has said since then that it cannot be used."""
        return self._readiness.faults(self.processes)

    def stop(self) -> None:
        """End all relays."""
        for process in self.processes.values():
            end_process(process)

    def restart(self) -> Iterator[str]:
        """Start the relays that died, and those of further parts that there is something for.

        :returns: a sentence for each that dies too often, and for each that has refused its plugin
        :raises OSError: if a process cannot be started
        """
        yield from self._readiness.refusals(self.processes)
        if self._offline:
            return
        for name in self._parts:
            if name not in self.processes and self._is_wanted(name):
                self.processes[name] = start_relay(self._folder, name, self._settings)
        for name, process in list(self.processes.items()):
            code = process.poll()
            if code is None or self._is_to_rest(name, code):
                continue
            got = self._cursor(name).offset
            if got > self._got[name]:
                self._got[name], self._restarts[name] = got, 0
            if code != BUSY and self._restarts[name] >= _RESTARTS:
                yield (
                    f"the relay of {name} died {_RESTARTS + 1} times without delivering anything, the last time with "
                    f"exit code {code}, and is not restarted. Log: {self._folder.relay(name).log}"
                )
                continue
            self._restarts[name] += code not in (BUSY, IDLE)
            self._again.discard(name)
            self.processes[name] = start_relay(self._folder, name, self._settings)

    def _is_to_rest(self, name: str, code: int) -> bool:
        """Whether a relay that has ended is not needed at the moment."""
        if code == IDLE:
            return not self._is_wanted(name)
        if code == DELIVERED:  # the exit code is not enough: a plugin may have ended its process with 0
            return self._is_done(name)
        is_left = self._size is not None and name not in self._again
        return code == REFUSED or (code in (PENDING, BUSY) and is_left)

    def _is_wanted(self, name: str) -> bool:
        """Whether there is something for a part; a further one would wait for the first part to begin."""
        if name in self._parts and self._cursor(self._firsts[name]).seq == 0:
            return False
        return self._cursor(name).seq < self._wake if self._size is None else not self._is_done(name)

    def outages(self) -> Iterator[str]:
        """Yield a sentence when a tracker has gone down, and one when it is back."""
        for name in list(self.processes):
            health = _health(self._folder, name)
            if health and health.state == "down" and not self._is_said(name, health.error):
                self._waits[name] = health.error
                yield f"{name} waits, recording continues: {health.error}"
            elif health and health.state == "ready" and name in self._waits:
                del self._waits[name]
                yield f"{name} goes on"

    def _is_said(self, name: str, error: str) -> bool:
        """Whether it was said that a relay waits, or that another part of the plugin does: one outage, one sentence."""
        first = self._firsts[name]
        of_plugin = [said for other, said in self._waits.items() if self._firsts[other] == first]
        return name in self._waits or first in self._waits or error in of_plugin

    def finish(self, size: int, events: int) -> None:
        """Note that the journal is complete. That of an addendum may grow all the same, and is then so once more.

        :param size: bytes
        :param events: how many were recorded
        """
        if self._size is not None and size > self._size:
            self._again = set(self.captures)
        self._size, self._events = size, events

    def pending(self, waited: float = 0.0) -> list[str]:
        """Return the plugins that are worth waiting for.

        :param waited: seconds waited already
        """
        if self._offline:  # there is nothing to deliver
            return []
        names = [name for name in list(self.processes) if self._has_relay(name) and not self._is_done(name)]
        # These are about to be started:
        names += [name for name in self._parts if name not in self.processes and self._is_wanted(name)]
        is_long = waited > _LONGEST_DOWN_WAIT
        now = {name: health for name in self.captures if (health := _health(self._folder, name))}
        self._down |= {name: health for name, health in now.items() if health.state == "down"}
        down = {
            name for name in names
            if name in now and now[name].state == "down" and (is_long or _was_tried_at_the_end(self._folder, name))
        }  # fmt: skip
        self._down_at = {name: min(waited, self._down_at.get(name, waited)) for name in down}
        return [name for name in names if name not in down or waited < self._down_at[name] + _DOWN_WAIT]

    def progress(self) -> tuple[int, int]:
        """Return (events delivered or set aside, events recorded), summed over all plugins."""
        names = list(self.processes)  # another thread may start one
        return sum(min(self._cursor(name).seq, self._events) for name in names), self._events * len(names)

    def are_done(self, names: Collection[str] | None = None) -> bool:
        """Whether these have delivered everything; None: all of them."""
        return all(self._is_done(name) for name in self.captures if names is None or name in names)

    def links(self) -> dict[str, str]:
        """Return where to look at the run, by plugin."""
        where = {name: self._cursor(name).state.get("url") or one.summary for name, one in self._first_parts().items()}
        return {name: str(place) for name, place in where.items() if place}

    def outcome(self) -> list[str]:
        """Return what was delivered: a text for each plugin, and one for a further part that has not all of it.

        What can be done stands on lines of its own, so that each command can be copied.
        """
        sync = f"tracking-hooks sync {shlex.quote(str(self._folder.path))}"
        if self._offline:
            return [f"offline: {counted(self._events, 'event')} recorded; to deliver them: {sync}"]
        links = self.links()
        lines = []
        for name in self.captures:
            owed = state.owed(self._folder, name)
            first = self._firsts[name]
            if first != name and _is_down(self._folder, first) and not owed.aside:
                continue  # it waits for the same, which was just said
            if owed.pending or owed.aside or owed.recorded < self._events:
                lines.append(f"{name}: {self._shortfall(name, owed, sync)}")
            elif name not in self._parts:
                line = f"{name}: {owed.in_words()}"
                lines.append(f"{line}. See: {links[name]}" if name in links else line)
        return lines

    def _shortfall(self, name: str, owed: state.Owed, sync: str) -> str:
        """Say what a tracker has not got, why, and what to do."""
        run = shlex.quote(str(self._folder.path))
        events = counted(self._events, "event")
        said = [_words_aside(owed.aside, events, run)] if owed.aside else []
        if owed.pending:
            code = self.processes[name].poll() if name in self.processes else None
            goes_on = self._has_relay(name)
            health = _health(self._folder, name)
            why = _why(health, self._down.get(name), None if goes_on else code, self._folder.relay(name).log)
            said.append(f"{owed.pending} of {events} {'is' if owed.pending == 1 else 'are'} not delivered yet{why}")
            said.append(f"{'this goes on in the background, or by' if goes_on else 'to deliver them'}: {sync}")
            if health and health.state == "down":
                places = {label: capture.destination for label, capture in self.captures.items()}
                known = {} if health.is_of_code else places
                said += remedies.otherwise(run, name, known, has_begun=owed.delivered > 0)
        return "\n  ".join(said or [f"{owed.delivered} of {events} delivered; the others were not written"])

    def _is_done(self, name: str) -> bool:
        return self._size is not None and self._cursor(name).offset >= self._size

    def _cursor(self, name: str) -> Cursor:
        # One that cannot be read counts as being at the start: it is only told about here.
        return read_json(self._folder.relay(name).cursor, Cursor) or Cursor()

    def _has_relay(self, name: str) -> bool:
        """Whether a relay is at work: ours, or another one that was there before ours."""
        process = self.processes.get(name)
        code = process.poll() if process else BUSY
        return code is None or (code == BUSY and state.has_relay(self._folder, name))


def _why(now: Health | None, before: Health | None, code: int | None, log: Path) -> str:
    """Say why a relay has not delivered everything: its tracker is down, or it died.

    :param now: what it says of itself: nothing, if it has just been started again
    :param before: what it, or one before it, has said when the tracker was down
    """
    if now and now.state in ("down", "refused"):
        return f": {now.error.rstrip('.')}"
    if code not in (None, DELIVERED, PENDING, BUSY, IDLE):
        return f": its relay died (exit code {code}; log: {log})"
    return f": {before.error.rstrip('.')}" if before else ""


def _is_down(folder: RunFolder, name: str) -> bool:
    return (health := _health(folder, name)) is not None and health.state == "down"


def _health(folder: RunFolder, name: str) -> Health | None:
    return read_json(folder.relay(name).health, Health)


def _was_tried_at_the_end(folder: RunFolder, name: str) -> bool:
    """Whether a relay has said how it is since the last event was recorded."""
    return folder.relay(name).health.stat().st_mtime >= folder.journal.stat().st_mtime


def _words_aside(aside: Sequence[SetAside], events: str, run: str) -> str:
    return (
        f"{len(aside)} of {events} set aside, for: {aside[0].reason.rstrip('.')}\n"
        f"  all reasons: {remedies.reasons(run)}\n"
        f"  to try them again: {remedies.deliver(run)} --retry"
    )


def _awaited(captures: Mapping[str, Capture], firsts: Mapping[str, str], wait: str) -> list[str]:
    """Return those that ``train()`` waits for: all, none, or those of the trackers where the script holds a run."""
    if wait:
        return list(captures) if wait == "train" else []
    return [name for name in captures if captures[firsts[name]].is_held]
