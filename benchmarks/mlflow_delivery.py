"""MLflow over a slow line, and a long backlog, each beside what one would have without tracking-hooks.

Run it with ``make bench``, or with ``python -m benchmarks.mlflow_delivery``. Real servers, real trainings: the loop's
time without any tracking, with tracking-hooks and with Ultralytics' own integration, alternating, with 100 ms added to
each request; the trainer has a core of its own. Then the metric points of a long training, delivered by a relay and by
a loop over ``MlflowClient.log_batch``. Ratios are of figures from this one run. It is not called ``mlflow.py``, since
that would be what is imported then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.support.mlflow import mlflow_server
from tests.support.processes import answers
from tracking_hooks.cli.shapes import make_shapes
from tracking_hooks.delivery.spawn import DELIVERED, start_relay
from tracking_hooks.events import Run
from tracking_hooks.recording.environment import describe
from tracking_hooks.run.journal import FORMAT, Head, Journal
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings

LATENCY = 0.1
"""Seconds added to each request."""

SIDES = ("bare", "tracking-hooks", "Ultralytics' own")
METRICS = 20
"""Metrics in an event of the backlog."""

BATCH = 1000
"""The most that MLflow takes at once."""

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

# The set-up may have all cores. When the loop begins, this process is alone on the first one, and what it has
# started is with the server on the others. A user's callbacks come before those of integrations: what an integration
# does at `on_train_end` is no part of the loop.
TRAINING = """
import json, os, sys, time
import psutil
from ultralytics import YOLO
arguments, cores, others = json.loads(sys.argv[1])
if cores:
    os.sched_setaffinity(0, cores + others)
times = {}
def pin(process, cores):
    for thread in process.threads():
        os.sched_setaffinity(thread.id, cores)
def begin(trainer):
    if cores:
        here = psutil.Process()
        for child in here.children(recursive=True):
            pin(child, others)
        pin(here, cores)
    times["begin"] = time.perf_counter()
def end(trainer):
    times["end"] = time.perf_counter()
model = YOLO(arguments.pop("model"))
model.add_callback("on_train_start", begin)
model.add_callback("on_train_end", end)
start = time.perf_counter()
model.train(**arguments)
stop = time.perf_counter()
begin, end = times["begin"], times["end"]
print(json.dumps({"set-up": begin - start, "loop": end - begin, "end": stop - end, "all": stop - start}))
"""

# At the priority of a relay: on a machine that has more to do, their rates would differ by that.
PLAIN = """
import json, os, sys
from mlflow import MlflowClient
from mlflow.entities import Metric
os.nice(10)
if os.path.exists("/proc/self/autogroup"):
    with open("/proc/self/autogroup", "w") as group:
        group.write("10")
uri, epochs, names, size, started = json.loads(sys.argv[1])
client = MlflowClient(uri)
run = client.create_run(client.create_experiment("plain")).info.run_id
batch = []
for epoch in range(1, epochs + 1):
    for index, name in enumerate(names):
        batch.append(Metric(name, 1 / (epoch + index), round(1000 * (started + epoch)), epoch))
        if len(batch) == size:
            client.log_batch(run, metrics=batch)
            batch = []
client.log_batch(run, metrics=batch)
client.set_terminated(run)
"""


class SlowLine:
    """Forwards TCP from a port of its own; everything arrives later by half the latency."""

    def __init__(self, upstream: str, latency: float) -> None:
        self.port = 0
        self._upstream = int(upstream.rpartition(":")[2])
        self._delay = latency / 2
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @contextmanager
    def open(self) -> Iterator[str]:
        """Return the address at which the server is reached slowly."""
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        yield f"http://127.0.0.1:{server.result().sockets[0].getsockname()[1]}"
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection("127.0.0.1", self._upstream)
        await asyncio.gather(self._receive(reader, questions), self._receive(answers, writer), return_exceptions=True)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sending = asyncio.create_task(self._send(line, writer))
        data = b"begin"
        while data:
            data = await reader.read(1 << 16)
            line.put_nowait((self._loop.time() + self._delay, data))
        await sending

    async def _send(self, line: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await line.get()
            await asyncio.sleep(due - self._loop.time())
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run an MLflow server on a database of its own; return its address."""
    folder.mkdir()
    with mlflow_server(folder, store=f"sqlite:///{folder / 'mlflow.db'}") as address:
        yield address


def slow_line(folder: Path, repeats: int, epochs: int) -> Iterator[tuple[str, ...]]:
    """Measure trainings on a slow line; return rows of the table."""
    data = make_shapes(folder / "shapes", train=32, val=16)
    environments = {side: environment(folder / side.replace("'", ""), side) for side in SIDES}
    samples: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with server(folder / "near") as near, SlowLine(near, LATENCY).open() as address:
        started = time.perf_counter()
        assert answers(f"{address}/health")
        print(f"a request takes {1e3 * (time.perf_counter() - started):.0f} ms", file=sys.stderr)
        if repeats > 1:
            train(folder, data, 1, environments["bare"])  # for the caches
        for number in range(repeats):
            for side in SIDES:
                sample = train(folder, data, epochs, {**environments[side], "MLFLOW_TRACKING_URI": address})
                samples[side].append(sample)
                print(f"training {number + 1} of {repeats}, {side}: {sample}", file=sys.stderr)
    for key, what in {
        "loop": "the training loop",
        "set-up": "model.train() before the loop",
        "end": "model.train() behind the loop",
        "all": "model.train()",
    }.items():
        yield f"{what}, s", *beside_bare(samples, key)
    more = [
        statistics.median(
            1e3 * (there["loop"] - here["loop"]) / epochs for here, there in zip(samples["bare"], samples[side])
        )
        for side in SIDES[1:]
    ]
    yield "more per epoch of the loop, ms", "", *(f"{value:+.0f}" for value in more)


def beside_bare(samples: dict[str, list[dict[str, float]]], key: str) -> Iterator[str]:
    """Say how long it took, and how many times as long as the bare training beside it."""
    for side in SIDES:
        median = statistics.median(sample[key] for sample in samples[side])
        ratio = statistics.median(there[key] / here[key] for here, there in zip(samples["bare"], samples[side]))
        yield f"{median:.2f}" + f" ({ratio:.2f})" * (side != "bare")


def environment(folder: Path, side: str) -> dict[str, str]:
    """Return the variables of one side: settings of its own, since their integration is switched on and off there."""
    folder.mkdir()
    variables = {**os.environ, "YOLO_CONFIG_DIR": str(folder), "XDG_STATE_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    if side == "tracking-hooks":
        return {**variables, "TRACKING_HOOKS": "mlflow"}
    if side == "bare":
        yolo = Path(sys.executable).with_name("yolo")
        subprocess.run([yolo, "settings", "mlflow=False"], env=variables, check=True, capture_output=True)
    return variables


def train(folder: Path, data: Path, epochs: int, variables: dict[str, str]) -> dict[str, float]:
    """Train once, and return the times that it took."""
    arguments = {
        "model": "yolo26n.yaml", "data": str(data), "epochs": epochs, "imgsz": 32, "batch": 16, "device": "cpu",
        "workers": 0, "amp": False, "plots": False, "seed": 0, "project": str(folder / "runs"), "verbose": False,
    }  # fmt: skip
    cores = [CORES[:1], CORES[1:]] if len(CORES) > 1 else [[], []]
    command = [sys.executable, "-c", TRAINING, json.dumps([arguments, *cores])]
    output = subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True, text=True).stdout
    shutil.rmtree(folder / "runs")
    return next(json.loads(line) for line in output.splitlines() if line.startswith('{"set-up"'))


def backlog(folder: Path, points: int) -> Iterator[tuple[str, ...]]:
    """Measure the delivery of a long training; return a row of the table."""
    epochs = points // METRICS
    names = [f"metrics/value_{index:02}" for index in range(METRICS)]
    started = 1_760_000_000.0
    took = {}
    with server(folder / "plain") as address:
        arguments = json.dumps([address, epochs, names, BATCH, started])
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", PLAIN, arguments], check=True, start_new_session=True)
        took["plain"] = time.perf_counter() - began
    with server(folder / "relay") as address:
        run = record(folder / "runs/train", address, epochs, names, started)
        began = time.perf_counter()
        code = start_relay(run, "mlflow", Settings(), drain=True).wait()
        took["relay"] = time.perf_counter() - began
        assert code == DELIVERED, run.relay("mlflow").log.read_text()
    print(f"the backlog, s: {took}", file=sys.stderr)
    for side in took:
        assert count(folder / side / "mlflow.db") == epochs * METRICS, side
    plain, relay = (epochs * METRICS / took[side] for side in ("plain", "relay"))
    yield (
        f"points/s of {epochs * METRICS:,}, nothing added: log_batch of {BATCH:,} in a loop, and a relay",
        f"{plain:,.0f}", f"{relay:,.0f} ({relay / plain:.2f})", "",
    )  # fmt: skip


def record(save_dir: Path, uri: str, epochs: int, names: list[str], started: float) -> RunFolder:
    """Write the journal of a training that went unnoticed."""
    save_dir.mkdir(parents=True)
    run = Run(uid="benchmark", name="train", project="", task="detect", save_dir=save_dir)
    folder = RunFolder.beside(save_dir, run.uid)
    folder.create()
    destination = {"tracking_uri": uri, "experiment": "relay", "run_name": "train"}
    journal = Journal.create(
        folder.journal, Head(format=FORMAT, created=started, run=run, plugins={"mlflow": destination})
    )
    journal.append("on_run_start", started, {"params": {}, "environment": describe([], []), "resumed": False})
    for epoch in range(1, epochs + 1):
        metrics: dict[str, Any] = {name: 1 / (epoch + index) for index, name in enumerate(names)}
        journal.append("on_epoch_end", started + epoch, {"epoch": epoch, "step": epoch, "metrics": metrics})
    journal.append("on_run_end", started + epochs + 1, {"status": "finished"})
    journal.close()
    return folder


def count(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        (number,) = connection.execute("select count(*) from metrics").fetchone()
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="trainings of each kind; 0: none")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--points", type=int, default=200_000, help="points of the backlog; 0: no backlog")
    parser.add_argument("--quick", action="store_true", help="one short training of each kind: that it works")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.epochs, options.points = 1, 2, 4000
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for name in ("TRACKING_HOOKS", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    rows = []
    with tempfile.TemporaryDirectory(prefix="tracking-hooks-bench-") as name:
        folder = Path(name)
        if options.points:
            rows += backlog(folder, options.points)
        if options.repeats:
            if len(CORES) > 1:
                os.sched_setaffinity(0, CORES[1:])  # and so what is started from here on
            rows = [*slow_line(folder, options.repeats, options.epochs), *rows]
    table = Table(f"median (ratio to bare), {1e3 * LATENCY:.0f} ms added to each request", *SIDES)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
