"""What holds for each test, of the core and of the plugins."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.mlflow import close_databases


@pytest.fixture(scope="session", autouse=True)
def _pytest_that_is_run_by_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep it from removing what earlier runs of this suite have left, which would take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DEBUG_TEMPROOT", str(tmp_path_factory.mktemp("pytest")))
        yield


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was() -> Iterator[None]:
    """Take back what libraries do to a process that imports them, which the next test's processes would inherit.

    PyTorch and Ultralytics set variables; MLflow keeps a connection to each database that it has seen.
    """
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)
    close_databases()
