"""Measures the NVIDIA devices that a training uses, also where a container hides whose processes run on them."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import psutil

from tracking_hooks.events import Metrics

_MB = 1e6

_HIDDEN = (
    "which processes run on a GPU cannot be told here, as in a container: system/gpu…_memory_mb is what is used of the "
    "whole device"
)


class Gpus:
    """The devices that NVIDIA's library finds, if it is installed (``tracking-hooks[gpu]``)."""

    def __init__(self, used: Sequence[str] | None = None) -> None:
        """Open them.

        :param used: those that the training uses, each by its ``GPU-…``, its PCI bus id or its index; None: not known
        """
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if used is None and visible is not None:
            used = [name.strip() for name in visible.split(",")]
        self.remarks: list[str] = []
        """What the user has to know of the metrics."""
        self._used = used and [name.lower() for name in used]
        self._nvml: Any = None
        self._devices: list[Any] = []
        with suppress(Exception):  # without a working driver there is no GPU to measure
            import pynvml

            pynvml.nvmlInit()
            self._devices = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            self._nvml = pynvml

    def sample(self, pids: Collection[int]) -> Metrics:
        """Return the metrics of the devices that some processes use; of a whole device, where these cannot be told."""
        if self._nvml is None:
            return {}
        metrics: Metrics = {}
        listed = [self._ask("ComputeRunningProcesses", device) or [] for device in self._devices]
        are_hidden = not any(psutil.pid_exists(process.pid) for processes in listed for process in processes)
        for index, (device, processes) in enumerate(zip(self._devices, listed)):
            ours = [process for process in processes if process.pid in pids]
            if ours:
                memory = sum(process.usedGpuMemory or 0 for process in ours)
            elif are_hidden if self._used is None else self._is_used(index, device):
                memory = getattr(self._ask("MemoryInfo", device), "used", None)
                self.remarks = [_HIDDEN]
            else:
                continue  # somebody else's GPU
            values = {
                "memory_mb": None if memory is None else memory / _MB,
                "utilization_percent": getattr(self._ask("UtilizationRates", device), "gpu", None),
                "power_w": None if (power := self._ask("PowerUsage", device)) is None else power / 1e3,
            }
            metrics.update({f"system/gpu{index}_{name}": v for name, v in values.items() if v is not None})
        return metrics

    def _is_used(self, index: int, device: Any) -> bool:
        uuid = _text(self._ask("UUID", device))
        bus = _text(getattr(self._ask("PciInfo", device), "busId", None))
        names = self._used or ()
        return any(name in (str(index), bus) or (name.startswith("gpu-") and uuid.startswith(name)) for name in names)

    def _ask(self, what: str, device: Any) -> Any:
        """Ask the library; None if this device, or this release, does not tell."""
        try:
            return getattr(self._nvml, f"nvmlDeviceGet{what}")(device)
        except (AttributeError, self._nvml.NVMLError):
            return None


def _text(value: str | bytes | None) -> str:
    """Return an identifier in small letters; older releases of the library tell it as bytes."""
    return (value.decode() if isinstance(value, bytes) else value or "").lower()
