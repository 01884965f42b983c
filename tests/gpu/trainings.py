"""Trains in processes of their own, on a machine that is set up for it, and keeps what each has told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tracking_hooks.cli.shapes import make_shapes

ROOT = Path(__file__).parents[2]
_TIMEOUT = 900


@dataclass(frozen=True)
class Variant:
    """How a training is tracked."""

    name: str
    tracked: bool = False
    variables: tuple[tuple[str, str], ...] = ()
    looks: bool = False
    """Whether our callbacks are watched, which takes time."""
    runs_short: bool = False
    """Whether it runs out of memory in its first epoch."""


BARE, BARE_AGAIN = Variant("bare"), Variant("bare, again")
TRACKED = Variant("tracked", tracked=True)
EACH_BATCH = Variant("tracked, each batch", tracked=True, variables=(("TRACKING_HOOKS_BATCH_EVERY", "1"),))
WATCHED = replace(EACH_BATCH, name="tracked, each batch, watched", looks=True)
ALL = Variant(
    "tracked, each batch, histograms, graph", tracked=True, looks=True,
    variables=(
        ("TRACKING_HOOKS_BATCH_EVERY", "1"), ("TRACKING_HOOKS_HISTOGRAMS", "on"), ("TRACKING_HOOKS_GRAPH", "on"),
    ),
)  # fmt: skip
OUT_OF_MEMORY = Variant("tracked, out of memory in the first epoch", tracked=True, runs_short=True)


@dataclass(frozen=True)
class Done:
    """What a training has told."""

    batches: list[list[float]]
    """Microseconds from the beginning of a batch to that of the next one, in each epoch that was begun."""
    weights: str
    amp: bool
    batch: int
    calls: int
    """Calls of our callbacks."""
    waits: list[dict[str, Any]]
    """Those of them that have waited for the device."""
    save_dir: Path


class Trainings:
    """A machine to train on. What a training leaves stays until the folder is removed."""

    def __init__(self, folder: Path, device: str, *, quick: bool) -> None:
        """Draw the images to train with.

        :param quick: train as little as shows that everything works
        """
        self.device, self._quick = device, quick
        self.trackers = ",".join(name for name in ("tensorboard", "mlflow") if find_spec(f"tracking_hooks_{name}"))
        self._folder = folder
        self._count = 0
        self._data = make_shapes(folder / "shapes", train=16 if quick else 2048, val=8 if quick else 64)

    @property
    def epochs(self) -> int:
        return 2 if self._quick else 4

    @property
    def batch(self) -> int:
        return 4 if self._quick else 64

    def train(self, variant: Variant) -> Done:
        """Train once.

        :raises RuntimeError: with the output, if that fails
        """
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        if self._quick:
            shutil.copy(ROOT / "tests/data/yolo26n.yaml", folder)  # a network of few layers
        said = self._run(folder, variant)
        told = next(json.loads(line) for line in reversed(said.splitlines()) if line.startswith('{"batches"'))
        return Done(**told, save_dir=folder / "runs/train")

    def _run(self, folder: Path, variant: Variant) -> str:
        told = {
            "arguments": self._arguments(folder), "device": self.device, "looks": variant.looks,
            "runs_short": variant.runs_short,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "tests.gpu.trainer", json.dumps(told)],
            cwd=folder, env=self._environment(folder, variant), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, encoding="utf-8", timeout=_TIMEOUT, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"the training “{variant.name}” ends with {done.returncode}:\n{done.stdout[-5000:]}")
        return done.stdout

    def _environment(self, folder: Path, variant: Variant) -> dict[str, str]:
        ours = ("TRACKING_HOOKS", "MLFLOW")
        of_user = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {
            **of_user,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "YOLO_CONFIG_DIR": str(self._folder / "yolo"), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false",
            "XDG_STATE_HOME": str(self._folder / "state"), "XDG_CACHE_HOME": str(self._folder / "cache"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "MLFLOW_DISABLE_TELEMETRY": "true",
            "TRACKING_HOOKS": self.trackers if variant.tracked else "none",
            "TRACKING_HOOKS_SYSTEM_EVERY": "0.1" if self._quick else "1",
            "TRACKING_HOOKS_WAIT": "train", "TRACKING_HOOKS_EXIT_WAIT": "120",
            "TRACKING_HOOKS_READY_WAIT": "120",
            **dict(variant.variables),
        }  # fmt: skip

    def _arguments(self, folder: Path) -> dict[str, Any]:
        on_cpu = self.device == "cpu"
        # On a GPU, a batch of small images fits into what PyTorch holds anyway, so that none would not fit.
        small = 32 if on_cpu else 1280
        return {
            "model": "yolo26n.yaml", "data": str(self._data), "epochs": self.epochs, "device": self.device,
            "imgsz": small if self._quick else 320, "batch": self.batch, "workers": 0 if on_cpu else 8,
            "cache": "ram", "amp": True, "plots": False, "seed": 0, "deterministic": True, "val": True,
            "project": str(folder / "runs"), "name": "train", "patience": 0,
        }  # fmt: skip
