"""What the user's own code has of a run: a handle to ask, to wait, and to add to it, also after its end."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tracking_hooks import redact
from tracking_hooks.events import Run
from tracking_hooks.plugins import first_label
from tracking_hooks.predictions import Box
from tracking_hooks.recording import addenda, given, naming, process
from tracking_hooks.recording import boxes as boxed
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.naming import Unfit
from tracking_hooks.recording.waiting import NO_MORE, wait_for_events
from tracking_hooks.run import destinations, encoding, files, index, journal, state
from tracking_hooks.run.layout import Replay, RunFolder
from tracking_hooks.settings import SELECTION, is_off

if TYPE_CHECKING:
    from tracking_hooks.recording.addenda import Addendum
    from tracking_hooks.recording.recorder import Recorder


class Delivery(Struct, frozen=True, kw_only=True):
    """What a tracker has of a run, in events."""

    delivered: int = 0
    pending: int = 0
    set_aside: int = 0


class RunHandle:
    """A run of this process. No method raises: what cannot be done is said in a sentence."""

    def __init__(self, run: Run, folder: RunFolder, complain: Complaints, recorder: Recorder | None = None) -> None:
        """Use ``current_run``.

        :param recorder: None: the run was recorded by a process that this one has launched
        """
        self._folder = folder
        self._complain = complain
        self._recorder = recorder
        self._run = run

    def __repr__(self) -> str:
        return f"<run {self.uid}: {self.name}>"

    @property
    def uid(self) -> str:
        """The tag by which each tracker has it."""
        return self._run.uid

    @property
    def name(self) -> str:
        """Its name in the trackers."""
        return self._run.name

    @property
    def folder(self) -> Path:
        """The run folder, which ``tracking-hooks sync`` and ``status`` take."""
        return self._folder.path

    @property
    def links(self) -> dict[str, str]:
        """Tracker to the URL of the run, of those that have it already."""
        return self._known(lambda _, state: state.get("url"))

    @property
    def ids(self) -> dict[str, str]:
        """Tracker to its own id of the run, of those that have it already or were told which one to take."""
        return self._known(
            lambda target, state: next(
                (found for key in ("run_id", "id") for found in (state.get(key), target.destination.get(key)) if found),
                None,
            )
        )

    def _known(self, ask: Callable[[Replay, dict[str, Any]], object]) -> dict[str, str]:
        return self._complain.guard(lambda: self._asked(ask), "asking where the run is") or {}

    def _asked(self, ask: Callable[[Replay, dict[str, Any]], object]) -> dict[str, str]:
        found = {}
        head, _ = journal.read_head(self._folder.journal)
        for label, target in destinations.of(self._folder, head).items():
            if label == first_label(label, target.plugin):
                found[label] = ask(target, self._folder.relay(label).read_cursor().state)
        return {label: str(value) for label, value in found.items() if value}

    # -- waiting ----------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> dict[str, Delivery]:
        """Wait until what was recorded up to now is delivered; not for a tracker that is down, or that refuses it.

        :param timeout: seconds to wait at most; None: until nothing was delivered for five minutes
        :returns: by tracker, or part of one, what it has now
        """
        self._complain.guard(lambda: self._wait(timeout), "waiting for delivery")
        return self._complain.guard(self._deliveries, "asking what is delivered") or {}

    def _wait(self, timeout: float | None) -> None:
        mine: list[Recorder | Addendum] = [self._recorder] if self._recorder else []
        sources = [*mine, *addenda.made_to(self._folder)]
        if not wait_for_events(sources, None if self._recorder else self._folder, timeout):
            left = (f"{name} {owed.pending}" for name, owed in self._deliveries().items() if owed.pending)
            self._complain(
                f"wait() ends, since nothing was delivered for {NO_MORE / 60:.0f} minutes. Pending events: "
                f"{', '.join(left)}. This goes on in the background; wait(timeout=…) waits as long as it says"
            )

    def _deliveries(self) -> dict[str, Delivery]:
        found: dict[str, Delivery] = {}
        for folder in (self._folder, *index.addenda([self._folder], with_delivered=True)):
            for label in state.labels(folder):
                owed, before = state.owed(folder, label), found.get(label, Delivery())
                found[label] = Delivery(
                    delivered=before.delivered + owed.delivered,
                    pending=before.pending + owed.pending,
                    set_aside=before.set_aside + len(owed.aside),
                )
        return found

    # -- adding -----------------------------------------------------------------------------------------------

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record metrics.

        :param metrics: name to number
        :param step: the x axis; None: the journal's own numbering
        """

        def add(sink: Recorder | Addendum) -> None:
            named = naming.named(metrics, "metrics", self._complain)
            sink.record("on_log", metrics=named, step=naming.step(step))

        self._add("log", add)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record params: name to a value that JSON knows; secrets are masked."""

        def add(sink: Recorder | Addendum) -> None:
            named = naming.named(params, "params", self._complain)
            sink.record("on_params", params=redact.values(encoding.plain(named)))

        self._add("log_params", add)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags: name to text; a tag of the same name is replaced, and secrets are masked."""

        def add(sink: Recorder | Addendum) -> None:
            named = naming.named(tags, "tags", self._complain)
            sink.record("on_tags", tags=redact.values({name: str(value) for name, value in named.items()}))

        self._add("set_tags", add)

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Record a file, or each file of a folder, as it is now: up to 1 GB it is copied before this returns.

        :param name: in the trackers, with forward slashes; None: that of the file
        """

        def add(sink: Recorder | Addendum) -> None:
            large = sink.settings.large_texts == "on"
            for artifact in given.artifacts(sink.folder, path, name, large_texts=large, complain=self._complain):
                sink.record("on_artifact", artifact=artifact)

        self._add("log_artifact", add)

    def log_image(
        self, name: str, image: Any, step: int | None = None, boxes: Sequence[Mapping[str, Any] | Box] | None = None
    ) -> None:
        """Record a picture.

        :param image: a path, an image of Pillow, a figure of Matplotlib, an array (height, width, channels) or a
            tensor (channels, height, width), of bytes or of floats from 0 to 1
        :param boxes: what is in it, in its pixels: ``{"label": "car", "box": [left, top, right, bottom],
            "confidence": 0.9}``, of a label without the confidence; a ``polygon`` or ``keypoints`` may be added
        """

        def add(sink: Recorder | Addendum) -> None:
            if boxes is None:
                sink.record("on_image", artifact=given.image(sink.folder, name, image), step=naming.step(step))
            else:
                seen = boxed.image(sink.folder, name, image, boxes, self._classes())
                sink.record("on_predictions", **seen, step=naming.step(step))

        self._add("log_image", add)

    def _classes(self) -> dict[int, str]:
        """Return the classes of the run's data set, if it says so at its beginning."""
        first = next(journal.calls(self._folder.journal, ("on_train_start", "on_epoch_start", "on_predictions")), None)
        return first.args["dataset"].classes if first and first.hook == "on_train_start" else {}

    def log_table(self, name: str, rows: Any, step: int | None = None) -> None:
        """Record a table.

        :param rows: a list of dicts, a dict of columns, or a data frame of pandas or Polars
        """

        def add(sink: Recorder | Addendum) -> None:
            large = sink.settings.large_texts == "on"
            table = given.table(sink.folder, name, rows, large_texts=large)
            sink.record("on_table", artifact=table, step=naming.step(step))

        self._add("log_table", add)

    def _add(self, call: str, add: Callable[[Recorder | Addendum], None]) -> None:
        """Have something recorded: in the run while it is recorded, behind that in an addendum."""
        self._complain.guard(functools.partial(self._add_to_sink, call, add), call)

    def _add_to_sink(self, call: str, add: Callable[[Recorder | Addendum], None]) -> None:
        sink: Recorder | Addendum | None = self._recorder
        if self._recorder is None or not self._recorder.is_recording:
            sink = addenda.open_for(self._folder, self._complain.logger)
        if sink is None:
            return  # it was said why
        if call != "log":
            redact.learn(os.environ)  # the script may have set more since the run began
        try:
            add(sink)
        except (Unfit, files.TooLarge) as error:
            self._complain(f"{call}() is left out: {error}")


# -- the run of the moment ------------------------------------------------------------------------------------


def current_run() -> RunHandle | None:
    """Return the run of the training in this thread, or the last one of this process; None if none was tracked."""
    mine = process.trainings()
    here = [recorder for recorder in mine if recorder.thread == threading.get_ident()]
    running = [recorder for recorder in mine if recorder.is_recording]
    newest = [recorder for recorder in here if recorder in running] or here or running or mine
    launched = process.launched
    if launched and not (newest and newest[-1].is_recording):
        folder, complain = launched
        head = complain.guard(lambda: journal.read_head(folder.journal)[0], "reading the run that was launched")
        return RunHandle(head.run, folder, complain) if head else None
    return _handle(newest[-1]) if newest else None


def _handle(recorder: Recorder) -> RunHandle:
    return RunHandle(recorder.run, recorder.folder, recorder.complain, recorder)


def log(metrics: Mapping[str, float], step: int | None = None) -> None:
    """Record metrics of your own in the training that runs in this thread, or in the last one of this process.

    :param metrics: name to value
    :param step: the x axis; None: the journal's own numbering
    """
    running = [recorder for recorder in process.trainings() if recorder.is_recording]
    mine = [recorder for recorder in running if recorder.thread == threading.get_ident()][-1:] or running
    for recorder in mine:
        _handle(recorder).log(metrics, step)
    if not mine and (run := _run_for_script()):
        run.log(metrics, step)


def log_params(params: Mapping[str, Any]) -> None:
    """Call ``RunHandle.log_params`` of the current run."""
    if run := _run_for_script():
        run.log_params(params)


def set_tags(tags: Mapping[str, str]) -> None:
    """Call ``RunHandle.set_tags`` of the current run."""
    if run := _run_for_script():
        run.set_tags(tags)


def log_artifact(path: str | os.PathLike[str], name: str | None = None) -> None:
    """Call ``RunHandle.log_artifact`` of the current run."""
    if run := _run_for_script():
        run.log_artifact(path, name)


def log_image(
    name: str, image: Any, step: int | None = None, boxes: Sequence[Mapping[str, Any] | Box] | None = None
) -> None:
    """Call ``RunHandle.log_image`` of the current run."""
    if run := _run_for_script():
        run.log_image(name, image, step, boxes)


def log_table(name: str, rows: Any, step: int | None = None) -> None:
    """Call ``RunHandle.log_table`` of the current run."""
    if run := _run_for_script():
        run.log_table(name, rows, step)


def _run_for_script() -> RunHandle | None:
    """Return the current run; say once that there is none, to a user who has asked for tracking."""
    run = _without_run.guard(current_run, "looking for the run")
    is_asked_for = not is_off(os.environ.get(SELECTION)) and int(os.environ.get("RANK") or 0) <= 0
    if run is None and is_asked_for:  # of the ranks of a distributed training, one records
        _without_run("what a script logs is left out while no training of this process is tracked or has been")
    return run


_without_run = Complaints(logging.getLogger("tracking_hooks"))
# Module state, since there is no run that could remember what was said.
