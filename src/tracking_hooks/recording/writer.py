"""Writes a run's events to its journal, in order, from any thread and from signal handlers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import isfinite
from typing import Any

from tracking_hooks.counts import counted
from tracking_hooks.run.encoding import number
from tracking_hooks.run.journal import Journal
from tracking_hooks.run.liveness import Lock
from tracking_hooks.run.story import Story

_MEMORY = 10_000
"""Events kept in memory while the journal cannot be written."""


def _are_numbers(metrics: Mapping[str, Any]) -> bool:
    """Whether these are finite floats under names that are strings, as nearly all are; no loop in Python tells it."""
    kinds = {*map(type, metrics.values())}
    return kinds == {float} and {*map(type, metrics)} == {str} and isfinite(sum(metrics.values()))


class Writer:
    """The recording process's hold on a journal, until the run has ended.

    A signal handler may come at any point, to record an event of its own or to raise. So an event enters the queue in
    one step, and whatever else is known of it follows from there: who is interrupted behind that step leaves it to the
    next one who writes. Nothing is said to the user while the lock is held: their logging may wait for it.
    """

    def __init__(
        self, journal: Journal, lock: Lock, complain: Callable[[str], None], story: Story | None = None
    ) -> None:
        """Write to an open journal.

        :param lock: the run's, which says that this process records it
        :param complain: tells the user a sentence
        :param story: the run so far
        """
        self.has_ended = False
        self._journal = journal
        self._lock = lock
        self._complain = complain
        self._unsaid: deque[str] = deque()
        self._story = story or Story()
        self._waiting: deque[tuple[str, float, dict[str, Any]]] = deque()
        self._writing = threading.RLock()
        self._is_writing = False
        self._time = 0.0  # of the last event
        self._start: dict[str, Any] = {}

    @property
    def story(self) -> Story:
        """What the run has come to, with what waits in memory."""
        with self._writing:
            for hook, _, args in list(self._waiting):
                self._story.add(hook, args)  # again when it is written, which changes nothing
        return self._story

    @property
    def is_behind(self) -> bool:
        """Whether something waits in memory: should this process die, nobody has that."""
        with self._writing:
            return bool(self._waiting)

    def append(self, hook: str, args: dict[str, Any]) -> None:
        """Write an event, or keep it in memory while that cannot be done; nothing stands behind the run's end.

        :raises Exception: if it is one that cannot be written at all
        """
        if "metrics" in args:
            args["metrics"] = self._numbers(args["metrics"])
        with self._writing:
            is_ending = self._is_ending()
            if not is_ending:
                self._time = max(self._time, time.time())  # a clock that is set back does not turn the order round
                if hook == "on_run_start":
                    self._start = args
                self._waiting.append((hook, self._time, args))
                if len(self._waiting) > _MEMORY:
                    self._journal.seq += 1  # shows as a gap
                    self._waiting.popleft()
            self.has_ended = is_ending or hook == "on_run_end"
            self._write_waiting()
        self._say()

    def close(self) -> int:
        """Let go of the journal; return how many events there were, also of those that could not be written."""
        with self._writing:
            self.has_ended = True
            with suppress(Exception):  # told when it was recorded
                self._write_waiting()
            lost = len(self._waiting)
            if lost:
                what = f"{counted(lost, 'event')} could not be written to {self._journal.path}"
                self._unsaid.append(f"{what} and {'is' if lost == 1 else 'are'} lost")
            self._journal.close()
            self._lock.release()
        self._say()
        return self._journal.seq + lost

    def _is_ending(self) -> bool:
        """Whether the run's end is written, or waits for it."""
        return self.has_ended or bool(self._waiting and self._waiting[-1][0] == "on_run_end")

    def _write_waiting(self) -> None:
        """Write what waits, if that can be done now; a signal handler leaves it to the loop that it has interrupted."""
        while self._waiting and not self._is_writing:
            self._is_writing = True
            try:
                if not self._write_first():
                    return
            finally:
                self._is_writing = False

    def _write_first(self) -> bool:
        is_written = self._journal.has_written(self._waiting[0][2])  # by one who was interrupted behind the write
        if not is_written and self._journal.was_ended_by_another() and not self._take_back():
            return False
        hook, moment, args = self._waiting[0]
        try:
            if not is_written:
                self._journal.append(hook, moment, args)
            self._story.add(hook, args)
        except OSError:
            self._unsaid.append(f"{self._journal.path} cannot be written (is the disk full?): events wait in memory")
            return False
        except Exception:
            self._waiting.popleft()  # it cannot be written at all; the caller tells
            raise
        self._waiting.popleft()
        return True

    def _take_back(self) -> bool:
        """Take the run back from a process that thought us dead and wrote its end; return whether that is possible."""
        try:
            self._lock.take()
        except OSError as error:
            self._unsaid.append(f"events wait in memory: {error}")
            return False
        self._journal.was_ended_by_another()  # what the other one has written before it gave the lock back
        start = {**self._start, "resumed": True}
        if self._waiting[0][2] != start:
            self._waiting.appendleft(("on_run_start", self._time, start))
        return True

    def _say(self) -> None:
        while self._unsaid:
            with suppress(IndexError):  # another thread was faster
                self._complain(self._unsaid.popleft())

    def _numbers(self, metrics: Mapping[str, Any]) -> dict[str, float | str]:
        """Keep what is a number; the journal takes nothing else as a metric."""
        if _are_numbers(metrics):
            return dict(metrics)
        numbers: dict[str, float | str] = {}
        for name, value in metrics.items():
            try:
                if isinstance(value, str):
                    raise TypeError
                numbers[str(name)] = number(float(value))
            except Exception:  # noqa: BLE001 a tensor of two elements says RuntimeError, a large int OverflowError
                self._complain(f"metric {name!r} is left out: {type(value).__name__} is not a number")
        return numbers
