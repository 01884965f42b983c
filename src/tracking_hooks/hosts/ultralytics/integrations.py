"""Ultralytics' own integrations for trackers: kept out of a training that a plugin records, or kept from ending it."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ultralytics import utils
from ultralytics.engine.trainer import BaseTrainer

from tracking_hooks.hosts.ultralytics.guard import guard

MODULES = "ultralytics.utils.callbacks."

_SETTINGS = {"wb": "wandb"}
"""Where the setting that switches an integration on has another name than its module."""

_standing_in = threading.RLock()


class _Empty(ModuleType):
    """Stands in for an integration, and notes whether it was asked for its callbacks."""

    was_asked = False

    @property
    def callbacks(self) -> dict[str, Any]:
        """The callbacks of the integration: none."""
        self.was_asked = True
        return {}


@contextmanager
def kept_out(names: Collection[str]) -> Iterator[list[str]]:
    """Keep Ultralytics, which adds its integrations meanwhile, from importing some: that would import their trackers.

    An integration that is imported already stays what it is; see ``take_off``.

    :returns: when this is over, those that Ultralytics would have added
    """
    asked_for: list[str] = []
    with _standing_in:  # else another trainer would take ours for the real ones
        ours = {name: _Empty(MODULES + name) for name in names if MODULES + name not in sys.modules}
        sys.modules.update({module.__name__: module for module in ours.values()})
        try:
            yield asked_for
        finally:
            for module in ours.values():
                _remove(module)
    asked_for += [name for name, module in ours.items() if module.was_asked and _is_on(name)]


def _remove(module: ModuleType) -> None:
    parent, _, name = module.__name__.rpartition(".")
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]
    if getattr(sys.modules.get(parent), name, None) is module:
        delattr(sys.modules[parent], name)


def _is_on(name: str) -> bool:
    """Whether the user's settings switch an integration on: older releases import all, and ask the setting in there."""
    return bool(utils.SETTINGS.get(_SETTINGS.get(name, name), True))


def take_off(trainer: BaseTrainer, names: Collection[str]) -> list[str]:
    """Take integrations off this trainer that were imported before; return those that were there."""
    modules = {f"{MODULES}{name}": name for name in names}
    found = []
    for event, listeners in trainer.callbacks.items():
        found += [modules[listener.__module__] for listener in listeners if listener.__module__ in modules]
        trainer.callbacks[event] = [listener for listener in listeners if listener.__module__ not in modules]
    return list(dict.fromkeys(found))


def keep_from_ending(trainer: BaseTrainer, names: Collection[str]) -> None:
    """Turn what integrations raise into warnings, one for each of their callbacks."""
    modules = {f"{MODULES}{name}" for name in names}
    for event, listeners in trainer.callbacks.items():
        trainer.callbacks[event] = [
            _guarded(listener) if listener.__module__ in modules else listener for listener in listeners
        ]


def _guarded(listener: Callable[[Any], None]) -> Callable[[Any], None]:
    name = f"{listener.__module__.removeprefix(MODULES)}.{listener.__name__} of Ultralytics' own integration"
    has_failed = False

    @functools.wraps(listener)
    def callback(trainer: Any) -> None:
        nonlocal has_failed
        try:
            listener(trainer)
        except Exception:
            if not has_failed:
                has_failed = True
                with guard(name):
                    raise

    return callback


def say_if_none_is_added(trainer: BaseTrainer) -> None:
    """Say that a trainer has none of them: Ultralytics tells trainers by the names of their classes."""
    name = type(trainer).__name__
    if "Trainer" not in name:
        utils.LOGGER.info(
            f"tracking-hooks: {name} is tracked, but has none of Ultralytics' own integrations (Ray Tune, W&B, …): they"
            ' are added only to a class with "Trainer" in its name'
        )
