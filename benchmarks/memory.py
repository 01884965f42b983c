"""The memory of a relay, by the length of what it delivers."""

from __future__ import annotations

import os
import shutil

from benchmarks import recorded
from benchmarks.group import Group, main
from benchmarks.server import make_database

SIZES = {"1,000 events": 1000, "100,000 events": 100_000, "1,000,000 events": 1_000_000}
BENCHMARK = "peak memory of the relay of {}"
ROUNDS = 2
"""It hardly differs from one to the next."""


def measure(group: Group) -> None:
    os.chdir(group.folder)
    sizes = {name: size if not group.options.quick else size // 1000 + 100 for name, size in SIZES.items()}
    plugins = ("tensorboard",) if group.options.quick else ("tensorboard", "mlflow")
    unused, database = group.folder / "unused.db", group.folder / "mlflow.db"
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{database}"
    if "mlflow" in plugins:
        make_database(unused)
    for _ in group.rounds(ROUNDS):
        for plugin in plugins:
            for name, size in group.mixed(list(sizes.items())):
                if plugin == "mlflow":
                    shutil.copy(unused, database)
                save_dir = group.folder / "runs/train"
                folder = recorded.run_of(save_dir, recorded.batches(save_dir, size, 2), plugin)
                group.add(BENCHMARK.format(plugin), name, recorded.deliver(folder, plugin) / 1e6, "MB")
                shutil.rmtree(group.folder / "runs")


if __name__ == "__main__":
    main("memory", __doc__, measure)
