"""A server that refuses: what it takes arrives, the rest waits, and the user is told why on the training's terminal."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.proxy import FaultProxy, Trouble
from tests.support.gate import Gate
from tests.support.mlflow import MLflowReader, mlflow_server
from tests.support.object_store import s3_bucket, s3_missing
from tests.support.processes import PATIENCE, wait_for
from tests.support.wandb_standin import WandbStandIn
from tracking_hooks.run.layout import Health, read_json

pytestmark = pytest.mark.e2e

HOLD = """
import os, time
def hold(trainer):
    epoch = trainer.epoch + 1
    print(f"epoch {epoch} begins", flush=True)
    if epoch in EPOCHS:
        open(f"held {epoch}", "w").close()
        while not os.path.exists(f"go on {epoch}"):
            time.sleep(0.02)
model.add_callback("on_train_epoch_start", hold)
"""
KILL = """
import os, signal
def kill(trainer):
    if trainer.epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)
model.add_callback("on_fit_epoch_end", kill)
"""
NO_LINGER = {"TRACKING_HOOKS_LINGER": "0"}
"""No relay that waits outlives its training."""
WORDS = "not without a pass"
DATABASE = {
    "error_code": "BAD_REQUEST",
    "message": "(psycopg2.OperationalError) server closed the connection unexpectedly"
    " (Background on this error at: https://sqlalche.me/e/20/e3q8)",
}

needs_s3 = pytest.mark.skipif(bool(s3_missing()), reason=s3_missing())


def hold(*epochs):
    """Return the lines by which a script waits when these epochs begin."""
    return HOLD.replace("EPOCHS", repr(epochs))


def wait_until_held(home, epoch):
    wait_for((home.work / f"held {epoch}").exists, f"epoch {epoch}")


def go_on(home, epoch):
    (home.work / f"go on {epoch}").touch()


def wait_until_begun(home):
    """Wait until the tracker has the run's start."""
    wait_for(lambda: home.runs() and home.run_folder().relay("mlflow").read_cursor().seq, "the run in the tracker")


def wait_until_waiting(home, label, folder=None):
    """Wait until a relay says that it waits for its tracker."""

    def is_waiting():
        health = home.runs() and read_json((folder or home.run_folder()).relay(label).health, Health)
        return health and health.state == "down"

    wait_for(is_waiting, f"{label} is down")


def said(output):
    """What we say on the terminal, each with the epoch in which it is said."""
    epoch, found = 0, []
    for line in output.splitlines():
        if began := re.fullmatch(r"epoch (\d+) begins", line):
            epoch = int(began[1])
        elif "tracking-hooks: " in line:
            found.append((epoch, line.partition("tracking-hooks: ")[2]))
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory, database):
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder, store=f"sqlite:///{shutil.copy(database, folder)}") as address:
        yield address


@pytest.fixture(scope="module")
def reader(server):
    return MLflowReader(server)


def runs(reader, experiment):
    found = reader.client.get_experiment_by_name(experiment)
    return reader.client.search_runs([found.experiment_id]) if found else []


def only_run(reader, experiment):
    (run,) = runs(reader, experiment)
    return run


def metrics_now(reader, experiment):
    """The metrics that a run has, which may not be there at all."""
    return next((run.data.metrics for run in runs(reader, experiment)), {})


def to(address, experiment):
    return {"MLFLOW_TRACKING_URI": address, "MLFLOW_EXPERIMENT_NAME": experiment}


def finish(process, code=0):
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, output
    return output


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def sync(home, *arguments, code=0, **env):
    return home.run(["tracking-hooks", "sync", *arguments], code=code, **env)


def status(home, *arguments):
    return home.run(["tracking-hooks", "status", *arguments])


def weights(home, kind, project="runs"):
    return digest(home.work / project / "train/weights" / f"{kind}.pt")


def stored(reader, run, name):
    """The digest of an artifact."""
    return digest(reader.client.download_artifacts(run.info.run_id, name))


def check_whole(home, reader, run, project="runs"):
    """The run has each epoch once, its end, and the weights as they are."""
    epochs = list(home.results() if project == "runs" else [1])
    assert run.info.status == "FINISHED"
    for key in ("train/box_loss", "val/box_loss", "metrics/mAP50B"):
        assert [step for step, _ in reader.history(run, key)] == epochs, key
    assert {"args.yaml", "results.csv", "console.log", "dataset/data.yaml"} <= reader.artifacts(run)
    for kind in ("best", "last"):
        assert stored(reader, run, f"weights/{kind}.pt") == weights(home, kind, project)


def check_registered(reader, name, run):
    """The run's only model is ready, and registered."""
    (output,) = reader.client.get_run(run.info.run_id).outputs.model_outputs
    assert str(reader.client.get_logged_model(output.model_id).status) == "READY"
    (version,) = reader.client.search_model_versions(f"name = '{name}'")
    assert (version.run_id, version.source) == (run.info.run_id, f"models:/{output.model_id}")
    assert reader.client.get_model_version_by_alias(name, "champion").version == version.version


def nothing_is_set_aside(home):
    return "Nothing is set aside" in status(home, "--set-aside")


# -- the end of an outage -------------------------------------------------------------------------------------


def wait_for_tries(folders, count):
    """Wait until each relay has said so many times that it waits: the longer it does, the longer it pauses."""
    seen = {folder.relay("mlflow").health: set() for folder in folders}

    def have_tried():
        for path, times in seen.items():
            if path.exists():
                times.add(path.stat().st_mtime_ns)
        return all(len(times) > count for times in seen.values())

    wait_for(have_tried, f"{count} tries")


def test_a_server_that_is_back_just_before_the_end_gets_everything(home, server, reader):
    proxy = FaultProxy(int(server.rpartition(":")[2]))
    proxy.start()
    proxy.set(Trouble("reset"))
    try:
        address = f"http://127.0.0.1:{proxy.port}"
        ends = home.start(home.script(hold(2), epochs=2), "mlflow", **to(address, "ends"))
        script = home.script(hold(3), "stopped.py", epochs=3, project=home.work / "stopped")
        stopped = home.start(["tracking-hooks", "run", "--", *script], "mlflow", **to(address, "stopped"))
        for epoch in (2, 3):
            wait_until_held(home, epoch)
        wait_for_tries(home.runs(), 2)
        proxy.set(Trouble())
        go_on(home, 2)
        stopped.terminate()
        output = finish(ends)
        assert re.search(r"tracking-hooks: mlflow: all \d+ events delivered", output), output
        assert "mlflow.files" not in output
        output = finish(stopped, 128 + signal.SIGTERM)
        assert "to deliver later" not in output
    finally:
        proxy.stop()
    check_whole(home, reader, only_run(reader, "ends"))
    run = only_run(reader, "stopped")
    assert run.info.status == "KILLED"
    assert [step for step, _ in reader.history(run, "val/box_loss")] == [1, 2]
    assert stored(reader, run, "weights/last.pt") == weights(home, "last", "stopped")


# -- the artifact store ---------------------------------------------------------------------------------------


def test_a_store_that_this_machine_cannot_write_holds_up_the_files_alone(home, server, reader, tmp_path):
    store = tmp_path / "store"
    store.symlink_to("/proc/nope")
    reader.client.create_experiment("unwritable", f"{store}/files")
    env = {"TRACKING_HOOKS_MLFLOW_REGISTER": "unwritable@champion"}
    process = home.start(home.script(hold(1, 2), epochs=3), "mlflow", **to(server, "unwritable"), **env)
    wait_until_begun(home)
    go_on(home, 1)
    wait_for(lambda: "val/box_loss" in metrics_now(reader, "unwritable"), "the first epoch's metrics")
    wait_until_waiting(home, "mlflow.files")
    go_on(home, 2)
    output = finish(process)

    why = f"the artifact store of MLflow at {server} does not take dataset/data.yaml: No such file or directory: "
    start, wait, numbers, files = said(output)
    assert start[1].startswith("tracking run ")
    assert wait[0] <= 2
    assert wait[1].startswith(f"mlflow.files waits, recording continues: {why}")
    assert "give this machine access to that place" in wait[1]
    assert re.fullmatch(r"mlflow: all \d+ events delivered. See: http://.*", numbers[1])
    assert re.match(r"mlflow.files: \d+ of \d+ events are not delivered yet: the artifact store of ", files[1])
    assert "\n  this goes on in the background, or by: tracking-hooks sync /" in output
    run = only_run(reader, "unwritable")
    assert run.info.status == "FINISHED"
    assert len(reader.history(run, "train/box_loss")) == 3
    assert "waits: the artifact store of MLflow" in status(home)
    assert why in sync(home, code=1)

    store.unlink()
    (tmp_path / "real").mkdir()
    store.symlink_to(tmp_path / "real")
    sync(home)
    check_whole(home, reader, run)
    check_registered(reader, "unwritable", run)
    assert nothing_is_set_aside(home)
    assert "Nothing is pending" in sync(home)


@needs_s3
def test_a_bucket_without_credentials_gets_each_file_once_when_they_are_there(home, server, reader, tmp_path):
    with s3_bucket(tmp_path) as bucket, Gate(bucket.endpoint, lambda _: True).open() as gate:
        reader.client.create_experiment("bucket", f"s3://{bucket.name}/x")
        given = {**bucket.env, "MLFLOW_S3_ENDPOINT_URL": gate.address}
        env = {**given, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", **NO_LINGER}
        output = home.run(home.yolo(epochs=1), "mlflow", **to(server, "bucket"), **env)
        _, numbers, files = said(output)
        assert numbers[1].startswith("mlflow: all ")
        assert "does not take dataset/data.yaml: Unable to locate credentials. Here, clients write there" in files[1]
        run = only_run(reader, "bucket")
        assert run.info.status == "FINISHED"
        assert not gate.passed

        sync(home, **given)
        uploads = Counter(path.partition("?")[0].partition("/artifacts/")[2] for path in gate.passed)
        assert {"weights/best.pt": 1, "weights/last.pt": 1, "dataset/data.yaml": 1}.items() <= uploads.items()
        assert set(uploads.values()) == {1}
        stored = bucket.digests(f"x/{run.info.run_id}/artifacts/")
        assert stored["weights/best.pt"] == weights(home, "best")


# -- what everything meets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ({"MLFLOW_EXPERIMENT_ID": "999"}, "has no experiment 999, which MLFLOW_EXPERIMENT_ID names"),
        ({"MLFLOW_RUN_ID": "0" * 32}, f"has no run {'0' * 32}, in which this training was to be recorded"),
    ],
    ids=["experiment", "run"],
)
def test_a_number_that_is_not_there_is_said_at_once_and_can_be_put_right(home, server, reader, wrong, advice):
    process = home.start(home.script(hold(1)), "mlflow", MLFLOW_TRACKING_URI=server, **wrong, **NO_LINGER)
    wait_until_waiting(home, "mlflow")
    go_on(home, 1)
    _, wait, end = said(finish(process))
    assert wait[0] == 1
    assert wait[1].startswith(f"mlflow waits, recording continues: MLflow at {server} {advice}")
    assert "`tracking-hooks sync --to mlflow`" in wait[1]
    assert re.match(r"mlflow: (\d+) of \1 events are not delivered yet: MLflow at ", end[1]), "one line, for both parts"
    assert nothing_is_set_aside(home)

    name = f"instead of {next(iter(wrong))}"
    output = sync(home, "--to", "mlflow", code=1, **to(server, name))
    assert advice in output, "the recorded destination is still wrong"
    check_whole(home, reader, only_run(reader, name))


def test_an_experiment_that_is_deleted_in_mid_run_is_said_and_waited_for(home, server, reader):
    process = home.start(home.script(hold(1, 2), epochs=3), "mlflow", **to(server, "deleted"), **NO_LINGER)
    wait_until_begun(home)
    number = reader.client.get_experiment_by_name("deleted").experiment_id
    reader.client.delete_experiment(number)
    go_on(home, 1)
    wait_until_waiting(home, "mlflow")
    go_on(home, 2)
    output = finish(process)
    _, wait, *_ = said(output)
    assert wait[0] <= 2
    restore = f"Restore it with `mlflow experiments restore --experiment-id {number}`; delivery goes on then."
    assert wait[1].partition(" waits, recording continues: ")[2] == (
        f"MLflow at {server}: the experiment 'deleted' was deleted. {restore}"
    )
    assert output.count(" waits, recording continues: ") == 1, "once for both parts"
    assert "mlflow gc" not in output, "that would delete this training's run"
    assert nothing_is_set_aside(home)

    reader.client.restore_experiment(number)
    sync(home)
    check_whole(home, reader, only_run(reader, "deleted"))


def test_who_may_not_enter_is_told_so_and_everything_arrives_once_he_may(home, server, reader):
    with Gate(server, lambda _: False).open() as gate:
        gate.status, gate.answer = 403, WORDS.encode()
        env = to(gate.address, "forbidden")
        process = home.start(home.script(hold(1)), "mlflow", **env)
        wait_until_waiting(home, "mlflow")
        go_on(home, 1)
        _, wait, end = said(finish(process))
        advice = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
        refusal = f"MLflow at {gate.address} refuses access: error code 403, {WORDS}. {advice}"
        assert wait == (1, f"mlflow waits, recording continues: {refusal}")
        assert re.match(r"mlflow: (\d+) of \1 events are not delivered yet: MLflow at ", end[1])
        assert nothing_is_set_aside(home)
        gate.allows = lambda _: True
        sync(home)  # which takes over from the relay that waits
    check_whole(home, reader, only_run(reader, "forbidden"))


def test_a_database_in_trouble_is_waited_for_though_mlflow_calls_that_a_bad_request(home, server, reader):
    with Gate(server, lambda _: True).open() as gate:
        gate.status, gate.answer = 400, json.dumps(DATABASE).encode()
        process = home.start(home.script(hold(1, 2), epochs=3), "mlflow", **to(gate.address, "database"))
        wait_until_begun(home)
        gate.allows = lambda _: False
        go_on(home, 1)
        wait_until_waiting(home, "mlflow")
        go_on(home, 2)
        wait_for(lambda: home.calls()[-1].args.get("epoch") == 3, "the third epoch")
        gate.allows = lambda _: True
        _, wait, *_, numbers = said(finish(process))
        assert wait[0] <= 2
        assert re.match(
            rf"mlflow(.files)? waits, recording continues: MLflow at {gate.address} is not available: ", wait[1]
        )
        assert "server closed the connection unexpectedly" in wait[1]
        assert re.match(r"mlflow: all \d+ events delivered", numbers[1])
    check_whole(home, reader, only_run(reader, "database"))


# -- one file -------------------------------------------------------------------------------------------------


def is_small(request):
    return int(request.headers.get("Content-Length", 0)) < 1_000_000


def test_weights_that_are_too_large_come_later_the_newest_alone(home, server, reader):
    home.take_the_real_network()  # its weights are large enough to be refused
    with Gate(server, is_small).open() as gate:
        gate.status, gate.answer = 413, b"<html><title>413 Request Entity Too Large</title></html>"
        env = {**to(gate.address, "limit"), "TRACKING_HOOKS_MLFLOW_REGISTER": "limit@champion"}
        home.run(home.script(KILL, epochs=3), "mlflow", code=-signal.SIGKILL, **env)
        files = home.run_folder().relay("mlflow.files")
        wait_for(lambda: len(files.read_aside()) == 2 and files.read_cursor().ended, "the end of the first part")
        output = home.run([home.yolo()[0], "train", "resume", "model=runs/train/weights/last.pt"], "mlflow", **env)

        _, numbers, files = said(output)
        assert numbers[1].startswith("mlflow: all ")
        why = (
            f"MLflow at {gate.address} does not take weights/best.pt: 413 Client Error: Request Entity Too Large. It is"
        )
        assert re.match(rf"mlflow.files: 2 of \d+ events set aside, for: {re.escape(why)}", files[1])
        assert "\n  to try them again: tracking-hooks sync /" in output
        listed = status(home, "--set-aside")
        assert f"on_checkpoint_saved best best.pt: {why}" in listed
        assert "2 events set aside" in listed, "not those of the part that was killed"
        run = only_run(reader, "limit")
        assert run.info.status == "FINISHED"
        assert {"results.csv", "console.log"} <= reader.artifacts(run)
        assert not any("weights" in name for name in reader.artifacts(run))

        gate.allows = lambda _: True
        gate.passed.clear()
        sync(home)
        uploads = Counter(path for path in gate.passed if path.endswith(".pt"))
        assert sorted(uploads.values()) == [1, 1, 1], "best and last, and best in the model"
    check_whole(home, reader, run)
    check_registered(reader, "limit", run)
    assert nothing_is_set_aside(home)


def test_two_runs_with_one_name_are_not_mixed_up(home, server, reader):
    home.take_the_real_network()  # its weights are large enough to be refused

    def allows(request):
        """Take no weights of the first of the two runs."""
        found = re.search(r"/artifacts/\d+/([0-9a-f]{32})/", request.path)
        if is_small(request) or not found:
            return True
        return reader.client.get_run(found[1]).data.tags["tracking_hooks.run_uid"] != home.runs()[0].uid

    with Gate(server, allows).open() as gate:
        gate.status = 413
        first = home.arguments(epochs=1, seed=1, project=home.work / "first")
        first = {key: str(value) if isinstance(value, Path) else value for key, value in first.items()}
        before = f"YOLO({first.pop('model')!r}).train(**{first!r})"
        output = home.run(home.script(before, epochs=1), "mlflow", **to(gate.address, "namesakes"))
        assert output.count("mlflow.files: 2 of ") == 1
        gate.allows = lambda _: True
        sync(home)
    found = {run.data.tags["tracking_hooks.run_uid"]: run for run in runs(reader, "namesakes")}
    assert {run.info.run_name for run in found.values()} == {"train"}
    assert sorted(found) == [folder.uid for folder in home.runs()]
    for folder, project in zip(home.runs(), ("first", "runs"), strict=True):
        check_whole(home, reader, found[folder.uid], project)
    assert weights(home, "best", "first") != weights(home, "best")


def test_wandb_gets_rows_and_the_end_while_one_file_is_refused(home, server, reader):
    service = WandbStandIn()
    service.start()
    service.failing = lambda path: 403 if "best.pt" in path else None
    try:
        env = {**service.environment(), "WANDB_ERROR_REPORTING": "false", **to(server, "beside W&B")}
        output = home.run(home.yolo(), "wandb,mlflow", **env)
        assert re.search(r"tracking-hooks: mlflow: all \d+ events delivered", output)
        home.wait_for_delivery()
        run = service.run()
        assert [row["epoch"] for row in run.history if "train/box_loss" in row] == [1, 2]
        assert run.exit_code == 0
        assert "on_checkpoint_saved best best.pt: W&B at " in status(home, "--set-aside")
        models = [artifact for artifact in service.artifacts if artifact.type == "model"]
        assert [name for model in models if model.state == "COMMITTED" for name in model.files] == ["last.pt"]

        service.failing = lambda _: None
        assert "wandb: 1 event delivered" in sync(home, **env)
        assert nothing_is_set_aside(home)
        assert [row["epoch"] for row in service.run().history if "train/box_loss" in row] == [1, 2]
        models = [artifact for artifact in service.artifacts if artifact.type == "model"]
        assert {name for model in models if model.state == "COMMITTED" for name in model.files} == {
            "best.pt",
            "last.pt",
        }
    finally:
        service.stop()
    check_whole(home, reader, only_run(reader, "beside W&B"))
