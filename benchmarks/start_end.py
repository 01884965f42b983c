"""Start and end of a training: until the first batch, behind the last epoch, and its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from benchmarks.group import Group, main
from benchmarks.line import longest_chain
from benchmarks.training import ALL, BARE, BARE_AGAIN, Done, Variant, trainings

VARIANTS = tuple(
    Variant(name, ours, theirs, mlflow, plots=True, is_first="first" in name)
    for name, ours, theirs, mlflow in (
        (BARE.name, "", (), ""),
        (BARE_AGAIN.name, "", (), ""),
        ("Ultralytics' mlflow, server 100 ms away", "", ("mlflow",), "slow"),
        ("Ultralytics' wandb, offline", "", ("wandb",), ""),
        ("Ultralytics' tensorboard", "", ("tensorboard",), ""),
        ("Ultralytics' all three, MLflow 100 ms away", "", ("mlflow", "tensorboard", "wandb"), "slow"),
        ("ours, mlflow, server 100 ms away", "mlflow", (), "slow"),
        ("ours, wandb, offline", "wandb", (), ""),
        ("ours, tensorboard", "tensorboard", (), ""),
        ("ours, all three, MLflow 100 ms away", ALL, (), "slow"),
        ("ours, all three, the first training of an environment", ALL, (), "slow"),
    )
)
"""As users train, with plots."""
SECONDS = 10
"""Of a loop: relays are at work when it ends, as they are in any training that is worth tracking."""
QUICK = ("Ultralytics' mlflow, server 100 ms away", "ours, mlflow, server 100 ms away")

UNSET = ("import of torch and ultralytics, variable unset: what is added",)

# In a new process each time: what `import torch` does for our entry point, and what our finder then adds to
# `import ultralytics`. Wall time of the whole imports (seconds) would hide a millisecond.
_IMPORT = """
import json, os, sys, time
os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
import torch
from importlib.metadata import entry_points
(point,) = entry_points(group="torch.backends", name="tracking_hooks")
before = set(sys.modules)
start = time.perf_counter()
point.load()()
spent = time.perf_counter() - start
finder = sys.meta_path[0]
find_spec = type(finder).find_spec
def timed(self, *arguments):
    global spent
    start = time.perf_counter()
    try:
        return find_spec(self, *arguments)
    finally:
        if arguments[0] != "ultralytics.utils.callbacks":
            spent += time.perf_counter() - start
type(finder).find_spec = timed
from ultralytics.engine.trainer import BaseTrainer
ours = {name for name in set(sys.modules) - before if name.startswith("tracking_hooks")}
print(json.dumps([spent, sorted(ours)]))
"""


def measure(group: Group) -> None:
    variants = group.chosen(VARIANTS, QUICK)
    with trainings(group, images=group.scaled(128, 16)) as here:
        epochs = here.epochs_of(min(group.options.seconds, SECONDS))
        if not group.options.quick:  # a later training of an environment has something in the user's cache
            here.train(Variant("warm-up", ALL, mlflow="slow"), epochs=1)
            imported()
        for _ in group.rounds():
            for variant in group.mixed(variants):
                _add(group, variant, here.train(variant, epochs=epochs))
            for _ in range(group.scaled(4, 1)):  # the last counts: the files are in the system's cache
                seconds, modules = imported()
            assert modules == ["tracking_hooks", "tracking_hooks.autoload"], modules
            group.add("import", UNSET[0], 1e3 * seconds, "ms")


def _add(group: Group, variant: Variant, done: Done) -> None:
    group.add("command to first batch", variant.name, done.first_batch - done.started, "s")
    group.add("last epoch to prompt", variant.name, done.exited - done.end, "s")
    group.add("peak memory of the training process", variant.name, done.peak / 1e6, "MB")
    if variant.mlflow == "slow":
        behind = [request for request in done.requests if request[0] > done.end]
        group.add("requests", variant.name, len(done.requests), "in all")
        group.add("requests behind the last epoch", variant.name, len(behind), "in all")
        group.add("of these one after the other", variant.name, longest_chain(behind), "at most")


def imported() -> tuple[float, list[str]]:
    """Return the seconds that an import takes longer while tracking is off, and which modules of ours it loads."""
    # As pip installs it, with bytecode.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", _IMPORT]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    seconds, modules = json.loads(output.splitlines()[-1])
    return seconds, modules


if __name__ == "__main__":
    main("start_end", __doc__, measure)
