"""The stack of ``docker/compose.yaml``, brought up, and what it holds."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.stack.engine import ROOT, Engine, Podman, find
from tests.support import processes
from tests.support.processes import answers, free_port

PATIENCE = 300.0
"""Seconds until an awaited event counts as never coming."""

EXPERIMENT = "shapes"


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Look once a second until a condition holds: to ask Compose takes half a second of a processor.

    :raises NeverCame: if it never does
    """

    def look() -> bool:
        if condition():
            return True
        time.sleep(1)
        return False

    processes.wait_for(look, what, PATIENCE)


class Stack:
    """The services, under a project name of their own, on free ports of this machine."""

    def __init__(self, folder: Path) -> None:
        """Choose an engine and make secrets; see ``up``.

        :param folder: for secrets, backups, pictures and, with podman, images
        """
        self.folder = folder
        os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"] = "false"  # the bucket is out of reach from here
        self.mlflow_address = f"http://127.0.0.1:{(mlflow_port := free_port())}"
        self.tensorboard_address = f"http://127.0.0.1:{(tensorboard_port := free_port())}"
        settings = {
            "MLFLOW_PORT": str(mlflow_port), "TENSORBOARD_PORT": str(tensorboard_port),
            "SECRETS": str(folder / "secrets"), "EXPERIMENT": EXPERIMENT,
        }  # fmt: skip
        self.engine: Engine = find("tracking-hooks-proof", settings, folder / "images")
        self.engine.run(["docker/make-secrets", str(folder / "secrets")])

    def up(self, **settings: str) -> None:
        """Bring the services up and wait until all are healthy."""
        self.engine.up("mlflow", "tensorboard", **settings)
        self.wait_until_healthy()

    def down(self) -> None:
        """Remove the containers and all that they hold."""
        self.engine.compose("--profile", "demo", "--profile", "restore", "down", "--volumes", "--timeout", "5")

    def close(self) -> None:
        """End what was started; the containers are not."""
        self.engine.close()

    def wait_until_healthy(self) -> None:
        """Wait until the health checks of the compose file hold."""
        for service in ("database", "object-store", "mlflow", "tensorboard"):
            wait_for(lambda service=service: self._is_healthy(service), f"the health of {service}")
        for address in (f"{self.mlflow_address}/health", self.tensorboard_address):
            wait_for(lambda address=address: answers(address), address)

    def _is_healthy(self, service: str) -> bool:
        return self.engine.inspect(service, ".State.Health.Status") == "healthy"

    # -- trainings --------------------------------------------------------------------------------------------

    def start_training(self, name: str, epochs: int, **settings: str) -> None:
        """Start the trainer's container, as ``docker compose up trainer`` does."""
        self.engine.up("trainer", RUN_NAME=name, EPOCHS=str(epochs), **settings)

    def wait_for_epoch(self, name: str, epoch: int) -> None:
        """Wait until a running training has settled an epoch."""

        def settled() -> bool:
            assert self.is_training(), f"the training has ended: {self.log()}"
            return len(self.results(name)) >= epoch

        wait_for(settled, f"epoch {epoch} of {name}")

    def is_training(self) -> bool:
        """Whether the trainer's container runs."""
        return self.engine.inspect("trainer", ".State.Running") == "true"

    def wait_for_end(self) -> int:
        """Wait until the trainer's container has ended and return its exit code."""
        wait_for(lambda: not self.is_training(), "the end of the training")
        return int(self.engine.inspect("trainer", ".State.ExitCode"))

    def log(self) -> str:
        """Return the end of what the trainer printed."""
        return self.engine.compose("logs", "--no-color", "trainer", check=False)[-3000:]

    def file(self, path: str) -> str:
        """Return a text file of the runs' volume; empty if it is not there."""
        return self.engine.compose("exec", "-T", "tensorboard", "sh", "-c", f"cat /runs/{path} 2>/dev/null || true")

    def results(self, name: str) -> list[dict[str, float]]:
        """Return the rows of a training's results.csv."""
        rows = csv.DictReader(io.StringIO(self.file(f"shapes/{name}/results.csv")))
        return [{key.strip(): float(value) for key, value in row.items()} for row in rows]

    # -- what the trackers hold -------------------------------------------------------------------------------

    @property
    def client(self) -> MlflowClient:
        """A client of the server's API, from outside of the containers."""
        mlflow.set_tracking_uri(self.mlflow_address)
        return MlflowClient(self.mlflow_address)

    def runs(self) -> dict[str, Run]:
        """Return the runs by name."""
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        return {run.info.run_name: run for run in self.client.search_runs([experiment.experiment_id])}

    def curve(self, run: Run, key: str) -> list[tuple[int, float]]:
        """Return (epoch, value) of a metric, each as often as the server has it."""
        history = self.client.get_metric_history(run.info.run_id, key)
        return sorted((metric.step, metric.value) for metric in history)

    def artifacts(self, run: Run, path: str | None = None) -> dict[str, int]:
        """Return the sizes of a run's files."""
        found: dict[str, int] = {}
        for item in self.client.list_artifacts(run.info.run_id, path):
            found |= self.artifacts(run, item.path) if item.is_dir else {item.path: item.file_size}
        return found

    def digest(self, run: Run, path: str) -> str:
        """Return the SHA-256 of a file as the server gives it out."""
        content = Path(self.client.download_artifacts(run.info.run_id, path)).read_bytes()
        return hashlib.sha256(content).hexdigest()

    def sql(self, query: str) -> str:
        """Ask PostgreSQL, in its container."""
        psql = ["psql", "--host", "/var/run/postgresql", "--username", "mlflow", "--tuples-only", "--no-align"]
        return self.engine.compose("exec", "-T", "database", *psql, "--command", query, "mlflow").strip()

    def objects(self) -> dict[str, int]:
        """Return the sizes of the bucket's objects by key."""
        lines = self.engine.compose("exec", "-T", "mlflow", "bucket", "list", "mlflow").splitlines()
        return {key: int(size) for size, _, key in (line.partition(" ") for line in lines)}

    def tensorboard_curve(self, name: str, tag: str) -> list[tuple[int, float]]:
        """Return (epoch, value) of a scalar by TensorBoard's own API; empty if it does not know it."""
        query = urllib.parse.urlencode({"run": f"shapes/{name}", "tag": tag})
        try:
            with urllib.request.urlopen(f"{self.tensorboard_address}/data/plugin/scalars/scalars?{query}") as answer:
                return [(int(step), value) for _, step, value in json.load(answer)]
        except OSError:
            return []

    def snapshot(self) -> dict[str, Any]:
        """Return what the server has of each run: parameters, tags, every point, every file."""
        return {
            name: {
                "status": run.info.status,
                "params": run.data.params,
                "tags": run.data.tags,
                "curves": {key: self.curve(run, key) for key in run.data.metrics},
                "files": {path: self.digest(run, path) for path in self.artifacts(run)},
            }
            for name, run in self.runs().items()
        }

    @property
    def has_standins(self) -> bool:
        """Whether the base images are stand-ins."""
        return isinstance(self.engine, Podman)

    def script(self, name: str, *arguments: str) -> str:
        """Run a script of ``docker/`` and return its output."""
        return self.engine.run([str(ROOT / "docker" / name), *arguments])
