"""The recorders of this process: by what a handle finds its run, and what is done for them when the process ends."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from tracking_hooks.delivery import spawn
from tracking_hooks.recording.errors import status_of
from tracking_hooks.recording.waiting import wait_for_delivery
from tracking_hooks.run.group import TASK

if TYPE_CHECKING:
    from tracking_hooks.events import Run, Status
    from tracking_hooks.recording.addenda import Addendum
    from tracking_hooks.recording.complaints import Complaints
    from tracking_hooks.recording.recorder import Recorder
    from tracking_hooks.run.layout import RunFolder

recorders: list[Recorder] = []
addenda: list[Addendum] = []
launched: tuple[RunFolder, Complaints] | None = None
# Module state, since `log()` and the exit of the process have nothing else to find recorders by.


def note_launched(folder: RunFolder, complain: Complaints) -> None:
    """Note that a run was recorded by a process that this one has launched: it is the last one here."""
    global launched  # noqa: PLW0603
    launched = folder, complain


def enter(recorder: Recorder) -> None:
    """Make a recorder known until the process ends."""
    global launched  # noqa: PLW0603
    launched = None
    _await_end(os.getpid())
    for other in [other for other in recorders if other.run.uid == recorder.run.uid]:
        recorders.remove(other)  # in a notebook: the part that was interrupted has nothing more to say
    recorders.append(recorder)


def enter_addendum(addendum: Addendum) -> None:
    """Make an addendum known until the process ends."""
    _await_end(os.getpid())
    addenda.append(addendum)


@functools.cache
def _await_end(_: int) -> None:
    """Have all finished at the end of this process, by its id: a forked one has an end of its own."""
    atexit.register(_finish_all)
    if util := sys.modules.get("multiprocessing.util"):  # its forked processes leave by os._exit, which asks no atexit
        util.Finalize(None, _finish_all, exitpriority=0)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_begin_anew)


def _inherit_nothing() -> None:
    recorders.clear()
    addenda.clear()


def _begin_anew() -> None:
    """In a forked process: what it has inherited is its parent's."""
    _inherit_nothing()
    spawn.leave_running()


def trainings() -> list[Recorder]:
    """Return what this process has recorded, or records, that a script may speak of: not a group, but what is in it."""
    return [recorder for recorder in recorders if recorder.pid == os.getpid() and recorder.run.task != TASK]


def below(run: Run) -> list[Recorder]:
    """Return those of the trials of a tuning that this process has recorded."""
    return [recorder for recorder in recorders if recorder.run.parent == run.uid and recorder.pid == os.getpid()]


def end_left(uid: str) -> None:
    """End the trainings of this thread below a run that is about to end: an error that the script caught left them."""
    for recorder in [one for one in recorders if one.run.parent == uid and one.thread == threading.get_ident()]:
        if recorder.is_recording:
            end = functools.partial(_finish, recorder, recorder.status_at_exit, None)
            recorder.complain.guard(end, "ending the run")


def may_go_on_for_days() -> bool:
    """Whether this process is one that somebody types into, cell by cell: its end is no time to tell anything."""
    return hasattr(sys, "ps1")  # also in IPython; a library that imports it, as comet_ml does, makes no notebook


def forget(recorder: Recorder) -> None:
    """Do nothing for a recorder when the process ends."""
    if recorder in recorders:
        recorders.remove(recorder)


def _finish_all() -> None:
    """At the end of the process: finish, without a traceback for each line that nobody can read any more."""
    tells_errors = logging.raiseExceptions
    logging.raiseExceptions = False  # pytest has closed the stream that a logger was given
    try:
        _finish_mine()
    finally:
        logging.raiseExceptions = tells_errors
        spawn.leave_running()


def _finish_mine() -> None:
    """End what was not ended, wait for delivery, say what was delivered."""
    mine = [recorder for recorder in recorders if recorder.pid == os.getpid()]
    added = [addendum for addendum in addenda if addendum.pid == os.getpid()]
    _inherit_nothing()
    if not mine and not added:
        return
    error = sys.exc_info()[1] or getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    for recorder in mine:
        status = "interrupted" if status_of(error) == "interrupted" else recorder.status_at_exit
        recorder.complain.guard(functools.partial(_finish, recorder, status, error), "ending the run")
    for addendum in added:
        addendum.close()
    # Who has removed a run folder, as with the temporary one that it was in, wants nothing delivered.
    mine = [recorder for recorder in mine if recorder.folder.has_journal()]
    added = [addendum for addendum in added if addendum.folder.has_journal()]
    both: list[Recorder | Addendum] = [*mine, *added]
    with suppress(KeyboardInterrupt):  # the user does not want to wait; the relays go on
        if both:
            both[0].complain.guard(lambda: wait_for_delivery(both), "waiting for delivery")
    are_several = len({recorder.run.uid for recorder in mine}) > 1
    for recorder in mine:
        recorder.tell_outcome(by_name=are_several)
    for addendum in added:
        addendum.tell_outcome()
    if isinstance(error, KeyboardInterrupt):
        # Python then ends by SIGINT, but it forgets that when a text is executed after it, as an import of
        # dataclasses does: remind it, or the exit code would be another one with tracking.
        with suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102


def _finish(recorder: Recorder, status: Status, error: BaseException | None) -> None:
    try:
        recorder.record_final_files()
    finally:
        recorder.end(status, error)
