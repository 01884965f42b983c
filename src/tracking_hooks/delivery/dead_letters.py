"""The file of events that a tracker did not take, each with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from tracking_hooks import redact
from tracking_hooks.run.journal import Entry


def add(path: Path, journal: Path, entry: Entry, reason: str) -> None:
    """Set an event aside.

    :param path: of the file
    :param journal: the one that the event is from
    :raises OSError: if that cannot be done
    """
    with journal.open("rb") as source:
        source.seek(entry.start)
        line = source.read(entry.end - entry.start)
    letter = {"reason": redact.text(reason), "line": line.decode(errors="replace").rstrip("\n")}
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.json.encode(letter) + b"\n")
