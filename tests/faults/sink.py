"""A tracker that is a file, whose plugin does what flags tell it: hang, refuse, reject, end its process."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tracking_hooks import Rejected, Unavailable, hookimpl
from tracking_hooks.events import Run, State

NAME = "tests.faults.sink:Sink"
FLAGS = (
    "hang open", "hang event", "hang flush", "hang poll", "refuse open", "break open", "reject event", "fail flush",
    "exit event", "exit flush",
)  # fmt: skip
"""What can be asked of it: each is done once, but ``open`` is refused as long as that flag is there."""


class Sink:
    """Passes on every event as a line, and confirms it a flush later than it could."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._last = self._confirmed = 0
        self._has_late = self._has_waited = False
        self._known: set[int] = set()

    @hookimpl
    def open(self, run: Run, state: State) -> None:
        if (flags(run.save_dir) / "refuse open").exists():
            raise Unavailable("it does not want to")
        self._obey(run, "open")
        self._known = {line[0] for line in read(run.save_dir)}
        state["opened"] = state.get("opened", 0) + 1

    @hookimpl
    def on_event(self, hook: str, args: dict[str, Any], run: Run, seq: int) -> None:
        self._obey(run, "event")
        self._has_late |= seq < self._last
        self._last = max(self._last, seq)
        if seq not in self._known:
            self._known.add(seq)
            self._lines.append(json.dumps([seq, hook]) + "\n")

    @hookimpl
    def flush(self, run: Run) -> int | None:
        self._obey(run, "flush")
        if self._lines and not self._has_waited:
            self._has_waited = True
            return self._confirmed
        with path(run.save_dir).open("a") as file:
            file.write("".join(self._lines))
        self._lines.clear()
        self._has_waited = False
        self._confirmed = self._last
        answer = None if self._has_late else self._confirmed
        self._has_late = False
        return answer

    @hookimpl
    def poll(self, run: Run) -> None:
        self._obey(run, "poll")

    @staticmethod
    def _obey(run: Run, where: str) -> None:
        for what in ("hang", "break", "reject", "fail", "exit"):
            flag = flags(run.save_dir) / f"{what} {where}"
            if not flag.exists():
                continue
            flag.unlink()
            if what == "hang":
                time.sleep(10_000)
            if what == "exit":
                os._exit(7)
            raise Rejected("it does not like this one") if what == "reject" else ValueError("nobody knows why")


def flags(save_dir: Path) -> Path:
    """Return the folder of a run's flags."""
    return save_dir.parent / "sink-flags"


def path(save_dir: Path) -> Path:
    """Return the file of a run's events."""
    return save_dir.parent / "sink.jsonl"


def read(save_dir: Path) -> list[tuple[int, str]]:
    """Return the events that have arrived, as (number, hook)."""
    file = path(save_dir)
    return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []
