"""A real MLflow server that can be killed, stalled and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.faults.processes import NeverCame, answers, free_port, send_session, wait_for


class MLflowServer:
    """Serves a store on a port of its own, and artifacts out of a folder."""

    def __init__(self, folder: Path, store: str) -> None:
        """Make a server; see ``start``.

        :param store: the database's URI
        """
        self.port = free_port()
        self.artifacts = folder / "artifacts"
        self._folder = folder
        self._store = store
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, without waiting for it; without effect if it runs."""
        if self.is_running:
            return
        command = [
            sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(self.port),
            "--backend-store-uri", self._store, "--serve-artifacts", "--artifacts-destination", str(self.artifacts),
        ]  # fmt: skip
        env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        env.pop("MLFLOW_TRACKING_URI", None)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def wait_until_healthy(self) -> None:
        """Wait until it answers.

        :raises NeverCame: with its log, if it does not
        """
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{self.port}/health"), "the health of the MLflow server")
        except NeverCame as error:
            raise NeverCame(f"{error}; its log:\n{self._log.read_text()[-3000:]}") from None

    def kill(self) -> None:
        if self._process is not None:
            send_session(self._process, signal.SIGKILL)
            self._process.wait()

    def stall(self) -> None:
        if self._process is not None:
            send_session(self._process, signal.SIGSTOP)

    def go_on(self) -> None:
        if self._process is not None:
            send_session(self._process, signal.SIGCONT)

    @property
    def _log(self) -> Path:
        return self._folder / "server.log"
