"""What ``open`` is told of a run: where it stands just before the event that comes next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tracking_hooks.events import Environment, Params, Status
from tracking_hooks.run.journal import Call
from tracking_hooks.run.landmarks import Landmarks

_UNKNOWN = Environment(host="", user="", cwd=Path(), argv=[], python="", platform="", versions={}, devices=[])


class Context:
    """The run so far, as the events tell that were given or are about to be."""

    def __init__(self) -> None:
        self.time: float | None = None
        """Of the first event."""
        self._params: Params = {}
        self._environment = _UNKNOWN
        self._resumed = False
        self._epoch = 0
        self._status: Status | None = None

    def coming(self, call: Call) -> None:
        """Take in what counts before an event is given: that the run begins, or goes on."""
        self.time = call.time if self.time is None else self.time
        if call.hook == "on_run_start":
            self._params = call.args.get("params") or {}
            self._environment = call.args.get("environment") or _UNKNOWN
            self._resumed = bool(call.args.get("resumed"))
            self._status = None

    def passed(self, call: Call) -> None:
        """Take in what counts when an event was given: that an epoch is settled, that the run is over."""
        if call.hook == "on_epoch_end":
            self._epoch = max(self._epoch, call.args.get("epoch") or 0)
        elif call.hook == "on_run_end":
            self._status = call.args.get("status") or "killed"

    def recall(self, first: Call, start: Call, landmarks: Landmarks) -> None:
        """Be where a cursor is.

        :param first: the first event
        :param start: the last start of the run
        :param landmarks: those of the cursor
        """
        self.coming(first)
        self.coming(start)
        self._epoch, self._status = landmarks.epoch, landmarks.status

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``open`` that no other hook has."""
        return {
            "params": self._params,
            "environment": self._environment,
            "resumed": self._resumed,
            "epoch": self._epoch,
            "status": self._status,
            "time": self.time or 0.0,
        }
