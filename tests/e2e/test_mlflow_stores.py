"""Everywhere that MLflow keeps runs: what arrives is the same.

One training, delivered into a database file in the working directory, is replayed into the other stores.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.gate import Gate
from tests.support.home import Home
from tests.support.mlflow import MLflowReader, mlflow_server
from tests.support.object_store import s3_bucket, s3_missing
from tests.support.postgres import Postgres
from tests.support.postgres import missing as postgres_missing
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.e2e

ROOT = next(parent for parent in Path(__file__).parents if (parent / "LICENSE").is_file())
IDENTITY = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
LOG = """
import math, tracking_hooks
own = {"own/nan": math.nan, "own/inf": math.inf, "own/-inf": -math.inf, "own/one": 1.0}
model.add_callback("on_train_epoch_end", lambda trainer: tracking_hooks.log(own, step=trainer.epoch))
"""
PASSWORD, TOKEN = "r1ght-passw0rd", "dapi-0123456789"
SMALL_PARTS = {
    # An upload in parts is for files from 500 MB on; S3 takes no parts below 5 MiB, but for the last one.
    "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(1 << 20),
    "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": str(5 << 20),
}

needs_postgres = pytest.mark.skipif(bool(postgres_missing()), reason=postgres_missing())
needs_s3 = pytest.mark.skipif(bool(s3_missing()), reason=s3_missing())
needs_auth = pytest.mark.skipif(not find_spec("flask_wtf"), reason="Flask-WTF is missing: `pip install 'mlflow[auth]'`")


@pytest.fixture(scope="module")
def whole_training(tmp_path_factory, shapes, settings):
    """A home folder where one training is recorded, and delivered to where MLflow does it by default."""
    home = Home(tmp_path_factory.mktemp("stores") / "home", shapes)
    home.env["YOLO_CONFIG_DIR"] = str(settings)
    home.take_the_real_network()  # its weights are large enough to be sent in parts
    (home.work / "changed.txt").touch()
    for arguments in (
        ["init", "-q", "-b", "trunk"], [*IDENTITY, "commit", "-q", "--allow-empty", "-m", "x"], ["add", "changed.txt"],
    ):  # fmt: skip
        subprocess.run(["git", *arguments], cwd=home.work, check=True)
    # So short a training is over before anything of this is recorded by default.
    often = {"TRACKING_HOOKS_SYSTEM_EVERY": "0.5", "TRACKING_HOOKS_BATCH_EVERY": "1"}
    home.run(home.script(LOG, plots=True), "mlflow", MLFLOW_EXPERIMENT_NAME="trained", **often)
    home.wait_for_delivery()
    yield home
    home.close()


@pytest.fixture
def trained(whole_training):
    """That training, which does not remember afterwards where a test has replayed it to."""
    yield whole_training
    forget(whole_training)


@pytest.fixture(scope="module")
def expected(whole_training):
    reader = whole_training.reader()
    run = reader.only_run()
    return contents(reader, run)


@pytest.fixture(scope="module")
def server(tmp_path_factory, database):
    """A plain server."""
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder, store=f"sqlite:///{shutil.copy(database, folder)}") as address:
        yield address


@pytest.fixture(scope="module")
def postgres():
    database = Postgres()
    database.start()
    yield database
    database.stop()


@pytest.fixture(scope="module")
def hosted(postgres, tmp_path_factory):
    """A server as companies run it: on PostgreSQL, with a bucket that its clients have no keys to."""
    folder = tmp_path_factory.mktemp("hosted")
    with s3_bucket(folder) as bucket, Gate(bucket.endpoint, lambda _: True).open() as gate:
        env = {**bucket.env, "MLFLOW_S3_ENDPOINT_URL": gate.address}
        store = {"store": postgres.uri, "artifacts": f"s3://{bucket.name}/artifacts"}
        with mlflow_server(folder, **store, env=env) as address:
            yield SimpleNamespace(address=address, bucket=bucket, gate=gate)


def replay(home, uri, experiment, *, code=0, command="tracking-hooks", **env):
    """Deliver the training once more, to where the environment says."""
    env |= {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": experiment}
    return home.run([str(command), "sync", "--to", "mlflow"], code=code, **env)


def forget(home):
    for label in home.run_folder().replays():
        home.run(["tracking-hooks", "sync", "--forget", label])


def only_run(reader, experiment):
    found = reader.client.get_experiment_by_name(experiment)
    (run,) = reader.client.search_runs([found.experiment_id])
    return run


def contents(reader, run):
    """What a run holds, in a form that can be compared."""
    folder = Path(reader.client.download_artifacts(run.info.run_id, ""))
    files = {path.relative_to(folder).as_posix(): digest(path) for path in folder.rglob("*") if path.is_file()}
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if key != "mlflow.artifactLocation"},
        "metrics": {key: repr(reader.history(run, key)) for key in run.data.metrics},  # NaN is not equal to itself
        "artifacts": files,
        "data sets": [(found.dataset.name, found.dataset.digest) for found in run.inputs.dataset_inputs],
        "models": [model(reader, output) for output in run.outputs.model_outputs],
    }


def model(reader, output):
    """What a run's model is. One of its files holds its id, so that their content is never the same."""
    found = reader.client.get_logged_model(output.model_id)
    files = {item.path for item in reader.client.list_logged_model_artifacts(output.model_id)}
    return found.name, found.status, output.step, sorted(files)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_below(folder, text):
    """The files that hold a text."""
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_what_is_compared_holds_something_of_everything(expected, whole_training):
    """And so every store below, over HTTP too, takes all of it."""
    assert (expected["name"], expected["status"]) == ("train", "FINISHED")
    tags = expected["tags"]
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=whole_training.work, text=True)
    git = {"commit": commit.strip(), "branch": "trunk", "dirty": "true"}
    assert {f"mlflow.source.git.{key}": value for key, value in git.items()}.items() <= tags.items()
    assert tags["tracking_hooks.run_uid"] == whole_training.run_folder().uid
    assert {"host", "task", "devices", "mlflow.user", "mlflow.source.name", "dataset.digest"} <= set(tags)
    assert {"version.ultralytics", "version.torch", "version.python"} <= set(tags)
    for words in (
        "train.py",
        "**Model:** yolo26n",
        "**Data set:** ",
        "**Result:** mAP50-95(B) ",
        "finished after 2 epochs",
        "| metrics/mAP50",
    ):
        assert words in tags["mlflow.note.content"]

    assert {"epochs": "2", "imgsz": "32", "model.layers": expected["params"]["model.layers"]}.items() <= (
        expected["params"].items()
    )
    prefixes = {key.partition("/")[0] for key in expected["metrics"]}
    assert {
        "train",
        "val",
        "metrics",
        "lr",
        "val_per_class",
        "time",
        "train_batch",
        "best",
        "system",
        "own",
    } <= prefixes
    huge = repr(sys.float_info.max)  # so MLflow keeps an infinity
    own = {"own/nan": "nan", "own/inf": huge, "own/-inf": f"-{huge}", "own/one": "1.0"}
    assert {key: expected["metrics"][key] for key in own} == {key: f"[(0, {it}), (1, {it})]" for key, it in own.items()}

    files = set(expected["artifacts"])
    assert {"weights/best.pt", "weights/last.pt", "results.csv", "args.yaml", "dataset/data.yaml"} <= files
    assert {"results.png", "confusion_matrix.png", "tables/confusion_matrix.json", "console.log"} <= files
    assert len(expected["data sets"]) == 2
    ((name, status, _, packaged),) = expected["models"]
    assert (name, str(status)) == ("yolo26n", "READY")
    assert {"MLmodel", "requirements.txt"} <= set(packaged)


@needs_auth
def test_a_wrong_password_loses_nothing_and_the_right_one_delivers(trained, expected, tmp_path):
    (tmp_path / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\nadmin_username = ada\n"
        f"admin_password = {PASSWORD}\ndatabase_uri = sqlite:///{tmp_path / 'auth.db'}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    env = {"MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "auth.ini"), "MLFLOW_FLASK_SERVER_SECRET_KEY": "x"}
    right = {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    wrong = {**right, "MLFLOW_TRACKING_PASSWORD": "wr0ng-passw0rd"}
    with (
        mlflow_server(tmp_path, options=["--app-name", "basic-auth"], env=env) as address,
        pytest.MonkeyPatch.context() as patch,
    ):
        output = replay(trained, address, "with a password", code=1, **wrong)
        assert f"MLflow at {address} refuses access" in output
        assert "MLFLOW_TRACKING_PASSWORD" in output
        replay(trained, address, "with a password", **right)
        for name, value in right.items():
            patch.setenv(name, value)
        reader = MLflowReader(address)
        run = only_run(reader, "with a password")
        # Not all that is in them: this server hashes a password for each request.
        assert (run.info.status, run.data.params) == ("FINISHED", expected["params"])
        assert set(run.data.metrics) == set(expected["metrics"])
        assert reader.artifacts(run) == set(expected["artifacts"])
    for secret in (PASSWORD, wrong["MLFLOW_TRACKING_PASSWORD"]):
        assert files_below(trained.run_folder().path, secret) == []


def test_a_token_is_shown_with_every_request(trained, expected, server):
    """The gate is a stand-in for what stands before hosted servers: MLflow's own knows no tokens."""
    with Gate(server, lambda request: request.headers["Authorization"] == f"Bearer {TOKEN}").open() as gate:
        output = replay(trained, gate.address, "token", code=1)
        assert "MLFLOW_TRACKING_TOKEN" in output
        assert gate.refused
        assert not gate.passed
        gate.refused.clear()
        replay(trained, gate.address, "token", MLFLOW_TRACKING_TOKEN=TOKEN)
        assert not gate.refused
    reader = MLflowReader(server)
    assert contents(reader, only_run(reader, "token")) == expected
    assert files_below(trained.run_folder().path, TOKEN) == []


@needs_postgres
@needs_s3
def test_a_server_on_postgresql_with_its_files_in_a_bucket_large_ones_in_parts(trained, expected, hosted):
    replay(trained, hosted.address, "hosted", **SMALL_PARTS)

    reader = MLflowReader(hosted.address)
    run = only_run(reader, "hosted")
    assert contents(reader, run) == expected
    place = f"artifacts/{run.info.experiment_id}/{run.info.run_id}/artifacts/"
    assert hosted.bucket.digests(place) == expected["artifacts"]
    parts = Counter(path.partition("?")[0] for path in hosted.gate.passed if is_part_from_client(path))
    place = f"/{hosted.bucket.name}/{place}"
    assert {f"{place}weights/best.pt": 2, f"{place}weights/last.pt": 2}.items() <= parts.items()


@needs_postgres
@needs_s3
def test_large_files_arrive_where_only_the_server_reaches_the_bucket(trained, expected, hosted):
    hosted.gate.allows = lambda request: not is_part_from_client(request.path)
    try:
        replay(trained, hosted.address, "out of reach", **SMALL_PARTS)
    finally:
        hosted.gate.allows = lambda _: True
    reader = MLflowReader(hosted.address)
    assert contents(reader, only_run(reader, "out of reach")) == expected


def is_part_from_client(path):
    """Whether a request to the bucket is a part of a file, by a signature that the server has given to a client."""
    return "X-Amz-Signature=" in path and "partNumber=" in path


@needs_postgres
def test_a_database_without_a_server(trained, expected, postgres):
    uri = postgres.uri.replace("mlflow@", f"mlflow:{PASSWORD}@")  # this database does not ask for it
    replay(trained, uri, "direct")

    reader = MLflowReader(postgres.uri)
    assert contents(reader, only_run(reader, "direct")) == expected
    assert files_below(trained.run_folder().path, PASSWORD) == []


def test_databricks_is_addressed_by_the_users_profile(trained, expected, server, tmp_path):
    """The server is MLflow's own behind a gate that wants the profile's token: a stand-in, not Databricks."""
    reader = MLflowReader(server)
    # Databricks gives out no address of an artifact proxy, as this server does by default.
    reader.client.create_experiment("/Shared/shapes", str(tmp_path / "artifacts"))
    with Gate(server, lambda request: request.headers["Authorization"] == f"Bearer {TOKEN}").open() as gate:
        profile = trained.folder / ".databrickscfg"
        profile.write_text(f"[mine]\nhost = {gate.address}\ntoken = {TOKEN}\n")
        try:
            output = replay(trained, "databricks://nowhere", "/Shared/shapes", code=1)
            assert "databricks://nowhere is not available" in output, "it can be delivered later"
            assert not gate.passed
            forget(trained)
            replay(trained, "databricks://mine", "/Shared/shapes")
        finally:
            profile.unlink()
    replays = trained.run_folder().replays()
    assert {replay.plugin for replay in replays.values()} == {"mlflow", "mlflow.files"}
    assert {replay.destination["tracking_uri"] for replay in replays.values()} == {"databricks://mine"}
    assert contents(reader, only_run(reader, "/Shared/shapes")) == expected


def test_mlflow_skinny_is_enough_for_a_server(trained, expected, server, tmp_path):
    """As the plugin's README tells it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile", "--no-build-isolation"]
    for arguments in (
        ["mlflow-skinny", "pillow", "hatchling"],  # the last one builds the other two
        ["--no-deps", ROOT / "plugins/tracking-hooks-mlflow"],
        [ROOT],
    ):
        subprocess.run([*pip, *arguments], check=True, capture_output=True, timeout=PATIENCE)
    assert is_missing(python, "sqlalchemy"), "this is not the whole of MLflow"
    refused = f"from tracking_hooks_mlflow.store import connect; connect('sqlite:///{tmp_path}/mlflow.db')"
    done = subprocess.run([python, "-c", refused], check=False, capture_output=True, text=True)
    assert "ImportError: " in done.stderr
    assert "pip install mlflow" in done.stderr
    replay(trained, server, "skinny", command=python.with_name("tracking-hooks"))

    reader = MLflowReader(server)
    assert contents(reader, only_run(reader, "skinny")) == expected


def is_missing(python, module):
    return subprocess.run([python, "-c", f"import {module}"], check=False, capture_output=True).returncode != 0
