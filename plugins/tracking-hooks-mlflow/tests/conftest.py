import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from mlflow import MlflowClient

from tracking_hooks.testing import sample_run
from tracking_hooks_mlflow.store import connect


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """An empty store; to make one takes MLflow seconds, to copy one does not."""
    folder = tmp_path_factory.mktemp("template")
    connect(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


@pytest.fixture
def store(database, tmp_path):
    """A destination: a database file in a folder that is not the working directory."""
    folder = tmp_path / "tracked"
    folder.mkdir()
    shutil.copy(database, folder)
    return {"tracking_uri": f"sqlite:///{folder}/mlflow.db", "experiment": "shapes", "run_name": "train"}


@pytest.fixture
def save_dir(tmp_path):
    return tmp_path / "runs/train"


@pytest.fixture
def run(save_dir):
    return sample_run(save_dir)


@pytest.fixture(scope="module")
def address():
    """Where the server will be."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(scope="module")
def server(address, database, tmp_path_factory):
    """A real MLflow server."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(database, folder)
    command = [
        sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", address.rpartition(":")[2],
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        while not _is_healthy(address):
            assert process.poll() is None, (folder / "log").read_text()
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the session that was started above: the server and its worker
        process.wait()


def _is_healthy(address):
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=1) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture
def client(store):
    """For reading back."""
    return MlflowClient(tracking_uri=store["tracking_uri"])
