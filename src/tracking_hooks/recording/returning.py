"""What is done when a training is over and the user's script is about to go on, whose next line may need the run."""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from pluggy import PluginManager

from tracking_hooks import plugins
from tracking_hooks.autoload import when_imported
from tracking_hooks.events import Run
from tracking_hooks.recording import process
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.recording.waiting import wait_for_delivery
from tracking_hooks.run import destinations, journal
from tracking_hooks.run.layout import RunFolder

_POLL = 0.05
_PATIENCE = 10.0
"""Seconds in which a relay that has just been started makes the run."""

_Sides = Mapping[str, PluginManager]
"""Trainer sides by the labels of their plugins."""


def before_return(recorder: Recorder) -> None:
    """Wait until the run is delivered, if the script needs it now; let the plugins know that the script goes on.

    Nobody waits for a trial, behind which comes the next one: its tuning is waited for, with the trials of this
    process. Ctrl-C ends the wait, and is raised behind it.
    """
    if recorder.is_recording or recorder.run.is_trial:
        return
    folder, complain = recorder.folder, recorder.complain

    def wait_for_the_run(labels: Collection[str]) -> None:
        complain.guard(lambda: _wait_for_the_run(recorder, labels), "waiting for the run")

    now, later = _now_and_later(_listeners(folder, complain))
    try:
        complain.guard(lambda: _wait(recorder), "waiting for delivery")
        wait_for_the_run(now)
    finally:
        _tell(now, folder, complain)
        for library, sides in later.items():
            _tell_when_imported(library, sides, folder, complain, wait_for_the_run)


def _wait(recorder: Recorder) -> None:
    if names := recorder.supervisor.awaited:
        wait_for_delivery([recorder, *process.below(recorder.run)], names)
        if process.may_go_on_for_days() or not recorder.supervisor.are_done(names):
            recorder.tell_outcome()


def _wait_for_the_run(recorder: Recorder, labels: Collection[str]) -> None:
    """Wait until the trackers have the run whose plugins go on with it; only a very short training is over before."""
    began = time.monotonic()
    while waiting := set(labels) & set(recorder.supervisor.pending(math.inf)):  # not for a tracker that is down
        has_run = (recorder.folder.relay(label).read_cursor().state for label in waiting)
        if time.monotonic() - began > _PATIENCE or all(has_run):
            return
        time.sleep(_POLL)


def tell_it_is_over(run: Run, labels: Iterable[str], complain: Complaints) -> None:
    """Tell the trainer sides that were asked where to deliver, whatever has become of the training. Never raises.

    :param labels: what was asked: plugins, and those that a resumed run is delivered to in addition
    """
    complain.guard(lambda: _tell_it_is_over(run, labels, complain), "telling the plugins that the training is over")


def _tell_it_is_over(run: Run, labels: Iterable[str], complain: Complaints) -> None:
    for name, side in plugins.load_trainer_sides({label.partition("@")[0] for label in labels}).items():
        if side is not None:
            complain.guard(functools.partial(side.hook.train_is_over, run=run), f"train_is_over of {name}")


def tell_plugins(folder: RunFolder, complain: Complaints) -> None:
    """Tell the trainer sides of those plugins whose tracker has the run that the script goes on. Never raises."""
    now, later = _now_and_later(_listeners(folder, complain))
    _tell(now, folder, complain)
    for library, sides in later.items():
        _tell_when_imported(library, sides, folder, complain)


def _listeners(folder: RunFolder, complain: Complaints) -> _Sides:
    """Return the trainer sides that want to be told, by the labels of their plugins. Never raises."""
    return complain.guard(lambda: _load(folder), "loading who wants to know that the training is over") or {}


def _load(folder: RunFolder) -> dict[str, PluginManager]:
    head, _ = journal.read_head(folder.journal)
    labels: dict[str, str] = {}
    for label, target in destinations.of(folder, head).items():
        labels.setdefault(target.plugin, label)  # what was recorded comes before what was added
    sides = plugins.load_trainer_sides(labels)
    return {labels[name]: side for name, side in sides.items() if side and side.hook.train_returns.get_hookimpls()}


def _now_and_later(listeners: _Sides) -> tuple[_Sides, Mapping[str, _Sides]]:
    """Return who is told at once; and, by library, who is told when the script imports that."""
    now: dict[str, PluginManager] = {}
    later: dict[str, dict[str, PluginManager]] = {}
    for label, side in listeners.items():
        library = _library(side)
        sides = later.setdefault(library, {}) if library and library not in sys.modules else now
        sides[label] = side
    return now, later


def _library(side: PluginManager) -> str | None:
    """Return what a trainer side names as the tracker's own library, if it does."""
    name = getattr(next(iter(side.get_plugins())), "library", None)
    return name if isinstance(name, str) else None


_give_up: dict[str, Callable[[], None]] = {}  # by library, to tell of an earlier run: the script asks for the last one


def _tell_when_imported(
    library: str,
    listeners: _Sides,
    folder: RunFolder,
    complain: Complaints,
    wait: Callable[[Collection[str]], None] = lambda _: None,
) -> None:
    def tell(_: object) -> None:
        wait(listeners)
        _tell(listeners, folder, complain)

    _give_up.pop(library, lambda: None)()
    _give_up[library] = when_imported(library, tell)


def _tell(listeners: _Sides, folder: RunFolder, complain: Complaints) -> None:
    for label, side in listeners.items():
        complain.guard(functools.partial(_tell_of_run, folder, label, side), f"train_returns of {label}")


def _tell_of_run(folder: RunFolder, label: str, side: PluginManager) -> None:
    if state := folder.relay(label).read_cursor().state:
        head, _ = journal.read_head(folder.journal)
        side.hook.train_returns(run=head.run, state=state)
