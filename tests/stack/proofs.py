"""What is proved of the stack. Each proof yields sentences that say what it has seen, or raises."""

from __future__ import annotations

import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import yaml
from mlflow.entities import Run

from tests.stack.engine import ROOT
from tests.stack.stack import Stack, wait_for

EPOCHS = 12
SERVICES = ("database", "object-store", "mlflow", "tensorboard")

# Plotly keeps the data with the element that it draws into, and MLflow the metric's name with the data.
DRAWN = """
name => [...document.querySelectorAll('.js-plotly-plot')]
    .flatMap(plot => plot.data || [])
    .filter(trace => trace.metricHistory && trace.metricHistory[0].key === name)
    .map(trace => [...trace.x].map((x, at) => [x, trace.y[at]]))[0]
"""
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip


def comes_up(stack: Stack) -> Iterator[str]:
    """The services are healthy, and may do little."""
    began = time.monotonic()
    stack.up()
    yield f"database, object store, bucket, MLflow and TensorBoard are healthy after {time.monotonic() - began:.0f} s"
    for service in SERVICES:
        user = stack.engine.compose("exec", "-T", service, "id", "-u").strip()
        written = stack.engine.compose("exec", "-T", service, "touch", "/usr/written", check=False)
        shown = stack.engine.compose("exec", "-T", service, "sh", "-c", "ls /usr")
        assert user != "0", f"{service} runs as root"
        assert "written" not in shown, f"{service} writes to its root file system: {written}"
    yield "no service runs as root or can write to its root file system"
    secret = (stack.folder / "secrets/database-password").read_text()
    shown = stack.engine.run([stack.engine.program, "inspect", *(stack.engine.container(name) for name in SERVICES)])
    assert secret not in shown
    yield "the database's password is in no setting and on no command line"


def demo(stack: Stack) -> Iterator[str]:
    """The demo is tracked, in all places."""
    stack.start_training("demo", EPOCHS)
    assert stack.wait_for_end() == 0, stack.log()
    run = stack.runs()["demo"]
    points = _check(stack, run, "FINISHED")
    assert points[0] == EPOCHS
    yield f"a training of {points[0]} epochs is FINISHED in MLflow, {points[1]} points as in results.csv, each once"
    rows = int(stack.sql(f"select count(*) from metrics where run_uuid = '{run.info.run_id}'"))
    told = sum(len(stack.curve(run, key)) for key in run.data.metrics)
    assert rows == told > 0, f"{rows} rows, {told} points by the API"
    yield f"PostgreSQL has {rows} rows of its metrics, as many as the API tells"
    files, objects = stack.artifacts(run), stack.objects()
    prefix = run.info.artifact_uri.partition("mlflow-artifacts:/")[2]
    for path, size in files.items():
        assert objects.get(f"artifacts/{prefix}/{path}") == size, f"{path} of {size} bytes is not in the bucket"
    sums = stack.engine.compose("exec", "-T", "tensorboard", "sha256sum", "/runs/shapes/demo/weights/best.pt")
    assert stack.digest(run, "weights/best.pt") == sums.split()[0]
    yield f"its {len(files)} artifacts are objects of the bucket; best.pt comes back as it was"
    column = "train/box_loss"
    expected = [row[column] for row in stack.results("demo")]
    wait_for(lambda: len(stack.tensorboard_curve("demo", column)) == EPOCHS, "the curve in TensorBoard")
    assert _near([value for _, value in stack.tensorboard_curve("demo", column)], expected)
    yield f"TensorBoard's API gives {column} of {EPOCHS} epochs"


def pages(stack: Stack) -> Iterator[str]:
    """A person sees it in a browser."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        yield "not looked at: no Chromium is installed"
        return
    from playwright.sync_api import sync_playwright

    run = stack.runs()["demo"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        place = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics"
        page.goto(f"{stack.mlflow_address}/{place}")
        page.get_by_placeholder("Search metric charts").fill("train/box_loss")
        drawn = page.wait_for_function(DRAWN, arg="train/box_loss", timeout=60_000).json_value()
        assert [tuple(point) for point in drawn] == stack.curve(run, "train/box_loss")
        page.screenshot(path=stack.folder / "mlflow.png")
        yield f"MLflow's page draws train/box_loss of {len(drawn)} epochs ({stack.folder}/mlflow.png)"
        page.goto(f"{stack.tensorboard_address}/#timeseries")
        page.locator("scalar-card", has_text="shapes/demo").first.wait_for(timeout=60_000)
        page.wait_for_timeout(4000)  # a canvas does not tell when its line is drawn
        page.screenshot(path=stack.folder / "tensorboard.png")
        yield f"TensorBoard's page has cards of that run ({stack.folder}/tensorboard.png)"
        browser.close()


def restarts(stack: Stack) -> Iterator[str]:
    """Each service is restarted in the middle of a training."""
    stack.start_training("restarts", 1000)
    for service in SERVICES:
        stack.wait_for_epoch("restarts", len(stack.results("restarts")) + 1)
        stack.engine.compose("restart", service)
        assert stack.is_training(), f"the training ended when {service} was restarted"
        stack.wait_until_healthy()
    stack.wait_for_epoch("restarts", len(stack.results("restarts")) + 1)
    stack.engine.compose("stop", "trainer")
    points = _check(stack, stack.runs()["restarts"], "KILLED")
    yield f"restarted during one training: {', '.join(SERVICES)}; {points[1]} points of {points[0]} epochs, each once"


def stopped(stack: Stack) -> Iterator[str]:
    """A container that is stopped delivers what it has."""
    stack.start_training("stopped", 1000)
    stack.wait_for_epoch("stopped", 2)
    began = time.monotonic()
    stack.engine.compose("stop", "trainer")
    took = time.monotonic() - began
    code = int(stack.engine.inspect("trainer", ".State.ExitCode"))
    assert code == 143, f"the exit code is {code}, so it was not by SIGTERM that it ended"
    points = _check(stack, stack.runs()["stopped"], "KILLED")
    yield f"`stop` ended a training after {points[0]} epochs; all were delivered within {took:.0f} s, status KILLED"


def killed(stack: Stack) -> Iterator[str]:
    """The next container delivers the journal of one that was killed."""
    stack.start_training("killed", 1000)
    stack.wait_for_epoch("killed", 2)
    stack.engine.compose("stop", "mlflow")
    epoch = len(stack.results("killed"))
    stack.wait_for_epoch("killed", epoch + 2)
    stack.engine.compose("kill", "trainer")
    stack.engine.compose("start", "mlflow")
    stack.wait_until_healthy()
    before = len(stack.curve(stack.runs()["killed"], "train/box_loss"))
    settled = len(stack.results("killed"))
    assert before < settled, "nothing was left to deliver"
    yield f"`kill`, with MLflow down, left {settled - before} of {settled} epochs in the journal, status " + (
        stack.runs()["killed"].info.status
    )
    stack.start_training("successor", 3)
    assert stack.wait_for_end() == 0, stack.log()
    _check(stack, stack.runs()["successor"], "FINISHED")
    points = _check(stack, stack.runs()["killed"], "KILLED")
    yield f"the next container delivered them: {points[1]} points of {points[0]} epochs, each once, status KILLED"


def preempted(stack: Stack) -> Iterator[str]:
    """The command of the Kubernetes manifest resumes what a pod before it began, in the same run."""
    command, grace = command_of_manifest()
    for pod in ("pod-1", "pod-2"):
        container = f"tracking-hooks-proof-{pod}"
        stack.engine.compose("run", "--detach", "--name", container, "trainer", *command)
        if pod == "pod-1":
            wait_for(lambda: len(stack.results("train")) >= 2, "epoch 2")
            stack.engine.run([stack.engine.program, "stop", "--time", str(grace), container])
            assert stack.runs()["train"].info.status == "KILLED"
            assert len(stack.results("train")) < 4, "it was over before it could be preempted"
        code = stack.engine.run([stack.engine.program, "wait", container]).strip()
        stack.engine.run([stack.engine.program, "rm", container])
    assert code == "0", code
    runs = stack.client.search_runs([stack.runs()["train"].info.experiment_id], "attributes.run_name = 'train'")
    assert len(runs) == 1, f"{len(runs)} runs"
    points = _check(stack, runs[0], "FINISHED")
    yield f"a successor with the manifest's command went on in the same run: {points[0]} epochs, each once, FINISHED"


def backup(stack: Stack) -> Iterator[str]:
    """What was saved comes back into a new stack."""
    folder = stack.folder / "backup"
    before = stack.snapshot()
    files = sum(len(run["files"]) for run in before.values())
    points = sum(len(curve) for run in before.values() for curve in run["curves"].values())
    stack.script("backup", str(folder))
    stack.down()
    stack.up()
    assert stack.client.get_experiment_by_name("shapes") is None
    stack.script("restore", str(folder))
    stack.wait_until_healthy()
    assert stack.snapshot() == before
    assert all(stack.results(name) for name in before)
    yield f"{len(before)} runs with {points} points and {files} files are as they were, after `down --volumes`"
    shutil.rmtree(folder)


def basic_auth(stack: Stack) -> Iterator[str]:
    """One switch, and nobody gets in without a password."""
    stack.up(BASIC_AUTH="on")
    assert _status(f"{stack.mlflow_address}/api/2.0/mlflow/experiments/search?max_results=1") == 401
    # As `up` does it: all services see the same switch.
    stack.start_training("with-password", 2, BASIC_AUTH="on")
    assert stack.wait_for_end() == 0, stack.log()
    rows = stack.sql(
        "select status, (select count(*) from metrics where run_uuid = runs.run_uuid and key = 'train/box_loss') "
        "from runs where name = 'with-password'"
    )
    assert rows == "FINISHED|2", rows
    yield "BASIC_AUTH=on: 401 without a password; the trainer, which has one in a file, is tracked"


def command_of_manifest() -> tuple[list[str], int]:
    """Return the command of the Kubernetes manifest, for a small training, and the seconds that a pod has to end."""
    parts = yaml.safe_load_all((ROOT / "docker/k8s/train.yaml").read_text())
    (pod,) = (part["spec"]["template"]["spec"] for part in parts if part["kind"] == "Job")
    (trainer,) = pod["containers"]
    *command, script = [argument.replace("/data/data.yaml", "/data/shapes/data.yaml") for argument in trainer["args"]]
    script = script.replace("epochs=100", "epochs=4 imgsz=64 batch=16 workers=0 device=cpu")
    return [*command, script], pod["terminationGracePeriodSeconds"]


ALL: dict[str, Callable[[Stack], Iterator[str]]] = {
    "comes-up": comes_up, "demo": demo, "pages": pages, "restarts": restarts, "stopped": stopped, "killed": killed,
    "preempted": preempted, "backup": backup, "basic-auth": basic_auth,
}  # fmt: skip


def _check(stack: Stack, run: Run, status: str) -> tuple[int, int]:
    """Compare a run with what its training wrote itself; return how many epochs and points that were.

    A training that is killed while it saves its weights has written an epoch's row before that, and ends it after that.

    :raises AssertionError: if a point is missing, doubled or different
    """
    assert run.info.status == status, run.info.status
    rows: dict[float, list[dict[str, float]]] = {}
    for row in stack.results(run.info.run_name):
        rows.setdefault(row["epoch"], []).append(row)  # a resumed training writes an epoch again that was not saved
    columns = [column for column in rows[1.0][0] if column not in ("epoch", "time")]
    for column in columns:
        curve = stack.curve(run, column.replace("(", "").replace(")", ""))
        steps = [step for step, _ in curve]
        assert steps == sorted(rows) or (status == "KILLED" and steps == sorted(rows)[:-1]), f"{column}: {curve}"
        assert all(any(_near([value], [row[column]]) for row in rows[step]) for step, value in curve), column
    return len(rows), len(rows) * len(columns)


def _status(address: str) -> int:
    try:
        with urllib.request.urlopen(address) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def _near(some: list[float], others: list[float]) -> bool:
    return len(some) == len(others) and all(
        abs(one - other) <= 1e-6 + 1e-4 * abs(other) for one, other in zip(some, others)
    )
