"""The events of a run with many classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from tracking_hooks.events import ConfusionMatrix, Curve, Destination, Metrics, PerClass, Split
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.testing import recorded_run, sample_run, writing

AP = "metrics/mAP50-95(B)"
MANY = 1000


def names(count: int) -> list[str]:
    """Return the names of so many classes."""
    return [f"class {number}" for number in range(count)]


def validation(count: int, worst: Collection[str] = (), value: float = 0.5) -> dict[str, Metrics]:
    """Return metrics by class: those that are worst have less of them."""
    return {name: {"metrics/mAP50(B)": value, AP: 0.1 if name in worst else value} for name in names(count)}


def instances(count: int, most: Collection[str] = ()) -> dict[str, int]:
    """Return labelled objects by class: some have more than the others."""
    return {name: 90 if name in most else 9 for name in names(count)}


def begin(save_dir: Path, **counts: Mapping[str, int]) -> list[Call]:
    """Return the start of a run, with these instances in the parts of its data set."""
    start, data, *_ = recorded_run(save_dir)
    splits = {name: Split(path="", images=1, instances=dict(of)) for name, of in counts.items()}
    dataset = msgspec.structs.replace(data.args["dataset"], splits=splits)
    return [start, Call(0, 1e9, data.hook, {**data.args, "dataset": dataset})]


def epoch(number: int, per_class: PerClass | None) -> list[Call]:
    """Return the validation and the end of an epoch."""
    common = {"epoch": number, "metrics": {"fitness": 0.1}, "per_class": per_class}
    return [
        Call(0, 1e9, "on_validation_end", {**common, "attempt": 1}),
        Call(0, 1e9, "on_epoch_end", {**common, "step": number}),
    ]


def final(save_dir: Path, per_class: PerClass) -> Call:
    """Return the final validation: the more often a class stands behind others, the higher its curves end."""
    (call,) = [call for call in recorded_run(save_dir) if call.hook == "on_final_validation"]
    y = {name: [0.0, number / len(per_class)] for number, name in enumerate(per_class)}
    curves = [
        Curve(name=f"{label}-Confidence(B)", x_label="Confidence", y_label=label, x=[0.0, 1.0], y=y)
        for label in ("Precision", "Recall")
    ]
    counts = [float(number) for number in range(len(per_class) + 1)]
    matrix = ConfusionMatrix(labels=[*per_class, "background"], matrix=[counts] * len(counts))
    args = {**call.args, "per_class": per_class, "curves": curves, "confusion_matrix": matrix}
    return Call(0, 1e9, call.hook, args)


def end() -> Call:
    """Return the end of a run."""
    return Call(0, 1e9, "on_run_end", {"status": "finished"})


def thousand(save_dir: Path, destinations: Mapping[str, Destination]) -> RunFolder:
    """Write a run with 1,000 classes, of which class 5 has the most instances, and class 3 is the worst."""
    per_class = validation(MANY, {"class 3"})
    start = begin(save_dir, train=instances(MANY, {"class 5"}))
    calls = [*start, *epoch(1, per_class), final(save_dir, per_class), end()]
    return writing.write(sample_run(save_dir), calls, destinations, per_class=20)
