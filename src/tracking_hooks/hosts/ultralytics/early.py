"""Reads the configuration before a trainer, or a tuner, makes its folder and prints its arguments."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import RANK

from tracking_hooks.recording import configuration
from tracking_hooks.recording.configuration import Configuration
from tracking_hooks.recording.errors import raise_alone
from tracking_hooks.settings import ConfigurationError

_read: weakref.WeakKeyDictionary[Any, Configuration] = weakref.WeakKeyDictionary()
# Module state, since a trainer that is not constructed yet has no other place for it.


def construct(original: Callable[..., None], trainer: Any, *args: Any, **kwargs: Any) -> None:
    """Construct a trainer or a tuner (``BaseTrainer.__init__``), unless the configuration is at fault.

    :raises ConfigurationError: if it is; nothing was made or printed then
    """
    if RANK in (-1, 0):
        _check(trainer)
    original(trainer, *args, **kwargs)


def configuration_of(trainer: BaseTrainer) -> Configuration | None:
    """Return what was read for a trainer: once, since a rule's class is the user's."""
    return _read.pop(trainer, None)


def _check(trainer: Any) -> None:
    try:
        if found := configuration.read():
            _read[trainer] = found
    except ConfigurationError as error:
        raise_alone(error)
    except Exception:  # noqa: BLE001, S110 whoever attaches to the trainer meets it again, and says so
        pass
