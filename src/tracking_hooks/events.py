"""What hooks receive and return: plain data, never a trainer or a tensor.

Everything here can be written to the journal as JSON and read back equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from tracking_hooks.actions import Action, Progress, SaveCheckpoint, ScaleLearningRate, Stop
from tracking_hooks.oserrors import is_about_one_file

__all__ = [
    "Action",
    "Artifact",
    "Capture",
    "Checkpoint",
    "ConfusionMatrix",
    "Curve",
    "Dataset",
    "Destination",
    "Environment",
    "Error",
    "Git",
    "Metrics",
    "Missing",
    "Model",
    "Origin",
    "Params",
    "PerClass",
    "Plan",
    "Progress",
    "Rejected",
    "Run",
    "SaveCheckpoint",
    "ScaleLearningRate",
    "Split",
    "State",
    "Status",
    "Stop",
    "Unavailable",
    "in_words",
    "is_about_one_file",
]

_REASON = 300  # characters of a reason that are shown in a tracker

Metrics: TypeAlias = dict[str, float]
"""Metric name to value. Values may be NaN or infinite."""

PerClass: TypeAlias = dict[str, Metrics]
"""Class name to that class's metrics."""

Params: TypeAlias = dict[str, Any]
"""Training arguments by name: JSON values."""

State: TypeAlias = dict[str, Any]
"""What a plugin stores for itself, on disk with its cursor: JSON values, a few hundred bytes."""

Destination: TypeAlias = dict[str, Any]
"""What is needed to deliver to a tracker later, from another shell. Never a credential."""

Status: TypeAlias = Literal["finished", "failed", "interrupted", "killed"]
"""How a run ended. ``interrupted``: Ctrl-C, a pruned trial. ``killed``: the process died without an exception."""

DONE = "done"
"""The outcome of an action that was carried out. Any other outcome says why it was not."""


class Origin(Struct, frozen=True, kw_only=True):
    """The tracked run from whose weights another one starts: from the file ``checkpoint``, such as ``best.pt``."""

    uid: str
    name: str
    checkpoint: str


class Run(Struct, frozen=True, kw_only=True):
    """A training run. Its ``uid`` is a tag in every tracker."""

    uid: str
    name: str
    project: str
    task: str
    save_dir: Path
    parent: str | None = None
    """For a trial, the ``uid`` of its tuning; for a run of a group that has a run of its own, that one's."""
    tags: dict[str, str] = {}
    group: str | None = None
    """The name of the group that it is in: folds, seeds, stages."""
    addendum: str | None = None
    """The uid of an addendum to the run: of what came after its end, or from another process."""
    started_from: Origin | None = None
    """The run whose weights it starts from."""

    @property
    def is_trial(self) -> bool:
        """Whether it is one of many of a tuning: behind it comes the next one. A run of a group is none."""
        return self.parent is not None and self.group is None


class Git(Struct, frozen=True, kw_only=True):
    """The state of the working directory's repository."""

    commit: str
    branch: str | None = None
    dirty: bool | None = None
    """Whether files of it were changed and not committed; None: git took too long to tell."""
    remote: str | None = None
    """The URL of ``origin``, without credentials."""


class Environment(Struct, frozen=True, kw_only=True):
    """Where and how the training was started."""

    host: str
    user: str
    cwd: Path
    argv: list[str]
    """The command line, with secrets masked."""
    python: str
    platform: str
    versions: dict[str, str]
    """Distribution name to version."""
    devices: list[str]
    git: Git | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """What is known of a run in advance. A run whose process died is ended by it, without its training library."""

    host: str = ""
    """The training library, by a name for people."""
    epochs: int | None = None
    """How many the run is to have; None for a training of so many hours, of which nobody knows."""
    checkpoints: dict[str, str] = {}
    """``best`` and ``last`` to the path of the file below ``run.save_dir``, with forward slashes."""
    files: list[str] = []
    """Plots, tables and configurations that are final once the run is over: patterns below ``run.save_dir``, such as
    ``*.csv``. Links and files of other kinds are left out."""
    large_texts: bool = False
    """Whether tables and configurations of more than 1 MB are collected, too; they are not masked."""
    members: list[str] = []
    """For the run of a group that was recorded after its runs, their ``uid``."""
    since: float = 0.0
    """When this run began in a folder that holds an earlier one, in seconds since 1970. Files that are older are of
    that one, and are not collected."""


class Model(Struct, frozen=True, kw_only=True):
    """The network as built."""

    name: str
    task: str
    parameters: int
    gradients: int
    """How many of the parameters are trained."""
    layers: int
    gflops: float | None
    """Floating point operations of one forward pass at the training's image size, in 1e9, if known."""
    classes: dict[int, str]
    gflops_640: float | None = None
    """The same for an image of 640 by 640 pixels, by which networks are compared."""


class Split(Struct, frozen=True, kw_only=True):
    """One part of a data set."""

    path: str
    images: int
    instances: dict[str, int]
    """Class name to number of labelled objects; empty if pixels are labelled."""
    digest: str = ""
    """That of this part alone; empty if it was recorded by a release without it."""


class Dataset(Struct, frozen=True, kw_only=True):
    """The data set. The digest covers image names, labels and class names, not pixels."""

    name: str
    yaml: Path | None
    splits: dict[str, Split]
    classes: dict[int, str]
    digest: str


class Checkpoint(Struct, frozen=True, kw_only=True):
    """A file of weights; ``size`` and ``digest`` are None while the trainer may still rewrite it."""

    path: Path
    kind: Literal["last", "best", "periodic", "action"]
    size: int | None = None
    """Bytes."""
    digest: str | None = None
    """SHA-256, hexadecimal."""

    def name(self, epoch: int) -> str:
        """Return the checkpoint's name in a tracker, such as ``best.pt`` or ``epoch5.pt``.

        :param epoch: the epoch after which it was saved
        """
        if self.kind == "action":
            return self.path.name
        return f"epoch{epoch}.pt" if self.kind == "periodic" else f"{self.kind}.pt"


class Artifact(Struct, frozen=True, kw_only=True):
    """A file that is ready and final."""

    path: Path
    kind: Literal["plot", "table", "config", "file"]
    name: str
    """Its name in a tracker, with forward slashes; for a file of ``run.save_dir``, the path below it."""
    size: int
    """Bytes."""
    digest: str
    """SHA-256, hexadecimal."""
    epoch: int | None = None
    """Of what it shows; none of what is of no epoch, or logged by a script."""


class Curve(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A curve of the final validation, with one series per class."""

    name: str
    x_label: str
    y_label: str
    x: list[float]
    y: dict[str, list[float]]
    """Class name to values, each as long as ``x``."""
    mean: list[float] = []
    """The mean of all classes, if ``y`` has only some of them (``TRACKING_HOOKS_PER_CLASS``)."""


class ConfusionMatrix(Struct, frozen=True, kw_only=True):
    """Counts: ``matrix[predicted][true]``, indexed like ``labels``, of which the last may be "background"."""

    labels: list[str]
    matrix: list[list[float]]


class Error(Struct, frozen=True, kw_only=True):
    """The exception that ended a failed run."""

    type: str
    message: str
    traceback: str


class Capture(Struct, frozen=True, kw_only=True):
    """What a plugin's trainer side says before the run starts."""

    destination: Destination = field(default_factory=dict)
    disables: str | None = None
    """The training library's own integration that is disabled for this run, such as ``"wb"``."""
    guards: str | None = None
    """The training library's own integration that goes on, as in the script's own run: its errors become warnings."""
    summary: str = ""
    """A few words for the start line: where to look."""
    place: str = ""
    """Where the tracker is, as a URI without credentials: runs of one place are down together."""
    is_held: bool = False
    """Whether the user's script has a run of its own open there: its next line may need what the training leaves."""


class Missing(Struct, frozen=True, kw_only=True):
    """What a tracker does not have of a run, and gets only if the user does something."""

    hook: str = ""
    """The event's; empty for what the journal itself lacks: nobody knows what that was."""
    name: str = ""
    """Of the artifact; kind and name of the checkpoint."""
    reason: str
    first: int
    """The number of the event."""
    last: int
    """The same; of what the journal lacks, the number of the last one of a stretch."""


def in_words(missing: Sequence[Missing], most: int = 10) -> list[str]:
    """Return a line for each thing that is missing, and one for those that have the same reason.

    :param most: how many lines; of more, the last one says how many events the others are
    """
    alike: dict[tuple[str, str, str], list[Missing]] = {}
    for item in missing:
        alike.setdefault((item.hook, item.name, item.reason), []).append(item)
    groups = list(alike.values())
    lines = [_line(group) for group in groups[:most]]
    if rest := sum(item.last - item.first + 1 for group in groups[most:] for item in group):
        lines.append(f"and {rest} more: tracking-hooks status --set-aside")
    return lines


def _line(alike: Sequence[Missing]) -> str:
    first, count = alike[0], sum(item.last - item.first + 1 for item in alike)
    number = f"event {first.first}" if count == 1 else f"{count} events, {first.first} to {alike[-1].last}"
    what = f"{first.hook} {first.name}".strip()
    return f"{number}, {what}: {_short(first.reason)}" if what else f"{number}: {_short(first.reason)}"


def _short(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= _REASON else f"{line[:_REASON]}…"


class Unavailable(Exception):
    """Raised by a hook when the tracker cannot be reached. The relay repeats the calls until it can."""

    def __init__(self, reason: str = "", *, only_this_run: bool = False) -> None:
        """Say why.

        :param only_this_run: whether other runs of the same tracker are not concerned, as where it refuses this one
        """
        super().__init__(reason)
        self.only_this_run = only_this_run


class Rejected(Exception):
    """Raised by a hook when the tracker does not take this event, which is then set aside with the reason."""

    def __init__(self, reason: str = "", *, retry_after: float | None = None, seq: int | None = None) -> None:
        """Say why.

        :param retry_after: seconds after which the event is tried again, where the reason may pass; None: only when
            the user asks for it, by ``tracking-hooks sync --retry``
        :param seq: the number of the event, where ``flush`` raises this and keeps all else that was given: it is
            called again
        """
        super().__init__(reason)
        self.retry_after = retry_after
        self.seq = seq
