"""Which run an Ultralytics training is: a new one, one that is gone on with, a trial of a tuning."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import msgspec
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER, RANK

from tracking_hooks import plugins, projectfile, redact
from tracking_hooks.control import rules
from tracking_hooks.events import Capture, Environment, Params, Run
from tracking_hooks.recording import parents, resumption
from tracking_hooks.recording.environment import describe
from tracking_hooks.recording.parents import Parent
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.recording.resumption import Earlier
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import new_uid
from tracking_hooks.settings import ConfigurationError, Settings, read_settings

LAUNCHED = "TRACKING_HOOKS_LAUNCHED"
"""What the process that launches distributed workers has noted down for them."""

_PACKAGES = (
    "ultralytics", "torch", "torchvision", "numpy", "opencv-python", "opencv-python-headless", "tracking-hooks"
)  # fmt: skip


class Launch(msgspec.Struct, frozen=True):
    """What only the launching process knows: the user's script runs there, which may have a run of its own open."""

    uid: str
    captures: dict[str, Capture]
    argv: list[str]


class Tracking(msgspec.Struct, frozen=True, kw_only=True):
    """A run, and how it is tracked."""

    run: Run
    settings: Settings
    captures: dict[str, Capture]
    rules: list[tuple[str, Any]]
    """What is asked for actions: as ``Control`` takes it."""
    environment: Environment
    earlier: Earlier | None = None
    home: Path | None = None
    is_ray_trial: bool = False

    @classmethod
    def of(cls, trainer: BaseTrainer, devices: list[str]) -> Tracking | None:
        """Read the configuration for a training; None if it asks for no tracker.

        :raises ConfigurationError: if it is at fault
        """
        return cls.of_run(describe_run(trainer), devices, _places(trainer) if trainer.resume else ())

    @classmethod
    def of_run(cls, run: Run, devices: list[str], resumed_from: tuple[Path, ...] = ()) -> Tracking | None:
        """Read the configuration for a run.

        :param resumed_from: the folders where the run may be that this one goes on with
        :raises ConfigurationError: if it is at fault
        """
        settings = read_settings(project=projectfile.read(Path.cwd()))
        names = plugins.select(settings.selection, plugins.installed())
        if not names and (settings.selection or not settings.rules()):  # "off" is off for rules, too
            return None
        sides = plugins.load_trainer_sides(names)
        control = [*rules.build(settings.rules()), *((name, side) for name, side in sides.items() if side)]
        parent = _parent()
        if parent:
            name = parents.trial_name(run.name)
            run = msgspec.structs.replace(run, name=name, project=parent.run.project, parent=parent.run.uid)
        run = msgspec.structs.replace(run, tags=redact.values(settings.tags_dict()))
        launch = _launch()
        if launch:
            run = msgspec.structs.replace(run, uid=launch.uid)
        earlier = _earlier(run, resumed_from) if resumed_from else None
        run = earlier.run if earlier else run
        captures = launch.captures if launch else plugins.capture(sides, run, parent.destinations if parent else {})
        environment = describe(_PACKAGES, devices)
        if launch:
            environment = msgspec.structs.replace(environment, argv=launch.argv)
        return cls(
            run=run,
            settings=settings,
            captures=captures,
            rules=control,
            environment=environment,
            earlier=earlier,
            home=parent.folder.path.parent if parent else None,
            is_ray_trial=_ray_experiment() is not None,
        )

    def start(self, params: Params) -> Recorder:
        """Begin to record.

        :raises ConfigurationError: if the run's files cannot be made
        """
        return Recorder.start(
            self.run,
            self.captures,
            self.settings,
            LOGGER,
            params=params,
            environment=self.environment,
            earlier=self.earlier,
            home=self.home,
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
    return new_run(trainer.args, save_dir, str(trainer.args.name or save_dir.name))


def raise_alone(error: ConfigurationError) -> None:
    """Raise a configuration error so that, if nobody catches it, its message is all that is printed."""
    previous = sys.excepthook

    def print_message(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        if value is error:
            print(f"tracking-hooks: {error}", file=sys.stderr)  # noqa: T201 it is the end of the program
        else:
            previous(kind, value, trace)

    sys.excepthook = print_message
    raise error from None


def _places(trainer: BaseTrainer) -> tuple[Path, ...]:
    # The second if the folder was copied to another place: Ultralytics goes on in the old one, if not told otherwise.
    return Path(trainer.save_dir).absolute(), Path(trainer.args.resume).absolute().parent.parent


def _launch() -> Launch | None:
    text = os.environ.get(LAUNCHED) if RANK == 0 else None
    return msgspec.json.decode(text, type=Launch) if text else None


def _parent() -> Parent | None:
    try:
        experiment = _ray_experiment()
        return parents.saved_to(experiment) if experiment else parents.current()
    except (JournalError, OSError) as error:
        LOGGER.warning(f"tracking-hooks: recorded on its own, without the tuning that it belongs to: {error}")
        return None


def _ray_experiment() -> Path | None:
    """Return the folder of the tuning that this process runs a trial of with Ray Tune."""
    tune: Any = sys.modules.get("ray.tune")
    context = tune.get_context() if hasattr(tune, "get_context") else None
    return Path(context.get_storage().experiment_fs_path) if context and context.get_trial_id() else None


def _earlier(run: Run, places: tuple[Path, ...]) -> Earlier | None:
    try:
        earlier = resumption.find(run, places)
    except (JournalError, OSError) as error:
        LOGGER.warning(f"tracking-hooks: the run that is resumed cannot be read, this is a new one: {error}")
        return None
    if earlier is None:
        LOGGER.warning("tracking-hooks: no tracked run is found that this one goes on with: it is a new one")
    return earlier
