"""What the user is told of the address and the credentials of a store, before a training and when one waits."""

import json
import os
import socket
import subprocess
import sys

import pytest

from tests.support.answering import answering
from tests.support.systems import posix
from tracking_hooks.events import Unavailable
from tracking_hooks.testing import sample_run
from tracking_hooks_mlflow import mistakes
from tracking_hooks_mlflow.trainer import capture, probe

ONE = json.dumps({"experiments": [{"experiment_id": "0"}], "next_page_token": "abc"})


def told(uri):
    with pytest.raises(Unavailable) as caught:
        probe({"tracking_uri": uri}, 5.0)
    return str(caught.value)


def test_a_server_that_answers_is_named_and_only_read():
    with answering(200, ONE) as (uri, asked):
        assert probe({"tracking_uri": uri}, 5.0) == f"the server at {uri} answers"
    assert [(method, path.partition("?")[0]) for method, path, _ in asked] == [
        ("GET", "/api/2.0/mlflow/experiments/search")
    ]


def test_the_credentials_are_those_that_the_relay_will_use(monkeypatch):
    with answering(200, ONE, only_for="Bearer sesame-sesame") as (uri, _):
        assert told(uri).endswith(
            "refuses access (HTTP 401). Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
            "or MLFLOW_TRACKING_TOKEN."
        )
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "sesame-sesame")
        assert probe({"tracking_uri": uri}, 5.0) == f"the server at {uri} answers, with MLFLOW_TRACKING_TOKEN"
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "open-open")
        assert told(uri).endswith(
            "Credentials were sent, and not accepted: MLFLOW_TRACKING_TOKEN is wrong, or of another server."
        )
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "lovelace-1815")
        sentence = told(uri)
        assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD are wrong, or of another server." in sentence
        assert "lovelace" not in sentence


def test_credentials_in_the_address_are_sent_and_never_said(monkeypatch):
    with answering(200, ONE, only_for="Basic YWRhOmxvdmVsYWNl") as (uri, asked):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.replace("//", "//ada:lovelace@"))
        answer = probe({"tracking_uri": uri}, 5.0)
    assert asked[0][2] == "Basic YWRhOmxvdmVsYWNl"
    assert answer == f"the server at {uri} answers, with the user and password in MLFLOW_TRACKING_URI"


@pytest.mark.parametrize(("status", "body"), [(200, "<html>hello</html>"), (200, "[]"), (404, "no such page")])
def test_another_server_on_the_port_is_called_one(status, body):
    with answering(status, body) as (uri, _):
        assert told(uri).endswith("Another server than MLflow answers there (Teapot/1): are host, port and path right?")


def test_https_where_the_server_speaks_http():
    with answering(200, ONE) as (uri, _):
        https = uri.replace("http:", "https:")
        assert told(https).endswith(f"The server does not speak https: set MLFLOW_TRACKING_URI={uri}")


def test_http_where_the_server_speaks_https():
    with answering(400, "The plain HTTP request was sent to HTTPS port") as (uri, _):
        https = uri.replace("http:", "https:")
        assert told(uri).endswith(f"The server speaks https: set MLFLOW_TRACKING_URI={https}")


def test_a_proxy_that_does_not_know_the_server_is_named(monkeypatch):
    with answering(503, "no such host") as (proxy, _):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        assert told("http://mlflow.lan:5000").endswith(
            "It was asked through your proxy. If it is in your own network, add mlflow.lan to NO_PROXY."
        )


def test_a_server_that_is_down_and_one_that_hangs():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unavailable, match="timed out"):
            probe({"tracking_uri": uri}, 0.2)
    assert told(uri) == f"MLflow at {uri} is not available: connection refused"


def test_a_local_store_is_looked_at_and_not_made(tmp_path):
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    assert probe({"tracking_uri": uri}, 5.0) == f"{tmp_path}/new/mlflow.db, which the first training makes"
    assert list(tmp_path.iterdir()) == []


@posix("links that anybody may make")
def test_a_link_to_a_database_that_is_not_made_yet_is_no_obstacle(tmp_path):
    link = tmp_path / "mlflow.db"
    link.symlink_to(tmp_path / "elsewhere.db")
    assert probe({"tracking_uri": f"sqlite:///{link}"}, 5.0) == f"{link}, which the first training makes"


@posix("modes of files")
@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="nothing is forbidden to root")
def test_a_local_store_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    assert "is not writable" in told(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_database_is_reached_and_no_table_made():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answer = probe({"tracking_uri": f"postgresql://127.0.0.1:{port}/mlflow"}, 5.0)
        assert answer == f"the database at 127.0.0.1:{port} answers; its password is not tried"
    assert f"127.0.0.1:{port} is not available" in told(f"postgresql://127.0.0.1:{port}/mlflow")


@pytest.mark.parametrize(
    ("uri", "right"),
    [
        ("localhost:5000", "http://localhost:5000"),
        ("mlflow.example.com:443/tracking", "http://mlflow.example.com:443/tracking"),
        ("10.0.0.5", "http://10.0.0.5"),
        ("http:/localhost:5000", "http://localhost:5000"),
        ("http//localhost:5000", "http://localhost:5000"),
        ('"http://localhost:5000"', "http://localhost:5000"),
    ],
)
def test_an_address_that_is_none_ends_the_training_with_the_right_one(monkeypatch, tmp_path, uri, right):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ValueError, match=f"MLFLOW_TRACKING_URI={right}$"):
        capture(sample_run(tmp_path), None)


@pytest.mark.parametrize(
    "uri",
    [
        "ada:s3cret-word@mlflow.corp:5000",
        "ada:s3cret/word@mlflow.corp:5000",
        "'ada:s3cret-word@mlflow.corp:5000'",
        "//ada:s3cret-word@mlflow.corp:5000",
    ],
)
def test_a_password_in_an_address_without_a_scheme_is_not_shown(monkeypatch, tmp_path, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ValueError, match=r"http://USER:PASSWORD@mlflow\.corp:5000$") as caught:
        capture(sample_run(tmp_path), None)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "http://ada:s3cret@h:5000",
        "runs@home",
        "C:/a@b",
        "C:\\a@b",
        "file:a@b",
        "http://h:5000",
        "mlruns",
        "./a/b",
        "sqlite:///x.db",
        "file:///x",
        "databricks",
        "databricks://p",
        "C:/mlruns",
    ],
)
def test_what_mlflow_takes_is_no_mistake(uri):
    assert mistakes.checked(uri) == uri


def test_a_carriage_return_of_windows_is_no_part_of_the_address(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000\r")
    assert capture(sample_run(tmp_path), None).destination["tracking_uri"] == "http://localhost:5000"


def test_to_ask_imports_no_mlflow(tmp_path):
    code = """
import sys
from tracking_hooks_mlflow.trainer import probe
probe({"tracking_uri": "sqlite:///mlflow.db"}, 1.0)
assert "mlflow" not in sys.modules
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True)
