"""An environment in which nothing is a ClearML server, and servers for the tests that ask for some."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from standin import Standin


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in ("CLEARML_OFFLINE_MODE", "CLEARML_API_HOST", "CLEARML_FILES_HOST", "CLEARML_WEB_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLEARML_CONFIG_FILE", str(tmp_path / "clearml.conf"))
    monkeypatch.setenv("CLEARML_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def servers(monkeypatch):
    """Return a function that starts a server and has the client know it."""
    started = []

    def start():
        started.append(server := Standin())
        for name in ("API", "FILES", "WEB"):
            monkeypatch.setenv(f"CLEARML_{name}_HOST", server.url)
        monkeypatch.setenv("CLEARML_API_ACCESS_KEY", "a-key")
        monkeypatch.setenv("CLEARML_API_SECRET_KEY", "a-secret")
        return server

    yield start
    for server in started:
        server.stop()
