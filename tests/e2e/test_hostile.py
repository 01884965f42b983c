"""Bad ground: secrets in odd places, full disks, hanging servers, folders that are used again."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support.processes import wait_for

pytestmark = pytest.mark.e2e

SECRETS = {
    "url": "Hunter2-in-a-url",
    "bearer": "b3arer-t0ken-0123456789abcdef",
    "argument": "sk-argument-0123456789",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "wandb": "0123456789abcdef0123456789abcdef01234567",
    "hf": "hf_abcdefghijklmnopqrstuvwxyz",
    "git": "git-pass-0123456789",
    "plugin": "in-the-plugins-own-error-0123",
    "variable": "correct horse/battery",
    "late variable": "set-while-it-trained",
}

FAIL = f"""
import os
from ultralytics.utils import LOGGER
os.environ["DB_" + "PASSWORD"] = "{SECRETS["variable"]}"
def leak(trainer):
    os.environ["QUEUE_" + "PASSWORD"] = "{SECRETS["late variable"]}"
    (trainer.save_dir / "mine.yaml").write_text("queue: {SECRETS["late variable"]}")
    LOGGER.info("the database refuses {SECRETS["variable"]}")
model.add_callback("on_train_epoch_end", leak)
def fail(trainer):
    if trainer.epoch == 1:
        raise ValueError("Bearer {SECRETS["bearer"]}, {SECRETS["aws"]}, {SECRETS["wandb"]}, {SECRETS["hf"]}")
model.add_callback("on_train_batch_end", fail)
"""

CLUMSY = f"""
from tracking_hooks import hookimpl
class Clumsy:
    @hookimpl
    def on_epoch_end(self, seq):
        raise RuntimeError("token={SECRETS["plugin"]}")
"""


def test_no_secret_gets_into_a_journal_a_log_or_a_tracker(home):
    subprocess.run(["git", "init", "-q"], cwd=home.work, check=True)
    remote = f"https://ada:{SECRETS['git']}@example.com/shapes.git"
    subprocess.run(["git", "remote", "add", "origin", remote], cwd=home.work, check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "x"], cwd=home.work, check=True)
    (home.work / "clumsy.py").write_text(CLUMSY)
    command = home.script(FAIL, source=f"rtsp://ada:{SECRETS['url']}@camera/stream")
    home.run(
        [*command, "--api-key", SECRETS["argument"]],
        "mlflow,tensorboard,clumsy:Clumsy",
        code=1,
        WANDB_API_KEY=SECRETS["wandb"],
    )

    ours = [home.work / "mlflow.db", *(home.work / "mlruns").rglob("*"), *home.run_folder().path.rglob("*")]
    ours += [*(home.work / "runs/train").glob("events*"), home.work / "runs/train/tracking.json"]
    files = [path for path in ours if path.is_file()]
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".pt":
            continue  # Ultralytics' own checkpoint, with the arguments as they were given
        found = [name for name, secret in SECRETS.items() if secret.encode() in content]
        assert not found, f"{found} in {path}"
    private = [path for path in home.run_folder().path.rglob("*") if path.is_file()]
    assert {oct(path.stat().st_mode & 0o777) for path in private} == {"0o600"}
    assert b"[redacted]" in home.run_folder().journal.read_bytes()


@pytest.fixture
def hanging_server():
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        accepted = []

        def accept():
            try:
                while True:
                    accepted.append(server.accept()[0])
            except OSError:
                pass

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        for connection in accepted:
            connection.close()


def test_a_server_that_never_answers_is_not_waited_for_by_the_training(home, hanging_server):
    output = home.run(
        home.yolo(epochs=2), "mlflow", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{hanging_server}",
        TRACKING_HOOKS_EXIT_WAIT="3", TRACKING_HOOKS_LINGER="0", TRACKING_HOOKS_BATCH_EVERY="1",
        MLFLOW_HTTP_REQUEST_TIMEOUT="2",
    )  # fmt: skip
    assert "2 epochs completed" in output
    assert re.search(r"mlflow: (\d+) of \1 events are not delivered yet", output) and "tracking-hooks sync" in output
    assert [call.args["step"] for call in home.calls() if call.hook == "on_batch_end"] == [1, 2, 3, 4]
    status = home.run(["tracking-hooks", "status", str(home.work)])
    assert "finished" in status and "sync" in status


def test_ctrl_c_ends_the_wait_and_not_the_relay(home, await_):
    home.forks = False  # the order in which a process ends is what it is about
    (home.work / "slow.py").write_text(
        "import pathlib, time\n"
        "from tracking_hooks import hookimpl\n"
        "class Slow:\n"
        "    @hookimpl\n"
        "    def on_run_end(self, run):\n"
        "        while not pathlib.Path('go on').exists(): time.sleep(0.05)\n"
        "        pathlib.Path('through').touch()\n"
    )
    ctrl_c = (
        "import atexit, signal\n"
        "def wait(trainer):\n"  # registered after ours, so called just before: Ctrl-C comes a second later
        "    signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "    atexit.register(lambda: signal.setitimer(signal.ITIMER_REAL, 1))\n"
        "model.add_callback('on_train_start', wait)"
    )
    output = home.run(home.script(ctrl_c, epochs=1), "slow:Slow")
    relay = home.run_folder().relay("slow:Slow")

    assert "slow:Slow:" in output and "in the background" in output
    (home.work / "go on").touch()
    await_((home.work / "through").exists, "the relay going on")
    await_(lambda: relay.read_cursor().ended, "the end of the delivery")


def test_weights_that_a_later_run_overwrites_are_delivered_as_they_were(home, start_server, port):
    uri = f"http://127.0.0.1:{port}"
    down = {"MLFLOW_TRACKING_URI": uri, "TRACKING_HOOKS_LINGER": "0", "TRACKING_HOOKS_EXIT_WAIT": "1"}
    first = home.yolo(epochs=1)
    home.run(first, "mlflow", **down)
    best = (home.work / "runs/train/weights/best.pt").read_bytes()
    home.run(home.yolo(epochs=1, exist_ok=True, seed=1), "mlflow", **down)
    assert (home.work / "runs/train/weights/best.pt").read_bytes() != best

    start_server()
    home.run(["tracking-hooks", "sync", str(home.work)])
    reader = home.reader(uri)
    older, newer = sorted(reader.runs(), key=lambda run: run.info.start_time)
    delivered = [
        Path(reader.client.download_artifacts(run.info.run_id, "weights/best.pt")).read_bytes()
        for run in (older, newer)
    ]
    assert hashlib.sha256(delivered[0]).digest() == hashlib.sha256(best).digest()
    assert delivered[1] == (home.work / "runs/train/weights/best.pt").read_bytes()


@pytest.fixture
def small_disk(home):
    """A disk of 64 kB for the journals."""
    folder = home.work / "runs/.tracking-hooks"
    folder.mkdir(parents=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False, capture_output=True
    )
    if mount.returncode:
        pytest.skip(f"cannot mount a small disk here: {mount.stderr.decode().strip()}")
    yield folder
    # The relays go on behind the training for a moment.
    wait_for(lambda: subprocess.run(["umount", folder], check=False).returncode == 0, "the end of the relays")


def test_a_full_disk_ends_no_training_and_is_said_once(home, small_disk):
    text = (
        "import tracking_hooks\n"
        "def much(trainer):\n"
        "    for i in range(1000): tracking_hooks.log({f'much/{i}': 1.0}, i)\n"
        "model.add_callback('on_train_batch_end', much)"
    )
    # A relay that cannot write down how far it is waits for room.
    output = home.run(home.script(text), "tensorboard", TRACKING_HOOKS_LINGER="5")

    assert "2 epochs completed" in output
    assert output.count("is the disk full?") == 1
    assert home.run_folder().journal.stat().st_size <= 64 * 1024


MUCH_OF_ITS_OWN = """
import logging.config, os, signal, sys, threading
import mlflow
from torch.utils.tensorboard import SummaryWriter

mlflow.autolog()
sys.excepthook = threading.excepthook = print
signal.signal(signal.SIGCHLD, lambda *_: None)

def open_writer(trainer):
    trainer.mine = SummaryWriter(trainer.save_dir)
    trainer.mine.add_scalar("mine", 0.5, 1)
    trainer.mine.flush()

def disturb(trainer):
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    os.mkdir("elsewhere")
    os.chdir("elsewhere")
    pid = os.fork()
    if not pid:
        sys.exit()
    os.waitpid(pid, 0)

model.add_callback("on_pretrain_routine_start", open_writer)
model.add_callback("on_train_start", disturb)
"""


def test_a_script_that_does_much_of_its_own_is_tracked_whole(home, scalars):
    for name in ("events", "settings", "control", "plugins", "run"):
        (home.work / f"{name}.py").write_text("raise RuntimeError('the user means something else by this name')")
    home.run(home.script(MUCH_OF_ITS_OWN), "mlflow,tensorboard")
    home.wait_for_delivery()

    expected = [(epoch, pytest.approx(row["train/box_loss"], rel=1e-4)) for epoch, row in home.results().items()]
    (run,) = home.reader().runs()
    assert run.info.status == "FINISHED"
    assert home.reader().history(run, "train/box_loss") == expected
    curves = scalars(home.work / "runs/train")
    assert curves["train/box_loss"] == expected
    assert curves["mine"] == [(1, 0.5)]
    assert "2 epochs completed" in (home.run_folder().files / "console.log").read_text()
