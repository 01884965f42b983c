"""The entry points of a group: the packages of an environment are looked through once, until one is installed."""

from __future__ import annotations

import functools
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path


def of(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group; none is imported."""
    return _found(group, tuple((place, _last_change(place)) for place in sys.path))


@functools.lru_cache(maxsize=8)
def _found(group: str, _: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def _last_change(place: str) -> int:
    """Return when something was installed there or removed last."""
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return 0
