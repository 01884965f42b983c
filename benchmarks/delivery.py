"""Delivery: the rate of a backlog, the lag of a live run, and weights over a slow line, beside the client by hand."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks import recorded
from benchmarks.by_hand import by_hand
from benchmarks.group import Group, main
from benchmarks.line import Line
from benchmarks.loop import percentile
from benchmarks.server import server
from tracking_hooks.delivery.spawn import start_relay
from tracking_hooks.events import Checkpoint
from tracking_hooks.run.files import digest
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.liveness import Lock
from tracking_hooks.run.story import reopen
from tracking_hooks.settings import Settings
from tracking_hooks.testing import STARTED
from tracking_hooks.testing.writing import as_recorded

METRICS = 20
"""In an event of an epoch."""
POINTS = {"mlflow": 100_000, "tensorboard": 400_000, "wandb": 200_000}
BACKLOG = {
    "mlflow, a relay": "",
    "mlflow: log_batch of 1,000 in 8 threads": "mlflow",
    "tensorboard, a relay": "",
    "tensorboard: a bare RecordWriter": "tensorboard",
    "tensorboard: SummaryWriter of PyTorch": "summary_writer",
    "wandb, a relay, offline": "",
    "wandb: run.log() of the client, offline": "wandb",
}
"""Who delivers it, and which function of ``by_hand.py`` that is."""
BESIDE = {
    "mlflow, a relay": "mlflow: log_batch of 1,000 in 8 threads",
    "tensorboard, a relay": "tensorboard: a bare RecordWriter",
    "wandb, a relay, offline": "wandb: run.log() of the client, offline",
}
LAG = ("mlflow, server 100 ms away", "tensorboard")
WEIGHTS = {"the relay of mlflow.files": "log_artifact by hand"}
LATENCY, RATE, MEGABYTES = 0.1, 4e6, 20
SLOW_LINE = f"{MEGABYTES} MB of weights over a slow line"


def measure(group: Group) -> None:
    os.chdir(group.folder)
    with server(group.folder / "server") as address:
        for number in group.rounds():
            _backlogs(group, address)
            _lags(group, address, number)
            _weights(group, address)


def _backlogs(group: Group, address: str) -> None:
    for variant, way in group.mixed(list(BACKLOG.items())):
        plugin = re.split("[,:]", variant)[0]
        if group.options.quick and plugin == "wandb":
            continue
        points = group.scaled(POINTS[plugin], 2000)
        folder = group.folder / "backlog"
        folder.mkdir()
        start = time.perf_counter()
        if way:
            by_hand(way, address if plugin == "mlflow" else folder, points // METRICS, METRICS)
        else:
            os.environ.update(MLFLOW_TRACKING_URI=address, MLFLOW_EXPERIMENT_NAME=f"relay {time.monotonic_ns()}")
            save_dir = folder / "train"
            run = recorded.run_of(save_dir, recorded.epochs(save_dir, points // METRICS, METRICS), plugin)
            start = time.perf_counter()
            recorded.deliver(run, plugin)
        group.add("backlog", variant, points / (time.perf_counter() - start), "points/s")
        shutil.rmtree(folder)


def _lags(group: Group, address: str, number: int) -> None:
    """Write a live run, an event each quarter of a second, and look when each of them can be seen."""
    events = group.scaled(100, 8)
    database = group.folder / "server/server.db"
    for variant in group.mixed(LAG[1:] if group.options.quick else LAG):
        plugin, folder = variant.partition(",")[0], group.folder / "live"
        os.environ["MLFLOW_EXPERIMENT_NAME"] = f"lag {number}"
        with Line(address, latency=LATENCY).open() as slow:
            os.environ["MLFLOW_TRACKING_URI"] = slow
            save_dir = folder / "train"
            calls = list(recorded.epochs(save_dir, events, METRICS))
            run = recorded.run_of(save_dir, calls[:1], plugin, number=number)
            with _looking(plugin, save_dir, database, f"lag {number}") as last_step:
                lags = _live(run, plugin, calls[1:-1], last_step)
        for percent in (50, 99):
            group.add(f"lag, p{percent}", variant, percentile(lags, percent), "s")
        shutil.rmtree(folder)


def _live(run: RunFolder, plugin: str, calls: list[Call], last_step: Callable[[], int]) -> list[float]:
    """Return how long after its recording each event could be seen in the tracker."""
    lock = Lock(run.lock)
    lock.acquire()
    log, _ = reopen(run.journal)
    relay = start_relay(run, plugin, Settings())
    written: dict[int, float] = {}
    seen: dict[int, float] = {}
    deadline = time.monotonic() + 120
    # The first one waits for the relay to be there, and is not counted.
    pace, due, waiting = 0.25, 0.0, list(calls)
    while len(seen) < len(calls) and time.monotonic() < deadline:
        now = time.monotonic()
        if waiting and now >= due and (not written or seen):
            call = waiting.pop(0)
            log.append(call.hook, time.time(), as_recorded(call.args))
            written[call.args["step"]] = time.monotonic()
            due = now + pace
        reached = last_step()
        for step in [step for step in written if step <= reached and step not in seen]:
            seen[step] = time.monotonic()
        time.sleep(0.01)
    log.append("on_run_end", time.time(), {"status": "finished", "error": None})
    log.close()
    lock.release()
    relay.wait(120)
    assert len(seen) == len(calls), (plugin, len(seen), run.relay(plugin).log.read_text())
    return [seen[step] - written[step] for step in written if step > 1]


@contextmanager
def _looking(plugin: str, save_dir: Path, database: Path, experiment: str) -> Iterator[Callable[[], int]]:
    """Return what tells the last step that the tracker shows."""
    if plugin == "mlflow":
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            yield lambda: _step_in(connection, experiment)
    else:
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
        from tensorboard.compat.proto.event_pb2 import Event

        loaders: dict[Path, RawEventFileLoader] = {}
        last = 0

        def look() -> int:
            nonlocal last
            for path in save_dir.glob("events.out.tfevents.*"):
                loader = loaders.setdefault(path, RawEventFileLoader(str(path)))
                for data in loader.Load():
                    last = max(last, Event.FromString(data).step)
            return last

        yield look


def _step_in(connection: sqlite3.Connection, experiment: str) -> int:
    query = (
        "select max(m.step) from metrics m join runs r on m.run_uuid = r.run_uuid join experiments e"
        " on r.experiment_id = e.experiment_id where e.name = ? and m.key = 'metrics/value_00'"
    )
    (step,) = connection.execute(query, (experiment,)).fetchone()
    return step or 0


def _weights(group: Group, address: str) -> None:
    """Send a file of weights over a line of 4 MB/s, 100 ms long."""
    (ours, theirs), *_ = WEIGHTS.items()
    for side in group.mixed([ours, theirs]):
        folder = group.folder / "weights"
        path = folder / "train/weights/last.pt"
        first, *_, last = recorded.epochs(folder / "train", 1, 1)  # which makes files, too: ours replaces one
        path.write_bytes(os.urandom(group.scaled(MEGABYTES, 1) * 1_000_000))
        with Line(address, latency=LATENCY, rate=RATE).open() as slow:
            if side == ours:
                os.environ.update(MLFLOW_TRACKING_URI=slow, MLFLOW_EXPERIMENT_NAME=f"files {time.monotonic_ns()}")
                size, sha = digest(path)
                kept = Checkpoint(path=path, kind="last", size=size, digest=sha)
                at = Call(0, STARTED + 1, "on_checkpoint_saved", {"epoch": 1, "checkpoint": kept})
                run = recorded.run_of(folder / "train", [first, at, last], "mlflow")
                recorded.deliver(run, "mlflow")  # the numbers first: this is where the run is made
                start = time.perf_counter()
                recorded.deliver(run, "mlflow.files")
            else:
                start = time.perf_counter()
                by_hand("weights", slow, path)
            seconds = time.perf_counter() - start
        arrived = (group.folder / "server/artifacts").rglob("last.pt")
        newest = max(arrived, key=lambda file: file.stat().st_mtime)
        assert newest.read_bytes() == path.read_bytes(), side
        group.add(SLOW_LINE, side, seconds, "s")
        shutil.rmtree(folder)


if __name__ == "__main__":
    main("delivery", __doc__, measure)
