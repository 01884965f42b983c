"""``tracking-hooks sync`` of many small runs: one process for all of them, beside a process for each.

Run it with ``python -m benchmarks.many_runs`` in the repository's folder. The runs are recorded ones of three epochs,
with their files. ``--plugin mlflow`` delivers them to MLflow, numbers and files, into a database of SQLite that is
there already. A process for each run is measured with fewer runs, half of them before the others and half behind.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.support.runs import write_run
from tracking_hooks import plugins
from tracking_hooks.delivery.sync import deliver
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run, sample_run


def record(project: Path, number: int, plugin: str) -> RunFolder:
    """Write a run that nobody has delivered."""
    save_dir = project / f"train-{number}"
    calls = recorded_run(save_dir)
    run = msgspec.structs.replace(sample_run(save_dir), uid=f"20261124-000000-{number:08x}", name=save_dir.name)
    captured = plugins.of_parts(plugins.capture(plugins.load_trainer_sides([plugin]), run))
    places = {name: capture.place for name, capture in captured.items() if capture.place}
    destinations = {name: capture.destination for name, capture in captured.items()}
    return write_run(run, calls, destinations, places=places)


def deliver_all(folders: Sequence[RunFolder], *, together: bool) -> tuple[float, float]:
    """Deliver runs; return the seconds that it took, and those of CPU."""
    began, before = time.perf_counter(), os.times()
    for group in [folders] if together else [[folder] for folder in folders]:
        for result in deliver(group, Settings()):
            if not result.done or result.aside:
                raise SystemExit(f"{result.folder.uid}, {result.label}: {result.note or result.aside}")
    after = os.times()
    return time.perf_counter() - began, sum(after[:4]) - sum(before[:4])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_runs", description=__doc__.splitlines()[0])
    parser.add_argument("--plugin", default="tensorboard", choices=["tensorboard", "mlflow"])
    parser.add_argument("--runs", type=int, default=300, help="that one sync delivers")
    parser.add_argument("--alone", type=int, default=30, help="that have a process each")
    parser.add_argument("--quick", action="store_true", help="a few runs: that it works")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.alone = 10, 4
    with tempfile.TemporaryDirectory(prefix="tracking-hooks-bench-") as name:
        os.environ.update(XDG_STATE_HOME=name, MLFLOW_TRACKING_URI=f"sqlite:///{name}/mlflow.db")
        os.environ.update(MLFLOW_EXPERIMENT_NAME="many", MLFLOW_DISABLE_TELEMETRY="true")
        os.chdir(name)
        folders = [record(Path(name, "runs"), n, options.plugin) for n in range(1 + options.runs + options.alone)]
        deliver_all(folders[:1], together=True)  # makes the database, and fills the caches
        half = options.alone // 2
        alone, many = folders[1 : 1 + options.alone], folders[1 + options.alone :]
        before = deliver_all(alone[:half], together=False)
        took = deliver_all(many, together=True)
        behind = deliver_all(alone[half:], together=False)
    wall, cpu = (total / len(many) for total in took)
    wall_each, cpu_each = (sum(halves) / len(alone) for halves in zip(before, behind))
    print(
        f"{options.plugin}, {len(many)} runs by one sync: {took[0]:.1f} s\n"
        f"a run, by one process for all: {1e3 * wall:.0f} ms, of CPU {1e3 * cpu:.0f} ms\n"
        f"a run, by a process for each:  {1e3 * wall_each:.0f} ms, of CPU {1e3 * cpu_each:.0f} ms\n"
        f"ratio {wall / wall_each:.2f}, of CPU {cpu / cpu_each:.2f}"
    )


if __name__ == "__main__":
    main()
