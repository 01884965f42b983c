"""The limits for memory and CPU that a container, or a scheduler's job, sets: control groups, of version 1 and 2."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path


class Limits:
    """The control groups of this process, and those that they are in: the tightest limit counts."""

    def __init__(self, membership: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> None:
        """Find them; there are none where there are no such files."""
        self._memory: list[Path] = []
        self._cpu: list[Path] = []
        for line in _read(membership).splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if not controllers:  # version 2: one tree for all
                self._memory += _chain(mounted, path)
                self._cpu += _chain(mounted, path)
            elif controllers == "memory":
                self._memory += _chain(mounted / controllers, path)
            elif "cpu" in controllers.split(","):
                self._cpu += [*_chain(mounted / controllers, path), *_chain(mounted / "cpu", path)]

    def memory_percent(self, total: float) -> float | None:
        """Return how much of the memory that is allowed is in use; None if there is no limit.

        What the kernel can drop at once, pages of files, counts as free.

        :param total: bytes of the machine; a limit above that is none
        """
        parts = []
        for folder in self._memory:
            limit = min(_number(folder / "memory.max"), _number(folder / "memory.limit_in_bytes"))
            used = min(_number(folder / "memory.current"), _number(folder / "memory.usage_in_bytes"))
            if 0 < limit < total and math.isfinite(used):
                parts.append(100 * (used - _droppable(folder)) / limit)
        return max(parts, default=None)

    def cpus(self) -> float | None:
        """Return how many CPUs may be used; None if there is no limit."""
        quotas = [quota for folder in self._cpu for quota in _quotas(folder)]
        return min(quotas, default=None)


def _chain(root: Path, path: str) -> list[Path]:
    """Return a group's folder and those above it, as far as they are here: a container may see its own as the root."""
    folder = root / path.lstrip("/")
    groups = [root] if ".." in folder.parts else [folder, *folder.parents]
    return [group for group in groups if group.is_relative_to(root) and group.is_dir()]


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _number(path: Path) -> float:
    """Return what a file holds; infinite if it says "max", or nothing."""
    try:
        return float(_read(path).replace("max", "inf"))
    except ValueError:
        return math.inf


def _droppable(folder: Path) -> float:
    statistics = dict(line.split()[:2] for line in _read(folder / "memory.stat").splitlines() if len(line.split()) > 1)
    return float(statistics.get("total_inactive_file") or statistics.get("inactive_file") or 0)


def _quotas(folder: Path) -> Iterator[float]:
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        yield int(quota) / int(period)
    quota_v1 = _number(folder / "cpu.cfs_quota_us")  # -1: none
    if 0 < quota_v1 < math.inf:
        yield quota_v1 / _number(folder / "cpu.cfs_period_us")
