"""The process that delivers: what W&B's client is told there, and its folder for the time being."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import wandb

from tracking_hooks.events import Destination

if not hasattr(wandb.Settings, "model_fields"):  # as old are those that end a run when another one begins
    raise ImportError(f"wandb {wandb.__version__} cannot have several runs in a process")

# These would replace the destination that was recorded when the training started.
_NOTED_DOWN = [
    "WANDB_DIR", "WANDB_ENTITY", "WANDB_JOB_TYPE", "WANDB_MODE", "WANDB_NAME", "WANDB_NOTES", "WANDB_PROJECT",
    "WANDB_RESUME", "WANDB_RUN_GROUP", "WANDB_RUN_ID", "WANDB_SERVICE", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH",
    "WANDB_TAGS",
]  # fmt: skip

SETTINGS: dict[str, Any] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "save_code": False,
    "silent": True,
    "symlink": False,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_viewer": True,
    "x_save_requirements": False,
    # Every wait has a limit.
    "init_timeout": 15.0,
    "finish_timeout": 60.0,
    "finish_timeout_raises": True,
    "x_file_stream_timeout_seconds": 30.0,
    "x_graphql_timeout_seconds": 20.0,
    # Short, like the relay's own back-off, to notice soon that the service is back.
    "x_file_stream_retry_wait_max_seconds": 15.0,
    "x_file_transfer_retry_wait_max_seconds": 15.0,
    "x_graphql_retry_wait_max_seconds": 15.0,
}
"""The client collects nothing about this process. Settings that a release lacks are left out."""


def settings(stop_asked: threading.Event, more: Mapping[str, Any]) -> wandb.Settings:
    """Return the client's settings.

    :param stop_asked: is set when somebody presses "Stop run" on W&B's page
    """

    def stop() -> None:  # a plain function, since settings are copied, and an Event cannot be
        stop_asked.set()

    given = {**SETTINGS, "stop_fn": stop, **more}
    return wandb.Settings(**{name: value for name, value in given.items() if name in wandb.Settings.model_fields})


def new_scratch(key: str) -> Path:
    """Create a folder for the client's own files, and remove those that dead processes have left.

    :param key: stands for the destination
    """
    prefix = f"tracking-hooks-wandb-{key}-"
    for old in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        pid = old.name.removeprefix(prefix).partition("-")[0]
        if not (pid.isdecimal() and psutil.pid_exists(int(pid))):
            shutil.rmtree(old, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)  # for a run that is still open at that moment
    return scratch


def point_to(destination: Destination) -> None:
    """Have the client speak to the recorded server, and forget what this process was told of runs."""
    for name in _NOTED_DOWN:
        os.environ.pop(name, None)
    os.environ.pop("WANDB_BASE_URL", None)
    if destination.get("base_url"):
        os.environ["WANDB_BASE_URL"] = destination["base_url"]


def prepare(destination: Destination, scratch: Path) -> None:
    """Set the variables that the client reads."""
    point_to(destination)
    # Copies of uploads, which the client would otherwise keep in the user's home.
    os.environ["WANDB_DATA_DIR"] = str(scratch / "data")
    os.environ["WANDB_CACHE_DIR"] = str(scratch / "cache")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    logging.getLogger("wandb").propagate = False  # otherwise it prints each step
