"""Fifty trainings at once into one MLflow server on PostgreSQL: whether all is delivered, how late, and how fast.

Run it with ``python -m benchmarks.many_trainings`` in the repository's folder. Real is all but the trainings: the
journal of one that was recorded for real is written down fifty times, each event when it is due, at the pace of an
epoch in ``--epoch-seconds``. Each has two relay processes of its own, for numbers and for files; these are forked from
one that has MLflow imported, since a hundred imports on one machine would be the longest part. The lag of an event is
the time from its line in the journal until the cursor of the relay for numbers is past it, which it is when MLflow has
answered.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections import deque
from pathlib import Path

from mlflow import MlflowClient

from tests.faults.reference import Reference, made_up, record_training
from tests.support import forking, postgres
from tests.support.mlflow import MLflowServer
from tracking_hooks.delivery.spawn import start_relay
from tracking_hooks.events import Run
from tracking_hooks.run import state
from tracking_hooks.run.journal import FORMAT, Call, Head, Journal
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.liveness import Lock
from tracking_hooks.settings import Settings
from tracking_hooks.testing.writing import as_recorded

EXPERIMENT = "many"
CURVE = "train/box_loss"
PARTS = ("mlflow", "mlflow.files")
POOL = {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "20", "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "60"}
"""As in docker/compose.yaml. MLflow works on 40 requests at a time, and some take two connections to the database. With
SQLAlchemy's default, 15, that many trainings block each other: all connections are taken by requests that wait for one.
"""
LOOK = 0.25
"""Seconds between two looks at the cursors, and so the resolution of the lag."""


class Training:
    """The replay of a training: a journal that grows, and the relays that read it."""

    def __init__(self, number: int, reference: Reference, project: Path, uri: str, *, start: float, pace: float):
        # A project of its own, as on a machine of its own: relays of one project wait for each other.
        self.save_dir = project / f"machine-{number}" / f"train-{number}"
        run = Run(
            uid=f"20261124-000000-{number:08x}", name=f"train-{number}", project=EXPERIMENT, task="detect",
            save_dir=self.save_dir,
        )  # fmt: skip
        self.folder = RunFolder.beside(self.save_dir, run.uid)
        reference.copy_files(self.save_dir, self.folder)
        calls = reference.moved_to(self.save_dir, self.folder)
        began = calls[0].time
        self.due = deque(_as_seldom_as_by_default([(start + (call.time - began) * pace, call) for call in calls]))
        self.total = len(self.due)
        self.points = sum(len(call.args.get("metrics") or ()) for _, call in self.due)
        self.lags: list[float] = []
        self._written: deque[tuple[int, float]] = deque()
        self.folder.create()
        self._lock = Lock(self.folder.lock)
        self._lock.acquire()
        destination = {"tracking_uri": uri, "experiment": EXPERIMENT, "run_name": run.name}
        head = Head(format=FORMAT, created=start, run=run, plugins=dict.fromkeys(PARTS, destination))
        self._journal = Journal.create(self.folder.journal, head)
        self.relays = [start_relay(self.folder, part, Settings()) for part in PARTS]

    def write(self, now: float) -> None:
        """Write what is due; after the last event the training is over."""
        while self.due and self.due[0][0] <= now:
            moment, call = self.due.popleft()
            self._journal.append(call.hook, moment, as_recorded(call.args))
            self._written.append((self.total - len(self.due), time.time()))
            if not self.due:
                self._journal.close()
                self._lock.release()

    def look(self) -> bool:
        """Note what has been delivered since the last look; return whether something is left."""
        now, seqs = time.time(), [self.folder.relay(part).read_cursor().seq for part in PARTS]
        while self._written and self._written[0][0] <= seqs[0]:
            self.lags.append(now - self._written.popleft()[1])
        return bool(self.due or self._written) or seqs[1] < self.total


def _as_seldom_as_by_default(due: list[tuple[float, Call]]) -> list[tuple[float, Call]]:
    """Thin out batch and system metrics to what the settings' defaults record at this pace."""
    settings = Settings()
    seconds = {"on_batch_end": settings.batch_rule()[1], "on_system_metrics": settings.system_every}
    kept, last = [], {}
    for moment, call in due:
        if moment - last.get(call.hook, 0.0) >= (seconds.get(call.hook) or 0.0):
            kept.append((moment, call))
            last[call.hook] = moment
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_trainings", description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--epoch-seconds", type=float, default=10.0)
    parser.add_argument("--made-up", action="store_true", help="replay an invented training instead of a real one")
    parser.add_argument("--quick", action="store_true", help="three short, invented trainings: that it works")
    options = parser.parse_args()
    if options.quick:
        options.trainings, options.epochs, options.epoch_seconds, options.made_up = 3, 4, 1.0, True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_STATE_HOME"] = name
        if options.made_up:
            reference = made_up(folder, epochs=options.epochs)
        else:
            print(f"a training of {options.epochs} epochs is recorded …", flush=True)
            reference = record_training(folder, epochs=options.epochs)
        database = postgres.Postgres()
        database.start()
        server = MLflowServer(folder, store=database.uri, env=POOL)
        server.start()
        server.wait_until_healthy()
        try:
            with forking.relays_are_forked():
                return _measure(options, reference, folder / "many", server.address)
        finally:
            server.kill()
            database.stop()


def _measure(options: argparse.Namespace, reference: Reference, project: Path, uri: str) -> int:
    calls = reference.calls()
    epochs = [call.time for call in calls if call.hook == "on_epoch_end"]
    pace = options.epoch_seconds * (len(epochs) - 1) / (epochs[-1] - epochs[0])
    dice = random.Random(0)
    began = time.time() + options.trainings / 5  # when all relays are there
    trainings = [
        # Nobody starts fifty trainings in the same second.
        Training(number, reference, project, uri, start=began + dice.uniform(0, options.epoch_seconds), pace=pace)
        for number in range(options.trainings)
    ]
    print(f"{options.trainings} trainings at {options.epoch_seconds:g} s an epoch …", flush=True)
    looked, left, written = 0.0, trainings, 0.0
    while left:
        now = time.time()
        for training in trainings:
            training.write(now)
        if not written and not any(training.due for training in trainings):
            written = now
        if now - looked >= LOOK:
            looked = now
            left = [training for training in left if training.look()]
        time.sleep(0.01)
    ended = time.time()
    for training in trainings:
        for relay in training.relays:
            relay.wait()
    _check(uri, trainings, len(epochs))
    lags = sorted(lag for training in trainings for lag in training.lags)
    points = sum(training.points for training in trainings)
    p95 = lags[int(len(lags) * 0.95)]
    rates = [number / (written - began) for number in (len(lags), points)]
    print(
        f"{options.trainings} trainings, {len(lags)} events, {points} points, files of all: all delivered\n"
        f"while they trained: {rates[0]:.0f} events/s, {rates[1]:.0f} points/s\n"
        f"lag of an event: median {statistics.median(lags):.2f} s, 95 % below {p95:.2f} s, all below {lags[-1]:.2f} s\n"
        f"the last was delivered {ended - written:.1f} s after the last training had ended"
    )
    return 0


def _check(uri: str, trainings: list[Training], epochs: int) -> None:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert sorted(run.info.run_name for run in runs) == sorted(training.save_dir.name for training in trainings)
    for run in runs:
        assert run.info.status == "FINISHED", run.info.status
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, CURVE)]
        assert sorted(steps) == list(range(1, epochs + 1)), steps
    for training in trainings:
        for part in PARTS:
            owed = state.owed(training.folder, part)
            assert not owed.pending, (part, owed)
            assert not owed.aside, (part, owed)


if __name__ == "__main__":
    raise SystemExit(main())
