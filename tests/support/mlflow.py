"""Real MLflow servers, which can be killed, stalled and started again, and a reader of what a store holds."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import forking
from tests.support.processes import NeverCame, answers, free_port, send_session, wait_for


class MLflowServer:
    """Serves a store on a port of its own, and artifacts out of a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        store: str = "",
        artifacts: str = "",
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int | None = None,
        within: Sequence[str] = (),
    ) -> None:
        """Make a server; see ``start``.

        :param folder: for its log, and for the store and the artifacts where nothing else is said
        :param store: the URI of its database
        :param artifacts: the URI of the store behind its artifact proxy
        :param options: more of its command line
        :param env: variables beside those of this process
        :param port: None: a free one
        :param within: a command that runs others, in a network namespace perhaps
        """
        port = port or free_port()
        self.address = f"http://{host}:{port}"
        self.artifacts = folder / "artifacts"
        self._folder = folder
        self._command = [
            *within, sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1",
            "--backend-store-uri", store or f"sqlite:///{folder / 'server.db'}",
            "--serve-artifacts", "--artifacts-destination", artifacts or str(self.artifacts), *options,
        ]  # fmt: skip
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "AWS"))}
        fewer = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self._env = {**inherited, **fewer, **(env or {})}
        self._process: Any = None

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, without waiting for it; without effect if it runs."""
        if self.is_running:
            return
        with self._log.open("ab") as log:
            self._process = forking.start_mlflow(self._command, env=self._env, cwd=self._folder, output=log.fileno())

    def wait_until_healthy(self) -> None:
        """Wait until it answers.

        :raises NeverCame: with its log, if it does not
        """
        try:
            wait_for(
                lambda: not self.is_running or answers(f"{self.address}/health"), "the health of the MLflow server"
            )
        except NeverCame as error:
            raise NeverCame(f"{error}; its log:\n{self._log.read_text()[-3000:]}") from None
        if not self.is_running:
            raise NeverCame(f"the MLflow server ended:\n{self._log.read_text()[-3000:]}")

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as Ctrl-C does; without effect if it does not run."""
        self._end(signal.SIGTERM)

    def stall(self) -> None:
        if self._process is not None:
            send_session(self._process, signal.SIGSTOP)

    def go_on(self) -> None:
        if self._process is not None:
            send_session(self._process, signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            send_session(self._process, number)
            self._process.wait()

    @property
    def _log(self) -> Path:
        return self._folder / "server.log"


@contextmanager
def mlflow_server(folder: Path, **options: Any) -> Iterator[str]:
    """Run a server for a while; the parameters are those of ``MLflowServer``. Return its address."""
    server = MLflowServer(folder, **options)
    server.start()
    try:
        server.wait_until_healthy()
        yield server.address
    finally:
        server.stop()


def close_databases() -> None:
    """Close the connections to all databases that were used by this process: MLflow keeps them, for each database."""
    for part in ("tracking", "model_registry", "jobs"):
        if module := sys.modules.get(f"mlflow.store.{part}.sqlalchemy_store"):
            stores = [found for found in vars(module).values() if "_engine_map" in getattr(found, "__dict__", {})]
            for engine in [engine for store in stores for engine in store._engine_map.values()]:
                engine.dispose()


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
