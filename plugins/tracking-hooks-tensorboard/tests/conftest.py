"""A recorded run with all that the tabs of TensorBoard show."""

import json
import subprocess
import sys
import urllib.parse
import urllib.request
from contextlib import suppress

import pytest
from msgspec.structs import replace

from tests.support.processes import wait_for
from tracking_hooks.events import Artifact, Curve
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import recorded_run

CONFIDENCE = [i / 100 for i in range(101)]


def falling(value, until):
    return [value if x <= until else 0.0 for x in CONFIDENCE]


def over_confidence(name, y):
    return Curve(name=name, x_label="Confidence", y_label=name.partition("-")[0], x=CONFIDENCE, y=y)


CURVES = [
    over_confidence("Precision-Confidence(B)", {"square": [0.5] * 51 + [1.0] * 50, "circle": [0.25] * 101}),
    over_confidence("Recall-Confidence(B)", {"square": falling(0.5, 0.8), "circle": falling(1.0, 0.4)}),
]


@pytest.fixture(scope="session")
def recorded():
    """As ``recorded_run``, with metrics by class, curves over the confidence, and the log."""

    def record(folder, **options):
        calls = []
        for call in recorded_run(folder, **options):
            args = dict(call.args)
            if call.hook == "on_run_start":
                args["params"] = {
                    **args["params"], "batch": 16, "amp": True, "freeze": None, "classes": [0, 2], "name": folder.name,
                }  # fmt: skip
            if call.hook == "on_epoch_end":
                epoch = args["epoch"]
                args["per_class"] = {
                    "square": {"metrics/mAP50(B)": 0.95 - 0.5**epoch},
                    "circle": {"metrics/mAP50(B)": 0.85 - 0.5**epoch},
                }
            if call.hook == "on_final_validation":
                args["curves"] = [*args["curves"], *CURVES]
            calls.append(Call(call.seq, call.time, call.hook, args))
        log = folder / "console.log"
        log.write_text("Ultralytics\n  1  <b>[-1, 6]</b> *conv*\n")
        artifact = Artifact(path=log, kind="file", name="console.log", size=log.stat().st_size, digest="", epoch=3)
        end = calls.pop()
        calls.append(Call(end.seq, end.time, "on_artifact", {"artifact": artifact}))
        calls.append(Call(end.seq + 1, end.time + 1, end.hook, end.args))
        return calls

    return record


class Server:
    """A running TensorBoard, asked as its own pages ask it."""

    def __init__(self, process, address):
        self.process = process
        self.address = address

    def get(self, path, **query):
        url = f"{self.address}/data/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            body = answer.read()
            return json.loads(body) if "json" in answer.headers["Content-Type"] else body

    def post(self, path, body):
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/data/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def await_(self, condition, what):
        def look():
            assert self.process.poll() is None, f"the server ended: {what}"
            with suppress(OSError):  # it has not come up, or has not read that far
                return condition()

        return wait_for(look, what)


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """Start a TensorBoard on a folder; it takes a free port and says which."""
    processes = []

    def start(logdir, *options):
        log = tmp_path_factory.mktemp("server") / "log"
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1"]
        with log.open("w") as file:
            process = subprocess.Popen(
                [*command, "--port", "0", "--reload_interval", "1", *options], stdout=file, stderr=file
            )
        processes.append(process)
        wait_for(lambda: process.poll() is not None or "http://127.0.0.1:" in log.read_text(), "TensorBoard's address")
        assert process.poll() is None, log.read_text()
        port = log.read_text().partition("http://127.0.0.1:")[2].partition("/")[0]
        server = Server(process, f"http://127.0.0.1:{port}")
        server.await_(lambda: server.get("environment"), "its health")
        return server

    yield start
    for process in processes:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def run_of():
    """The run of a folder, with a uid of its own."""
    from tracking_hooks.testing import sample_run

    return lambda folder: replace(sample_run(folder), uid=f"uid-{folder.name}", name=folder.name)
