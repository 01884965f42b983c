"""The raw figures: a file of JSON lines for each group. The first line says what was measured where."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

RESULTS = Path(__file__).parent / "results"

_PACKAGES = (
    "tracking-hooks", "ultralytics", "torch", "mlflow", "tensorboard", "wandb", "msgspec", "numpy",
)  # fmt: skip


class Head(msgspec.Struct):
    """How and where a group was measured: what kind of machine, never which one."""

    group: str
    command: str
    date: str
    cores: int
    cpu: str
    system: str
    python: str
    versions: dict[str, str]
    gpu: str = ""


class Sample(msgspec.Struct):
    """One figure of one round."""

    benchmark: str
    variant: str
    unit: str
    value: float
    round: int


def head(group: str, command: str, device: str) -> Head:
    """Describe this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0
    return Head(
        group=group,
        command=command,
        date=datetime.now(timezone.utc).date().isoformat(),
        cores=cores,
        cpu=_cpu(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions={name: found for name in _PACKAGES if (found := _version(name))},
        gpu=_gpu(device),
    )


def write(path: Path, first: Head, samples: Iterable[Sample]) -> None:
    lines = [msgspec.json.encode(line) for line in (first, *samples)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join([*lines, b""]))


def read(path: Path) -> tuple[Head, list[Sample]]:
    first, *others = path.read_bytes().splitlines()
    return msgspec.json.decode(first, type=Head), [msgspec.json.decode(line, type=Sample) for line in others]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpu(device: str) -> str:
    if device == "cpu":
        return ""
    import torch

    return torch.cuda.get_device_name(int(device))
