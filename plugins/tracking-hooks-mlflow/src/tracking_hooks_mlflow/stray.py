"""Runs that MLflow has opened by itself while we recorded a training: nobody has chosen them for the next one.

A call such as ``mlflow.log_metric()`` opens a run if none is active, and leaves it active.
"""

from __future__ import annotations

import sys
import threading
from typing import Any


class _Thread(threading.local):
    """What is known of this thread: MLflow's active run is one of a thread."""

    def __init__(self) -> None:
        self.had_none = False
        """Whether no run was open as its training began."""
        self.strays: set[str] = set()


_thread = _Thread()
# Module state, since the beginning and the end of a training come by calls that share nothing else.


def imported_by_user() -> Any:
    """Return MLflow if the user's code has imported it (and not just a folder of that name)."""
    module = sys.modules.get("mlflow")
    return module if hasattr(module, "active_run") else None


def open_run() -> Any:
    """Return the run that the user's script has open, if it has opened it."""
    mlflow = imported_by_user()
    active = mlflow.active_run() if mlflow else None
    return None if active is None or active.info.run_id in _thread.strays else active


def training_begins() -> None:
    """Note whether a run is open."""
    _thread.had_none = open_run() is None


def training_is_over() -> None:
    """Note the run that was opened meanwhile."""
    if _thread.had_none and (opened := open_run()):
        _thread.strays.add(opened.info.run_id)
    _thread.had_none = False
