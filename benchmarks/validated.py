"""The process of one training, run by ``validation.py``: trains, and prints how long each validation took.

What is ours in a validation is timed from outside, by wrapping it: looking at predictions, and handing over what was
seen. The thread that makes pictures of it tells its CPU time when it ends.
"""

from __future__ import annotations

import functools
import json
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

PICTURES = "tracking-hooks-pictures"
"""The thread's name."""
CONFIDENCE_OF_COARSEST = 1.0
"""As a logit: what the layer of the largest objects is made to find everywhere, so that there is something to see."""


class Watch:
    """Notes how long validations take, and how much of that is ours."""

    def __init__(self) -> None:
        self.validations: list[dict[str, float]] = []
        self.thread = 0.0
        self._ours = self._ours_cpu = 0.0
        self._is_in_ours = False

    def ours(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap something of ours."""

        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            if self._is_in_ours or threading.current_thread() is not threading.main_thread():
                return function(*arguments, **named)
            self._is_in_ours, begin, cpu = True, time.perf_counter(), time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self._is_in_ours = False
                self._ours += time.perf_counter() - begin
                self._ours_cpu += time.thread_time() - cpu

        return timed

    def validation(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the validation, ours included."""

        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            self.close()
            begin, cpu = time.perf_counter(), time.process_time()
            result = function(*arguments, **named)
            self.validations.append({"wall": time.perf_counter() - begin, "cpu": time.process_time() - cpu})
            return result

        return timed

    def close(self) -> None:
        """Put down to the last validation what was ours since it began, and begin anew."""
        if self.validations:
            self.validations[-1] |= {"ours": self._ours, "ours_cpu": self._ours_cpu}
        self._ours = self._ours_cpu = 0.0

    def run(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap what a thread does."""

        def timed(thread: threading.Thread) -> None:
            try:
                function(thread)
            finally:
                if thread.name == PICTURES:
                    self.thread += time.thread_time()

        return timed


class _Looker:
    """Times what looks at a validation."""

    def __init__(self, watch: Watch, looker: Any) -> None:
        for name in ("begin", "stop", "keep"):
            setattr(self, name, watch.ours(getattr(looker, name)))


def wrap(watch: Watch) -> None:
    """Wrap validations, and what is ours in them."""
    from ultralytics.engine.validator import BaseValidator

    from tracking_hooks.hosts.ultralytics import callbacks, final, looking, sightings

    BaseValidator.__call__ = watch.validation(BaseValidator.__call__)
    find = callbacks.looker

    def found(*arguments: Any, **named: Any) -> Any:
        looker = find(*arguments, **named)
        return looker and _Looker(watch, looker)

    callbacks.looker = found
    for owner, name in (
        (looking.Watch, "_tell"),
        (sightings.Sightings, "epoch_ended"),
        (final.FinalValidation, "_record_worst"),
    ):
        setattr(owner, name, watch.ours(getattr(owner, name)))
    threading.Thread.run = watch.run(threading.Thread.run)  # type: ignore[method-assign]


def see_something(trainer: Any) -> None:
    """Let the network find objects, which one that has learned nothing does not."""
    for network in (trainer.model, trainer.ema.ema):
        head = network.model[-1]
        for name in ("cv3", "one2one_cv3"):
            if branches := getattr(head, name, None):
                branches[-1][-1].bias.data.fill_(CONFIDENCE_OF_COARSEST)


def main() -> None:
    arguments = json.loads(sys.argv[1])
    from ultralytics import YOLO

    watch = Watch()
    wrap(watch)
    model = YOLO(arguments.pop("model"))
    model.add_callback("on_pretrain_routine_end", see_something)
    model.train(**arguments)
    watch.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"\n{json.dumps({'validations': watch.validations, 'thread': watch.thread, 'peak': peak})}", flush=True)


if __name__ == "__main__":
    main()
