"""What the tests of several folders begin with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store; to make one takes seconds, to copy one does not."""
    from tracking_hooks_mlflow.store import connect

    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Let modules of a folder be imported; the next test finds nothing of them, whatever their names."""
    folders: list[Path] = []

    def add(folder: Path) -> None:
        folders.append(folder)
        monkeypatch.syspath_prepend(folder)

    yield add
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and any(folder in Path(file).parents for folder in folders):
            del sys.modules[name]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which blocks of documents were not run, if the others were."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    if any("test_blocks.py" in report.nodeid for report in reports):
        from tests.support.blocks import summary

        terminalreporter.section("documents")
        terminalreporter.write_line(summary())


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, object, object]:
    """Let a test fail that logs a file name which is no UTF-8: pytest-xdist would end all of the others with it."""
    return _sendable((yield))


def _sendable(value: object) -> object:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _sendable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_sendable(item) for item in value)
    return value
