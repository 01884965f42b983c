"""A user's machine: real trainings in processes of their own, and what they left."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support import forking
from tests.support.mlflow import MLflowReader
from tests.support.processes import PATIENCE, wait_for
from tracking_hooks.run import journal, layout, state

BIN = Path(sys.executable).parent

_FEW_LAYERS = Path(__file__).parents[1] / "data/yolo26n.yaml"
_NOT_INHERITED = ("TRACKING_HOOKS", "MLFLOW", "WANDB", "PYTEST", "GITHUB")


class Home:
    """A user's machine: a home folder, a working directory, and what was trained there.

    The network that is trained in the working directory has few layers: what is told of a training does not depend
    on their number, and to build, train and save Ultralytics' own takes three times as long.
    """

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        self.data = data
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        shutil.copy(_FEW_LAYERS, self.work)
        self.env = {
            # Ultralytics' own integrations switch themselves off where they see pytest or GitHub's runners.
            **{name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)},
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "YOLO_CONFIG_DIR": str(folder / "yolo"),
            "YOLO_OFFLINE": "true",
            "YOLO_AUTOINSTALL": "false",
            "OMP_NUM_THREADS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # What a training says of its delivery, it says of all of it, on a busy machine, too.
            "TRACKING_HOOKS_EXIT_WAIT": str(2 * PATIENCE),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }
        self.forks = True
        """Whether trainings may be forked from a process that has imported PyTorch: see ``forking``."""
        self.processes: list[subprocess.Popen[str]] = []

    @property
    def python(self) -> str:
        return sys.executable

    def take_the_real_network(self) -> None:
        """Train Ultralytics' own network from now on."""
        (self.work / _FEW_LAYERS.name).unlink()

    def copy_of_data(self, name: str) -> Path:
        """Return a data set of the same images under another name."""
        folder = self.work / name
        shutil.copytree(self.data.parent, folder)
        yaml = folder / self.data.name
        yaml.write_text(yaml.read_text().replace(str(self.data.parent), str(folder)))
        return yaml

    def arguments(self, **more: Any) -> dict[str, Any]:
        defaults = {
            "model": "yolo26n.yaml", "data": self.data, "epochs": 2, "imgsz": 32, "batch": 16, "device": "cpu",
            "workers": 0, "amp": False, "plots": False, "seed": 0, "project": self.work / "runs", "name": "train",
        }  # fmt: skip
        return {**defaults, **more}

    def yolo(self, **arguments: Any) -> list[str]:
        return [str(BIN / "yolo"), "detect", "train", *(f"{k}={v}" for k, v in self.arguments(**arguments).items())]

    def script(self, text: str = "", name: str = "train.py", **arguments: Any) -> list[str]:
        """Write a training script; ``text`` stands before ``model.train``, where ``model`` exists."""
        arguments = {k: str(v) if isinstance(v, Path) else v for k, v in self.arguments(**arguments).items()}
        weights = arguments.pop("model")
        lines = ["from ultralytics import YOLO", f"model = YOLO({weights!r})", text, f"model.train(**{arguments!r})"]
        (self.work / name).write_text("\n".join(lines) + "\n")
        return [sys.executable, name]

    def start(self, command: list[str], trackers: str | None = None, cwd: Path | None = None, **env: str) -> Any:
        if trackers is not None:
            env["TRACKING_HOOKS"] = trackers
        start = forking.start if self.forks else forking.start_anew
        process = start(command, env={**self.env, **env}, cwd=cwd or self.work)
        self.processes.append(process)
        return process

    def run(self, command: list[str], trackers: str | None = None, *, code: int = 0, **env: Any) -> str:
        process = self.start(command, trackers, **env)
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, output
        return output

    def runs(self) -> list[layout.RunFolder]:
        return layout.find_runs(self.folder)

    def run_folder(self) -> layout.RunFolder:
        (folder,) = self.runs()
        return folder

    def calls(self, folder: layout.RunFolder | None = None) -> list[journal.Call]:
        path = (folder or self.run_folder()).journal
        _, offset = journal.read_head(path)
        entries = list(journal.read(path, offset))
        assert all(entry.call for entry in entries), "the journal is damaged"
        return [entry.call for entry in entries if entry.call]

    def wait_for_call(self, hook: str, **args: Any) -> journal.Call:
        def find() -> journal.Call | None:
            if not self.runs():
                return None
            try:
                calls = self.calls()
            except journal.JournalError:
                return None  # its first line is just being written
            for call in calls:
                if call.hook == hook and all(call.args.get(name) == value for name, value in args.items()):
                    return call
            return None

        return wait_for(find, f"{hook} {args}")

    def wait_for_delivery(self) -> None:
        """Wait until every tracker has what it will have of every run, and no relay is there any more."""
        wait_for(lambda: not list(state.pending(self.runs())), "the delivery of everything")
        for run in self.runs():
            for label in state.labels(run):
                wait_for(lambda run=run, label=label: not state.has_relay(run, label), f"the end of {label}'s relay")

    def results(self, name: str = "train") -> dict[int, dict[str, float]]:
        """Return the rows of results.csv by epoch."""
        with (self.work / "runs" / name / "results.csv").open() as file:
            rows = [{key.strip(): float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        return {int(row.pop("epoch")): row for row in rows}

    def reader(self, uri: str | None = None) -> MLflowReader:
        """Read an MLflow store, by default the one that MLflow makes in the working directory."""
        return MLflowReader(uri or f"sqlite:///{self.work / 'mlflow.db'}")

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def scalars(logdir: Path) -> dict[str, list[tuple[int, float]]]:
    """Read all scalars of a TensorBoard folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(logdir), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}
