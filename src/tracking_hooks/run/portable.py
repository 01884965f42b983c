"""What differs from one system, or one account, to the next: opening and replacing files, the folders of a user."""

from __future__ import annotations

import getpass
import os
import sys
import time
from pathlib import Path

import platformdirs

_BINARY = getattr(os, "O_BINARY", 0)  # without it, Windows writes "\r\n"

_PATIENCE = 1.0
"""Seconds in which somebody who reads a file on Windows may keep it from being replaced."""
_POLL = 0.01

_NOWHERE = Path(os.devnull)
"""Below it there is nothing, and nothing can be made."""


def open_file(path: Path, flags: int) -> int:
    """Open a file for bytes; one that is made is its owner's alone.

    :returns: its descriptor
    :raises OSError: if that cannot be done
    """
    return os.open(path, flags | _BINARY, 0o600)


def append_to(path: Path) -> int:
    """Open a file to add to its end; see ``open_file``."""
    return open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def replace(draft: Path, path: Path) -> None:
    """Put a file in the place of another one. Windows refuses that while somebody reads: then it is tried again.

    :raises OSError: if it cannot be done
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            draft.replace(path)
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > deadline:
                raise
            time.sleep(_POLL)
        else:
            return


def state_folder() -> Path:
    """Return this user's folder for what we keep: one that cannot be made, for a user without a home."""
    try:
        folder = Path(platformdirs.user_state_dir("tracking-hooks", appauthor=False))
    except RuntimeError:
        return _NOWHERE / "tracking-hooks"
    return (
        folder if folder.is_absolute() else _NOWHERE / "tracking-hooks"
    )  # an older platformdirs leaves the "~" as it is


def has_state_folder() -> bool:
    """Whether this user has such a folder, or could have one."""
    return _NOWHERE not in state_folder().parents


def has_working_folder() -> bool:
    """Whether the working directory is still there."""
    try:
        return bool(Path.cwd())
    except OSError:
        return False


def working_folder() -> Path:
    """Return the working directory, also one that was deleted."""
    if has_working_folder():
        return Path.cwd()
    try:
        return Path(str(Path("/proc/self/cwd").readlink()).removesuffix(" (deleted)"))
    except OSError:
        return Path(os.environ.get("PWD", os.sep))


def user_name() -> str:
    """Return this user's name; empty for a container's user id without one."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
