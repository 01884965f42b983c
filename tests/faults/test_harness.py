"""The suite itself: that it would see a loss, and that the faults are what they are called."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.faults import content, sink
from tests.faults.proxy import FaultProxy, Trouble
from tests.faults.reference import keep
from tests.faults.sequences import Plan, parts_of
from tests.support import forking
from tests.support.processes import send_session
from tests.support.runs import read_calls
from tracking_hooks.events import Artifact
from tracking_hooks.run import files
from tracking_hooks.run.layout import CONSOLE, RunFolder
from tracking_hooks.run.story import reopen
from tracking_hooks.testing import play, sample_run
from tracking_hooks_mlflow.names import of_batch, spelled
from tracking_hooks_tensorboard.tracker import TensorBoardTracker

pytestmark = pytest.mark.faults


# -- contents ---------------------------------------------------------------------------------------------------


@pytest.fixture
def run(ended_run, tmp_path):
    return ended_run(
        2,
        tensorboard={"logdir": str(tmp_path / "logdir")},
        mlflow={"tracking_uri": "", "experiment": "shapes", "run_name": "train"},
    )


def test_a_clean_delivery_holds_every_number_of_the_journal(run, store, tmp_path):
    hooks = {"on_batch_end", "on_epoch_end", "on_system_metrics"}
    recorded = [call for call in read_calls(run.journal) if call.hook in hooks]
    values = [repr(float(value)) for call in recorded for value in call.args["metrics"].values()]
    keys = {spelled(name) for call in recorded for name in of_batch(call.args["metrics"])}
    found = content.clean_mlflow(run, f"sqlite:///{store('clean')}")
    points = [point for point in found if point[0] == "metric" and point[1] in keys]
    assert sorted(point[-1] for point in points) == sorted(values)
    scalars = content.clean_tensorboard(run, tmp_path / "logdir")
    beside = ("validation/", "without_brackets/", "per_class/")
    assert len([point for point in scalars if point[0] == "scalar" and not point[1].startswith(beside)]) == len(values)


def test_a_point_that_is_missing_and_one_that_stands_twice_are_seen(run, tmp_path):
    calls = read_calls(run.journal)
    clean = content.clean_tensorboard(run, tmp_path / "clean")

    def delivered(name, calls):
        play(TensorBoardTracker(), calls, sample_run(tmp_path), destination={"logdir": str(tmp_path / name)})
        return content.difference(clean, content.of_tensorboard(tmp_path / name))

    batch = next(call for call in calls if call.hook == "on_batch_end")
    others = [call for call in calls if call.seq != batch.seq]
    head = [call for call in calls if call.hook == "on_run_start"]
    environment = {("text", "environment")}  # names the run and its folder
    lost, doubled = delivered("a hole", others)
    assert {point[:2] for point in lost} == {("scalar", "train_batch/box_loss")} | environment
    assert {point[:2] for point in doubled} == environment
    lost, doubled = delivered("twice", [*calls, batch])
    assert {point[:2] for point in doubled} == {("scalar", "train_batch/box_loss")} | environment
    assert len(head) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")
def test_a_process_that_was_forked_can_be_signalled_at_once_and_when_it_has_ended(tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(1000)"]
    for _ in range(20):
        process = forking.start(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=tmp_path)
        assert isinstance(process, forking.Forked)
        send_session(process, signal.SIGCONT)
        send_session(process, signal.SIGKILL)
        send_session(process, signal.SIGCONT)  # perhaps before its end is told
        assert process.wait() == -signal.SIGKILL
        send_session(process, signal.SIGCONT)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")
def test_a_process_that_has_opened_a_thousand_files_can_wait_for_one_that_was_forked(tmp_path):
    import fcntl
    import resource

    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= 1100:
        pytest.skip("this process may open a thousand files, not more")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = forking.start([sys.executable, "-c", "print(1)"], env=env, cwd=tmp_path)
    process._socket = socket.socket(fileno=fcntl.fcntl(process._socket.detach(), fcntl.F_DUPFD, 1100))
    assert process.communicate(timeout=60) == ("1\n", None)


def test_a_seed_gives_the_same_plan_again():
    parts = parts_of(["tensorboard", "mlflow", sink.NAME])
    plans = [Plan.draw(seed, parts) for seed in range(50)]
    assert plans == [Plan.draw(seed, parts) for seed in range(50)]
    targets = {fault.target for plan in plans for fault in plan.faults}
    assert targets == {
        "trainer",
        "server",
        "network",
        "machine",
        "sink",
        "stranger",
        "power",
        "upgrade",
        "copy",
        "tensorboard",
        "mlflow",
        "mlflow.files",
        sink.NAME,
    }


def test_a_replay_has_every_file_of_the_run_the_recorders_copies_too(ended_run, tmp_path):
    run = ended_run(1)
    yaml = tmp_path / "data.yaml"
    yaml.write_text("train: images")
    log, _ = reopen(run.journal)
    log.append("on_artifact", 1.0, {"artifact": files.config(run, yaml, "dataset/data.yaml")})
    console = run.files / CONSOLE
    console.write_text("as the training said it")
    size, sha = files.digest(console)
    recorded = Artifact(path=console, kind="file", name=CONSOLE, size=size, digest=sha)
    log.append("on_artifact", 1.0, {"artifact": recorded})
    log.close()

    kept = keep(run, tmp_path / "recorded/train", tmp_path / "kept")
    project = tmp_path / "replay"
    replay = RunFolder.beside(project / "train", "a replay")
    kept.copy_files(project / "train", replay)
    (replay.files / CONSOLE).write_text("what the replay says itself")
    calls = kept.moved_to(project / "train", replay)
    named = [call.args.get("artifact") or call.args.get("checkpoint") for call in calls]
    final = [file for file in named if file and file.digest]
    assert {file.name for file in final if isinstance(file, Artifact)} >= {"dataset/data.yaml", CONSOLE}
    for file in final:
        assert files.locate(replay, project, file) == file.path


# -- the proxy --------------------------------------------------------------------------------------------------


@pytest.fixture
def asked():
    return []


@pytest.fixture
def proxy(asked):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if len(body) < int(self.headers["Content-Length"]):
                return
            asked.append(body)
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(b"x" * 5000)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # cut connections are what is asked for
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        proxy = FaultProxy(server.server_port)
        proxy.start()
        yield proxy
        proxy.stop()
        server.shutdown()
        thread.join()


@pytest.fixture
def client(proxy):
    client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    yield client
    client.close()


def post(client, body=b"y" * 20_000):
    client.request("POST", "/", body)
    answer = client.getresponse()
    return answer.status, len(answer.read())


CUT = (OSError, http.client.HTTPException)


def test_the_proxy_forwards(client, asked):
    assert [post(client), post(client)] == [(200, 5000)] * 2
    assert len(asked) == 2


def test_a_status_meets_also_a_connection_that_was_open(client, proxy, asked):
    post(client)
    proxy.set(Trouble("status", 429))
    with pytest.raises(CUT):
        post(client)
    client.close()
    assert post(client) == (429, 0)
    proxy.set(Trouble())
    assert post(client) == (200, 5000)
    assert len(asked) == 2


def test_a_limit_refuses_large_bodies_only(client, proxy, asked):
    proxy.set(Trouble("limit", 1000))
    assert post(client) == (413, 0)
    client.close()
    assert post(client, b"small") == (200, 5000)
    assert asked == [b"small"]


def test_a_store_out_of_reach_is_so_beside_a_server_that_answers(client, proxy, asked):
    proxy.set(Trouble("store", 503))
    client.request("POST", "/api/2.0/mlflow-artifacts/artifacts/1/weights.pt", b"y" * 20_000)
    assert client.getresponse().status == 503
    client.close()
    assert post(client) == (200, 5000)
    assert len(asked) == 1


def test_a_cut_request_never_arrives(client, proxy, asked):
    proxy.set(Trouble("cut request", 3000))
    with pytest.raises(CUT):
        post(client)
    assert asked == []


def test_a_cut_answer_leaves_the_work_done(client, proxy, asked):
    proxy.set(Trouble("cut answer", 3000))
    with pytest.raises(CUT):
        post(client)
    assert len(asked) == 1


def test_a_reset_reaches_open_connections(client, proxy, asked):
    post(client)
    proxy.set(Trouble("reset"))
    with pytest.raises(CUT):
        post(client)
    assert len(asked) == 1


def test_what_was_sent_while_the_network_hung_arrives_late(client, proxy, asked):
    proxy.set(Trouble("hang"))
    client.request("POST", "/", b"late")
    client.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.sock.recv(1)
    assert asked == []
    proxy.set(Trouble())
    deadline = time.monotonic() + 30
    while not asked and time.monotonic() < deadline:
        time.sleep(0.01)
    assert asked == [b"late"]
