"""What the runs of a group have come to: a row for each, mean and spread of their final metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from msgspec import Struct

from tracking_hooks.counts import counted
from tracking_hooks.events import Metrics
from tracking_hooks.metricrules import MetricRules
from tracking_hooks.run import journal, state, story
from tracking_hooks.run.journal import Head, JournalError
from tracking_hooks.run.layout import RunFolder

TASK = "group"
"""The task of the run of a group."""

_FINAL = ("on_final_validation", "on_epoch_end", "on_log")
"""What tells the final metrics of a run: the last event of the first of these hooks that it has."""


class Row(Struct, frozen=True, kw_only=True):
    """A run of a group."""

    uid: str
    name: str
    status: str
    metrics: Metrics

    @property
    def counts(self) -> bool:
        """Whether it goes into mean and spread."""
        return self.status == "finished" and bool(self.metrics)


class Summary(Struct, frozen=True):
    """All runs of a group, the oldest first."""

    rows: list[Row]

    @property
    def names(self) -> list[str]:
        """The names of the metrics."""
        return list(dict.fromkeys(name for row in self.rows for name in row.metrics))

    @property
    def counted(self) -> int:
        """How many runs go into mean and spread."""
        return sum(row.counts for row in self.rows)

    @property
    def mean(self) -> Metrics:
        """The mean of each metric, over the runs that have finished."""
        return self._over_rows(_mean, least=1)

    @property
    def std(self) -> Metrics:
        """The sample standard deviation of each metric; none of a single value."""
        return self._over_rows(_deviation, least=2)

    def _over_rows(self, reduce: Callable[[list[float]], float], *, least: int) -> Metrics:
        found = {name: [row.metrics[name] for row in self.rows if row.counts and name in row.metrics]
                 for name in self.names}  # fmt: skip
        return {name: reduce(values) for name, values in found.items() if len(values) >= least}

    def table(self) -> dict[str, Any]:
        """Return a table as ``on_table`` has it: a row for each run, then mean and spread."""
        names = self.names

        def values(metrics: Metrics) -> list[float | None]:
            found = (metrics.get(name, math.nan) for name in names)
            return [value if math.isfinite(value) else None for value in found]

        of = f"of {self.counted} of {counted(len(self.rows), 'run')}"
        rows = [[row.name, row.status, row.uid, *values(row.metrics)] for row in self.rows]
        rows += [["mean", of, "", *values(self.mean)], ["std", of, "", *values(self.std)]]
        return {"columns": ["run", "status", "uid", *names], "data": rows}


class Member(Struct, frozen=True):
    """A run of a group, on disk."""

    folder: RunFolder
    head: Head


def members(folders: Iterable[RunFolder], is_one: Callable[[Head], bool]) -> list[Member]:
    """Return the runs of a group, the oldest first; those that cannot be read are none."""
    found = []
    for folder in folders:
        with suppress(JournalError, OSError):
            head, _ = journal.read_head(folder.journal)
            if head.run.addendum is None and is_one(head):
                found.append(Member(folder, head))
    return sorted(found, key=lambda member: member.head.created)


def summary(found: Iterable[Member]) -> Summary:
    """Read what these runs have come to.

    :raises JournalError, OSError: if a journal cannot be read
    """
    return Summary([_row(member) for member in found])


def _row(member: Member) -> Row:
    folder, run = member.folder, member.head.run
    _, told = story.read(folder.journal)
    unended = "running" if state.is_running(folder) else "killed"
    status = (told.status or unended) if told.began else "never began"
    # As the trackers know them: a group is compared with its runs.
    metrics = MetricRules(member.head.metrics).apply(_final_metrics(folder))
    return Row(uid=run.uid, name=run.name, status=status, metrics=metrics)


def _final_metrics(folder: RunFolder) -> Metrics:
    last: dict[str, Metrics] = {}
    for call in journal.calls(folder.journal, _FINAL):
        last[call.hook] = call.args["metrics"] or {}
    return next((last[hook] for hook in _FINAL if last.get(hook)), {})


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _deviation(values: list[float]) -> float:
    mean = _mean(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
