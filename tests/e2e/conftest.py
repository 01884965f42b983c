"""Real trainings in processes of their own, and readers of what the trackers then hold."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import forking
from tracking_hooks.cli.shapes import make_shapes
from tracking_hooks.run import journal, layout

BIN = Path(sys.executable).parent
PATIENCE = 240.0  # seconds until an awaited event counts as never coming

_NOT_INHERITED = ("TRACKING_HOOKS", "MLFLOW", "WANDB", "PYTEST", "GITHUB")


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data") / "shapes", train=32, val=8)


def await_(condition: Callable[[], Any], what: str) -> Any:
    """Look again until a condition holds; its value is returned."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.05)
    return value


@pytest.fixture(name="await_")
def _await() -> Callable[..., Any]:
    return await_


class Home:
    """A user's machine: a home folder, a working directory, and what was trained there."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        self.data = data
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        self.env = {
            # Ultralytics' own integrations switch themselves off where they see pytest or GitHub's runners.
            **{name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)},
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "YOLO_CONFIG_DIR": str(folder / "yolo"),
            "YOLO_OFFLINE": "true",
            "YOLO_AUTOINSTALL": "false",
            "OMP_NUM_THREADS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }
        self.forks = True
        """Whether trainings may be forked from a process that has imported PyTorch: see ``forking``."""
        self.processes: list[subprocess.Popen[str]] = []

    @property
    def python(self) -> str:
        return sys.executable

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
            for call in self.calls():
                if call.hook == hook and all(call.args.get(name) == value for name, value in args.items()):
                    return call
            return None

        return await_(find, f"{hook} {args}")

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


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> Path:
    """Ultralytics' settings file with its own integrations switched off that import a lot in each training."""
    home = Home(tmp_path_factory.mktemp("settings"), shapes)
    home.run([str(BIN / "yolo"), "settings", "mlflow=False", "raytune=False"])
    return home.folder / "yolo"


@pytest.fixture
def home(tmp_path: Path, shapes: Path, settings: Path, database: Path) -> Iterator[Home]:
    """A machine where Ultralytics' own MLflow integration is switched off, so that what is imported is ours.

    MLflow's store in the working directory exists already, as it does from the second run on.
    """
    home = Home(tmp_path / "home", shapes)
    shutil.copytree(settings, home.folder / "yolo")
    shutil.copy(database, home.work)
    yield home
    home.close()


@pytest.fixture
def fresh_home(tmp_path: Path, shapes: Path) -> Iterator[Home]:
    """A machine as Ultralytics sets it up: its own MLflow integration is on where mlflow is installed; no store."""
    home = Home(tmp_path / "fresh home ü", shapes)
    home.forks = False  # what happens when Python starts is a part of it
    yield home
    home.close()


class MLflowReader:
    """What an MLflow store holds."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)

    def runs(self) -> list[Any]:
        ids = [experiment.experiment_id for experiment in self.client.search_experiments()]
        return list(self.client.search_runs(ids))

    def only_run(self) -> Any:
        (run,) = self.runs()
        return run

    def history(self, run: Any, key: str) -> list[tuple[int, float]]:
        history = self.client.get_metric_history(run.info.run_id, key)
        return sorted((metric.step, metric.value) for metric in history)

    def text(self, run: Any, name: str) -> str:
        return Path(self.client.download_artifacts(run.info.run_id, name)).read_text(encoding="utf-8")

    def artifacts(self, run: Any, path: str | None = None) -> set[str]:
        found: set[str] = set()
        for item in self.client.list_artifacts(run.info.run_id, path):
            found |= self.artifacts(run, item.path) if item.is_dir else {item.path}
        return found


def scalars(logdir: Path) -> dict[str, list[tuple[int, float]]]:
    """Read all scalars of a TensorBoard folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(logdir), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


@pytest.fixture(name="scalars")
def _scalars() -> Callable[[Path], dict[str, list[tuple[int, float]]]]:
    return scalars


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def start_server(home, port, await_, database):
    """Start a real MLflow server, on the port that was free."""
    servers = []
    shutil.copy(database, home.folder / "server.db")

    def start():
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{home.folder / 'server.db'}"]
        command += ["--serve-artifacts", "--artifacts-destination", str(home.folder / "artifacts")]
        log = (home.folder / "server.log").open("w")
        env = {**home.env, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        servers.append(server)
        await_(lambda: healthy(port), "the server's health")

    yield start
    for server in servers:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
            return True
    except OSError:
        return False
