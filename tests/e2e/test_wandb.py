"""Real trainings, tracked in W&B: offline by its files, online against the stand-in of its service."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.support.home import Home
from tests.support.processes import PATIENCE
from tests.support.wandb_files import WandbFiles
from tests.support.wandb_standin import WandbStandIn
from tracking_hooks.events import Stop
from tracking_hooks.run.liveness import is_alive, read_holder

pytest.importorskip("tracking_hooks_wandb")
pytestmark = pytest.mark.e2e

OUR_MODULES = """
import atexit, json, sys
atexit.register(lambda: open("modules.json", "w").write(json.dumps(sorted(sys.modules))))
"""

WAIT_FOR_GO = """
import os, time
def wait(trainer):
    if trainer.epoch == 1:
        open("waiting", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.05)
model.add_callback("on_train_epoch_start", wait)
"""

TUNE = """
from ultralytics import YOLO
arguments = {arguments!r}
YOLO(arguments.pop("model")).tune(iterations=2, **arguments)
"""

OFFLINE = {"WANDB_MODE": "offline"}


@pytest.fixture
def service():
    standin = WandbStandIn()
    standin.start()
    yield standin
    standin.stop()
    assert standin.unknown == []


@pytest.fixture
def online(service):
    return {**service.environment(), "WANDB_ERROR_REPORTING": "false"}


def check_epochs(found, rows):
    for column in {key for row in rows.values() for key in row} - {"time"}:
        points = found.points(column, "epoch")
        assert [x for x, _ in points] == list(rows), column
        expected = [row[column] for row in rows.values()]
        assert [value for _, value in points] == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True), column
    steps = [row["_step"] for row in found.history]
    assert steps == sorted(set(steps))


def weights(found):
    return [entry.path for a in found.artifacts if a.type == "model" for entry in a.manifest.contents]


@pytest.fixture(scope="module")
def offline_run(tmp_path_factory, shapes, settings):
    """A training that was tracked offline, its output, and what W&B's files tell of it."""
    home = Home(tmp_path_factory.mktemp("offline"), shapes)
    shutil.copytree(settings, home.folder / "yolo")
    home.take_the_real_network()
    output = home.run(home.yolo(epochs=3, plots=True), "wandb", **OFFLINE)
    yield home, output, WandbFiles(home.work / "wandb")
    home.close()


def test_a_plain_yolo_command_is_tracked_offline(offline_run):
    home, output, found = offline_run
    check_epochs(found, home.results())
    assert found.exits == [0]
    assert len(found.runs) == 1
    assert (found.runs[0].project, found.runs[0].display_name) == ("runs", "train")
    assert found.config["epochs"] == 3
    assert len(found.config) >= 110
    assert found.summary["model/parameters"] > 1e6
    assert found.points("best/metrics/mAP50(B)", "epoch")[0][0] == 3
    assert set(found.config["_wandb"]["visualize"]) == {
        "curves/Precision-Recall(B)", "curves/F1-Confidence(B)", "curves/Precision-Confidence(B)",
        "curves/Recall-Confidence(B)", "best/confusion_matrix",
    }  # fmt: skip
    values = [item for row in found.history for item in row.items() if isinstance(item[1], dict)]
    pictures = {name for name, value in values if value["_type"] == "image-file"}
    assert {"labels", "train_batch0", "val_batch0_pred", "results", "confusion_matrix", "BoxPR_curve"} <= pictures
    assert {"results.csv", "args.yaml"} <= set(found.files)
    seen = found.points("predictions/images", "epoch")
    assert {1, 3} <= {epoch for epoch, _ in seen} <= {1, 2, 3}
    paths = {tuple(caption.partition(" · ")[0] for caption in row["captions"]) for _, row in seen}
    assert len(paths) == 1, "the same images at each epoch"
    assert {row["count"] for _, row in seen} == {8}
    models = [artifact for artifact in found.artifacts if artifact.type == "model"]
    assert [(entry.path, entry.size) for artifact in models for entry in artifact.manifest.contents] == [
        (f"{kind}.pt", (home.work / f"runs/train/weights/{kind}.pt").stat().st_size) for kind in ("best", "last")
    ]
    (data,) = [artifact for artifact in found.artifacts if artifact.type == "dataset"]
    assert json.loads(data.metadata)["images"] == {"train": 32, "val": 8}

    start, end = (line for line in output.splitlines() if line.startswith("tracking-hooks:"))
    assert f"wandb (wandb sync {found.paths[0].parent})" in start
    assert "wandb: all" in end and f"wandb sync {found.paths[0].parent}" in end


def test_keys_are_those_of_ultralytics_own_integration(offline_run, home):
    _, _, ours = offline_run
    home.run(["yolo", "settings", "wandb=True"])
    home.run(home.yolo(epochs=3, plots=True), **OFFLINE)
    theirs = WandbFiles(home.work / "runs/train")
    keys = [{name for row in found.history for name in row} for found in (theirs, ours)]
    # Theirs runs the network for both. We have the GFLOPs at 640 pixels, which Ultralytics has printed.
    assert keys[0] - keys[1] == {"model/speed_PyTorch(ms)", "model/GFLOPs"}
    assert "model/GFLOPs at 640" in ours.summary or "model/GFLOPs at 640" in keys[1]
    assert set(theirs.config) <= set(ours.config)
    same = set(theirs.config) - {"project", "save_dir", "_wandb"}
    assert {key: ours.config[key] for key in same} == {key: theirs.config[key] for key in same}
    assert set(theirs.config["_wandb"]["visualize"]) <= set(ours.config["_wandb"]["visualize"])
    assert [axis for name, axis in theirs.x_axes.items() if ours.x_axes[name] != axis] == []
    names = [{a.name.replace(f.runs[0].run_id, "ID") for a in f.artifacts if a.type == "model"} for f in (theirs, ours)]
    assert names[0] == names[1] == {"run_ID_model"}


def test_a_killed_training_loses_nothing_and_a_resumed_one_goes_on_in_its_run(home, await_):
    process = home.start(home.script(WAIT_FOR_GO, epochs=3), "wandb", TRACKING_HOOKS_BATCH_EVERY="1", **OFFLINE)
    await_((home.work / "waiting").exists, "epoch 2")
    rows = home.results()
    process.kill()
    process.wait()
    relay = home.run_folder().relay("wandb")
    await_(lambda: relay.read_cursor().ended, "the end of the delivery")

    found = WandbFiles(home.work / "wandb")
    assert list(rows) == [1]
    check_epochs(found, rows)
    recorded = [call for call in home.calls() if call.hook == "on_batch_end"]
    assert found.points("train_batch/box_loss", "global_step") == [
        (call.args["step"], pytest.approx(call.args["metrics"]["batch/box_loss"])) for call in recorded
    ]
    assert found.exits == [255]
    assert found.summary["status"] == "killed"
    assert [title for title, _, _ in found.alerts] == ["train killed"]
    assert weights(found) == ["best.pt", "last.pt"]

    output = home.run([home.yolo()[0], "train", "resume", "model=runs/train/weights/last.pt"], "wandb", **OFFLINE)
    assert "tracking-hooks: resuming run" in output
    assert " in wandb" in output
    found = WandbFiles(home.work / "wandb")
    assert list(home.results()) == [1, 2, 3]
    check_epochs(found, home.results())
    assert [run.run_id for run in found.runs] == [home.run_folder().uid]
    assert found.exits == [0]
    assert found.summary["status"] == "finished"
    assert weights(found) == ["best.pt", "last.pt", "best.pt", "last.pt"]
    assert "The training is resumed." in found.output


def test_a_tuning_is_a_run_and_its_trials_are_a_group_of_runs(home):
    arguments = home.arguments(epochs=1, name="tune")
    arguments = {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}
    (home.work / "tune.py").write_text(TUNE.format(arguments=arguments))
    home.run([home.python, "tune.py"], "wandb", **OFFLINE)

    runs = {found.runs[0].display_name: found for found in map(WandbFiles, (home.work / "wandb").glob("offline-run-*"))}
    assert set(runs) == {"tune", "trial-1", "trial-2"}
    tuning = runs.pop("tune")
    assert tuning.runs[0].run_group == ""
    assert [trial for trial, _ in tuning.points("tune/fitness", "log_step")] == [1, 2]
    assert weights(tuning) == ["best.pt", "last.pt"]
    for trial in runs.values():
        (head,) = trial.runs
        assert (head.project, head.run_group) == (tuning.runs[0].project, tuning.runs[0].run_id)
        assert trial.config["tracking_hooks"]["parent"] == tuning.runs[0].run_id
        assert [epoch for epoch, _ in trial.points("train/box_loss", "epoch")] == [1]
        assert trial.exits == [0]
        assert weights(trial) == ["best.pt", "last.pt"]


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_killed_relay_costs_nothing(home, await_, service, online, mode):
    temporary = home.folder / "tmp"
    temporary.mkdir()
    env = {"TMPDIR": str(temporary), **(OFFLINE if mode == "offline" else online)}
    process = home.start(home.script(OUR_MODULES + WAIT_FOR_GO, epochs=3), "wandb", **env)
    await_((home.work / "waiting").exists, "epoch 2")
    files = home.run_folder().relay("wandb")
    await_(lambda: files.read_cursor().seq >= 6, "epoch 1 delivered")
    relay = psutil.Process(read_holder(files.lock).pid)
    clients = [child for child in relay.children() if "wandb" in child.name()]
    assert clients
    os.kill(relay.pid, signal.SIGKILL)
    (home.work / "go").touch()
    output, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0, output
    assert "wandb: all" in output
    await_(lambda: not any(client.is_running() for client in clients), "the end of W&B's own process")
    found = service.run() if mode == "online" else WandbFiles(home.work / "wandb")
    check_epochs(found, home.results())
    assert (found.exit_code if mode == "online" else found.exits) in (0, [0])
    assert not list(temporary.glob("tracking-hooks-wandb-*"))
    modules = set(json.loads((home.work / "modules.json").read_text()))
    assert not modules & {"wandb", "wandb.sdk"}, "the training process imports no W&B"


def test_a_training_is_tracked_online_and_stopped_on_wandbs_page(home, service, online, await_):
    process = home.start(home.yolo(epochs=500, plots=True), "wandb", **online)
    await_(lambda: service.runs, "the run")
    service.run().stop = True
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    (done,) = [call.args for call in home.calls() if call.hook == "on_action"]
    assert done == {"action": Stop(reason="stopped on W&B's page"), "plugin": "wandb", "outcome": "done"}
    run = service.run()
    assert len(home.results()) < 500
    await_(lambda: run.exit_code is not None, "the end of the run")
    assert run.exit_code == 0
    assert [alert["title"] for alert in run.alerts] == ["Stop of train"]
    check_epochs(run, home.results())
    assert run.config["epochs"] == 500
    assert [line for line in run.output if "epochs completed in" in line]
    assert f"See: {service.url}/somebody/runs/runs/{run.name}" in output
    best = (home.work / "runs/train/weights/best.pt").read_bytes()
    assert service.artifact(f"run_{run.name}_model", "best").files == {"best.pt": best}
    assert run.used == [service.artifact("data").id]
    assert not (home.work / "wandb").exists()
    for file in home.run_folder().path.rglob("*"):
        assert not file.is_file() or online["WANDB_API_KEY"].encode() not in file.read_bytes(), file


def test_a_service_that_is_down_gets_everything_by_sync(home, service, online, await_):
    service.stop()
    began = time.monotonic()
    output = home.run(home.yolo(), "wandb", TRACKING_HOOKS_LINGER="0", TRACKING_HOOKS_EXIT_WAIT="2", **online)
    assert "2 epochs completed" in output
    assert re.search(r"wandb: (\d+) of \1 events are not delivered yet", output) and "tracking-hooks sync" in output
    assert time.monotonic() - began < 60

    lock = home.run_folder().relay("wandb").lock
    await_(lambda: not is_alive(lock, heartbeat=lock, silence=0), "the end of the relay")
    service.start()
    key = {"WANDB_API_KEY": online["WANDB_API_KEY"]}  # where to, was noted down
    output = home.run(["tracking-hooks", "sync", str(home.work)], **key)
    assert "events delivered" in output
    check_epochs(service.run(), home.results())
    assert service.run().exit_code == 0
    assert "Nothing is pending" in home.run(["tracking-hooks", "sync", str(home.work)], **key)


def test_a_service_that_goes_down_in_the_middle_gets_everything_by_itself(home, service, online, await_):
    process = home.start(home.script(WAIT_FOR_GO, epochs=3), "wandb", TRACKING_HOOKS_EXIT_WAIT="5", **online)
    await_((home.work / "waiting").exists, "epoch 2")
    await_(lambda: service.runs, "the run")
    service.stop()
    (home.work / "go").touch()
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert "3 epochs completed" in output

    service.start()
    files = home.run_folder().relay("wandb")
    await_(lambda: files.read_cursor().ended, "the end, delivered by the lingering relay")
    check_epochs(service.run(), home.results())
    assert service.run().exit_code == 0


def test_without_a_key_nothing_asks_for_one(home, service):
    output = home.run(
        home.yolo(), "wandb", WANDB_BASE_URL=service.url, TRACKING_HOOKS_LINGER="0", TRACKING_HOOKS_EXIT_WAIT="2"
    )
    assert "2 epochs completed" in output
    assert "No API key configured" in output and "tracking-hooks sync" in output

    home.run(["tracking-hooks", "sync", str(home.work)], WANDB_API_KEY=service.environment()["WANDB_API_KEY"])
    check_epochs(service.run(), home.results())


def test_a_run_of_the_users_own_is_left_alone(home):
    text = "import wandb\nmine = wandb.init(project='own', id='mine', mode='offline')\nmine.log({'mine': 1})"
    output = home.run(home.script(text), "wandb", **OFFLINE)
    assert "beside your own run own/mine" in output
    ours = WandbFiles(next((home.work / "wandb").glob(f"offline-run-*{home.run_folder().uid}")))
    check_epochs(ours, home.results())
    assert ours.runs[0].project == "own"
    assert ours.config["tracking_hooks"]["beside"] == "own/mine"
    theirs = WandbFiles(next((home.work / "wandb").glob("offline-run-*-mine")))
    assert [key for row in theirs.history for key in row if not key.startswith("_")] == ["mine"]
