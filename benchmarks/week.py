"""The journal of a training of seven days, delivered to MLflow (a database of SQLite) and to TensorBoard.

Run it with ``make bench``, or with ``python -m benchmarks.week`` in the repository's folder. A batch is recorded every
five seconds and the system every ten, with seven metrics each, and an epoch every ten minutes. ``--thin off`` delivers
all of it, as ``TRACKING_HOOKS_THIN=off`` does.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil

from tests.support.runs import write_run
from tracking_hooks import plugins
from tracking_hooks.delivery.spawn import DELIVERED, start_relay
from tracking_hooks.run import journal
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings
from tracking_hooks.testing import STARTED, recorded_run, sample_run

DAY = 86_400
BATCH_EVERY, SYSTEM_EVERY, EPOCH_EVERY = 5, 10, 600


def events(save_dir: Path, seconds: int, metrics: int) -> Iterator[Call]:
    """Return what such a training records."""
    yield recorded_run(save_dir)[0]
    names = range(metrics)
    for second in range(BATCH_EVERY, seconds + 1, BATCH_EVERY):
        moment, epoch = STARTED + second, second // EPOCH_EVERY + 1
        values = {f"batch/loss_{name}": 1 / (second + name) for name in names}
        yield Call(0, moment, "on_batch_end", {"epoch": epoch, "step": second, "metrics": values})
        if second % SYSTEM_EVERY == 0:
            values = {f"system/gpu_{name}": (second + name) % 97 / 97 for name in names}
            yield Call(0, moment, "on_system_metrics", {"metrics": values})
        if second % EPOCH_EVERY == 0:
            values = {f"metrics/value_{name}": 1 - 1 / (second + name) for name in range(20)}
            yield Call(0, moment, "on_epoch_end", {"epoch": epoch - 1, "step": second, "metrics": values})
    yield Call(0, STARTED + seconds, "on_run_end", {"status": "finished", "error": None})


def record(save_dir: Path, seconds: int, metrics: int, *, thin: bool) -> RunFolder:
    """Write the journal of a training that nobody has delivered."""
    run = msgspec.structs.replace(sample_run(save_dir), uid="20261124-000000-0000eeee")
    names = ["mlflow", "tensorboard"]
    captured = plugins.of_parts(plugins.capture(plugins.load_trainer_sides(names), run))
    destinations = {name: capture.destination for name, capture in captured.items() if "." not in name}
    return write_run(run, events(save_dir, seconds, metrics), destinations, thin=thin)


def deliver(folder: RunFolder, plugin: str) -> tuple[float, float]:
    """Deliver it; return the seconds that it took, and the most memory that the relay had, in MB."""
    began, most = time.perf_counter(), 0
    relay = start_relay(folder, plugin, Settings(), drain=True)
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        process = psutil.Process(relay.pid)
        while not done.wait(0.1):
            try:
                most = max(most, process.memory_info().rss)
            except psutil.Error:
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = relay.wait()
    took = time.perf_counter() - began
    done.set()
    watcher.join()
    if code != DELIVERED:
        raise SystemExit(f"{plugin}: exit code {code}\n{folder.relay(plugin).log.read_text()}")
    return took, most / 1e6


def points_in_mlflow(database: Path) -> tuple[int, int]:
    """Return how many points there are, and the most of one metric."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select count(*) from metrics group by key").fetchall()
    return sum(count for (count,) in rows), max(count for (count,) in rows)


def points_in_tensorboard(save_dir: Path) -> tuple[int, int]:
    """Return how many points there are, and the most of one metric."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    counts: dict[str, int] = {}
    for path in save_dir.glob("events.out.tfevents.*"):
        for event in LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    counts[value.tag] = counts.get(value.tag, 0) + 1
    return sum(counts.values()), max(counts.values())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.week", description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--metrics", type=int, default=7, help="metrics of a batch, and of the system")
    parser.add_argument("--thin", default="on", choices=["on", "off"])
    parser.add_argument("--quick", action="store_true", help="less than a day: that it works")
    options = parser.parse_args()
    if options.quick:
        options.days, options.metrics = 0.65, 1
    with tempfile.TemporaryDirectory(prefix="tracking-hooks-bench-") as name:
        save_dir = Path(name, "runs/train")
        os.environ.update(XDG_STATE_HOME=name, MLFLOW_TRACKING_URI=f"sqlite:///{name}/mlflow.db")
        os.environ.update(MLFLOW_EXPERIMENT_NAME="week", MLFLOW_DISABLE_TELEMETRY="true")
        os.chdir(name)
        began = time.perf_counter()
        folder = record(save_dir, round(options.days * DAY), options.metrics, thin=options.thin == "on")
        size = folder.journal.stat().st_size
        calls = journal.calls(folder.journal, {"on_batch_end", "on_system_metrics", "on_epoch_end"})
        recorded = sum(len(call.args["metrics"]) for call in calls)
        print(f"{options.days:g} days: {recorded:,} points in a journal of {size / 1e6:.1f} MB")
        print(f"written and read in {time.perf_counter() - began:.1f} s; thin: {options.thin}")
        count: dict[str, Callable[[], tuple[int, int]]] = {
            "mlflow": lambda: points_in_mlflow(Path(name, "mlflow.db")),
            "tensorboard": lambda: points_in_tensorboard(save_dir),
        }
        for plugin, points in count.items():
            took, memory = deliver(folder, plugin)
            total, most = points()
            print(
                f"{plugin}: {total:,} points, at most {most:,} of a metric, delivered in {took:.1f} s, "
                f"{total / took:,.0f} points/s, with {memory:.0f} MB"
            )


if __name__ == "__main__":
    main()
