"""Where MLflow keeps runs: a server for a while, on a database of its own, or a database alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.mlflow import MLflowServer


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Return its address; at the end it is killed, so it waits for nobody who is still connected."""
    folder.mkdir(parents=True)
    running = MLflowServer(folder)
    running.start()
    try:
        running.wait_until_healthy()
        yield running.address
    finally:
        running.kill()


def make_database(path: Path) -> None:
    """Make one that is ready for use: MLflow needs ten seconds for that, so others are copies of it."""
    code = f"from mlflow import MlflowClient; MlflowClient('sqlite:///{path}').search_experiments()"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=path.parent)
