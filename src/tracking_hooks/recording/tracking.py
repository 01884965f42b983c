"""Which run a training is, and how it is tracked: a new one, one that is gone on with, a trial of a tuning."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tracking_hooks import plugins, redact
from tracking_hooks.events import Capture, Environment, Params, Plan, Run
from tracking_hooks.recording import configuration, parents, resumption
from tracking_hooks.recording.configuration import Configuration
from tracking_hooks.recording.environment import describe
from tracking_hooks.recording.parents import Parent
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.recording.resumption import Earlier
from tracking_hooks.run.journal import JournalError
from tracking_hooks.settings import Settings

LAUNCHED = "TRACKING_HOOKS_LAUNCHED"
"""What the process that launches distributed workers has noted down for the one that records."""


class Launch(msgspec.Struct, frozen=True):
    """What only the launching process knows: the user's script runs there, which may have a run of its own open."""

    uid: str
    captures: dict[str, Capture]
    argv: list[str]
    gflops_640: float | None = None
    """Of the network, as in ``Model``."""

    @classmethod
    def read(cls) -> Launch | None:
        """Return what the launcher of this process has noted down, if there is one."""
        text = os.environ.get(LAUNCHED)
        return msgspec.json.decode(text, type=cls) if text else None

    def hand_on(self) -> None:
        """Note it down for the processes that are started from now on."""
        os.environ[LAUNCHED] = msgspec.json.encode(self, enc_hook=str).decode()


class Tracking(msgspec.Struct, frozen=True, kw_only=True):
    """A run, and how it is tracked."""

    run: Run
    settings: Settings
    captures: dict[str, Capture]
    rules: list[tuple[str, Any]]
    """What is asked for actions: as ``Control`` takes it."""
    environment: Environment
    logger: logging.Logger
    earlier: Earlier | None = None
    home: Path | None = None

    @classmethod
    def of(
        cls,
        run: Run,
        logger: logging.Logger,
        *,
        devices: Sequence[str] = (),
        packages: Sequence[str] = (),
        resumed_from: Sequence[Path] = (),
        parent: Parent | None = None,
        launch: Launch | None = None,
        configured: Configuration | None = None,
    ) -> Tracking | None:
        """Read the configuration for a run; None if it asks for no tracker and no rule.

        :param run: as it would be if it were a new one
        :param logger: where the user reads what we have to say
        :param devices: what the training runs on
        :param packages: distributions whose versions are noted down
        :param resumed_from: the folders where the run may be that this one goes on with
        :param parent: the tuning or group that it is below; None: the group of this process, if there is one
        :param launch: what the process that launched this one knows
        :param configured: what was read earlier; None: it is read now
        :raises ConfigurationError: if the configuration is at fault
        """
        configured = configured or configuration.read()
        if configured is None:
            return None
        settings = configured.settings
        redact.learn(os.environ)
        parent = parent or parents.group()
        if not (launch or parent):  # these were told already
            for sentence in configured.doubts:
                logger.warning(f"tracking-hooks: {sentence}")
        run = parent.take_in(run) if parent else msgspec.structs.replace(run, group=settings.group or None)
        run = msgspec.structs.replace(run, tags=redact.values(settings.tags_dict()))
        environment = describe(packages, devices)
        if launch:
            run = msgspec.structs.replace(run, uid=launch.uid)
            environment = msgspec.structs.replace(environment, argv=launch.argv)
        earlier = _earlier(run, resumed_from, logger) if resumed_from else None
        run = earlier.run if earlier else run
        if launch:
            captures = launch.captures
        else:
            captures = plugins.of_parts(plugins.capture(configured.sides, run, parent.destinations if parent else {}))
        return cls(
            run=run,
            settings=settings,
            captures=captures,
            rules=configured.rules,
            environment=environment,
            logger=logger,
            earlier=earlier,
            home=parent.home if parent else None,
        )

    @classmethod
    def by(
        cls, run: Run, captures: dict[str, Capture], logger: logging.Logger, earlier: Earlier | None = None
    ) -> Tracking:
        """Track a run of which it is known where it is delivered to.

        :raises ConfigurationError: if the configuration is at fault
        """
        settings = configuration.read_all_settings()
        redact.learn(os.environ)
        return cls(
            run=run, settings=settings, captures=captures, rules=[], environment=describe((), ()), logger=logger,
            earlier=earlier,
        )  # fmt: skip

    def start(self, params: Params, plan: Plan) -> Recorder:
        """Begin to record.

        :param params: as far as known
        :raises ConfigurationError: if the run's files cannot be made
        """
        return Recorder.start(
            self.run,
            self.captures,
            self.settings,
            self.logger,
            params=params,
            environment=self.environment,
            plan=plan,
            earlier=self.earlier,
            home=self.home,
        )

    def launch(self) -> Launch:
        """Return what a process that launches distributed workers notes down for them."""
        return Launch(self.run.uid, self.captures, self.environment.argv)


def _earlier(run: Run, places: Sequence[Path], logger: logging.Logger) -> Earlier | None:
    try:
        earlier = resumption.find(run, places)
    except (JournalError, OSError) as error:
        logger.warning(f"tracking-hooks: the run that is resumed cannot be read, this is a new one: {error}")
        return None
    if earlier is None:
        logger.warning("tracking-hooks: no tracked run is found that this one goes on with: it is a new one")
    return earlier
