"""Another user on this machine, and processes that have no power over that user's files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

OTHER = 65534
"""The id of a user who is not the one that runs the tests: nobody."""

_POWERLESS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@cache
def missing() -> str:
    """Return what keeps this machine from having a second user; empty if nothing does."""
    if not hasattr(os, "getuid") or os.getuid() != 0:
        return "only root can give files to another user"
    if not shutil.which("setpriv"):
        return "setpriv is not installed (package util-linux)"
    works = subprocess.run([*_POWERLESS, "true"], capture_output=True, text=True, check=False)
    return "" if works.returncode == 0 else f"setpriv does not work here: {works.stderr.strip()}"


def powerless(command: Sequence[str]) -> list[str]:
    """Return a command that cannot read what belongs to another user, although root runs it."""
    return [*_POWERLESS, *command]


def as_other(command: Sequence[str]) -> list[str]:
    """Return a command that the other user runs."""
    return ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", *command]


def hand_over(folder: Path) -> None:
    """Give a folder to the other user, who lets nobody in; only where there is one is it theirs."""
    folder.chmod(0o700)
    if os.getuid() == 0:
        for path in (*sorted(folder.rglob("*"), reverse=True), folder):  # it is closed behind what is in it
            os.chown(path, OTHER, OTHER, follow_symlinks=False)
    else:
        folder.chmod(0)  # as unreadable, if not as strange
