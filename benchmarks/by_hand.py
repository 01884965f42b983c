"""What one would write without tracking-hooks: the best loop over each tracker's own client, as a process of its own.

``python -m benchmarks.by_hand WAY ARGUMENT …`` runs one of them at the priority of a relay, else the two would not be
comparable on a busy machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.group import ROOT

STARTED = 1_760_000_000.0
PARAMS = {"task": "detect", "model": "yolo26n.yaml", "epochs": 3, "lr0": 0.01, "data": "shapes.yaml"}
Write = Callable[[int, list[Any]], None]
"""Writes values of an epoch."""


def by_hand(*words: object) -> None:
    """Run one of these in a process of its own."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "benchmarks.by_hand", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run(command, env=environment, check=True, start_new_session=True, stdout=subprocess.DEVNULL)


def values(epochs: int, metrics: int) -> Iterator[tuple[int, str, float]]:
    """Return epoch, name and value of each point."""
    for epoch in range(1, epochs + 1):
        for index in range(metrics):
            yield epoch, f"metrics/value_{index:02}", 1 / (epoch + index)


def mlflow(uri: str, epochs: int, metrics: int) -> None:
    """1,000 points, the most that MLflow takes, in each of eight calls at a time."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(uri)
    run = client.create_run(client.create_experiment(f"by hand {time.monotonic_ns()}")).info.run_id
    points = (Metric(name, x, round(1000 * (STARTED + e)), e) for e, name, x in values(epochs, metrics))
    with ThreadPoolExecutor(8) as pool:
        calls = []
        while batch := list(islice(points, 1000)):
            calls.append(pool.submit(client.log_batch, run, metrics=batch))
        for call in calls:
            call.result()
    client.set_terminated(run)


def mlflow_runs(uri: str, runs: str, epochs: int, metrics: int) -> None:
    """All points and params of a run in one call, its files in eight threads."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(uri)
    experiment = client.create_experiment(f"by hand {time.monotonic_ns()}")
    params = [Param(name, str(value)) for name, value in PARAMS.items()]
    with ThreadPoolExecutor(8) as pool:
        for folder in sorted(Path(runs).glob("train-*")):
            run = client.create_run(experiment, run_name=folder.name).info.run_id
            points = [Metric(name, x, round(1000 * (STARTED + e)), e) for e, name, x in values(epochs, metrics)]
            calls = [pool.submit(client.log_batch, run, metrics=points, params=params)]
            for file in filter(Path.is_file, folder.rglob("*")):
                below = file.parent.relative_to(folder).as_posix()
                calls.append(pool.submit(client.log_artifact, run, str(file), None if below == "." else below))
            for call in calls:
                call.result()
            client.set_terminated(run)


def tensorboard(folder: str, epochs: int, metrics: int) -> None:
    """An event for an epoch, straight into the file."""
    with _event_file(Path(folder, "by hand")) as write:
        _write_points(write, epochs, metrics)


def tensorboard_runs(logdir: str, runs: str, epochs: int, metrics: int) -> None:
    """The points, the params as a text and the plots of each run."""
    from tensorboard.compat.proto import types_pb2
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto

    for folder in sorted(Path(runs).glob("train-*")):
        with _event_file(Path(logdir, folder.name)) as write:
            text = TensorProto(dtype=types_pb2.DT_STRING, string_val=[json.dumps(PARAMS).encode()])
            about = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
            write(0, [Summary.Value(tag="params", tensor=text, metadata=about)])
            _write_points(write, epochs, metrics)
            for plot in folder.glob("*.png"):
                picture = Summary.Image(encoded_image_string=plot.read_bytes())
                write(epochs, [Summary.Value(tag=plot.stem, image=picture)])


def _write_points(write: Write, epochs: int, metrics: int) -> None:
    from tensorboard.compat.proto.summary_pb2 import Summary

    points = values(epochs, metrics)
    while found := list(islice(points, metrics)):
        write(found[0][0], [Summary.Value(tag=name, simple_value=x) for _, name, x in found])


@contextmanager
def _event_file(folder: Path) -> Iterator[Write]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    def write(epoch: int, found: list[Any]) -> None:
        event = Event(wall_time=STARTED + epoch, step=epoch, summary=Summary(value=found))
        writer.write(event.SerializeToString())

    folder.mkdir(parents=True)
    with (folder / f"events.out.tfevents.{time.time():.0f}.benchmark").open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=STARTED, file_version="brain.Event:2").SerializeToString())
        yield write
        writer.flush()


def summary_writer(folder: str, epochs: int, metrics: int) -> None:
    """A call for a point, as PyTorch has it."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder) as writer:
        for epoch, name, value in values(epochs, metrics):
            writer.add_scalar(name, value, epoch)


def wandb(folder: str, epochs: int, metrics: int) -> None:
    """A call for an epoch; the client writes its file."""
    import wandb

    with wandb.init(project="benchmark", dir=folder, mode="offline") as run:
        points = values(epochs, metrics)
        while found := list(islice(points, metrics)):
            run.log({name: value for _, name, value in found}, step=found[0][0])


def weights(uri: str, path: str) -> None:
    """A file of weights to MLflow."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    run = client.create_run(client.create_experiment(f"weights by hand {time.monotonic_ns()}")).info.run_id
    client.log_artifact(run, path)
    client.set_terminated(run)


def main() -> None:
    what, *arguments = sys.argv[1:]
    os.nice(10)
    if (group := Path("/proc/self/autogroup")).exists():
        group.write_text("10")
    ways = (mlflow, mlflow_runs, tensorboard, tensorboard_runs, summary_writer, wandb, weights)
    {way.__name__: way for way in ways}[what](*(int(word) if word.isdigit() else word for word in arguments))


if __name__ == "__main__":
    main()
