"""Before the stand-in of the W&B service judges the plugin: W&B's own client, by itself, works against it.

Nothing of tracking-hooks is imported here but the stand-in.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import subprocess
import sys

import pytest

from tests.support.processes import PATIENCE, wait_for
from tests.support.wandb_files import WandbFiles
from tests.support.wandb_standin import ENTITY, WandbStandIn

pytest.importorskip("wandb")
pytestmark = pytest.mark.e2e

SCRIPT = """
import sys
import wandb
from PIL import Image

run = wandb.init(
    project="plain", id="one", name="first", mode=sys.argv[1], resume=sys.argv[2] if len(sys.argv) > 2 else None,
    config={"lr": 0.1}, tags=["a"], group="g", job_type="t", notes="hello",
)
run.define_metric("loss", step_metric="epoch")
for step in range(run.starting_step, run.starting_step + 20):
    run.log({"loss": 1 / (step + 1), "epoch": step})
run.log({"picture": wandb.Image(Image.new("RGB", (8, 8), "red"))})
run.log({"table": wandb.Table(columns=["a", "b"], data=[[1, 2], [3, 4]])})
with open("weights.pt", "wb") as file:
    file.write(b"weights")
model = wandb.Artifact("model", type="model", metadata={"x": 1})
model.add_file("weights.pt")
run.log_artifact(model, aliases=["best"])
data = wandb.Artifact("data", type="dataset")
with data.new_file("data.txt") as file:
    file.write("data")
if not run.offline:
    run.use_artifact(data)
run.alert("an alert", "with a text")
print("a line of the console")
run.finish()
"""


@pytest.fixture
def standin():
    service = WandbStandIn()
    service.start()
    yield service
    service.stop()
    assert service.unknown == []


@pytest.fixture
def plain(tmp_path, standin):
    """Run a command as a user of plain W&B would."""
    (tmp_path / "script.py").write_text(SCRIPT)
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    env |= {"HOME": str(tmp_path / "home"), "WANDB_ERROR_REPORTING": "false", **standin.environment()}

    def run(*arguments, wait=True):
        command = [sys.executable, *arguments]
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=-1, stderr=-2, text=True)
        if not wait:
            return process
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, output
        assert "ERROR" not in output, output
        return output

    return run


def check(run, *, steps):
    assert run.path == f"{ENTITY}/plain/one"
    assert [row["_step"] for row in run.history] == list(range(steps))
    assert run.points("loss", "epoch")[:20] == [(step, pytest.approx(1 / (step + 1))) for step in range(20)]
    assert run.config["lr"] == 0.1
    assert run.fields["tags"] == ["a"]
    assert (run.fields["displayName"], run.fields["groupName"], run.fields["notes"]) == ("first", "g", "hello")
    assert run.exit_code == 0
    assert run.summary["_step"] == steps - 1
    for row in run.history:
        for name in ("picture", "table"):
            if name in row:
                assert row[name]["path"] in run.files
    assert run.alerts[0] == {"title": "an alert", "text": "with a text", "severity": "INFO"}
    assert [line for line in run.output if line.endswith("a line of the console")]


def test_a_plain_script_online(standin, plain):
    plain("script.py", "online")
    check(standin.run(), steps=22)
    model = standin.artifact("model", "best")
    assert model.files == {"weights.pt": b"weights"}
    assert (model.state, model.version, model.metadata) == ("COMMITTED", 0, {"x": 1})
    assert standin.run().used == [standin.artifact("data").id]


def test_a_plain_script_resumed(standin, plain):
    plain("script.py", "online", "allow")
    plain("script.py", "online", "allow")
    check(standin.run(), steps=44)
    assert [artifact.version for artifact in standin.artifacts if artifact.name == "model"] == [0]


def test_a_plain_offline_run_synced_by_wandb(standin, plain, tmp_path):
    plain("script.py", "offline")
    assert standin.requests == []
    found = WandbFiles(tmp_path / "wandb")
    assert len(found.history) == 22
    output = plain("-m", "wandb", "sync", str(found.paths[0].parent))
    assert "Finished syncing" in output
    check(standin.run(), steps=22)
    assert standin.artifact("model", "best").files == {"weights.pt": b"weights"}


def test_a_plain_script_over_an_outage(standin, plain, tmp_path):
    wait = "import os, time\nwhile not os.path.exists('down'): time.sleep(0.05)\nmodel = "
    process = plain("-c", SCRIPT.replace("model = ", wait), "online", wait=False)
    wait_for(lambda: standin.runs, "the run")
    standin.stop()
    with socket.create_server(("127.0.0.1", int(standin.url.rpartition(":")[2]))) as nobody:
        (tmp_path / "down").touch()
        nobody.accept()[0].close()  # the client has met the outage
    standin.start()
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    check(standin.run(), steps=22)


ASK = """
import wandb

run = wandb.Api({"entity": "somebody"}).run("somebody/plain/one")
print("last", run.lastHistoryStep)
print("rows", [row["_step"] for row in run.scan_history(keys=["_step"], min_step=18)])
print("files", [(file.name, file.size, file.md5) for file in run.files(names=["config.yaml", "nothing"])])
"""


def test_wandbs_public_interface_reads_a_run(standin, plain):
    plain("script.py", "online")
    output = plain("-c", ASK)
    content = standin.run().files["config.yaml"]
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    assert "last 21" in output
    assert "rows [18, 19, 20, 21]" in output
    assert f"files {[('config.yaml', len(content), md5), ('nothing', 0, '0')]}" in output
