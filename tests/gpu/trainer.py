"""The process of one training, run by ``trainings.py``: trains, and prints what it has seen as a line of JSON.

The callbacks that are ours are watched from outside, by wrapping them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Callable
from typing import Any

from tests.gpu.device import Device, device
from tests.support.without_polars import do_without_polars

_OURS = "tracking_hooks"
_INTEGRATIONS = ("clearml", "comet", "dvc", "hub", "mlflow", "neptune", "raytune", "tensorboard", "wandb")
_CALM = 2
"""Batches that fit before one does not: they show how much memory a batch takes."""


class Watch:
    """Notes down when each batch began, and which of our callbacks wait for a device that is at work."""

    def __init__(self, on: Device, *, runs_short: bool, looks: bool) -> None:
        self.marks: list[list[Any]] = []  # a list for each epoch
        self.calls = 0
        self.waits: list[dict[str, Any]] = []
        self._on = on
        self._runs_short = runs_short
        self._looks = looks

    def begin(self, trainer: Any) -> None:
        """Wrap what is ours, if it is looked at, and put our own marks before all others."""
        for event, listeners in trainer.callbacks.items() if self._looks else ():
            for at, listener in enumerate(listeners):
                if (getattr(listener, "__module__", None) or "").startswith(_OURS):
                    listeners[at] = self._watched(event, listener)
        trainer.callbacks["on_train_epoch_start"].insert(0, lambda _: self.marks.append([]))
        trainer.callbacks["on_train_batch_start"].insert(0, self._begin_batch)
        trainer.callbacks["on_train_epoch_end"].insert(0, self._end_epoch)

    def _begin_batch(self, trainer: Any) -> None:
        self.marks[-1].append(self._on.mark())
        if self._runs_short and len(self.marks[-1]) > _CALM:
            self._runs_short = False
            self._on.run_short(trainer)

    def _end_epoch(self, _: Any) -> None:
        self._on.relieve()

    def _watched(self, event: str, listener: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @functools.wraps(listener)
        def watched(trainer: Any) -> Any:
            is_idle = self._on.is_idle()
            with self._on.waits() as found:
                answer = listener(trainer)
            self.calls += 1
            if found:
                self.waits.append({"event": event, "where": sorted({*found}), "was idle": is_idle})
            return answer

        return watched


def main() -> None:
    told = json.loads(sys.argv[1])
    from ultralytics import YOLO
    from ultralytics.engine import trainer as engine
    from ultralytics.utils import SETTINGS

    SETTINGS.update({name: False for name in _INTEGRATIONS if name in SETTINGS})
    do_without_polars(engine.BaseTrainer)
    engine.check_amp = lambda _: told["device"] != "cpu"  # Ultralytics' own check downloads weights
    watch = Watch(device(told["device"]), runs_short=told["runs_short"], looks=told["looks"])
    model = YOLO(told["arguments"].pop("model"))
    model.add_callback("on_pretrain_routine_start", watch.begin)
    model.train(**told["arguments"])
    seen = {
        "batches": [watch._on.between(marks) for marks in watch.marks],
        "weights": _digest(model.trainer.model),
        "amp": bool(model.trainer.amp),
        "batch": model.trainer.batch_size,
        "calls": watch.calls,
        "waits": watch.waits,
    }
    print(f"\n{json.dumps(seen)}", flush=True)


def _digest(network: Any) -> str:
    """Return the digest of the weights as they are in memory: a file of them has been rounded."""
    import torch

    sha = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


if __name__ == "__main__":
    main()
