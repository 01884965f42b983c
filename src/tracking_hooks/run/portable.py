"""What differs from one system, or one account, to the next: files, processes, the folders of a user."""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs

_BINARY = getattr(os, "O_BINARY", 0)  # without it, Windows writes "\r\n"
_LAST_STREAM = 2  # standard error

_PATIENCE = 1.0
"""Seconds in which somebody who reads a file on Windows may keep it from being replaced."""
_POLL = 0.01

_NO_WINDOW = 0x08000000
"""What gives a process on Windows a console of its own, which nobody sees (``subprocess.CREATE_NO_WINDOW``)."""

_NOWHERE = Path(os.devnull)
"""Below it there is nothing, and nothing can be made."""


def open_file(path: Path, flags: int) -> int:
    """Open a file for bytes; one that is made is its owner's alone.

    :returns: its descriptor
    :raises OSError: if that cannot be done
    """
    return _beside_streams(os.open(path, flags | _BINARY, 0o600))


def _beside_streams(fd: int) -> int:
    """Return a descriptor that no standard stream has: where one is closed, what is printed would get into the file."""
    if fd > _LAST_STREAM:
        return fd
    try:
        return _beside_streams(os.dup(fd))
    finally:
        os.close(fd)


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


def apart() -> dict[str, Any]:
    """Return with what ``Popen`` starts a process that outlives the terminal, and that its Ctrl-C does not reach."""
    return {"creationflags": _NO_WINDOW} if sys.platform == "win32" else {"start_new_session": True}


def as_this_python() -> dict[str, Any]:
    """Return with what ``Popen`` starts this interpreter as one process, whose id is that of the code it runs.

    In a virtual environment of Windows, ``python.exe`` starts the interpreter in a further process.
    """
    base = getattr(sys, "_base_executable", sys.executable)
    if sys.platform != "win32" or base == sys.executable:
        return {}
    return {"executable": base, "env": {**os.environ, "__PYVENV_LAUNCHER__": sys.executable}}


def state_folder() -> Path:
    """Return this user's folder for what we keep: one that cannot be made, for a user without a home."""
    return _folder_of_user(platformdirs.user_state_dir)


def cache_folder() -> Path:
    """Return this user's folder for what we can do without; see ``state_folder``."""
    return _folder_of_user(platformdirs.user_cache_dir)


def _folder_of_user(find: Callable[..., str]) -> Path:
    try:
        folder = Path(find("tracking-hooks", appauthor=False))
    except RuntimeError:
        return _NOWHERE / "tracking-hooks"
    # An older platformdirs leaves the "~" as it is.
    return folder if folder.is_absolute() else _NOWHERE / "tracking-hooks"


def has_state_folder() -> bool:
    """Whether this user has such a folder, or could have one."""
    return _NOWHERE not in state_folder().parents


def has_working_folder() -> bool:
    """Whether the working directory is still there."""
    try:
        return bool(Path.cwd())
    except OSError:
        return False


def stay_somewhere(folder: Path) -> None:
    """Go to a folder if the working directory was deleted: what a tracker's client does there fails else.

    :raises OSError: if that is not there, either
    """
    if not has_working_folder():
        os.chdir(folder)


def working_folder() -> Path:
    """Return the working directory, also one that was deleted."""
    if has_working_folder():
        return Path.cwd()
    try:
        return Path(str(Path("/proc/self/cwd").readlink()).removesuffix(" (deleted)"))
    except OSError:
        return Path(os.environ.get("PWD", os.sep))


def user_name() -> str:
    """Return this user's name; empty where none is known, as of a container's user id."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # Windows has no pwd
        return ""
