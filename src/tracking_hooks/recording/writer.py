"""Writes a run's events to its journal, in order, from any thread and from signal handlers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from tracking_hooks.run.journal import Journal, number
from tracking_hooks.run.liveness import Lock

_MEMORY = 10_000
"""Events kept in memory while the journal cannot be written."""


class Writer:
    """The recording process's hold on a journal, until the run has ended."""

    def __init__(self, journal: Journal, lock: Lock, complain: Callable[[str], None]) -> None:
        """Write to an open journal.

        :param lock: the run's, which says that this process records it
        :param complain: tells the user a sentence
        """
        self.has_ended = False
        self._journal = journal
        self._lock = lock
        self._complain = complain
        self._waiting: deque[tuple[str, float, dict[str, Any]]] = deque()
        self._writing = threading.RLock()  # a signal handler may come in between
        self._is_writing = False
        self._was_ended = False
        self._time = 0.0  # of the last event
        self._start: dict[str, Any] = {}

    def append(self, hook: str, args: dict[str, Any]) -> None:
        """Write an event, or keep it in memory while that cannot be done; nothing stands behind the run's end.

        :raises Exception: if it is one that cannot be written at all
        """
        if "metrics" in args:
            args["metrics"] = self._numbers(args["metrics"])
        with self._writing:
            if self.has_ended:  # while this thread waited
                return
            self.has_ended = hook == "on_run_end"
            self._time = max(self._time, time.time())  # a clock that is set back does not turn the order round
            if hook == "on_run_start":
                self._start = args
            self._waiting.append((hook, self._time, args))
            if len(self._waiting) > _MEMORY:
                self._waiting.popleft()
                self._journal.seq += 1  # shows as a gap
            if not self._is_writing:  # else this is a signal handler within the loop below, which goes on with it
                self._is_writing = True
                try:
                    if self._is_ours():
                        self._write_waiting()
                finally:
                    self._is_writing = False

    def close(self) -> int:
        """Let go of the journal; return how many events there were, also of those that could not be written."""
        self.has_ended = True
        lost = sum(not self._journal.has_written(args) for _, _, args in self._waiting)
        if lost:
            self._complain(f"{lost} events could not be written to {self._journal.path} and are lost")
        self._journal.close()
        self._lock.release()
        return self._journal.seq + lost

    def _is_ours(self) -> bool:
        """Whether this process records the run; it is taken back from one that thought us dead and wrote its end."""
        self._was_ended = self._journal.was_ended_by_another() or self._was_ended
        if self._was_ended:
            try:
                self._lock.take()
            except OSError as error:
                self._complain(f"events wait in memory: {error}")
                return False
            self._journal.was_ended_by_another()  # what the other one has written before it gave the lock back
            self._waiting.appendleft(("on_run_start", self._time, {**self._start, "resumed": True}))
            self._was_ended = False
        return True

    def _write_waiting(self) -> None:
        while self._waiting:
            hook, moment, args = self._waiting[0]
            try:
                # An interrupt may have come behind the write, before the event left the queue.
                if not self._journal.has_written(args):
                    self._journal.append(hook, moment, args)
            except OSError:
                self._complain(f"{self._journal.path} cannot be written (is the disk full?): events wait in memory")
                return
            except Exception:
                self._waiting.popleft()  # it cannot be written at all; the caller tells
                raise
            self._waiting.popleft()

    def _numbers(self, metrics: Mapping[str, Any]) -> dict[str, float | str]:
        """Keep what is a number; the journal takes nothing else as a metric."""
        numbers: dict[str, float | str] = {}
        for name, value in metrics.items():
            if type(value) is float and isfinite(value) and type(name) is str:  # as nearly all are
                numbers[name] = value
                continue
            try:
                if isinstance(value, str):
                    raise TypeError
                numbers[str(name)] = number(float(value))
            except Exception:  # noqa: BLE001 a tensor of two elements says RuntimeError, a large int OverflowError
                self._complain(f"metric {name!r} is left out: {type(value).__name__} is not a number")
        return numbers
