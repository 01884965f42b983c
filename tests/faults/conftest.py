from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.reference import made_up
from tests.support.runs import write_run
from tracking_hooks.run import journal
from tracking_hooks.run.layout import RunFolder


@pytest.fixture(autouse=True)
def _nothing_of_the_user(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith(("TRACKING_HOOKS", "MLFLOW"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture
def store(database, tmp_path) -> Callable[[str], Path]:
    """Make an empty MLflow store in a folder of its own; an older one there is gone."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return Path(shutil.copy(database, folder))

    return make


@pytest.fixture
def ended_run(tmp_path) -> Callable[..., RunFolder]:
    """Put the journal of a short run on disk, whose training is over."""

    def make(epochs: int, **destinations: dict[str, str]) -> RunFolder:
        reference = made_up(tmp_path / "recorded", epochs=epochs)
        head, _ = journal.read_head(reference.journal)
        return write_run(head.run, reference.calls(), destinations)

    return make
