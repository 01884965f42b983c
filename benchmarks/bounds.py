"""The bounds that the medians are compared with, at the top of the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Bound:
    """The most, or the least, that a median may be."""

    what: str
    group: str
    benchmark: str
    variant: str
    bound: float
    is_least: bool = False
    to: str = ""
    """The variant that it is compared with, round by round."""
    by: Literal["ratio", "difference"] = "ratio"
    why: str = ""
    """What the time or the memory is made of, said where the bound does not hold."""

    def holds(self, value: float) -> bool:
        """Whether a median is within the bound."""
        return value >= self.bound if self.is_least else value <= self.bound


_ALL = "ours, all three, MLflow 100 ms away"
_OURS, _THEIRS = "ours, mlflow, server 100 ms away", "Ultralytics' mlflow, server 100 ms away"
_EPOCH = "an epoch, 20 metrics"
_LOOP = "An epoch takes 0.7 s here. Seven events are recorded in it, and at its end four relays are looked after."
_LOOKS = (
    "An epoch takes some five seconds there. Once a second the training reads what is asked of it. Every five seconds"
    " it looks after the relays and records a batch."
)
_TWO_CORES = "On two cores, the relays import MLflow and W&B while the training does the same with its own modules."
_WRITE = (
    "An event is encoded, gets a checksum and is put in order with those of other threads. That of an epoch also moves"
    " the pointer in `save_dir`, and is followed by a look whether the disk is full. The bare write() of a short line"
    " takes a microsecond."
)
_MISTAKES = (
    "The objects of each image are matched once more, at the confidence that people look at."
    " An image has 64 pixels a side here, so that everything else takes little time."
)
_MOVED = (
    "The client hands its records to a program of its own, which writes them on another core. The relay then moves them"
    " into a file that can be continued after a crash."
)
_SMALL = (
    "Each run has a lock, a log, a cursor and notes for a crash, which are safe on the disk before the next step is"
    " taken. A tracker is first asked what it has of the run."
)

BOUNDS = (
    Bound("loop with all three trackers, times bare", "loop", "loop", _ALL, 1.02, to="bare", why=_LOOP),
    Bound("… the same on a GPU", "loop-gpu", "loop", _ALL, 1.02, to="bare"),
    Bound("blocked in an epoch by all three, ms", "loop", "blocked, an epoch", _ALL, 2, why=_LOOP),
    Bound("… the same on a GPU", "loop-gpu", "blocked, an epoch", _ALL, 2, why=_LOOKS),
    Bound(
        "first batch, s later than bare", "start_end", "command to first batch", _ALL, 0.3, to="bare", by="difference",
        why=_TWO_CORES,
    ),
    Bound(
        "… in the first training of an environment", "start_end", "command to first batch",
        "ours, all three, the first training of an environment", 1, to="bare", by="difference",
    ),
    Bound("last epoch to prompt, times Ultralytics' mlflow", "start_end", "last epoch to prompt", _OURS, 1, to=_THEIRS),
    Bound("requests after the last epoch, one after the other", "start_end", "of these one after the other", _OURS, 15),
    Bound(
        "memory of the training process, MB more than bare", "start_end", "peak memory of the training process", _ALL,
        10, to="bare", by="difference",
    ),
    Bound(
        "recording an epoch, times a bare write()", "recording", "an event", _EPOCH, 4,
        to=f"{_EPOCH}: a bare write() of these bytes", why=_WRITE,
    ),
    Bound("seeing predictions in a validation of 50 images, CPU, ms", "validation", "ours, CPU", "50 images", 30),
    Bound(
        "… in one of 5,000, % of its CPU", "validation", "ours, CPU, share of the validation", "5,000 images", 1,
    ),
    Bound(
        "counting mistakes in the final one of 5,000, % of its CPU", "validation", "ours, CPU, share of the validation",
        "5,000 images, the final validation", 1, why=_MISTAKES,
    ),
    Bound(
        "memory of the training process with predictions, MB more than without", "validation",
        "peak memory of this training", "5,000 images, pictures on", 10, to="5,000 images, pictures off",
        by="difference",
    ),
    Bound(
        "delivery to MLflow, times log_batch", "delivery", "backlog", "mlflow, a relay", 0.9, is_least=True,
        to="mlflow: log_batch of 1,000 in 8 threads",
    ),
    Bound(
        "delivery to TensorBoard, times a RecordWriter", "delivery", "backlog", "tensorboard, a relay", 0.9,
        is_least=True, to="tensorboard: a bare RecordWriter",
    ),
    Bound(
        "delivery to W&B, offline, times its client", "delivery", "backlog", "wandb, a relay, offline", 0.9,
        is_least=True, to="wandb: run.log() of the client, offline", why=_MOVED,
    ),
    Bound(
        "memory of TensorBoard's relay at 1,000,000 events, times that at 1,000", "memory",
        "peak memory of the relay of tensorboard", "1,000,000 events", 1.1, to="1,000 events",
    ),
    Bound(
        "… the same of MLflow's", "memory", "peak memory of the relay of mlflow", "1,000,000 events", 1.1,
        to="1,000 events",
    ),
    Bound("status of 1,000 runs, s", "growth", "status", "1,000 runs, delivered", 1),
    Bound(
        "a relay that goes on behind 1,000,000 events, times behind 1,000", "growth",
        "a relay that goes on at its cursor", "1,000,000 events", 1.1, to="1,000 events",
    ),
    Bound(
        "sync of 300 runs to TensorBoard, times a script", "growth", "300 small runs", "tensorboard, one sync", 1.5,
        to="tensorboard: one script with a bare RecordWriter", why=_SMALL,
    ),
    Bound(
        "sync of 300 runs to MLflow, times a script", "growth", "300 small runs", "mlflow, one sync", 1.5,
        to="mlflow: one script with log_batch", why=_SMALL,
    ),
)  # fmt: skip
