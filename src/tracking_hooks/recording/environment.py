"""Where and how the training was started."""

from __future__ import annotations

import platform
import socket
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version

from tracking_hooks import redact
from tracking_hooks.events import Environment
from tracking_hooks.run import portable


def describe(packages: Iterable[str], devices: Sequence[str]) -> Environment:
    """Describe this process and its working directory, whose repository takes longer: see ``Repository``.

    :param packages: distributions whose versions to record
    :param devices: the devices that the training uses
    """
    return Environment(
        host=socket.gethostname(),
        user=portable.user_name(),
        cwd=portable.working_folder(),
        argv=redact.argv(sys.argv),
        python=platform.python_version(),
        platform=platform.platform(),
        versions={name: found for name in packages if (found := _version(name))},
        devices=list(devices),
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
