"""What a person sees: a run that was delivered, opened in MLflow's own pages."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from msgspec import structs

from tracking_hooks.journal import FORMAT, Head, Journal, number
from tracking_hooks.layout import POINTER, Pointer, RunFolder, write_json
from tracking_hooks.settings import Settings
from tracking_hooks.spawn import DELIVERED, start_relay
from tracking_hooks.testing import recorded_run, sample_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

EPOCHS = 5
PATIENCE = 60_000  # milliseconds
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]

QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip

# Plotly keeps the data with the element that it draws into, and MLflow the metric's name with the data.
DRAWN = """
name => [...document.querySelectorAll('.js-plotly-plot')]
    .flatMap(plot => plot.data || [])
    .filter(trace => trace.metricHistory && trace.metricHistory[0].key === name)
    .map(trace => ({x: [...trace.x], y: [...trace.y]}))[0]
"""


def deliver(folder: Path, uri: str, status: str) -> None:
    """Record a run without a trainer, and deliver it by a real relay."""
    save_dir = folder / status / "train"
    calls = recorded_run(save_dir, epochs=EPOCHS, status=status)
    # A uid for each: by that MLflow's run is found again.
    run = structs.replace(sample_run(save_dir), uid=f"{sample_run(save_dir).uid}-{status}")
    files = RunFolder.beside(save_dir, run.uid)
    files.create()
    destination = {"tracking_uri": uri, "experiment": "shapes", "run_name": f"run-{status}"}
    head = Head(format=FORMAT, created=calls[0].time, run=run, plugins={"mlflow": destination})
    log = Journal.create(files.journal, head)
    for call in calls:
        args = dict(call.args)
        if "metrics" in args:
            args["metrics"] = {name: number(value) for name, value in args["metrics"].items()}
        log.append(call.hook, call.time, args)
    log.close()
    write_json(save_dir / POINTER, Pointer(uid=run.uid, folder=files.path))
    code = start_relay(files, "mlflow", Settings(), drain=True).wait(120)
    assert code == DELIVERED, files.relay("mlflow").log.read_text()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A database with one run that finished and one that failed."""
    folder = tmp_path_factory.mktemp("browser")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    for status in ("finished", "failed"):
        deliver(folder, uri, status)
    return uri


def await_health(address: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE / 1000
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):
                return
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def server(store, tmp_path_factory):
    """MLflow's own server on that database; the address of its pages."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", store]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"

    try:
        await_health(address, process)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture(scope="module")
def experiment(store):
    from mlflow import MlflowClient

    client = MlflowClient(store)
    experiment_id = client.get_experiment_by_name("shapes").experiment_id
    return experiment_id, {run.info.run_name: run.info.run_id for run in client.search_runs([experiment_id])}


@pytest.fixture(scope="module")
def page():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        context = browser.new_context(viewport={"width": 1800, "height": 1200})
        context.set_default_timeout(PATIENCE)
        context.route("**/*", lambda route: route.continue_() if is_here(route.request.url) else route.abort())
        yield context.new_page()
        browser.close()


def is_here(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def test_the_charts_have_a_point_for_every_epoch(server, experiment, page):
    experiment_id, runs = experiment
    page.goto(f"{server}/#/experiments/{experiment_id}/runs/{runs['run-finished']}/model-metrics")
    page.get_by_placeholder("Search metric charts").fill("^metrics/mAP50B$|^train/box_loss$")

    for name, values in {
        "metrics/mAP50B": [0.9 - 0.5**epoch for epoch in range(1, EPOCHS + 1)],
        "train/box_loss": [2.0 / epoch for epoch in range(1, EPOCHS + 1)],
    }.items():
        drawn = page.wait_for_function(DRAWN, arg=name).json_value()
        assert drawn["x"] == list(range(1, EPOCHS + 1))
        assert drawn["y"] == pytest.approx(values)


def test_the_list_shows_the_runs_by_their_names(server, experiment, page):
    experiment_id, runs = experiment
    page.goto(f"{server}/#/experiments/{experiment_id}/runs")

    for name, run_id in runs.items():
        link = page.get_by_role("link", name=name)
        link.wait_for()
        assert link.get_attribute("href").endswith(run_id)


@pytest.mark.parametrize(("status", "shown"), [("finished", "Finished"), ("failed", "Failed")])
def test_the_page_of_a_run_shows_how_it_ended(status, shown, server, experiment, page):
    experiment_id, runs = experiment
    page.goto(f"{server}/#/experiments/{experiment_id}/runs/{runs[f'run-{status}']}")

    page.get_by_text(shown, exact=True).first.wait_for()
    if status == "failed":
        page.get_by_text("RuntimeError: boom").first.wait_for()
