"""Distributed training with Ultralytics: what its launching process and its ranks above 0 have to do for rank 0.

Rank 0 records the run. The launching process has the user's script, and deletes ``save_dir`` before the workers
start; a rank above 0 that fails takes rank 0 with it, which then cannot say why.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import structs
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER, RANK

from tracking_hooks.hosts.ultralytics import early, summary
from tracking_hooks.hosts.ultralytics.run import describe_run, track
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.errors import describe_error, raise_alone
from tracking_hooks.recording.folders import secure_older
from tracking_hooks.recording.tracking import LAUNCHED, Launch, Tracking
from tracking_hooks.run import layout
from tracking_hooks.run.layout import RunFolder, write_json
from tracking_hooks.settings import ConfigurationError

launched: weakref.WeakKeyDictionary[BaseTrainer, Tracking] = weakref.WeakKeyDictionary()
"""What the workers of a trainer record, while they do."""


def generate_ddp_command(original: Callable[..., Any], *args: Any) -> Any:
    """Note down what the workers need to know, and save an older run's files from being deleted."""
    trainer: BaseTrainer = args[-1]  # older releases give the number of workers before it
    try:
        tracking = track(describe_run(trainer), [], configured=early.configuration_of(trainer))
        if tracking is not None:
            if not trainer.resume:
                secure_older(Path(trainer.save_dir), Complaints(LOGGER))
            launched[trainer] = tracking
            gflops = summary.gflops_640(trainer.model)
            structs.replace(tracking.launch(), gflops_640=gflops).hand_on()
    except ConfigurationError as error:
        raise_alone(error)
    except Exception as error:  # noqa: BLE001 nothing of ours may end a training
        LOGGER.warning(f"tracking-hooks: {type(error).__name__} before the workers start: {error}")
    return original(*args)


def ddp_cleanup(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Take back what was noted down for workers that are gone."""
    os.environ.pop(LAUNCHED, None)
    return original(*args, **kwargs)


def train(original: Callable[..., Any], trainer: BaseTrainer, *args: Any, **kwargs: Any) -> Any:
    """Train on a rank above 0, and leave behind what ended it."""
    try:
        return original(trainer, *args, **kwargs)
    except Exception as error:
        with suppress(Exception):  # the error itself is what counts
            if folder := run_folder(Path(trainer.save_dir), Launch.read()):
                write_json(folder.crash(RANK), describe_error(error, where=f"rank {RANK}"))
        raise


def run_folder(save_dir: Path, launch: Launch | None = None) -> RunFolder | None:
    """Find the run that rank 0 records: what the launcher has noted down names it, as does the pointer, later on."""
    if launch is None:
        return next(iter(layout.find_runs(save_dir)), None)
    return next((folder for folder in layout.candidates(save_dir, launch.uid) if folder.has_journal()), None)
