"""Starts, checks and restarts the relays of one run, from the training process."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tracking_hooks.delivery.spawn import BUSY, DELIVERED, PENDING, REFUSED, end_process, start_relay
from tracking_hooks.events import Capture
from tracking_hooks.run.layout import Cursor, Health, RunFolder, read_json
from tracking_hooks.settings import Settings

_RESTARTS = 5
_DOWN_WAIT = 2.0
"""Seconds to wait at exit for a tracker that is known to be down."""
_POLL = 0.05


class Supervisor:
    """The relays of a run: one process for each plugin.

    ``finish`` tells it when the journal is complete, and how long it is.
    """

    def __init__(self, folder: RunFolder, captures: Mapping[str, Capture], settings: Settings) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._folder = folder
        self._captures = captures
        self._settings = settings
        self._offline = settings.mode == "offline"
        self._restarts = dict.fromkeys(captures, 0)  # without progress in between
        self._got = dict.fromkeys(captures, 0)
        self._down: set[str] = set()
        self._size: int | None = None
        self._events = 0

    @property
    def disabled(self) -> list[str]:
        """The names of the host's own integrations that the plugins stand in for."""
        return [capture.disables for capture in self._captures.values() if capture.disables]

    def describe(self) -> str:
        """Return what is attached and where to look, for the start line."""
        if not self._captures:
            return f"{self._folder.path} (no tracker)"
        if self._offline:
            return f"{self._folder.path} only (offline), for {', '.join(self._captures)}"
        return ", ".join(
            f"{name} ({capture.summary})" if capture.summary else name for name, capture in self._captures.items()
        )

    def start(self) -> None:
        """Start all relays; in offline mode only to check their plugins.

        :raises OSError: if a process cannot be started
        """
        for name in self._captures:
            self.processes[name] = start_relay(self._folder, name, self._settings, check=self._offline)

    def verdicts(self) -> Iterator[tuple[str, bool]]:
        """Wait, for a bounded time, until every relay has checked its plugin.

        :returns: for each relay that is not ready, a sentence, and whether its plugin cannot be used at all
        """
        deadline = time.monotonic() + self._settings.ready_wait
        for name, process in self.processes.items():
            files = self._folder.relay(name)
            while (health := read_json(files.health, Health)) is None:
                code = process.poll()
                if code == BUSY:  # `sync`, perhaps on another machine: `restart` tries again
                    break
                if code is not None and not files.health.exists():  # it may have written that after we looked
                    how = f"its process ended with exit code {code} while it was being loaded.{_tail(files.log)}"
                    yield f"plugin {name!r} cannot be used: {how}", True
                    break
                if time.monotonic() > deadline:
                    waited = f"{self._settings.ready_wait:.0f} s"
                    yield f"{name} is not ready after {waited}; the training starts without it. Log: {files.log}", False
                    break
                time.sleep(_POLL)
            if health and health.state == "refused":
                yield health.error, True
        if self._offline:
            self.processes.clear()  # there is nothing to deliver

    def stop(self) -> None:
        """End all relays."""
        for process in self.processes.values():
            end_process(process)

    def restart(self) -> Iterator[str]:
        """Restart the relays that died; yield a sentence for each that dies too often.

        :raises OSError: if a process cannot be started
        """
        for name, process in self.processes.items():
            code = process.poll()
            if code in (None, REFUSED) or (code == PENDING and self._size is not None):
                continue
            if code == DELIVERED and self._is_done(name):
                continue
            if code == BUSY and self._size is not None:
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
            self._restarts[name] += code != BUSY
            self.processes[name] = start_relay(self._folder, name, self._settings)

    def outages(self) -> Iterator[str]:
        """Yield a sentence when a tracker has gone down, and one when it is back."""
        for name in self.processes:
            health = self._health(name)
            if health and health.state == "down" and name not in self._down:
                self._down.add(name)
                yield f"{name} is down, recording continues: {health.error}"
            elif health and health.state == "ready" and name in self._down:
                self._down.remove(name)
                yield f"{name} is back"

    def finish(self, size: int, events: int) -> None:
        """Note that the journal is complete.

        :param size: bytes
        :param events: how many were recorded
        """
        self._size, self._events = size, events

    def pending(self, waited: float = 0.0) -> list[str]:
        """Return the plugins that are worth waiting for.

        :param waited: seconds waited already
        """
        names = [name for name, process in self.processes.items() if process.poll() is None and not self._is_done(name)]
        return names if waited < _DOWN_WAIT else [name for name in names if not self._is_down(name)]

    def progress(self) -> tuple[int, int]:
        """Return (events delivered or set aside, events recorded), summed over all plugins."""
        done = sum(min(self._cursor(name).seq, self._events) for name in self.processes)
        return done, self._events * len(self.processes)

    def are_done(self) -> bool:
        """Whether everything is delivered."""
        return all(self._is_done(name) for name in self._captures)

    def links(self) -> dict[str, str]:
        """Return where to look at the run, by plugin."""
        found = {}
        for name, capture in self._captures.items():
            where = self._cursor(name).state.get("url") or capture.summary
            if where:
                found[name] = str(where)
        return found

    def outcome(self) -> list[str]:
        """Return what was delivered, one line for each plugin."""
        sync = f"tracking-hooks sync {shlex.quote(str(self._folder.path))}"
        if self._offline:
            return [f"offline: {self._events} events recorded; to deliver them: {sync}"]
        links = self.links()
        lines = []
        for name in self._captures:
            files = self._folder.relay(name)
            cursor = self._cursor(name)
            done = self._is_done(name)
            if done and not cursor.dead and cursor.seq >= self._events:
                line = f"{name}: all {cursor.delivered} events delivered"
                lines.append(f"{line}. See: {links[name]}" if name in links else line)
                continue
            line = f"{name}: {cursor.delivered} of {self._events} events delivered"
            if cursor.dead:
                line += f", {cursor.dead} set aside, with reasons in {files.dead_letters}"
            if not done:
                code = self.processes[name].poll()
                health = self._health(name)
                if health and health.state == "down":
                    line += f", it is down ({health.error})"
                elif code not in (None, DELIVERED, PENDING):
                    line += f", its relay died (exit code {code}; log: {files.log})"
                line += f"; the rest is delivered in the background, or by: {sync}"
            lines.append(line)
        return lines

    def _is_done(self, name: str) -> bool:
        # The exit code is not enough: a plugin may have ended its process with 0.
        return self._size is not None and self._cursor(name).offset >= self._size

    def _cursor(self, name: str) -> Cursor:
        # One that cannot be read counts as being at the start: it is only told about here.
        return read_json(self._folder.relay(name).cursor, Cursor) or Cursor()

    def _is_down(self, name: str) -> bool:
        health = self._health(name)
        return health is not None and health.state == "down"

    def _health(self, name: str) -> Health | None:
        return read_json(self._folder.relay(name).health, Health)


def wait_for_delivery(supervisors: Sequence[Supervisor], limit: float) -> Iterator[None]:
    """Wait for delivery as long as that is worthwhile, with a progress bar on a terminal.

    :param limit: seconds to wait at most
    :returns: an iterator that waits a moment at each step
    """
    from rich.console import Console
    from rich.progress import Progress

    began = time.monotonic()
    console = Console(stderr=True)
    # No thread of rich's own: Python 3.12 starts none at exit.
    bar = Progress(console=console, transient=True, auto_refresh=False, disable=not console.is_terminal)
    task = bar.add_task("tracking-hooks: delivering", total=None)
    shown = False
    try:
        while (waited := time.monotonic() - began) < limit:
            yield
            if not any(supervisor.pending(waited) for supervisor in supervisors):
                return
            if waited > 1 and not shown:
                bar.start()
                shown = True
            counts = [supervisor.progress() for supervisor in supervisors]
            done, total = (sum(numbers) for numbers in zip(*counts))
            bar.update(task, completed=done, total=total, refresh=shown)
            time.sleep(_POLL)
    finally:
        bar.stop()


def _tail(path: Path, lines: int = 5) -> str:
    try:
        text = path.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "".join(f"\n  {line}" for line in text[-lines:])
