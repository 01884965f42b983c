"""A group of runs of the user's own loop: folds, seeds, stages. It is a run with the runs of the group below it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import structs

from tracking_hooks import plugins, redact
from tracking_hooks.events import Artifact, Capture, Metrics, Plan, Run
from tracking_hooks.recording import parents, process
from tracking_hooks.recording.folders import new_uid
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.recording.resumption import Earlier
from tracking_hooks.recording.tracking import Tracking
from tracking_hooks.run import files, index, journal, portable, state
from tracking_hooks.run.group import TASK, Member, Summary, members, summary
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import NO_GROUP_NAME, ConfigurationError, Settings, is_group_name

_TABLE = "group"


class Group:
    """A group, and what it has come to when its ``with`` is left: nothing where no tracker is asked for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.uid: str | None = None
        """That of its run."""
        self.summary = Summary([])

    @property
    def mean(self) -> Metrics:
        """The mean of each final metric, over the runs that have finished."""
        return self.summary.mean

    @property
    def std(self) -> Metrics:
        """The sample standard deviation of each final metric."""
        return self.summary.std


@contextmanager
def group(name: str, project: str = "") -> Iterator[Group]:
    """Put the trainings that are started meanwhile, here and in child processes, into a group with a run of its own.

    :param name: such as ``"5-fold"``
    :param project: as for a training: the trackers group runs by it
    :raises ConfigurationError: if the configuration is at fault
    """
    if not is_group_name(name):
        raise ConfigurationError(f"group({name!r}): {name!r} {NO_GROUP_NAME}.")
    found, logger = Group(name), _logger()
    with parents.recorded(lambda: _begin(name, project, logger), logger, "the group itself") as recorder:
        found.uid = recorder.run.uid if recorder else None
        try:
            yield found
        finally:
            if recorder is not None:
                found.summary = recorder.complain.guard(lambda: _conclude(recorder), "the group's rows") or Summary([])


def _logger() -> logging.Logger:
    """Return a logger that speaks on the terminal, whether or not the script has set up logging."""
    logger = logging.Logger("tracking_hooks.group", logging.INFO)
    logger.addHandler(logging.StreamHandler())
    return logger


def _begin(name: str, project: str, logger: logging.Logger) -> Recorder | None:
    if int(os.environ.get("RANK") or 0) > 0:
        return None  # of the ranks of a distributed training, the first one records
    folder = portable.working_folder() / "runs" / (project or "groups") / name
    run = Run(uid=new_uid(), name=name, project=project, task=TASK, save_dir=_free(folder))
    tracking = Tracking.of(run, logger, parent=parents.current())
    return _start(tracking, Plan(), tracking.settings) if tracking else None


def _free(folder: Path) -> Path:
    """Return the folder, or the next one that is not there."""
    number, free = 1, folder
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


def _start(tracking: Tracking, plan: Plan, settings: Settings) -> Recorder:
    """Record a group: the machine and the terminal are those of its runs, their metrics are named already."""
    own = structs.replace(settings, system_every=0.0, console="off", metrics="")
    tracking.run.save_dir.mkdir(parents=True, exist_ok=True)
    params = {"group": tracking.run.name}
    recorder = structs.replace(tracking, settings=own, rules=[]).start(params, plan)
    recorder.check()
    recorder.begin(params=params, environment=tracking.environment)
    return recorder


def _conclude(recorder: Recorder) -> Summary:
    uid = recorder.run.uid
    process.end_left(uid)
    found = summary(members(index.all_runs(), lambda head: head.run.parent == uid))
    _record(recorder, found)
    return found


def record(name: str, found: Sequence[Member], own: RunFolder | None, logger: logging.Logger) -> RunFolder:
    """Record what a group has come to, behind its runs: in a run of its own, or in the one that it has.

    :param found: its runs
    :param own: the run that the group has
    :raises ConfigurationError: if a plugin cannot be used, or the run's files cannot be made
    :raises JournalError, OSError: if a run cannot be read
    """
    told = summary(found)
    if own and not any(_news(own, told)):
        return own
    plan = Plan(members=[member.head.run.uid for member in found])
    tracking = _goes_on(own, logger) if own else _is_new(name, found, logger)
    recorder = _start(tracking, plan, structs.replace(tracking.settings, mode="offline"))  # whoever asks delivers
    _record(recorder, told)
    recorder.end("finished")
    process.forget(recorder)
    return recorder.folder


def _is_new(name: str, found: Sequence[Member], logger: logging.Logger) -> Tracking:
    """Return how a group is recorded: beside the first of its runs, on disk and in the trackers."""
    mine = [member.head for member in found if index.names(member.folder)]
    if not mine:
        raise ConfigurationError(f"no run of the group {name} was recorded by this user on this machine.")
    first = mine[0]
    save_dir = _free(first.run.save_dir.parent / name)
    run = Run(uid=new_uid(), name=name, project=first.run.project, task=TASK, save_dir=save_dir)
    names = dict.fromkeys(plugins.first_part(label) for label in first.plugins)
    captures = plugins.capture(plugins.load_trainer_sides(names), run, first.plugins)
    return Tracking.by(run, plugins.of_parts(captures), logger)


def _goes_on(own: RunFolder, logger: logging.Logger) -> Tracking:
    if not state.is_over(own):
        raise ConfigurationError(f"the group is still being recorded, as run {own.uid}: its process delivers it.")
    head, _ = journal.read_head(own.journal)
    captures = {
        label: Capture(destination=destination, place=head.places.get(label, ""))
        for label, destination in head.plugins.items()
    }
    return Tracking.by(head.run, captures, logger, Earlier(run=head.run, journal=(own, head)))


def _record(recorder: Recorder, found: Summary) -> None:
    rows, has_new_table = _news(recorder.folder, found)
    for step, metrics in rows:
        recorder.record("on_log", metrics=metrics, step=step)
    if has_new_table:
        recorder.record("on_table", artifact=_written(recorder, found), step=None)


def _news(folder: RunFolder, found: Summary) -> tuple[list[tuple[int, Metrics]], bool]:
    """Return which rows are not recorded as they are now, each with its step, and whether the table is not."""
    mean, std = ({f"{kind}/{name}": value for name, value in metrics.items()}
                 for kind, metrics in (("mean", found.mean), ("std", found.std)))  # fmt: skip
    rows = [(number, row.metrics) for number, row in enumerate(found.rows, 1) if row.counts]
    rows.append((0, {**mean, **std}))  # of all runs
    known: dict[tuple[int | None, frozenset[str]], str] = {}
    table = ""
    for call in journal.calls(folder.journal, ("on_log", "on_table")):
        if call.hook == "on_table":
            table = call.args["artifact"].digest
        else:
            metrics = call.args["metrics"]
            known[call.args["step"], frozenset(metrics)] = _text(metrics)
    new = [(step, row) for step, row in rows if row and known.get((step, frozenset(row))) != _text(row)]
    masked = redact.text(_text(found.table())).encode()
    return new, table != hashlib.sha256(masked).hexdigest()


def _written(recorder: Recorder, found: Summary) -> Artifact:
    path = recorder.run.save_dir / f"{_TABLE}.json"
    path.write_text(_text(found.table()), encoding="utf-8")
    artifact = files.artifact(recorder.folder, recorder.run.save_dir, path, None)
    return structs.replace(artifact, name=_TABLE)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)  # in which NaN equals NaN
