"""Track every training: a hook specification, a recorder, and relays that deliver.

Importing this package does nothing; each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracking_hooks.actions import Progress, SaveCheckpoint, ScaleLearningRate, Stop
    from tracking_hooks.autoload import attach
    from tracking_hooks.events import Capture, Rejected, Run, Unavailable
    from tracking_hooks.markers import hookimpl
    from tracking_hooks.pages import Page
    from tracking_hooks.recording.groups import group
    from tracking_hooks.recording.handle import (
        RunHandle,
        current_run,
        log,
        log_artifact,
        log_image,
        log_params,
        log_table,
        set_tags,
    )
    from tracking_hooks.settings import ConfigurationError

    __version__: str

__all__ = [
    "Capture",
    "ConfigurationError",
    "Page",
    "Progress",
    "Rejected",
    "Run",
    "RunHandle",
    "SaveCheckpoint",
    "ScaleLearningRate",
    "Stop",
    "Unavailable",
    "attach",
    "current_run",
    "group",
    "hookimpl",
    "log",
    "log_artifact",
    "log_image",
    "log_params",
    "log_table",
    "set_tags",
]

_HOMES = {
    "Capture": "events",
    "ConfigurationError": "settings",
    "Page": "pages",
    "Progress": "actions",
    "Rejected": "events",
    "Run": "events",
    "RunHandle": "recording.handle",
    "SaveCheckpoint": "actions",
    "ScaleLearningRate": "actions",
    "Stop": "actions",
    "Unavailable": "events",
    "attach": "autoload",
    "current_run": "recording.handle",
    "group": "recording.groups",
    "hookimpl": "markers",
    "log": "recording.handle",
    "log_artifact": "recording.handle",
    "log_image": "recording.handle",
    "log_params": "recording.handle",
    "log_table": "recording.handle",
    "set_tags": "recording.handle",
}


if not TYPE_CHECKING:  # to a type checker, a module with this function has every name that one can mistype

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            return version("tracking-hooks")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
