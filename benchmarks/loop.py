"""The training loop: how long it takes, and how long trackers hold it up."""

from __future__ import annotations

import statistics

from benchmarks.group import Group, main
from benchmarks.training import ALL, BARE, BARE_AGAIN, Done, Variant, trainings

VARIANTS = (
    BARE,
    BARE_AGAIN,
    Variant("Ultralytics' mlflow, SQLite", theirs=("mlflow",), mlflow="sqlite"),
    Variant("Ultralytics' mlflow, server on loopback", theirs=("mlflow",), mlflow="near"),
    Variant("Ultralytics' mlflow, server 100 ms away", theirs=("mlflow",), mlflow="slow"),
    Variant("Ultralytics' wandb, offline", theirs=("wandb",)),
    Variant("Ultralytics' tensorboard", theirs=("tensorboard",)),
    Variant("Ultralytics' all three, MLflow 100 ms away", theirs=("mlflow", "tensorboard", "wandb"), mlflow="slow"),
    Variant("ours, mlflow, SQLite", "mlflow", mlflow="sqlite"),
    Variant("ours, mlflow, server on loopback", "mlflow", mlflow="near"),
    Variant("ours, mlflow, server 100 ms away", "mlflow", mlflow="slow"),
    Variant(
        "ours, mlflow, server silent from epoch 3 on", "mlflow", mlflow="silent",
        variables=(("TRACKING_HOOKS_EXIT_WAIT", "0"),),
    ),
    Variant("ours, wandb, offline", "wandb"),
    Variant("ours, tensorboard", "tensorboard"),
    Variant("ours, all three, MLflow 100 ms away", ALL, mlflow="slow"),
    Variant("ours, all three, with plots", ALL, mlflow="slow", plots=True),
    Variant(
        "ours, all three, with histograms", ALL, mlflow="slow", variables=(("TRACKING_HOOKS_HISTOGRAMS", "on"),)
    ),
)  # fmt: skip
QUICK = ("bare", "ours, mlflow, server silent from epoch 3 on")


def measure(group: Group) -> None:
    variants = group.chosen(VARIANTS, QUICK)
    with trainings(group, images=group.scaled(128, 16)) as here:
        epochs = here.epochs_of(group.options.seconds)
        for _ in group.rounds():
            for variant in group.mixed(variants):
                _add(group, variant, here.train(variant, epochs=epochs))


def _add(group: Group, variant: Variant, done: Done) -> None:
    if not variant.plots:  # what is drawn takes time, whoever tracks it
        group.add("loop", variant.name, done.end - done.begin, "s")
        group.add("loop, CPU of the training process", variant.name, done.cpu, "s")
    if variant.ours or variant.theirs:
        by_epoch = [1e3 * sum(calls) for calls in done.blocked]
        calls = [1e3 * call for of_epoch in done.blocked for call in of_epoch]
        group.add("blocked, an epoch", variant.name, statistics.median(by_epoch), "ms")
        group.add("blocked, p99 of the epochs", variant.name, percentile(by_epoch, 99), "ms")
        group.add("blocked, p99 of the calls", variant.name, percentile(calls, 99), "ms")
        group.add("blocked, whole loop", variant.name, sum(by_epoch), "ms")


def percentile(values: list[float], percent: int) -> float:
    """Return the least value that at least so many percent do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


if __name__ == "__main__":
    main("loop", __doc__, measure)
