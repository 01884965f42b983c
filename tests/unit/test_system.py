"""What is measured of the machine is what the training has of it: its GPU, and its share of a container."""

import os
import sys
from types import SimpleNamespace

import psutil
import pytest

from tracking_hooks.recording import system
from tracking_hooks.recording.cgroups import Limits
from tracking_hooks.recording.system import SystemMonitor

NOBODY = 2**22 + 1
"""A process id that is none here: the kernel gives out no such number."""


class NVMLError(Exception):
    pass


def driver_that_lists(*listed):
    """Stand in for NVIDIA's library: its devices, and the processes that it lists on each; None if it cannot."""

    def processes(device):
        if listed[device] is None:
            raise NVMLError("not supported")
        return [SimpleNamespace(pid=pid, usedGpuMemory=2e9) for pid in listed[device]]

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: len(listed),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetComputeRunningProcesses=processes,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=6e9, total=8e9),
        nvmlDeviceGetUtilizationRates=lambda device: SimpleNamespace(gpu=70 + device),
        nvmlDeviceGetPowerUsage=lambda _: 120_000,
        nvmlDeviceGetUUID=lambda device: [b"GPU-AA00-1", "GPU-bb00-2"][device],
        nvmlDeviceGetPciInfo=lambda device: SimpleNamespace(busId=f"00000000:6{device}:00.0"),
    )


@pytest.fixture
def driver(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return lambda *listed: monkeypatch.setitem(sys.modules, "pynvml", driver_that_lists(*listed))


def gpu_metrics(monitor):
    return {name: value for name, value in monitor.sample().items() if name.startswith("system/gpu")}


def test_where_processes_are_told_their_memory_is_measured_and_nobody_elses_device(driver):
    driver([os.getpid(), 1], [1])
    monitor = SystemMonitor(gpus=["0"])
    assert gpu_metrics(monitor) == {
        "system/gpu0_memory_mb": 2000.0,
        "system/gpu0_utilization_percent": 70,
        "system/gpu0_power_w": 120.0,
    }
    assert not monitor.remarks


@pytest.mark.parametrize("listed", [[NOBODY], [], None], ids=["those of the host", "none", "not supported"])
@pytest.mark.parametrize("name", ["1", "GPU-bb00", "GPU-bb00-2", "00000000:61:00.0"])
def test_in_a_container_the_device_that_the_training_uses_is_measured_as_a_whole(driver, listed, name):
    driver(listed, listed)
    monitor = SystemMonitor(gpus=[name])
    assert gpu_metrics(monitor) == {
        "system/gpu1_memory_mb": 6000.0,
        "system/gpu1_utilization_percent": 71,
        "system/gpu1_power_w": 120.0,
    }
    assert "cannot be told here" in monitor.remarks[0]


@pytest.mark.parametrize(("visible", "devices"), [("1", {"gpu1"}), ("GPU-aa00,1", {"gpu0", "gpu1"}), ("", set())])
def test_where_the_training_loop_names_no_device_the_visible_ones_are_measured(driver, monkeypatch, visible, devices):
    driver([], [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert {name[7:11] for name in gpu_metrics(SystemMonitor())} == devices


def test_a_container_shows_its_own_devices_only(driver):
    driver([NOBODY], [])
    assert {name[7:11] for name in gpu_metrics(SystemMonitor())} == {"gpu0", "gpu1"}


def test_a_device_of_others_on_this_machine_is_not_measured(driver):
    driver([1], [])
    assert gpu_metrics(SystemMonitor()) == {}


def test_a_training_on_the_cpu_has_no_gpu(driver):
    driver([NOBODY], [NOBODY])
    assert gpu_metrics(SystemMonitor(gpus=[])) == {}


def test_what_a_device_does_not_tell_is_left_out(driver, monkeypatch):
    driver([os.getpid()])

    def refuse(_):
        raise NVMLError("not supported")

    monkeypatch.setattr(sys.modules["pynvml"], "nvmlDeviceGetUtilizationRates", refuse)
    assert gpu_metrics(SystemMonitor()) == {"system/gpu0_memory_mb": 2000.0, "system/gpu0_power_w": 120.0}


# -- the limits of a container ------------------------------------------------------------------------------------

GB = 1 << 30


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """Lay out the files of control groups: what a process is in, and folder to file to text."""

    def lay_out(membership, folders):
        (tmp_path / "membership").write_text(membership)
        for folder, files in folders.items():
            (tmp_path / "mounted" / folder).mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (tmp_path / "mounted" / folder / name).write_text(f"{text}\n")
        limits = Limits(tmp_path / "membership", tmp_path / "mounted")
        monkeypatch.setattr(system, "Limits", lambda: limits)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=64 * GB, percent=12.0))
        return SystemMonitor().sample()

    return lay_out


MEMORY_2 = {"memory.max": 4 * GB, "memory.current": 3 * GB, "memory.stat": f"anon 5\ninactive_file {GB}"}
MEMORY_1 = {
    "memory.limit_in_bytes": 4 * GB,
    "memory.usage_in_bytes": 3 * GB,
    "memory.stat": f"inactive_file 7\ntotal_inactive_file {GB}",
}
CPU_2 = {"cpu.max": "200000 100000"}
CPU_1 = {"cpu.cfs_quota_us": 200_000, "cpu.cfs_period_us": 100_000}
NONE_2 = {"memory.max": "max", "memory.current": GB, "cpu.max": "max 100000"}
NONE_1 = {"memory.limit_in_bytes": 9223372036854771712, "memory.usage_in_bytes": GB}
VERSION_1 = "4:memory:/docker/1a2b\n2:cpu,cpuacct:/docker/1a2b\n"


@pytest.mark.parametrize(
    ("membership", "folders"),
    [
        ("0::/\n", {"": MEMORY_2 | CPU_2}),
        ("0::/user.slice/job_7\n", {"": {}, "user.slice": CPU_2, "user.slice/job_7": NONE_2 | MEMORY_2}),
        (VERSION_1, {"memory": MEMORY_1, "cpu,cpuacct": CPU_1}),
        (VERSION_1, {"memory": MEMORY_1, "cpu": CPU_1}),
        (VERSION_1, {"memory/docker/1a2b": MEMORY_1, "cpu,cpuacct/docker/1a2b": CPU_1, "memory": NONE_1}),
        ("0::/../../elsewhere\n", {"": MEMORY_2 | CPU_2}),
    ],
    ids=[
        "a container",
        "a job, with a limit above it",
        "a container of version 1",
        "with a folder for the CPU alone",
        "a job of version 1",
        "another root",
    ],
)
def test_memory_and_cpu_are_relative_to_the_limit_of_the_container(cgroups, membership, folders):
    metrics = cgroups(membership, folders)
    assert metrics["system/memory_percent"] == pytest.approx(50.0)
    assert metrics["system/cpu_limit_percent"] == pytest.approx(metrics["system/cpu_percent"] / 2)


@pytest.mark.parametrize(
    ("membership", "folders"),
    [
        ("0::/\n", {"": NONE_2}),
        (VERSION_1, {"memory": NONE_1, "cpu,cpuacct": {"cpu.cfs_quota_us": -1, "cpu.cfs_period_us": 100_000}}),
        ("0::/\n", {"": {"memory.max": 128 * GB, "memory.current": GB}}),
        ("0::/\n", {"": {"memory.max": "?", "memory.current": "", "cpu.max": "fast"}}),
        ("", {}),
    ],
    ids=["none", "none of version 1", "more than there is", "unreadable", "no control groups"],
)
def test_without_a_limit_memory_is_relative_to_the_machine(cgroups, membership, folders):
    metrics = cgroups(membership, folders)
    assert metrics["system/memory_percent"] == 12.0
    assert "system/cpu_limit_percent" not in metrics
