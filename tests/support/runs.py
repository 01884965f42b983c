"""Runs on disk, as the recorder writes them, without a training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tracking_hooks.events import Run
from tracking_hooks.run import encoding, journal
from tracking_hooks.run.journal import FORMAT, Call, Head, Journal
from tracking_hooks.run.layout import POINTER, Pointer, RunFolder, write_json
from tracking_hooks.run.story import reopen


def write_run(
    run: Run, calls: Iterable[Call], plugins: Mapping[str, Any] | None = None, *, home: Path | None = None, **head: Any
) -> RunFolder:
    """Write a run whose training is gone, and the pointer to it.

    :param plugins: the destination of each
    :param home: the folder of its run folder; None: the one beside ``save_dir``
    :param head: more of the journal's head
    """
    folder = RunFolder(home / run.uid) if home else RunFolder.beside(run.save_dir, run.uid)
    folder.create()
    first = Head(**{"format": FORMAT, "created": 0.0, "run": run, "plugins": dict(plugins or {}), "home": home, **head})
    write_journal(folder.journal, first, calls)
    run.save_dir.mkdir(parents=True, exist_ok=True)
    write_json(run.save_dir / POINTER, Pointer(uid=run.uid, folder=folder.path))
    return folder


def write_journal(path: Path, head: Head, calls: Iterable[Call]) -> None:
    """Write a journal as the recorder does."""
    _append(Journal.create(path, head), calls)


def append(path: Path, calls: Iterable[Call]) -> None:
    """Go on with a journal."""
    _append(reopen(path)[0], calls)


def _append(log: Journal, calls: Iterable[Call]) -> None:
    for call in calls:
        log.append(call.hook, call.time, as_recorded(call.args))
    log.close()


def as_recorded(args: dict[str, Any]) -> dict[str, Any]:
    """Do what the recorder does with metrics."""
    if "metrics" not in args:
        return args
    return {**args, "metrics": {name: encoding.number(value) for name, value in args["metrics"].items()}}


def read_calls(path: Path) -> list[Call]:
    """Return what can be read of a journal."""
    _, offset = journal.read_head(path)
    return [entry.call for entry in journal.read(path, offset) if entry.call]
