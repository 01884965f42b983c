"""Where and how the training was started."""

from __future__ import annotations

import platform
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tracking_hooks import redact
from tracking_hooks.events import Environment, Git
from tracking_hooks.run import portable

_GIT_TIMEOUT = 2.0


def describe(packages: Iterable[str], devices: Sequence[str]) -> Environment:
    """Describe this process and its working directory.

    :param packages: distributions whose versions to record
    :param devices: the devices that the training uses
    """
    cwd = portable.working_folder()
    return Environment(
        host=socket.gethostname(),
        user=portable.user_name(),
        cwd=cwd,
        argv=redact.argv(sys.argv),
        python=platform.python_version(),
        platform=platform.platform(),
        versions={name: found for name in packages if (found := _version(name))},
        devices=list(devices),
        git=_git(cwd),
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(folder: Path) -> Git | None:
    def ask(*words: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", folder, *words],
                capture_output=True,
                text=True,
                timeout=_GIT_TIMEOUT,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return answer.stdout.strip()

    commit = ask("rev-parse", "HEAD")
    if not commit:
        return None
    remote = ask("config", "--get", "remote.origin.url")
    return Git(
        commit=commit,
        branch=ask("rev-parse", "--abbrev-ref", "HEAD"),
        dirty=bool(ask("status", "--porcelain", "--untracked-files=no")),
        remote=redact.text(remote) if remote else None,
    )
