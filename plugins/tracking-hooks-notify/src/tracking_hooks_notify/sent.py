"""Who has which message: a file of this user on this machine, which outlives relays and replays."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from platformdirs import user_state_path

_MARKS: set[str] = set()


def marks() -> set[str]:
    """Return what was sent."""
    with suppress(OSError):
        _MARKS.update(_path().read_text().split())
    return _MARKS


def add(mark: str) -> None:
    """Note down what was sent. Where the home folder cannot be written to, it is known in this process only."""
    _MARKS.add(mark)
    with suppress(OSError):
        _path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _path().open("a") as file:
            file.write(f"{mark}\n")


def _path() -> Path:
    return user_state_path("tracking-hooks") / "notify.sent"
