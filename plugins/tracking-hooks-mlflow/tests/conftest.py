import os
import shutil

import pytest
from mlflow import MlflowClient

from tests.support.mlflow import mlflow_server
from tests.support.processes import free_port
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
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def server(address, database, tmp_path_factory):
    """A real MLflow server."""
    folder = tmp_path_factory.mktemp("server")
    store = f"sqlite:///{shutil.copy(database, folder)}"
    with mlflow_server(folder, store=store, port=int(address.rpartition(":")[2])):
        yield address


@pytest.fixture
def client(store):
    """For reading back."""
    return MlflowClient(tracking_uri=store["tracking_uri"])
