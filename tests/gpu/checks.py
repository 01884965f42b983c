"""The checks: each returns a sentence with what it has found, or raises ``Failed`` with one."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tests.compat import comparison, reading
from tests.gpu.trainings import (
    ALL,
    BARE,
    BARE_AGAIN,
    EACH_BATCH,
    OUT_OF_MEMORY,
    TRACKED,
    WATCHED,
    Done,
    Trainings,
    Variant,
)

_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t for an interval of 95 %, with 1, 2, … degrees of freedom."""
_TIMED = (BARE, BARE_AGAIN, TRACKED, EACH_BATCH)
NAMES = ("weights", "memory", "metrics", "waits", "batches")
"""The checks, methods of the class below."""


class Failed(Exception):
    """Says what is not as it should be."""


class Checks:
    """Trains what the checks need, and remembers it: several of them look at one training."""

    def __init__(self, here: Trainings, rounds: int) -> None:
        self._here = here
        self._rounds = rounds
        self._first: dict[Variant, Done] = {}
        self.samples: dict[str, list[float]] = {}
        """For each variant and round, the mean time of a batch in microseconds."""

    def weights(self) -> str:
        """Tracked or not, the same training comes to the same weights."""
        bare, again, *tracked = (self._trained(variant) for variant in (BARE, BARE_AGAIN, TRACKED, WATCHED, ALL))
        if bare.weights != again.weights:
            raise Failed("two trainings without tracking come to other weights, so nothing can be told")
        if any(done.weights != bare.weights for done in tracked):
            raise Failed("a tracked training comes to other weights than one without tracking")
        amp = "with AMP" if bare.amp else "without AMP"
        return f"the same {amp} in 2 bare and 3 tracked trainings, one of them with histograms and the graph"

    def memory(self) -> str:
        """An epoch that is begun again with smaller batches has one value in the tracker."""
        done = self._trained(OUT_OF_MEMORY)
        before = self._here.batch
        if done.batch >= before:
            raise Failed(f"the training did not run out of memory with batches of {before}")
        if len(done.batches) <= self._here.epochs:
            raise Failed("no epoch was begun again")
        return f"from batches of {before} to {done.batch}; {self._same_as_table(done)}"

    def metrics(self) -> str:
        """The tracker has what the device does, also where its processes have ids of another namespace."""
        wanted = "system/cpu_percent" if self._here.device == "cpu" else "system/gpu0_memory_mb"
        done = self._trained(TRACKED)
        told = []
        for tracker, curves in self._held(done).items():
            if not (points := curves.get(wanted)):
                has = sorted(name for name in curves if name.startswith("system/"))
                raise Failed(f"{tracker} has no {wanted}, but {has}; pip install nvidia-ml-py?")
            told.append(f"{len(points)} points of {wanted} in {tracker}, up to {max(value for _, value in points):.0f}")
        return f"{', '.join(told)}; {self._same_as_table(done)}"

    def waits(self) -> str:
        """No callback of ours waits for work that is not finished."""
        told = []
        for variant in (WATCHED, ALL):
            done = self._trained(variant)
            if not done.calls:
                raise Failed("none of our callbacks was called")
            held_up = [wait for wait in done.waits if not wait["was idle"]]
            if held_up and variant is WATCHED:
                raise Failed(f"{len(held_up)} of {done.calls} callbacks wait for work: {_by_event(held_up)}")
            told.append(
                f"{variant.name}: {len(done.waits)} of {done.calls} callbacks ask the device, {len(held_up)} of these "
                f"while it works{f' ({_by_event(held_up)})' if held_up else ''}"
            )
        return "; ".join(told)

    def batches(self) -> str:
        """Say how much longer a batch takes: rounds that are interleaved, each in another order."""
        taken: dict[Variant, list[float]] = {variant: [] for variant in _TIMED}
        for number in range(self._rounds):
            for variant in mixed(_TIMED, number):
                done = self._trained(variant) if number == 0 else self._here.train(variant)
                taken[variant].append(mean_batch(done.batches))
        self.samples = {variant.name: values for variant, values in taken.items()}
        told = [f"{statistics.mean(taken[BARE]):.0f} µs a batch without tracking, {self._rounds} rounds"]
        for variant in (BARE_AGAIN, TRACKED, EACH_BATCH):
            middle, half = interval([one - bare for one, bare in zip(taken[variant], taken[BARE])])
            told.append(f"{variant.name}: {middle:+.0f} ± {half:.0f} µs")
        return "; ".join(told)

    def _trained(self, variant: Variant) -> Done:
        if variant not in self._first:
            self._first[variant] = self._here.train(variant)
        return self._first[variant]

    def _held(self, done: Done) -> dict[str, dict[str, list[tuple[int, float]]]]:
        """Return the curves in each tracker, as they are read from what it has kept."""
        trackers = self._here.trackers.split(",")
        home = done.save_dir.parents[1]
        answer = subprocess.run(
            [sys.executable, reading.__file__, str(done.save_dir), *trackers],
            env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}"}, cwd=home,
            stdout=subprocess.PIPE, text=True, encoding="utf-8", check=True,
        )  # fmt: skip
        held: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
        return {tracker: held[tracker]["curves"] for tracker in trackers}

    def _same_as_table(self, done: Done) -> str:
        """Compare the trackers with ``results.csv``."""
        table = comparison.table(done.save_dir / "results.csv")
        for tracker, curves in self._held(done).items():
            comparison.same(tracker, table, curves)
        return f"one value an epoch, as in results.csv, in {self._here.trackers.replace(',', ' and ')}"


def mixed(variants: Sequence[Variant], number: int) -> list[Variant]:
    """Return the variants in the order of a round: each comes first, second, … as often as the others."""
    at = number % len(variants)
    order = [*variants[at:], *variants[:at]]
    return order[::-1] if number // len(variants) % 2 else order


def mean_batch(epochs: Sequence[Sequence[float]]) -> float:
    """Return the mean time of a batch; the first epoch is left out, in which much is done for the first time."""
    return statistics.mean(time for epoch in epochs[1:] for time in epoch)


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """Return the mean of differences, and half the width of its interval of 95 %; of a single one that is infinite."""
    count = len(differences)
    middle = statistics.mean(differences)
    if count == 1:
        return middle, math.inf
    return middle, _T95[min(count - 2, len(_T95) - 1)] * statistics.stdev(differences) / math.sqrt(count)


def _by_event(waits: Sequence[Mapping[str, Any]]) -> str:
    by_event: dict[str, list[Sequence[str]]] = {}
    for wait in waits:
        by_event.setdefault(wait["event"], []).append(wait["where"])
    return ", ".join(
        f"{len(places)} in {event}, at {' and '.join(sorted({place for where in places for place in where}))}"
        for event, places in by_event.items()
    )
