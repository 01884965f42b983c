"""Ultralytics' own integrations for trackers: taken off a training that a plugin records, or kept from ending it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

from ultralytics.engine.trainer import BaseTrainer

from tracking_hooks.hosts.ultralytics.guard import guard

MODULES = "ultralytics.utils.callbacks."


def take_off(trainer: BaseTrainer, names: Collection[str]) -> list[str]:
    """Take integrations off this trainer; return those that were there."""
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
