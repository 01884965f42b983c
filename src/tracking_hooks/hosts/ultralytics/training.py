"""Around a training of Ultralytics: what comes when all callbacks are over, and the GPU's memory is freed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER, RANK

from tracking_hooks.hosts.ultralytics import ddp
from tracking_hooks.hosts.ultralytics.callbacks import recorder_of, teardown
from tracking_hooks.hosts.ultralytics.guard import guard
from tracking_hooks.recording import process
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.recording.returning import before_return, tell_it_is_over, tell_plugins
from tracking_hooks.recording.tracking import LAUNCHED, Tracking


def train(original: Callable[..., Any], trainer: BaseTrainer, *args: Any, **kwargs: Any) -> Any:
    """Train (``BaseTrainer.train``), and return when the script can go on with the run."""
    if RANK > 0:
        return ddp.train(original, trainer, *args, **kwargs)
    recorder = recorder_of(trainer)  # the last callback forgets it
    try:
        result = original(trainer, *args, **kwargs)
    finally:
        teardown(trainer)  # older releases do not call it for a training that fails
        launched = ddp.launched.pop(trainer, None)
        _tell_it_is_over(recorder, launched)
    if recorder is not None and LAUNCHED not in os.environ:  # a worker's process has nothing else to do, and ends
        before_return(recorder)
    elif launched is not None:  # the worker that records has waited at its end
        with guard("telling the plugins that the training is over"):
            if folder := ddp.run_folder(Path(trainer.save_dir)):
                process.note_launched(folder, complain := Complaints(LOGGER))
                tell_plugins(folder, complain)
    return result


def _tell_it_is_over(recorder: Recorder | None, launched: Tracking | None) -> None:
    """Tell the plugins that this process has asked where to deliver; those of a worker were asked by its launcher."""
    if recorder is not None and LAUNCHED not in os.environ:
        tell_it_is_over(recorder.run, recorder.supervisor.captures, recorder.complain)
    elif launched is not None:
        tell_it_is_over(launched.run, launched.captures, Complaints(LOGGER))
