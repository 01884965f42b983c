"""What Ada types, in a shell of her own, and what her terminal shows: recorded as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from docs.pictures.cast import MARKER, OUTPUT, Cast, Event
from docs.pictures.home import Home
from docs.pictures.terminal import COLUMNS, ROWS

COMMANDS = [
    "pip install -q tracking-hooks-mlflow tracking-hooks-tensorboard",
    "export TRACKING_HOOKS=mlflow,tensorboard",
    "yolo train model=yolo26n.yaml data=data.yaml cfg=cpu.yaml",
    "tracking-hooks open --all",
]

_PROMPT = "\x1b]133;B\x07"
"""The end of the prompt, as terminals are told it: nothing is shown for it."""
_PS1 = rf"\[\e[32m\]\w\[\e[0m\] $ \[{_PROMPT}\]"
_KEYSTROKE = 0.02
_TOGETHER = 0.02
"""Seconds between pieces of output that are one: a path may be divided between two reads."""


def record(home: Home, commands: Sequence[str] = COMMANDS) -> Cast:
    """Type commands, each when the one before it has ended.

    :raises pexpect.ExceptionPexpect: if one does not end
    """
    import pexpect

    tape = _Tape(home.anonymous)
    shell = pexpect.spawn(
        "bash", ["--noprofile", "--norc"], cwd=str(home.work), env={**home.env, "PS1": _PS1}, timeout=1800,
        dimensions=(ROWS, COLUMNS), encoding="utf-8", codec_errors="replace",
    )  # fmt: skip
    shell.logfile_read = tape
    shell.expect_exact(_PROMPT)
    for command in commands:
        for key in command:
            shell.send(key)
            shell.expect([pexpect.TIMEOUT], timeout=_KEYSTROKE)  # reads what it shows meanwhile
        tape.mark(command)
        shell.send("\r")
        shell.expect_exact(_PROMPT)
        tape.mark("")
    shell.close()
    return Cast(COLUMNS, ROWS, tape.events)


class _Tape:
    """Keeps what is shown, and when: a file for pexpect."""

    def __init__(self, anonymous: Callable[[str], str]) -> None:
        self._anonymous = anonymous
        self._began = time.monotonic()
        self._pieces: list[Event] = []

    @property
    def events(self) -> list[Event]:
        return [Event(at, kind, self._anonymous(text)) for at, kind, text in self._pieces]

    def mark(self, text: str) -> None:
        self._pieces.append(Event(self._now(), MARKER, text))

    def write(self, text: str) -> None:
        now = self._now()
        before = self._pieces[-1] if self._pieces else None
        if before and before.kind == OUTPUT and now - before.at < _TOGETHER:
            self._pieces[-1] = Event(now, OUTPUT, before.text + text)
        else:
            self._pieces.append(Event(now, OUTPUT, text))

    def flush(self) -> None:
        pass

    def _now(self) -> float:
        return round(time.monotonic() - self._began, 3)
