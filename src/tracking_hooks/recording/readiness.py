"""What the relays of a run say of their plugins: waited for before the first epoch, unless it is remembered."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tracking_hooks.delivery.spawn import BUSY, relay_path
from tracking_hooks.run import verdicts
from tracking_hooks.run.layout import Health, RunFolder, read_json

_POLL = 0.05

_KILLED = (-9, -15)
"""Exit codes of a process that somebody else has ended: the kernel that is short of memory, or who shuts down."""

_Processes = Mapping[str, "subprocess.Popen[bytes]"]
"""The relays by label."""


class Readiness:
    """Who has said whether its plugin can be used."""

    def __init__(self, folder: RunFolder, patience: float) -> None:
        """Ask the relays of a run.

        :param patience: seconds that all of them together are waited for
        """
        self._folder = folder
        self._patience = patience
        self._places: dict[str, Path] = {}
        self._said: set[int] = set()  # the processes that have

    def place(self, label: str) -> Path:
        """Return the file in which the relay of a plugin is to remember that this can be used."""
        return self._places.setdefault(label, verdicts.place(label, relay_path()))

    def await_all(self, processes: _Processes) -> Iterator[tuple[str, bool]]:
        """Wait, for a bounded time, until every relay has checked its plugin that is not known to be usable.

        :returns: for each relay that is not ready, a sentence, and whether its plugin cannot be used at all
        """
        deadline = time.monotonic() + self._patience
        for label, process in processes.items():
            fault = self._fault(label, process)
            is_awaited = fault is None and not self._is_known(label)
            while is_awaited and (fault := self._fault(label, process)) is None:
                if time.monotonic() > deadline:
                    how = f"is not ready after {self._patience:.0f} s; the training starts without it"
                    yield f"{label} {how}. Log: {self._folder.relay(label).log}", False
                    break
                time.sleep(_POLL)
            if fault:
                yield fault, True

    def _is_known(self, label: str) -> bool:
        return label in self._places and verdicts.holds(self._places[label])

    def faults(self, processes: _Processes) -> Iterator[str]:
        """Yield a sentence for each plugin that cannot be used, of the relays that have said so since the last call."""
        for label, process in list(processes.items()):
            if process.pid not in self._said and (fault := self._fault(label, process)):
                yield fault

    def refusals(self, processes: _Processes) -> Iterator[str]:
        """Yield the same for relays that have refused their plugins; one that died is started again."""
        for label, process in list(processes.items()):  # another thread may start one
            if process.pid in self._said or (fault := self._fault(label, process)) is None:
                continue
            if fault and self._health(label, process):
                yield f"{label} gets nothing, recording continues: {fault}"

    def _fault(self, label: str, process: subprocess.Popen[bytes]) -> str | None:
        """Say why a plugin cannot be used; empty: it can, or another relay is at it; None: nobody has said so far."""
        code = process.poll()  # asked first: what it wrote before it ended is read below
        health = self._health(label, process)
        if health is None and code is None:
            return None
        self._said.add(process.pid)
        if health is None and code in _KILLED:
            return ""  # that tells nothing of the plugin, and another relay is about to be started
        if health is None and code != BUSY:  # that is `sync`, perhaps on another machine, and is tried again later
            if place := self._places.get(label):
                verdicts.forget(place)
            log = _tail(self._folder.relay(label).log)
            how = f"its process ended with exit code {code} while it was being loaded.{log}"
            return f"plugin {label!r} cannot be used: {how}"
        return health.error if health and health.state == "refused" else ""

    def _health(self, label: str, process: subprocess.Popen[bytes]) -> Health | None:
        """Return what this very process says of itself, and not one before it."""
        health = read_json(self._folder.relay(label).health, Health)
        return health if health and health.pid == process.pid else None


def _tail(path: Path, lines: int = 5) -> str:
    try:
        text = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "".join(f"\n  {line}" for line in text[-lines:])
