"""Measures the resources that the training's processes use."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress

import psutil

from tracking_hooks.events import Metrics
from tracking_hooks.recording.cgroups import Limits
from tracking_hooks.recording.gpus import Gpus

_MB = 1e6


class SystemMonitor:
    """Samples CPU, memory, disk, network and GPU. Rates are means since the previous sample."""

    def __init__(self, pid: int | None = None, *, gpus: Sequence[str] | None = None) -> None:
        """Measure a process and those below it.

        :param pid: None: this one
        :param gpus: the devices that it uses, as ``Gpus`` takes them; None: not known
        """
        self._root = psutil.Process(os.getpid() if pid is None else pid)
        self._processes: dict[int, psutil.Process] = {}
        self._last = (0.0, 0.0, 0, 0)
        self._gpus = Gpus(gpus)
        self._limits = Limits()
        self.sample()  # rates need a first sample

    def sample(self) -> Metrics:
        """Return the current metrics, with names that start with ``system/``."""
        cpu = memory = 0.0
        known = {process.pid: process for process in self._tree()}
        self._processes = known
        for process in known.values():
            with suppress(psutil.Error):
                cpu += process.cpu_percent()
                memory += process.memory_info().rss
        of_limit = self._limits.memory_percent(psutil.virtual_memory().total)
        metrics = {
            "system/cpu_percent": cpu,
            "system/memory_rss_mb": memory / _MB,
            "system/memory_percent": psutil.virtual_memory().percent if of_limit is None else of_limit,
            "system/processes": float(len(known)),
        }
        if cpus := self._limits.cpus():
            metrics["system/cpu_limit_percent"] = cpu / cpus
        metrics.update(self._rates())
        metrics.update(self._gpus.sample(known))
        return metrics

    @property
    def remarks(self) -> list[str]:
        """What the user has to know of the metrics."""
        return self._gpus.remarks

    def _tree(self) -> list[psutil.Process]:
        try:
            tree = [self._root, *(p for p in self._root.children(recursive=True) if _same_session(p.pid))]
        except psutil.Error:
            return []
        # cpu_percent() compares with the previous call on the same object.
        return [self._processes.get(process.pid, process) for process in tree]

    def _rates(self) -> Metrics:
        now = time.monotonic()
        disk = 0.0
        for process in self._processes.values():
            with suppress(psutil.Error, AttributeError):  # not offered on every platform
                counters = process.io_counters()
                disk += counters.read_bytes + counters.write_bytes
        network = psutil.net_io_counters()
        before, disk_before, sent_before, received_before = self._last
        self._last = (now, disk, network.bytes_sent, network.bytes_recv)
        if not before or now == before:
            return {}
        seconds = now - before
        return {
            "system/disk_mb_per_s": max(disk - disk_before, 0.0) / _MB / seconds,
            "system/network_sent_mb_per_s": (network.bytes_sent - sent_before) / _MB / seconds,
            "system/network_received_mb_per_s": (network.bytes_recv - received_before) / _MB / seconds,
        }


def _same_session(pid: int) -> bool:
    """Whether a process belongs to the training: relays run in sessions of their own."""
    try:
        return os.getsid(pid) == os.getsid(0)
    except (AttributeError, OSError):
        return True
