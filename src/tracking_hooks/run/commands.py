"""What is asked of a running training from outside: a file in its run folder, one action a line.

A relay writes to it what was asked for in its tracker's UI, ``tracking-hooks stop`` what was asked for in a shell. The
training process reads it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from tracking_hooks.events import Action
from tracking_hooks.run import portable


class Command(Struct, frozen=True, kw_only=True):
    """An action, and who asks for it."""

    plugin: str
    action: Action


def send(path: Path, command: Command) -> None:
    """Ask for an action.

    :param path: the run folder's ``commands``
    :raises OSError: if it cannot be written
    """
    fd = portable.append_to(path)
    try:
        os.write(fd, msgspec.json.encode(command) + b"\n")
    finally:
        os.close(fd)


class Commands:
    """The reading end: each command once."""

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        """Begin behind what is there: that was for an earlier part of the run.

        :param complain: is given a sentence for each line that cannot be read
        """
        self._path = path
        self._complain = complain
        self._read = self._size()

    def take(self) -> list[Command]:
        """Return the commands since the last call."""
        if self._size() == self._read:
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            lines = file.read().splitlines(keepends=True)
        commands = []
        for line in lines:
            if not line.endswith(b"\n"):
                break  # still being written
            self._read += len(line)
            try:
                commands.append(msgspec.json.decode(line, type=Command))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # an action of a newer release, a torn line
                what = f"a line of {self._path} asks for what this version does not know"
                self._complain(f"{what}, and is skipped: {error}")
        return commands

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0
