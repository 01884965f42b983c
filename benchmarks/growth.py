"""What grows: a journal, the runs of a user, and what one ``sync`` has to deliver."""

from __future__ import annotations

import logging
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import recorded
from benchmarks.by_hand import by_hand
from benchmarks.group import Group, main
from benchmarks.processes import end_all
from benchmarks.server import make_database
from tracking_hooks.events import Run
from tracking_hooks.recording.environment import describe
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import index
from tracking_hooks.run.journal import Journal
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.story import reopen
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run

JOURNALS = {"1,000 events": 1000, "1,000,000 events": 1_000_000}
DELIVERED = "1,000 runs, delivered"
RUNS = {"no other run": 0, DELIVERED: 1000, "1,000 runs, nothing delivered": 1000}
SYNC = {
    "tensorboard, one sync": "tensorboard: one script with a bare RecordWriter",
    "mlflow, one sync": "mlflow: one script with log_batch",
}
SYNCED = 300
SMALL_RUNS = f"{SYNCED} small runs"
_CLI = (sys.executable, "-c", "from tracking_hooks.cli import main; main()")


def measure(group: Group) -> None:
    _journals(group)
    _many(group)
    _sync(group)


def _journals(group: Group) -> None:
    """Go on with a run that was delivered: a thousand events are appended, and a relay delivers them."""
    folders = {}
    for number, (name, size) in enumerate(JOURNALS.items()):
        save_dir = group.folder / f"long-{number}/train"
        events = group.scaled(size, size // 1000 + 50)
        folders[name] = recorded.run_of(save_dir, recorded.batches(save_dir, events, 2), "tensorboard")
        recorded.deliver(folders[name], "tensorboard")
    for _ in group.rounds():
        for name, folder in group.mixed(list(folders.items())):
            start = time.perf_counter()
            log, _ = reopen(folder.journal)
            group.add("opening it for a resume", name, 1e3 * (time.perf_counter() - start), "ms")
            group.add("appending an event", name, _append(log, 1000), "µs")
            log.append("on_run_end", time.time(), {"status": "finished", "error": None})
            log.close()
            start = time.perf_counter()
            recorded.deliver(folder, "tensorboard")
            group.add("a relay that goes on at its cursor", name, time.perf_counter() - start, "s")
    for folder in folders.values():
        shutil.rmtree(folder.path.parents[1])


def _append(log: Journal, events: int) -> float:
    """Append so many events; return the median time of one in µs."""
    args = {"epoch": 2, "step": 2, "metrics": {"batch/loss_0": 0.5, "batch/loss_1": 0.25}}
    took = []
    for _ in range(events):
        start = time.perf_counter()
        log.append("on_batch_end", time.time(), args)
        took.append(time.perf_counter() - start)
    return 1e6 * statistics.median(took)


def _many(group: Group) -> None:
    """Start a recording, and ask for the status, beside other runs of this user in this folder."""
    roots = {name: group.folder / f"many-{number}" for number, name in enumerate(RUNS)}
    for name, root in roots.items():
        os.environ["XDG_STATE_HOME"] = str(root / "state")
        for number in range(group.scaled(RUNS[name], RUNS[name] // 100)):
            _small(root / "runs", number, "tensorboard")
        if name == DELIVERED:
            _command("sync", str(root / "runs"))
    _start(group.folder / "warm-up")
    for _ in group.rounds():
        for name, root in group.mixed(list(roots.items())):
            os.environ["XDG_STATE_HOME"] = str(root / "state")
            if RUNS[name]:
                group.add("status", name, _command("status", str(root / "runs")), "s")
            group.add("start of a recording", name, 1e3 * _start(root / "runs/next"), "ms")
    for root in roots.values():
        shutil.rmtree(root)


def _start(save_dir: Path) -> float:
    """Return how long it takes to begin to record a run; it is gone afterwards."""
    save_dir.mkdir(parents=True)
    run = Run(uid="20261124-000000-0000beef", name="next", project="", task="detect", save_dir=save_dir)
    environment = describe([], [])
    start = time.perf_counter()
    # Without a plugin there is no relay; where something is undelivered, an adopter is started, which shall do nothing.
    recorder = Recorder.start(
        run, {}, Settings(system_every=0), logging.getLogger(), params={}, environment=environment
    )
    took = time.perf_counter() - start
    end_all(save_dir.parent)
    recorder.end("finished")
    shutil.rmtree(save_dir)
    shutil.rmtree(recorder.folder.path)
    return took


def _sync(group: Group) -> None:
    count = group.scaled(SYNCED, 4)
    pairs = list(SYNC.items())[: 1 if group.options.quick else None]
    unused = group.folder / "unused.db"
    unused.touch()
    if len(pairs) > 1:
        make_database(unused)
    for number in group.rounds():
        for ours, theirs in group.mixed(pairs):
            plugin = ours.partition(",")[0]
            for side in group.mixed([ours, theirs]):
                root = group.folder / f"sync-{number}"
                root.mkdir()
                database = shutil.copy(unused, root / "mlflow.db")
                os.environ.update(XDG_STATE_HOME=str(root / "state"), MLFLOW_TRACKING_URI=f"sqlite:///{database}")
                for each in range(count):
                    _small(root / "runs", each, plugin)
                os.sync()  # else who makes something safe on the disk waits for all of this, too
                start = time.perf_counter()
                if side == ours:
                    _command("sync", str(root / "runs"))
                else:
                    place = os.environ["MLFLOW_TRACKING_URI"] if plugin == "mlflow" else root / "logdir"
                    by_hand(f"{plugin}_runs", place, root / "runs", 3, 20)
                seconds = time.perf_counter() - start
                group.add(SMALL_RUNS, side, seconds, "s")
                shutil.rmtree(root)


def _small(project: Path, number: int, plugin: str) -> RunFolder:
    """Write a run of three epochs, with its files, that nobody has delivered."""
    save_dir = project / f"train-{number}"
    folder = recorded.run_of(save_dir, recorded_run(save_dir), plugin, number)
    index.enter(folder)
    return folder


def _command(*words: str) -> float:
    """Return how long a command of ours takes."""
    start = time.perf_counter()
    subprocess.run([*_CLI, *words], check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main("growth", __doc__, measure)
