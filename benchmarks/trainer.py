"""The process of one training, run by ``training.py``: trains, and prints when what happened.

Whatever is added to the trainer, of ours or of Ultralytics' own integrations, is timed from outside, by wrapping it.
"""

from __future__ import annotations

import functools
import json
import resource
import sys
import time
from pathlib import Path

from tests.support.without_polars import do_without_polars

ADDED = ("tracking_hooks", "ultralytics.utils.callbacks.")
"""Where callbacks come from that a tracker has added."""


class Watch:
    """Notes down moments of a training, and how long it was held up."""

    def __init__(self, silence: str) -> None:
        self.stamps: dict[str, list[float]] = {}
        self.calls: list[tuple[float, float]] = []  # when a callback began, and how long it took
        self.cpu: list[float] = []
        self._silence = silence

    def wrap(self, trainer) -> None:
        """Wrap what has been added, and put our own stamps before and behind all others."""
        for event, listeners in trainer.callbacks.items():
            for at, listener in enumerate(listeners):
                module = getattr(listener, "__module__", None) or ""
                if module.startswith(ADDED) and not module.endswith(".base"):
                    listeners[at] = self._timed(listener)
            if event in {"on_train_epoch_start", "on_train_batch_start", "on_train_end"}:
                listeners.insert(0, functools.partial(self.stamp, event))
            elif event == "on_fit_epoch_end":
                listeners.append(functools.partial(self.stamp, event))

    def stamp(self, event: str, _trainer: object) -> None:
        """Note down that it is now."""
        moments = self.stamps.setdefault(event, [])
        if event != "on_train_batch_start" or not moments:
            moments.append(time.monotonic())
        if event in {"on_train_epoch_start", "on_fit_epoch_end"}:
            self.cpu.append(time.process_time())
        if event == "on_train_epoch_start" and len(moments) == 3 and self._silence:
            Path(self._silence).touch()

    def _timed(self, listener):
        @functools.wraps(listener)
        def timed(trainer):
            begin = time.monotonic()
            try:
                return listener(trainer)
            finally:
                self.calls.append((begin, time.monotonic() - begin))

        return timed


def main() -> None:
    arguments, silence = json.loads(sys.argv[1])
    from ultralytics import YOLO
    from ultralytics.engine.trainer import BaseTrainer

    do_without_polars(BaseTrainer)
    watch = Watch(silence)
    model = YOLO(arguments.pop("model"))
    model.add_callback("on_pretrain_routine_start", watch.wrap)
    model.train(**arguments)
    epochs = arguments["epochs"]
    begins, ends = watch.stamps["on_train_epoch_start"], watch.stamps["on_fit_epoch_end"][:epochs]
    assert len(begins) == len(ends) == epochs, (len(begins), len(ends))
    in_epochs = [[took for begin, took in watch.calls if first <= begin <= last] for first, last in zip(begins, ends)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    told = {
        "first_batch": watch.stamps["on_train_batch_start"][0],
        "begin": begins[0],
        "end": ends[-1],
        "cpu": watch.cpu[2 * epochs - 1] - watch.cpu[0],
        "blocked": in_epochs,
        "peak": peak,
    }
    print(f"\n{json.dumps(told)}", flush=True)


if __name__ == "__main__":
    main()
