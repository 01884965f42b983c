"""Machines that real trainings run on, and what else the end-to-end tests share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.home import BIN, Home, scalars
from tests.support.mlflow import MLflowServer
from tests.support.processes import free_port, wait_for
from tracking_hooks.cli.shapes import make_shapes


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data") / "shapes", train=32, val=8)


@pytest.fixture(name="await_")
def _await() -> Callable[..., Any]:
    return wait_for


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> Path:
    """Ultralytics' settings file with its own integrations switched off that import a lot in each training."""
    home = Home(tmp_path_factory.mktemp("settings"), shapes)
    runs = f"runs_dir={home.work / 'runs'}"  # else what is validated goes to the repository that this is run in
    home.run([str(BIN / "yolo"), "settings", "mlflow=False", "clearml=False", "raytune=False", runs])
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
    home.take_the_real_network()
    home.forks = False  # what happens when Python starts is a part of it
    yield home
    home.close()


@pytest.fixture(name="scalars")
def _scalars() -> Callable[[Path], dict[str, list[tuple[int, float]]]]:
    return scalars


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def start_server(home: Home, port: int, database: Path) -> Iterator[Callable[[], None]]:
    """Start a real MLflow server, on the port that was free."""
    shutil.copy(database, home.folder / "server.db")
    server = MLflowServer(home.folder, port=port)

    def start() -> None:
        server.start()
        server.wait_until_healthy()

    yield start
    server.stop()
