"""Writes a run to disk as the recorder does, for a real relay: ``tracking-hooks sync`` delivers it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tracking_hooks.events import Destination, Run
from tracking_hooks.plugins import did_you_mean, installed
from tracking_hooks.run import encoding
from tracking_hooks.run.journal import FORMAT, Call, Head, Journal
from tracking_hooks.run.layout import POINTER, Pointer, RunFolder, write_json


def write_run(
    run: Run, calls: Iterable[Call], plugins: Mapping[str, Destination] | None = None, *, home: Path | None = None
) -> Path:
    """Write a run whose training is gone, and the pointer to it beside its weights.

    :param plugins: each part of each plugin, with its destination: ``{"acme": {…}, "acme.files": {…}}``
    :param home: the folder of its run folder; None: ``.tracking-hooks`` beside ``run.save_dir``
    :returns: the run folder, which ``tracking-hooks sync FOLDER`` delivers
    :raises ValueError: a part is not installed, so that nothing could be delivered to it
    """
    points = installed()
    for name in plugins or {}:
        if ":" not in name and name not in points:
            there = ", ".join(sorted(points)) or "none"
            raise ValueError(f"no plugin has a part {name!r}.{did_you_mean(name, points)} Installed: {there}")
    return write(run, calls, plugins or {}, home=home).path


def write(
    run: Run, calls: Iterable[Call], destinations: Mapping[str, Destination], *, home: Path | None = None, **head: Any
) -> RunFolder:
    """Write a run, also for plugins that are not there.

    :param head: more of the journal's head
    """
    folder = RunFolder(home / run.uid) if home else RunFolder.beside(run.save_dir, run.uid)
    folder.create()
    first = {"format": FORMAT, "created": 0.0, "run": run, "plugins": dict(destinations), "home": home, **head}
    append(Journal.create(folder.journal, Head(**first)), calls)
    run.save_dir.mkdir(parents=True, exist_ok=True)
    write_json(run.save_dir / POINTER, Pointer(uid=run.uid, folder=folder.path))
    return folder


def append(log: Journal, calls: Iterable[Call]) -> None:
    """Write calls as the recorder does, and close the journal."""
    for call in calls:
        log.append(call.hook, call.time, as_recorded(call.args))
    log.close()


def as_recorded(args: Mapping[str, Any]) -> dict[str, Any]:
    """Do what the recorder does with metrics."""
    if "metrics" not in args:
        return dict(args)
    return {**args, "metrics": {name: encoding.number(value) for name, value in args["metrics"].items()}}
