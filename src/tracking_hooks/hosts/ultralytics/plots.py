"""The plots that Ultralytics draws in threads of their own: which are there, and which are recorded."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from ultralytics.engine.trainer import BaseTrainer

from tracking_hooks.hosts.ultralytics.guard import guard
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import files


class Plots:
    """Records each plot once, and again when it was drawn anew."""

    def __init__(self, recorder: Recorder) -> None:
        """Record for a run."""
        self._recorder = recorder
        self._recorded: dict[Path, int] = {}  # to the time of its last change, in ns

    def record(self, trainer: BaseTrainer, epoch: int) -> None:
        """Record new plots, unless some are still being drawn: then at the next epoch's end."""
        if _drawing():
            return
        for path in [*trainer.plots, *getattr(trainer.validator, "plots", ())]:
            with guard(f"recording the plot {path}"):
                if path.is_file() and not self.is_recorded(path):
                    changed_at = path.stat().st_mtime_ns
                    save_dir = self._recorder.run.save_dir
                    artifact = files.artifact(self._recorder.folder, save_dir, path.absolute(), epoch)
                    self._recorder.record("on_artifact", artifact=artifact)
                    self._recorded[path] = changed_at

    def is_recorded(self, path: Path) -> bool:
        """Whether it is recorded as it is now."""
        return self._recorded.get(path) == path.stat().st_mtime_ns


def wait_until_drawn(timeout: float) -> None:
    """Wait until nothing is being drawn."""
    deadline = time.monotonic() + timeout
    for thread in _drawing():
        thread.join(max(0.0, deadline - time.monotonic()))


def _drawing() -> list[threading.Thread]:
    # Ultralytics draws in threads that are named after the function, as in "Thread-7 (plot_images)".
    return [thread for thread in threading.enumerate() if "(plot_" in thread.name]
