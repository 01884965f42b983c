"""Trains in the environment of a cell, without tracking and with it, and compares what the trackers hold."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.compat import comparison, environment, reading
from tests.compat.cells import PRESENT, Cell
from tests.compat.comparison import Differs
from tests.compat.environment import CannotBeHad
from tests.compat.results import NOT_TRIED, Result
from tests.support.home import Home
from tests.support.mlflow import mlflow_server
from tests.support.processes import NeverCame

_TIMEOUT = 600
_EPOCHS = 3
_OF_A_TRACEBACK = re.compile(r"[\w.]*(Error|Exception|Interrupt|Exit)\b.*")
_OURS = "tracking-hooks: "

_SCRIPT = """
import sys

from ultralytics import YOLO

try:
    from ultralytics.utils import SETTINGS
except ImportError:  # the first releases have them elsewhere
    SETTINGS = {{}}
of_ours = () if len(sys.argv) > 1 else ("mlflow", "tensorboard")  # else we have to keep them out
for name in ("clearml", "comet", "dvc", "hub", "neptune", "raytune", "sync", "wandb", *of_ours):
    if name in SETTINGS:
        SETTINGS.update({{name: False}})
if "wandb" not in SETTINGS:  # releases that use them wherever they are installed, and only some versions of them
    sys.modules.update(dict.fromkeys(("clearml", "ray", "wandb")))
YOLO({model!r}).train(**{arguments!r})
"""
_VERSIONS = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {"python": ".".join(map(str, sys.version_info[:3]))}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""
_COMMAND = "from tracking_hooks.cli import main; main()"
BESIDE = ("ultralytics", "torch", "numpy", "mlflow", "mlflow-skinny", "tensorboard", "wandb", "protobuf", "pluggy")
"""Packages whose versions are kept with a result."""


class Failed(Exception):
    """Says why a program failed."""


def run(cell: Cell, folder: Path, data: Path, *, untracked: bool = True) -> Result:
    """Train in a cell.

    :param folder: an empty one
    :param data: the ``data.yaml`` to train with
    :param untracked: whether to train without tracking first, and to compare that
    """
    try:
        target = environment.prepare(cell)
        place = _Place(cell, None if cell.serves else target, folder, data)
        versions = place.versions()
    except (CannotBeHad, Failed) as error:
        return Result(cell.package, cell.version, cell.name, bare=str(error), tracked=NOT_TRIED)
    told = {"python": versions.pop("python"), "beside": versions}
    is_named = cell.serves and cell.version != PRESENT
    version = cell.version if is_named else versions.get(cell.package, cell.version)
    bare = _why_not(place.train, "bare") if untracked else ""
    try:
        with place.store(target):
            place.train("tracked", cell.trackers)
            values = dict(place.compare("tracked", cell.trackers.split(",")))
    except (Failed, NeverCame, Differs) as error:
        why = str(error).strip().splitlines()[-1]  # of a server, its whole log comes before
        return Result(cell.package, version, cell.name, bare=bare, tracked=why, said=place.said, **told)
    return Result(cell.package, version, cell.name, bare=bare, values=values, **told)


class _Place:
    """A machine on which a cell is set up."""

    def __init__(self, cell: Cell, target: Path | None, folder: Path, data: Path) -> None:
        self._cell = cell
        self._home = Home(folder, data)
        self._home.forks = False  # what is swapped is found when Python starts
        self._home.take_the_real_network()  # the one of few layers learns too little
        self._home.env |= {
            "PYTHONPATH": environment.python_path(target),
            **(
                {"MLFLOW_TRACKING_URI": f"sqlite:///{self._home.work / 'mlflow.db'}"}
                if "mlflow" in cell.trackers
                else {}
            ),
            "TRACKING_HOOKS_WAIT": "train",
            **cell.env,
        }
        if cell.python:
            programs = Path(environment.interpreter(cell)).parent
            self._home.env["PATH"] = f"{programs}{os.pathsep}{self._home.env['PATH']}"
        self.said = ""
        """What we have said that is no report of a tracked training."""

    @contextmanager
    def store(self, target: Path | None) -> Iterator[None]:
        """Serve the store of MLflow for a while, where it is not a file; by what is swapped, if that serves.

        :raises NeverCame: if the server does not come up
        """
        if not (self._cell.serves or self._cell.package == "mlflow-skinny"):
            yield
            return
        path = environment.python_path(target if self._cell.serves else None)
        with mlflow_server(self._home.folder, within=("env", f"PYTHONPATH={path}")) as address:
            self._home.env["MLFLOW_TRACKING_URI"] = address
            yield

    def versions(self) -> dict[str, str]:
        names = dict.fromkeys((self._cell.package, *BESIDE))
        found: dict[str, str] = json.loads(self._python("-c", _VERSIONS, *names).splitlines()[-1])
        return found

    def train(self, name: str, trackers: str = "") -> None:
        """Train.

        :raises Failed: if that fails
        """
        arguments = {
            "data": str(self._home.data), "epochs": _EPOCHS, "imgsz": 64, "batch": 8, "device": "cpu", "workers": 0,
            "amp": False, "seed": 0, "plots": False, "mosaic": 0.0, "optimizer": "AdamW", "lr0": 0.005,
            "warmup_epochs": 1.0, "project": str(self._home.work / "runs"), "name": name,
        }  # fmt: skip
        script = self._home.work / f"{name}.py"
        script.write_text(_SCRIPT.format(model=self._cell.model, arguments=arguments), encoding="utf-8")
        start = self._cell.start if trackers else ()
        try:
            output = self._python(str(script), *([trackers] if trackers else []), start=start, trackers=trackers)
        except Failed as error:
            self.said = str(error).partition(_OURS)[2]
            raise Failed("stopped before it starts" if self.said else str(error)) from None
        ours = [line.partition(_OURS)[2] for line in output.splitlines() if _OURS in line]  # a bar may stand before it
        self.said = next((line for line in ours if line.startswith("not active")), "")
        if trackers and not (self._save_dir(name) / "tracking.json").exists():
            raise Failed("not tracked")

    def compare(self, name: str, trackers: list[str]) -> Iterator[tuple[str, int]]:
        """Yield how many values of ``results.csv`` each tracker has.

        :raises Failed: if one has not all of them, or others
        """
        table = self._table(name)
        if table != (untracked := self._table("bare")) and untracked:
            raise Failed("the training itself comes out differently")
        if not any(float(row.get("metrics/mAP50(B)", 0)) for row in table.values()):
            raise Failed("the mAP stays 0, which shows less than it should")
        if name not in self._python("-c", _COMMAND, "status", str(self._save_dir(name))):
            raise Failed("`tracking-hooks status` does not name the run")
        held = json.loads(self._python(reading.__file__, str(self._save_dir(name)), *trackers).splitlines()[-1])
        for tracker in trackers:
            if not held[tracker]["ended"]:
                raise Failed(f"{tracker}: the run has not ended")
            yield tracker, comparison.same(tracker, table, held[tracker]["curves"])

    def _save_dir(self, name: str) -> Path:
        return self._home.work / "runs" / name

    def _table(self, name: str) -> dict[int, dict[str, str]]:
        """Return the rows of ``results.csv`` without the clock, by epoch."""
        file = self._save_dir(name) / "results.csv"
        if not file.is_file():
            return {}
        return comparison.table(file)

    def _python(self, *arguments: str, start: tuple[str, ...] = (), trackers: str = "") -> str:
        environ = {**self._home.env, **({"TRACKING_HOOKS": trackers} if trackers else {})}
        try:
            done = subprocess.run(
                [*start, environment.interpreter(self._cell), *arguments],
                cwd=self._home.work, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                encoding="utf-8", timeout=_TIMEOUT, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Failed(f"takes more than {_TIMEOUT} seconds") from None
        if done.returncode:
            last = done.stdout.strip().rpartition("\n")[2]
            raise Failed((last if last.startswith(_OURS) else _reason(done.stdout)) or f"ends with {done.returncode}")
        return done.stdout


def _why_not(do: Any, *arguments: str) -> str:
    """Return why something fails; an empty text if it does not."""
    try:
        do(*arguments)
    except Failed as error:
        return str(error)
    return ""


def _reason(output: str) -> str:
    """Return the last error that a program has printed."""
    found = [line for line in output.splitlines() if _OF_A_TRACEBACK.match(line)]
    return found[-1][:200] if found else ""
