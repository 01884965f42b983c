"""What a terminal has shown, and when: a file in asciinema's format, version 2, and how it is played in less time.

https://docs.asciinema.org/manual/asciicast/v2/. A marker with a text is a command that begins, one without its end.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OUTPUT, MARKER = "o", "m"

_KEYSTROKE = 0.02
"""Seconds that a letter takes which is typed, at most."""
_LONGEST = 5.0
"""Seconds in which the output of a command is played, at most."""
_GAP = 0.5
"""Seconds that a silence in it counts, at most."""
_READ, _BREATH = 1.5, 0.4
"""Seconds behind a command that has printed something, and behind another one."""


class Event(NamedTuple):
    """Something that was shown."""

    at: float
    """Seconds since the beginning."""
    kind: str
    text: str


class Cast(NamedTuple):
    """A recording."""

    columns: int
    rows: int
    events: list[Event]

    def text(self) -> str:
        """Return all that was shown, with the terminal's control characters."""
        return "".join(event.text for event in self.events if event.kind == OUTPUT)


def read(path: Path) -> Cast:
    """Read a recording."""
    header, *lines = path.read_text("utf-8").splitlines()
    size = json.loads(header)
    return Cast(size["width"], size["height"], [Event(*json.loads(line)) for line in lines])


def write(path: Path, cast: Cast) -> None:
    """Write a recording."""
    rows = [{"version": 2, "width": cast.columns, "height": cast.rows}, *cast.events]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def quickened(cast: Cast) -> Iterator[Event]:
    """Return the output at the times at which it is played: a command takes some seconds at most."""
    now = last = 0.0
    faster, lines = 0.0, 0  # while it is typed, there is no factor
    for index, (at, kind, text) in enumerate(cast.events):
        now += min(at - last, _GAP) * faster if faster else min(at - last, _KEYSTROKE)
        last = at
        if kind == OUTPUT:
            lines += text.count("\n")
            yield Event(now, kind, text)
        elif text:
            faster, lines = _factor(cast.events[index:]), 0
        else:
            faster = 0.0
            now += _READ if lines > 1 else _BREATH  # one is that of the command itself
    yield Event(now, OUTPUT, "")


def _factor(events: list[Event]) -> float:
    """Return by which factor the times of a command are shortened, which begins with the first event."""
    took = 0.0
    for before, event in itertools.pairwise(events):
        took += min(event.at - before.at, _GAP)
        if event.kind == MARKER:
            break
    return min(1, _LONGEST / took) if took else 1
