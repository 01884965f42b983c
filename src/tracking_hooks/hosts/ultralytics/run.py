"""What Ultralytics knows of a run: its name, its folder, what it leaves there, the tuning that it belongs to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from msgspec import structs
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER, RANK

from tracking_hooks.events import Origin, Plan, Run
from tracking_hooks.hosts.ultralytics import early, overwritten, releases
from tracking_hooks.recording import lineage, parents
from tracking_hooks.recording.configuration import Configuration
from tracking_hooks.recording.folders import new_uid
from tracking_hooks.recording.parents import Parent
from tracking_hooks.recording.tracking import Launch, Tracking
from tracking_hooks.run.journal import JournalError

NAME = "Ultralytics"

WEIGHTS = {"best": "weights/best.pt", "last": "weights/last.pt"}
FILES = ["*.csv", "*.ndjson", "*.json", "*.yaml", "*.png", "*.jpg", "*.jpeg"]
"""What is final in ``save_dir`` once a run is over."""

_PACKAGES = (
    "ultralytics", "torch", "torchvision", "numpy", "opencv-python", "opencv-python-headless", "tracking-hooks"
)  # fmt: skip


def track_trainer(trainer: BaseTrainer, devices: list[str]) -> Tracking | None:
    """Read the configuration for a training; None if it asks for no tracker.

    :raises ConfigurationError: if it is at fault
    """
    places = _places(trainer) if trainer.resume else ()
    return track(describe_run(trainer), devices, places, early.configuration_of(trainer))


def track(
    run: Run, devices: list[str], resumed_from: Sequence[Path] = (), configured: Configuration | None = None
) -> Tracking | None:
    """Read the configuration for a run.

    :param resumed_from: the folders where the run may be that this one goes on with
    :param configured: what was read earlier
    :raises ConfigurationError: if it is at fault
    """
    return Tracking.of(
        run,
        LOGGER,
        devices=devices,
        packages=_PACKAGES,
        resumed_from=resumed_from,
        parent=_parent(),
        launch=Launch.read() if RANK == 0 else None,
        configured=configured,
    )


def new_run(args: SimpleNamespace, save_dir: Path, name: str) -> Run:
    """Describe a new run."""
    return Run(
        uid=new_uid(),
        name=name,
        project=str(args.project or ""),
        task=str(args.task or ""),
        save_dir=save_dir.absolute(),
    )


def describe_run(trainer: BaseTrainer) -> Run:
    """Describe a trainer's run as a new one."""
    save_dir = Path(trainer.save_dir)
    run = new_run(trainer.args, save_dir, str(trainer.args.name or save_dir.name))
    return run if trainer.resume else structs.replace(run, started_from=_origin(trainer.args))


def _origin(args: SimpleNamespace) -> Origin | None:
    """Return the run whose weights a new training starts from: those of ``model=``, or else of ``pretrained=``."""
    given = (getattr(args, name, None) for name in ("model", "pretrained"))
    found = (lineage.origin(Path(weights)) for weights in given if isinstance(weights, (str, Path)))
    return next((one for one in found if one), None)


def plan(trainer: BaseTrainer) -> Plan:
    """Say what a trainer is going to leave in its folder."""
    epochs = None if getattr(trainer.args, "time", None) else int(trainer.epochs)  # with time=, nobody knows
    return Plan(host=NAME, epochs=epochs, checkpoints=WEIGHTS, files=FILES, since=_since(trainer))


def _since(trainer: BaseTrainer) -> float:
    """Return when the training began in a folder that may hold another one, by the clock of that file system."""
    is_used_again = getattr(trainer.args, "exist_ok", False) and not trainer.resume
    first = Path(trainer.save_dir) / "args.yaml"  # of all its files
    return first.stat().st_mtime if is_used_again and first.is_file() else 0.0


def ray_experiment() -> Path | None:
    """Return the folder of the tuning that this process runs a trial of with Ray Tune."""
    tune: Any = sys.modules.get("ray.tune")
    context = tune.get_context() if hasattr(tune, "get_context") else None
    return Path(context.get_storage().experiment_fs_path) if context and context.get_trial_id() else None


def _places(trainer: BaseTrainer) -> tuple[Path, ...]:
    # The second if the folder was copied to another place: Ultralytics goes on in the old one, if not told otherwise.
    places = Path(trainer.save_dir).absolute(), releases.resumed_from(trainer).absolute().parent.parent
    return tuple(place for place in dict.fromkeys(places) if not overwritten.holds_another(place))


def _parent() -> Parent | None:
    try:
        experiment = ray_experiment()
        return parents.saved_to(experiment) if experiment else parents.current()
    except (JournalError, OSError) as error:
        LOGGER.warning(f"tracking-hooks: recorded on its own, without the tuning that it belongs to: {error}")
        return None
