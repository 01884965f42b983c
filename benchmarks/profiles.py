"""Where the time goes: in what the recorder and the relay of each plugin spend it, as a sampling profiler sees it."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import recorded
from benchmarks.group import ROOT, Group, main
from benchmarks.server import server
from tracking_hooks.delivery.spawn import DELIVERED, start_relay
from tracking_hooks.events import Run
from tracking_hooks.recording.environment import describe
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.settings import Settings

METRICS = 20
EVENTS = {"mlflow": 5_000, "tensorboard": 50_000, "wandb": 20_000}
"""Of the backlog that a relay delivers, by plugin."""
RECORDER, RELAY = "recorder", "relay of {}"
SHOWN = 8
RATE = 500
"""Samples a second."""


def measure(group: Group) -> None:
    os.chdir(group.folder)
    with server(group.folder / "server") as address:
        for _ in group.rounds(1):
            _add(group, RECORDER, _of_recorder(group))
            for plugin, events in EVENTS.items():
                os.environ.update(MLFLOW_TRACKING_URI=address, MLFLOW_EXPERIMENT_NAME="profile")
                _add(group, RELAY.format(plugin), _of_relay(group, plugin, group.scaled(events, 200)))


def record(folder: Path, events: int) -> None:
    """Record the epochs of a long training."""
    save_dir = folder / "train"
    save_dir.mkdir(parents=True)
    run = Run(uid="20261124-000000-0000beef", name="train", project="", task="detect", save_dir=save_dir)
    recorder = Recorder.start(
        run, {}, Settings(system_every=0), logging.getLogger(), params={}, environment=describe([], [])
    )
    recorder.begin(params={}, environment=describe([], []))
    metrics = {f"metrics/value_{index}": index * 0.123456789 for index in range(METRICS)}
    for epoch in range(1, events + 1):
        recorder.record("on_epoch_end", epoch=epoch, step=epoch, metrics=metrics, per_class=None)
    recorder.end("finished")


def _of_recorder(group: Group) -> Counter[str]:
    events = group.scaled(300_000, 2_000)
    call = f"record(Path({str(group.folder)!r}), {events})"
    script = f"from pathlib import Path; from benchmarks.profiles import record; {call}"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    with _profile(process.pid) as found:
        if process.wait():
            raise SystemExit("the recorder failed: see above")
    return found


def _of_relay(group: Group, plugin: str, events: int) -> Counter[str]:
    save_dir = group.folder / plugin / "train"
    run = recorded.run_of(save_dir, recorded.epochs(save_dir, events, METRICS), plugin)
    relay = start_relay(run, plugin, Settings(), drain=True)
    with _profile(relay.pid, only_python=True) as found:
        relay.wait()
    if relay.returncode != DELIVERED:
        raise SystemExit(f"{plugin}: exit code {relay.returncode}\n{run.relay(plugin).log.read_text()}")
    return found


@contextmanager
def _profile(pid: int, *, only_python: bool = False) -> Iterator[Counter[str]]:
    """Watch a process until it ends: how often each module was found at work, its imports apart.

    :param only_python: whether system calls do not count, in which threads wait for other processes
    """
    stacks = Path(f"stacks-{pid}")
    given = {"pid": pid, "rate": RATE, "format": "raw", "output": stacks}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    program = Path(sys.executable).with_name("py-spy")
    command = [program, "record", "--full-filenames", *words, *["--gil"] * only_python]
    watcher = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    found: Counter[str] = Counter()
    yield found
    if watcher.wait():
        raise SystemExit("py-spy may not look into other processes here: see above")
    for line in stacks.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [re.sub(r" \((.*):\d+\)$", r"|\1", frame).rpartition("|")[2] for frame in stack.split(";")]
        is_import = any("importlib" in frame for frame in frames)
        found["imports" if is_import else _module(frames[-1])] += int(count)


def _module(file: str) -> str:
    """Name a module of ours by its place, and another one by its package."""
    if ours := re.search(r"/((?:tracking_hooks|tracking_hooks_\w+)/[^/].*)\.py$", file):
        return f"`{ours[1]}`"
    if package := re.search(r"/site-packages/([^/]+?)(?:\.py)?(?:/|$)", file):
        return package[1]
    if library := re.search(r"/python3\.\d+/([^/]+?)(?:\.py)?(?:/|$)", file):
        return f"Python's {library[1]}"
    return "other"


def _add(group: Group, benchmark: str, found: Counter[str]) -> None:
    for module, count in found.most_common(SHOWN):
        group.add(benchmark, module, 100 * count / found.total(), "%")


if __name__ == "__main__":
    main("profiles", __doc__, measure)
