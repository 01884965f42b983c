"""Around a training of Ultralytics: what comes when all callbacks are over, and the GPU's memory is freed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER, RANK

from tracking_hooks.hosts.ultralytics import ddp
from tracking_hooks.hosts.ultralytics.callbacks import recorder_of
from tracking_hooks.hosts.ultralytics.guard import guard
from tracking_hooks.recording import process
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.returning import before_return, tell_plugins
from tracking_hooks.recording.tracking import LAUNCHED


def train(original: Callable[..., Any], trainer: BaseTrainer, *args: Any, **kwargs: Any) -> Any:
    """Train (``BaseTrainer.train``), and return when the script can go on with the run."""
    if RANK > 0:
        return ddp.train(original, trainer, *args, **kwargs)
    recorder = recorder_of(trainer)  # the last callback forgets it
    result = original(trainer, *args, **kwargs)
    if recorder is not None and LAUNCHED not in os.environ:  # a worker's process has nothing else to do, and ends
        before_return(recorder)
    elif getattr(trainer, "ddp", False):  # the worker that records has waited at its end
        with guard("telling the plugins that the training is over"):
            if folder := ddp.run_folder(Path(trainer.save_dir)):
                process.note_launched(folder, complain := Complaints(LOGGER))
                tell_plugins(folder, complain)
    return result
