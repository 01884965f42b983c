"""What is done when a training is over and the user's script is about to go on, whose next line may need the run."""

from __future__ import annotations

import functools
import math
import time

from tracking_hooks import plugins
from tracking_hooks.recording import process
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.recording.waiting import wait_for_delivery
from tracking_hooks.run import journal
from tracking_hooks.run.layout import RunFolder

_POLL = 0.05
_PATIENCE = 10.0
"""Seconds in which a relay that has just been started makes the run."""


def before_return(recorder: Recorder) -> None:
    """Wait until the run is delivered, if the script needs it now; let the plugins know that the script goes on.

    Nobody waits for a trial, behind which comes the next one: its tuning is waited for, with the trials of this
    process. Ctrl-C ends the wait, and is raised behind it.
    """
    is_trial = recorder.run.parent is not None and recorder.run.group is None
    if recorder.is_recording or is_trial:
        return
    try:
        recorder.complain.guard(lambda: _wait(recorder), "waiting for delivery")
        recorder.complain.guard(lambda: _wait_for_the_run(recorder), "waiting for the run")
    finally:
        tell_plugins(recorder.folder, recorder.complain)


def _wait(recorder: Recorder) -> None:
    if names := recorder.supervisor.awaited:
        wait_for_delivery([recorder, *process.below(recorder.run)], names)
        if process.may_go_on_for_days() or not recorder.supervisor.are_done(names):
            recorder.tell_outcome()


def _wait_for_the_run(recorder: Recorder) -> None:
    """Wait until the trackers have the run whose plugins go on with it; only a very short training is over before."""
    sides = plugins.load_trainer_sides(recorder.supervisor.captures)
    told = {name for name, side in sides.items() if side and side.hook.train_returns.get_hookimpls()}
    began = time.monotonic()
    while waiting := told & set(recorder.supervisor.pending(math.inf)):  # not for a tracker that is down
        has_run = (recorder.folder.relay(name).read_cursor().state for name in waiting)
        if time.monotonic() - began > _PATIENCE or all(has_run):
            return
        time.sleep(_POLL)


def tell_plugins(folder: RunFolder, complain: Complaints) -> None:
    """Tell the trainer sides of those plugins whose tracker has the run that the script goes on. Never raises."""
    complain.guard(lambda: _tell_plugins(folder, complain), "telling the plugins that the training is over")


def _tell_plugins(folder: RunFolder, complain: Complaints) -> None:
    head, _ = journal.read_head(folder.journal)
    added = {replay.plugin: label for label, replay in folder.replays().items()}  # when the run was resumed
    labels = {**added, **{name: name for name in head.plugins}}
    states = {name: folder.relay(label).read_cursor().state for name, label in labels.items()}
    sides = plugins.load_trainer_sides(name for name, state in states.items() if state)
    for name, side in sides.items():
        if side is not None:
            tell = functools.partial(side.hook.train_returns, run=head.run, state=states[name])
            complain.guard(tell, f"train_returns of {name}")
