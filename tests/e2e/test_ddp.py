"""A training in several processes, perhaps on several machines, is one run, whatever becomes of any of them.

The processes train on CPUs: see ``cpu_ddp.py``.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.support import mistakes, postgres
from tests.support.mlflow import MLflowServer
from tests.support.processes import PATIENCE
from tracking_hooks.run.liveness import is_alive

pytestmark = pytest.mark.e2e

SCRIPT = """
import hashlib, os, time
from cpu_ddp import CpuDDPTrainer
from ultralytics import YOLO

def tell_weights(trainer):
    weights = b"".join(parameter.detach().numpy().tobytes() for parameter in trainer.model.parameters())
    print(f"\\nweights of rank {os.environ['RANK']}: {hashlib.sha256(weights).hexdigest()}", flush=True)

model = YOLO({weights})
model.add_callback("teardown", tell_weights)
"""

LOG_RANK = """
def log_rank(trainer):
    import tracking_hooks
    tracking_hooks.log({"mine/rank": float(os.environ["RANK"])}, step=trainer.epoch + 1)
model.add_callback("on_train_epoch_end", log_rank)
"""

FAIL_IN_EPOCH_2 = """
def fail(trainer):
    if os.environ["RANK"] == "{rank}" and trainer.epoch == 1:
        raise ValueError("the augmentation ate the batch")
model.add_callback("on_train_batch_end", fail)
"""

BLIND = """
def blind(trainer):
    from tracking_hooks.hosts.ultralytics import objects, worst
    def fail(*_):
        raise ValueError("odd shape")
    if os.environ["RANK"] == "1":
        objects._boxes = worst._pairs = fail
model.add_callback("on_train_start", blind)
"""

WAIT_IN_EPOCH_2 = """
def wait(trainer):
    if trainer.epoch == 1:
        with open(f"waiting-{os.environ['RANK']}", "w") as file:
            file.write(str(os.getpid()))
        while not os.path.exists("go"):
            time.sleep(0.05)
model.add_callback("on_train_batch_start", wait)
"""

OWN_STORE = """
import mlflow
mlflow.set_tracking_uri("sqlite:///" + os.path.abspath("mine.db"))
mlflow.set_experiment("mine")
"""

OWN_RUN = """
with mlflow.start_run(run_name="mine"):
    mlflow.log_param("mine", 1)
    {train}
"""

EXAMPLES = Path(__file__).parents[2] / "examples"

FILES = ("weights/last.pt", "weights/best.pt", "results.csv", "args.yaml")


def script(home, text="", train="{train}", **arguments):
    """Write a training script.

    :param text: what stands before ``model.train``
    :param train: the last statement, with a place for ``model.train``
    """
    arguments = {k: str(v) if isinstance(v, Path) else v for k, v in home.arguments(**arguments).items()}
    weights = arguments.pop("model")
    last = train.format(train=f"model.train(trainer=CpuDDPTrainer, **{arguments!r})")
    (home.work / "train.py").write_text(SCRIPT.replace("{weights}", repr(weights)) + text + last + "\n")
    return [sys.executable, "train.py"]


@pytest.fixture
def home(home):
    shutil.copy(Path(__file__).with_name("cpu_ddp.py"), home.work)
    yield home
    for process in home.processes:  # torchrun gives its workers sessions of their own
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()


def weights_of_ranks(output):
    return dict(re.findall(r"weights of rank (\d+): (\w+)", output))


def check_curves(rows, history_of):
    """All columns of results.csv but the trainer's clock, each epoch once."""
    for column in {key for row in rows.values() for key in row} - {"time"}:
        history = history_of(column)
        assert [step for step, _ in history] == list(rows), column
        assert [value for _, value in history] == pytest.approx(
            [row[column] for row in rows.values()], rel=1e-5, abs=1e-6, nan_ok=True
        ), column


def check_mlflow(reader, rows):
    run = reader.only_run()
    check_curves(rows, lambda column: reader.history(run, column.replace("(", "").replace(")", "")))
    assert run.info.status == "FINISHED"
    return run


def digests(file_of):
    return {name: hashlib.sha256(Path(file_of(name)).read_bytes()).hexdigest() for name in FILES}


def test_processes_that_ultralytics_launches_are_one_run_and_train_as_they_do_untracked(home, scalars):
    home.forks = False  # Ultralytics and torchrun start the workers anew from what the first process is
    given = [name for name in home.env if name.startswith("TRACKING_HOOKS_")]
    ours = f"[name for name in os.environ if name.startswith('TRACKING_HOOKS_') and name not in {given}]"
    afterwards = f"{{train}}\nprint('left behind:', {ours})"
    output = home.run(script(home, LOG_RANK, afterwards, epochs=3, plots=True), "mlflow,tensorboard")

    assert "left behind: []" in output
    assert home.calls()[0].args["environment"].argv == ["train.py"], "the user's command, not that of a worker"
    assert [call.args["status"] for call in home.calls() if call.hook == "on_run_end"] == ["finished"]
    logged = [(call.args["step"], call.args["metrics"]) for call in home.calls() if call.hook == "on_log"]
    assert logged == [(epoch, {"mine/rank": 0.0}) for epoch in (1, 2, 3)], "rank 0 records, and no other"
    rows = home.results()
    assert list(rows) == [1, 2, 3]
    run = check_mlflow(home.reader(), rows)
    assert run.data.tags["tracking_hooks.run_uid"] == home.run_folder().uid
    (events,) = home.work.rglob("events.out.tfevents.*")
    check_curves(rows, scalars(events.parent).__getitem__)
    for plugin in ("mlflow", "tensorboard"):
        assert output.count(f"tracking-hooks: {plugin}: all ") == 1
    calls = home.calls()
    assert mistakes.by_pair(calls) == mistakes.of_matrix(calls)
    labelled = sum(len(path.read_text().splitlines()) for path in (home.data.parent / "labels/val").glob("*.txt"))
    missed = sum(times for (_, taken), times in mistakes.by_pair(calls, "confident").items() if taken == "background")
    assert missed == labelled, "each rank has counted its share: it has learned nothing"
    assert len(mistakes.listed(calls)) == len(mistakes.shown(calls)[1]) == 8

    tracked = weights_of_ranks(output)
    home.forks = True
    untracked = weights_of_ranks(home.run(script(home, epochs=3, plots=True, name="untracked")))
    assert set(tracked) == {"0", "1"}
    assert tracked["0"] == tracked["1"]
    assert tracked == untracked
    seen = [
        call.args for call in home.calls() if call.hook == "on_predictions" and call.args["artifact"].name != "worst"
    ]
    assert {1, 3} <= {args["step"] for args in seen}
    assert [len(args["images"]) for args in seen] == [8] * len(seen), "those of both ranks"


def test_what_a_process_could_not_see_is_said_and_not_half_of_it_recorded(home):
    output = home.run(script(home, BLIND, epochs=1, plots=True), "tensorboard")
    assert "what the model sees in epoch 1 is not recorded" in output
    assert "the worst images are not recorded: on rank 1: ValueError: odd shape" in output
    assert [call for call in home.calls() if call.hook in ("on_predictions", "on_table")] == []
    assert not list(home.run_folder().path.glob("*-1.json"))


def test_rules_end_all_processes_after_the_same_epoch_and_change_no_process_alone(home):
    shutil.copy(EXAMPLES / "my_rules.py", home.work)
    rules = {
        "PYTHONPATH": str(home.work),
        "TRACKING_HOOKS_CONTROL": "my_rules.DropLearningRate(at=1); budget(epochs=2)",
    }
    output = home.run(script(home, epochs=4), "mlflow", **rules)

    assert list(home.results()) == [1, 2]
    weights = weights_of_ranks(output)
    assert set(weights) == {"0", "1"}
    assert weights["0"] == weights["1"]
    acted = [(call.args["plugin"], call.args["outcome"]) for call in home.calls() if call.hook == "on_action"]
    (dropped, refused), stopped = acted
    assert dropped == "my_rules.DropLearningRate(at=1)"
    assert refused.startswith("refused: each process has an optimizer of its own")
    assert stopped == ("budget(epochs=2)", "done")
    assert f"{dropped}: multiply the learning rate by 0.1: epoch 1 is over (refused" in output


@pytest.mark.parametrize("rank", [0, 1])
def test_what_a_process_raised_is_why_the_run_failed(home, rank):
    output = home.run(script(home, FAIL_IN_EPOCH_2.replace("{rank}", str(rank)), epochs=3), "mlflow", code=1)

    assert "ValueError: the augmentation ate the batch" in output
    end = home.wait_for_call("on_run_end")
    home.wait_for_delivery()
    assert end.args["status"] == "failed"
    error = end.args["error"]
    assert error.type == "ValueError"
    assert error.message.endswith("the augmentation ate the batch")
    reader = home.reader()
    run = reader.only_run()
    assert run.info.status == "FAILED"
    assert run.data.tags["tracking_hooks.error"] == f"ValueError: {error.message}"
    path = reader.client.download_artifacts(run.info.run_id, "traceback.txt")
    assert "in fail" in Path(path).read_text()
    assert [step for step, _ in reader.history(run, "train/box_loss")] == [1]


def test_a_new_training_into_the_same_folder_leaves_the_older_run_its_own_files(home, port, start_server):
    uri = f"http://127.0.0.1:{port}"
    down = {"MLFLOW_TRACKING_URI": uri, "TRACKING_HOOKS_LINGER": "0", "TRACKING_HOOKS_EXIT_WAIT": "1"}
    on_disk = []
    for seed in (0, 1):
        home.run(script(home, exist_ok=True, seed=seed), "mlflow", **down)
        on_disk.append(digests((home.work / "runs/train").joinpath))
    start_server()
    home.run(["tracking-hooks", "sync"])

    assert not set(on_disk[0].values()) & set(on_disk[1].values())
    reader = home.reader(uri)
    runs = {run.data.tags["tracking_hooks.run_uid"]: run for run in reader.runs()}
    assert sorted(runs) == [folder.uid for folder in home.runs()]
    for seed, uid in enumerate(sorted(runs)):
        run = runs[uid]
        assert run.info.status == "FINISHED"
        assert run.data.params["seed"] == str(seed)
        assert [step for step, _ in reader.history(run, "train/box_loss")] == [1, 2]
        assert set(FILES) <= reader.artifacts(run)
        delivered = digests(lambda name, run=run: reader.client.download_artifacts(run.info.run_id, name))
        assert delivered == on_disk[seed]


def test_the_users_own_mlflow_run_is_joined_and_its_next_line_finds_the_numbers(home):
    (home.work / "mlflow.db").unlink()  # or nobody could tell that none is made
    next_line = """
    run = mlflow.get_run(mlflow.active_run().info.run_id)
    print("mAP50:", run.data.metrics["metrics/mAP50B"])
    print("uid:", run.data.tags["tracking_hooks.run_uid"])
    """
    output = home.run(script(home, OWN_STORE, OWN_RUN.rstrip() + next_line), "mlflow")

    (found,) = [line for line in output.splitlines() if line.startswith("mAP50:")]
    assert float(found.split()[1]) == pytest.approx(home.results()[2]["metrics/mAP50(B)"], abs=1e-5)
    assert f"uid: {home.run_folder().uid}" in output
    reader = home.reader(f"sqlite:///{home.work / 'mine.db'}")
    run = check_mlflow(reader, home.results())
    assert run.info.run_name == "mine"
    assert run.data.params["mine"] == "1"
    assert reader.client.get_experiment(run.info.experiment_id).name == "mine"
    assert not (home.work / "mlflow.db").exists()


def test_the_store_that_the_users_script_sets_is_where_the_run_goes(home):
    (home.work / "mlflow.db").unlink()  # or nobody could tell that none is made
    home.run(script(home, OWN_STORE), "mlflow")

    reader = home.reader(f"sqlite:///{home.work / 'mine.db'}")
    run = check_mlflow(reader, home.results())
    assert reader.client.get_experiment(run.info.experiment_id).name == "mine"
    assert not (home.work / "mlflow.db").exists()


def test_a_killed_training_that_is_resumed_is_one_run(home, await_):
    home.forks = False  # a forked torchrun is not in the group that is killed
    process = home.start(script(home, WAIT_IN_EPOCH_2, epochs=3), "mlflow")
    waiting = [home.work / f"waiting-{rank}" for rank in (0, 1)]
    workers = [int(await_(lambda file=file: file.exists() and file.read_text(), "epoch 2")) for file in waiting]
    os.killpg(process.pid, signal.SIGKILL)  # the training's first process, and torchrun
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    home.wait_for_call("on_run_end", status="killed")

    home.forks = True
    home.run(script(home, model="runs/train/weights/last.pt", resume=True, epochs=3), "mlflow")
    assert [call.args["epoch"] for call in home.calls() if call.hook == "on_epoch_end"] == [1, 2, 3]
    rows = home.results()
    assert list(rows) == [1, 2, 3]
    run = check_mlflow(home.reader(), rows)
    assert run.data.tags["tracking_hooks.run_uid"] == home.run_folder().uid


# -- several machines -----------------------------------------------------------------------------------------

NODES = ("10.211.7.1", "10.211.7.2")
NODE_0, TRACKER = "10.211.8.1", "10.211.8.2"


class Network:
    """Two nodes with a link between them, and a tracker that only node 0 has a link to.

    Each is a network namespace; the devices are called ``nodes`` and ``tracker``.
    """

    def __init__(self):
        self.names = {who: f"tracking-hooks-{secrets.token_hex(4)}-{who}" for who in ("node0", "node1", "tracker")}

    def build(self):
        for name in self.names.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        self._link("nodes", node0=NODES[0], node1=NODES[1])
        self._link("tracker", node0=NODE_0, tracker=TRACKER)

    def _link(self, device, **ends):
        (one, other) = (self.names[who] for who in ends)
        ip("link", "add", device, "netns", one, "type", "veth", "peer", "name", device, "netns", other)
        for who, address in ends.items():
            ip("-n", self.names[who], "addr", "add", f"{address}/30", "dev", device)
            ip("-n", self.names[who], "link", "set", device, "up")

    def within(self, who, command):
        return ["ip", "netns", "exec", self.names[who], *command]

    @contextmanager
    def entered(self, who):
        """Let this thread open its connections there."""
        with Path("/proc/self/ns/net").open() as here, Path("/run/netns", self.names[who]).open() as there:
            setns(there)
            try:
                yield
            finally:
                setns(here)

    def cut(self):
        ip("-n", self.names["tracker"], "link", "set", "tracker", "down")

    def mend(self):
        ip("-n", self.names["tracker"], "link", "set", "tracker", "up")

    def remove(self):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=30)


def setns(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace.fileno(), 0):
        raise OSError(ctypes.get_errno(), "setns")


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30)


@pytest.fixture
def network():
    network = Network()
    try:
        network.build()
    except FileNotFoundError as error:
        pytest.skip(f"network namespaces need iproute2: {error}")
    except subprocess.CalledProcessError as error:
        network.remove()
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    yield network
    network.remove()


@pytest.fixture
def store(home, network):
    """A database beside the tracker: PostgreSQL, where it can be had."""
    if postgres.missing():
        yield f"sqlite:///{home.folder / 'server.db'}"
        return
    server = postgres.Postgres(network.within("tracker", []))
    server.start()
    yield server.uri
    server.stop()


@pytest.fixture
def tracker(home, network, store, await_):
    """A real MLflow server behind the link. Its address is there for node 0 only, which is as safe as loopback."""
    server = MLflowServer(home.folder, store=store, host=TRACKER, port=5000, within=network.within("tracker", []))
    look = f"import urllib.request; urllib.request.urlopen('{server.address}/health', timeout=1)"
    look = network.within("node0", [sys.executable, "-S", "-c", look])
    server.start()
    try:
        await_(lambda: subprocess.run(look, capture_output=True, check=False).returncode == 0, "the server's health")
        yield server.address
    finally:
        server.stop()


# What the job script asks of Slurm: the names of the nodes, and to run a command on each.
SCONTROL = """#!/bin/sh
[ "$1 $2" = "show hostnames" ] && echo "$3" | tr , "\\n"
"""
SRUN = """#!/bin/bash
shift  # --kill-on-bad-exit
SLURM_NODEID=0 ip netns exec {node0} "$@" & node0=$!
SLURM_NODEID=1 ip netns exec {node1} "$@" & node1=$!
wait $node0 && wait $node1
"""


@pytest.fixture
def slurm(home, network):
    """The environment of a job on the two nodes."""
    programs = home.folder / "slurm"
    programs.mkdir()
    for name, text in {"scontrol": SCONTROL, "srun": SRUN.format(**network.names)}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return {
        "PATH": f"{programs}{os.pathsep}{home.env['PATH']}", "SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": ",".join(NODES), "SLURM_GPUS_ON_NODE": "1", "GLOO_SOCKET_IFNAME": "nodes",
    }  # fmt: skip


JOB = Path(__file__).parents[2] / "docker/slurm/train.sbatch"


def test_two_machines_are_one_run_that_outlasts_the_link_to_its_tracker(home, network, store, tracker, slurm, await_):
    command = script(home, WAIT_IN_EPOCH_2, epochs=3, exist_ok=True)
    env = {**slurm, "MLFLOW_TRACKING_URI": tracker, "TRACKING_HOOKS_MODE": "online"}
    env |= {"TRACKING_HOOKS_LINGER": "0", "TRACKING_HOOKS_EXIT_WAIT": "1"}
    job = home.start(["bash", str(JOB), *command[1:]], "mlflow", **env)
    epoch_1 = home.wait_for_call("on_epoch_end", epoch=1)
    relay = home.run_folder().relay("mlflow")
    await_(lambda: relay.read_cursor().seq >= epoch_1.seq, "epoch 1, delivered")
    network.cut()
    (home.work / "go").touch()
    output, _ = job.communicate(timeout=PATIENCE)

    assert job.returncode == 0, output
    rows = home.results()
    assert list(rows) == [1, 2, 3]
    weights = weights_of_ranks(output)
    assert set(weights) == {"0", "1"}
    assert weights["0"] == weights["1"]
    assert not relay.read_cursor().ended
    network.mend()
    await_(lambda: not is_alive(relay.lock, heartbeat=relay.lock, silence=0), "the end of the relay")
    home.run(network.within("node0", ["tracking-hooks", "sync"]))
    check_delivered(home, network, store, rows)


def check_delivered(home, network, store, rows):
    with network.entered("tracker"):
        run = check_mlflow(home.reader(store), rows)
    assert run.data.tags["tracking_hooks.run_uid"] == home.run_folder().uid
    delivered = {path.relative_to(path.parents[1]) for path in (home.folder / "artifacts").rglob("*")}
    assert Path("weights/last.pt") in delivered
