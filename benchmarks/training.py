"""Trainings side by side: without tracking, with Ultralytics' own integrations, with ours.

Bare is: ``TRACKING_HOOKS`` unset, and all of Ultralytics' integrations off, in a settings folder of the benchmark's
own. Theirs are switched on there. So is their ``mlflow`` where ours stands in for it: it is on by default.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.group import ROOT, Group
from benchmarks.line import Line
from benchmarks.processes import end_all
from benchmarks.server import make_database, server
from tracking_hooks.cli.shapes import make_shapes

LATENCY = 0.1
"""Seconds that a line adds to each request."""

_SETTINGS = """
import sys
from ultralytics import settings
on = sys.argv[1:]
names = [name for name, value in settings.items() if isinstance(value, bool)]
settings.update({name: name in on for name in names})
"""


@dataclass(frozen=True)
class Variant:
    """How a training is tracked."""

    name: str
    ours: str = ""
    """``TRACKING_HOOKS``."""
    theirs: tuple[str, ...] = ()
    """Which of Ultralytics' integrations are on."""
    mlflow: Literal["", "sqlite", "near", "slow", "silent"] = ""
    """Where MLflow keeps its runs; ``silent``: a server that answers nothing from the third epoch on."""
    variables: tuple[tuple[str, str], ...] = ()
    plots: bool = False
    is_first: bool = False
    """Whether it is the first training in an environment: with nothing in the user's cache."""


ALL = "mlflow,tensorboard,wandb"
BARE, BARE_AGAIN = Variant("bare"), Variant("bare, again")


@dataclass(frozen=True)
class Done:
    """What became of a training; moments are those of ``time.monotonic``."""

    started: float
    first_batch: float
    begin: float
    end: float
    exited: float
    cpu: float
    blocked: list[list[float]]
    """For each epoch, how long each callback of the tracker took."""
    peak: int
    requests: list[list[float]]


class Trainings:
    """Trains in turn; whatever one of them leaves behind is gone before the next one."""

    def __init__(self, group: Group, near: Callable[[], str], images: int) -> None:
        self._group, self._near = group, near
        self._folder = group.folder / "trainings"
        self._folder.mkdir()
        self._on_gpu = group.options.device != "cpu"
        self._data = make_shapes(self._folder / "shapes", train=images * (16 if self._on_gpu else 1), val=16)
        self._settings: dict[tuple[str, ...], Path] = {}
        self._database = self._folder / "mlflow.db"

    def epochs_of(self, seconds: float) -> int:
        """Return how many epochs of a bare training take that long."""
        if self._group.options.quick:
            return 4
        done = self.train(BARE, epochs=4)
        return max(4, round(seconds / ((done.end - done.begin) / 4)))

    def train(self, variant: Variant, *, epochs: int) -> Done:
        """Train once."""
        folder = self._folder / "one"
        folder.mkdir()
        if self._group.options.quick:
            shutil.copy(ROOT / "tests/data/yolo26n.yaml", folder)  # of few layers
        user = folder / "first" if variant.is_first else self._folder
        silence = folder / "silent"
        environment = {
            **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "YOLO_CONFIG_DIR": str(self._settings_folder(variant)), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false",
            "XDG_STATE_HOME": str(user / "state"), "XDG_CACHE_HOME": str(user / "cache"),
            "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 2) - 1)),
            **dict(variant.variables),
        }  # fmt: skip
        if variant.ours:
            environment["TRACKING_HOOKS"] = variant.ours
        with self._mlflow(variant, folder, silence) as (uri, requests):
            if uri:
                environment["MLFLOW_TRACKING_URI"] = uri
            command = [sys.executable, "-m", "benchmarks.trainer"]
            command.append(json.dumps([self._arguments(folder, variant, epochs), str(silence)]))
            started = time.monotonic()
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            output, _ = process.communicate()
            exited = time.monotonic()
            if process.returncode:
                raise SystemExit(f"{variant.name}: exit code {process.returncode}\n{output[-5000:]}")
            # The next training shall not feel what this one has started.
            end_all(folder, patience=0.0 if variant.mlflow == "silent" else 120.0)
        told = next(line for line in output.splitlines() if line.startswith('{"first_batch"'))
        shutil.rmtree(folder)
        return Done(started=started, exited=exited, requests=requests, **json.loads(told))

    def _arguments(self, folder: Path, variant: Variant, epochs: int) -> dict[str, Any]:
        size, batch = (320, 64) if self._on_gpu else (32, 16)
        return {
            "model": "yolo26n.yaml", "data": str(self._data), "epochs": epochs, "imgsz": size, "batch": batch,
            "device": self._group.options.device, "workers": 4 if self._on_gpu else 0, "amp": False,
            "plots": variant.plots, "seed": 0, "project": str(folder / "runs"), "name": "train", "patience": 0,
        }  # fmt: skip

    @contextmanager
    def _mlflow(self, variant: Variant, folder: Path, silence: Path) -> Iterator[tuple[str, list[list[float]]]]:
        """Return where MLflow keeps this run, and the list of requests, which is filled."""
        if variant.mlflow in {"", "near"}:
            yield self._near() if variant.mlflow else "", []
        elif variant.mlflow == "sqlite":
            if not self._database.exists():
                make_database(self._database)
            yield f"sqlite:///{shutil.copy(self._database, folder / 'mlflow.db')}", []
        else:
            is_silent = variant.mlflow == "silent"
            line = Line(self._near(), latency=0 if is_silent else LATENCY, silent_from=silence if is_silent else None)
            with line.open() as address:
                yield address, line.requests

    def _settings_folder(self, variant: Variant) -> Path:
        on = ("mlflow",) if "mlflow" in variant.ours else variant.theirs
        if on not in self._settings:
            self._settings[on] = settings_folder(self._folder / f"settings-{len(self._settings)}", on)
        return self._settings[on]


def settings_folder(folder: Path, on: tuple[str, ...]) -> Path:
    """Make a settings folder of Ultralytics in which these of its integrations are on, and no others."""
    folder.mkdir()
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true"}
    command = [sys.executable, "-c", _SETTINGS, *on]
    subprocess.run(command, env=environment, check=True, capture_output=True, cwd=folder)
    return folder


@contextmanager
def trainings(group: Group, *, images: int) -> Iterator[Trainings]:
    """Return what trains, with an MLflow server of its own beside it as soon as one is needed."""
    with ExitStack() as stack:
        near = functools.cache(lambda: stack.enter_context(server(group.folder / "server")))
        yield Trainings(group, near, images)
