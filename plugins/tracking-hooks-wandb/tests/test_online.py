"""Online runs, against the stand-in of the W&B service (which is not W&B: see its docstring)."""

import json
import os
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import pytest
import wandb
from msgspec.structs import replace
from wandb.sdk.lib import run_stopping

from tests.support.processes import wait_for
from tests.support.wandb_relay import WandbRelay
from tests.support.wandb_standin import ENTITY
from tracking_hooks.events import Rejected, Stop, Unavailable
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import BATCHES, STARTED, play, recorded_run, sample_run
from tracking_hooks_wandb import online as online_module
from tracking_hooks_wandb import process
from tracking_hooks_wandb import service as service_module
from tracking_hooks_wandb import uploads as uploads_module
from tracking_hooks_wandb.tracker import WandbTracker

pytestmark = pytest.mark.e2e


def deliver(calls, destination, state=None, **options):
    options.setdefault("run", sample_run(Path("runs/train").absolute()))  # as the fixture `run`
    return play(WandbTracker(), calls, destination=destination, state=state, **options)


def saved(state):
    """The state as it comes back from disk."""
    return msgspec.json.decode(msgspec.json.encode(state))


@pytest.fixture
def quick(monkeypatch):
    """Let the client give up within a second or two."""
    monkeypatch.setitem(process.SETTINGS, "init_timeout", 3.0)
    monkeypatch.setitem(process.SETTINGS, "finish_timeout", 3.0)
    monkeypatch.setitem(process.SETTINGS, "x_file_stream_timeout_seconds", 2.0)
    monkeypatch.setattr(online_module, "_HICCUP", 0.5)
    monkeypatch.setattr(online_module, "_CONFIRMATION", 2.0)
    monkeypatch.setattr(uploads_module, "PATIENCE", 5)
    monkeypatch.setattr(service_module, "EVERY", 0.2)


def check_epochs(run, calls):
    epochs = [call for call in calls if call.hook == "on_epoch_end"]
    assert epochs
    for name in {name for call in epochs for name in call.args["metrics"]}:
        assert run.points(name, "epoch") == [
            (call.args["epoch"], pytest.approx(call.args["metrics"][name], nan_ok=True)) for call in epochs
        ], name
    steps = [row["_step"] for row in run.history]
    assert steps == sorted(set(steps)), "a row stands twice"


def check_confirmed(service, relay):
    """What counts as safe has arrived."""
    rows = {"on_train_start", "on_batch_end", "on_epoch_end", "on_system_metrics", "on_final_validation"}
    expected = [call.seq for call in relay.calls if call.hook in rows and call.seq <= relay.safe]
    assert set(expected) <= {row["_step"] for row in service.run().history}


def check_complete(service, calls):
    run = service.run()
    check_epochs(run, calls)
    assert run.exit_code == 0
    assert run.summary["status"] == "finished"
    assert run.config["lr0"] == 0.01
    assert service.artifact(f"run_{run.name}_model", "best").files == {"best.pt": b"best weights"}
    assert service.artifact(f"run_{run.name}_model").files == {"last.pt": b"last weights"}
    assert [artifact.version for artifact in service.artifacts if artifact.type == "model"] == [0, 1]
    assert run.used == [service.artifact("shapes").id]
    for row in run.history:
        for value in row.values():
            if isinstance(value, dict) and "path" in value:
                assert value["path"] in run.files, sorted(run.files)
    return run


def test_a_run(service, online, run, save_dir):
    calls = recorded_run(save_dir)
    tagged = {**online, "group": "g", "tags": "a,team=vision", "notes": "n"}
    state = deliver(calls, tagged)
    found = check_complete(service, calls)
    assert state["url"] == f"{service.url}/{ENTITY}/shapes/runs/{run.uid}"
    assert "sent" not in state
    assert saved(state) == state
    assert found.path == f"{ENTITY}/shapes/{run.uid}"
    expected = {"displayName": "train", "groupName": "g", "jobType": "train", "notes": "n", "host": "laptop"}
    assert expected.items() <= found.fields.items()
    assert found.fields["tags"] == ["a", "team=vision"]
    assert found.fields["commit"] == "c0ffee" * 6 + "c0ff"
    assert found.points("train_batch/box_loss", "global_step")[0] == (BATCHES, 2.1)
    assert [x for x, _ in found.points("system/cpu_percent", "seconds")] == [8, 15, 22]
    assert found.lines("wandb-events.jsonl") == []  # system metrics of this process
    assert found.files["results.csv"] == (save_dir / "results.csv").read_bytes()
    axes = {entry.get("1") or entry.get("2"): entry for entry in found.config["_wandb"]["m"]}
    assert {"train/*", "train_batch/*", "system/*", "epoch"} <= set(axes)
    assert set(found.config["_wandb"]["visualize"]) == {"curves/PR", "best/confusion_matrix"}
    assert [row["_timestamp"] for row in found.history] == [
        call.time for call in calls if call.seq in {row["_step"] for row in found.history}
    ]


def test_a_project_may_be_called_runs(service, online, save_dir):
    """As YOLO's folder is; W&B's interface leaves that word out of a path."""
    calls = recorded_run(save_dir)
    deliver(calls, {**online, "project": "runs"})
    check_complete(service, calls)


def test_a_replay_adds_nothing(service, online, save_dir):
    calls = recorded_run(save_dir)
    deliver(calls, online)
    before = service.run().lines("wandb-history.jsonl")
    deliver(calls, online)
    deliver(calls[10:20], online)
    assert service.run().lines("wandb-history.jsonl") == before
    check_complete(service, calls)


@pytest.mark.parametrize("cut", [1, 14, 24, 29])
@pytest.mark.usefixtures("quick")
def test_what_a_relay_that_died_had_not_sent_is_sent_again(service, online, run, save_dir, die, cut, monkeypatch):
    monkeypatch.setitem(process.SETTINGS, "x_file_stream_transmit_interval", 60.0)
    calls = recorded_run(save_dir)
    relay = WandbRelay(calls, run, online).deliver(upto=cut, settle=False)
    assert len(service.run().history) <= 1  # next to nothing was sent, and as little is confirmed
    check_confirmed(service, relay)
    die()
    relay.deliver()
    check_complete(service, calls)


@pytest.mark.usefixtures("quick")
def test_what_a_relay_that_died_had_sent_is_not_sent_again(service, online, run, save_dir, die):
    calls = recorded_run(save_dir)
    relay = WandbRelay(calls, run, online).deliver(upto=14)
    before = relay.safe, relay.saved
    relay.deliver(upto=20, settle=False)
    wait_for(lambda: service.run().history[-1:] and service.run().history[-1]["_step"] >= 18)
    die()
    relay.safe, relay.saved = before  # it had not written down what was confirmed
    relay.deliver()
    check_complete(service, calls)


@pytest.mark.usefixtures("quick")
def test_pictures_that_did_not_arrive_with_their_row_are_sent_again(service, online, run, save_dir, die, monkeypatch):
    monkeypatch.setattr(online_module, "_HICCUP", 60.0)
    calls = recorded_run(save_dir)
    service.failing = lambda path: 500 if "media" in path else None
    relay = WandbRelay(calls, run, online).deliver(upto=29, settle=False)
    wait_for(lambda: service.run().history[-1:] and service.run().history[-1]["_step"] == 29)
    wait_for(lambda: relay.flush() == 23, "the confirmation of the rows without pictures")
    die()
    service.failing = lambda _: None
    assert not [name for name in service.run().files if "media" in name]
    assert relay.safe == 23, "the tables of the final validation have not arrived"
    relay.deliver()
    check_complete(service, calls)


@pytest.mark.usefixtures("quick")
def test_what_cannot_be_sent_again_does_not_keep_the_rest_back(service, online, run, save_dir, die, monkeypatch):
    monkeypatch.setitem(process.SETTINGS, "x_file_stream_transmit_interval", 60.0)
    calls = recorded_run(save_dir)
    relay = WandbRelay(calls, run, online).deliver(upto=29, settle=False)
    die()
    (save_dir / "results.csv").unlink()
    (save_dir / "results.png").write_bytes(b"no picture")
    gone = [call.seq for call in calls if "results." in repr(call.args) and call.hook == "on_artifact"]
    for aside in range(len(gone)):
        with pytest.raises(Rejected, match=r"results\.(csv is gone|png cannot be shown)"):
            relay.deliver(skip=gone[:aside])
    relay.deliver(skip=gone)
    assert service.run().exit_code == 0
    check_epochs(service.run(), calls)


@pytest.mark.usefixtures("quick")
def test_an_outage_in_the_middle(service, online, save_dir):
    calls = recorded_run(save_dir)
    state = deliver(calls[:10], online)
    wait_for(lambda: service.run().history)
    service.stop()

    def outage():
        nonlocal state
        try:
            state = deliver(calls[10:14], online, saved(state), before=calls[:10])
        except Unavailable as error:
            return str(error)

    told = wait_for(outage, "an error of the client, which notices only when it sends")
    assert "is not available" in told and "connection refused" in told
    service.start()

    def delivered():
        with suppress(Unavailable):
            deliver(calls[10:], online, saved(state), before=calls[:10])
            return True

    wait_for(delivered, "the delivery after the outage")
    check_complete(service, calls)


@pytest.mark.usefixtures("quick")
def test_an_outage_at_the_end(service, online, run, save_dir):
    calls = recorded_run(save_dir)
    relay = WandbRelay(calls, run, online).deliver(upto=29, settle=False)
    wait_for(lambda: service.run().history[-1:] and service.run().history[-1]["_step"] == 29)
    service.stop()
    for _ in range(2):
        with pytest.raises(Unavailable):
            relay.deliver()
    service.start()
    relay.deliver()
    check_complete(service, calls)


@pytest.mark.usefixtures("quick")
def test_a_hiccup_at_the_end_is_no_outage(service, online, run, save_dir, monkeypatch):
    """A training's end waits for a tracker that is down for a moment only."""
    monkeypatch.setattr(online_module, "_HICCUP", 60.0)
    calls = recorded_run(save_dir)
    failed = threading.Event()

    def once(path):
        if "media" in path and not failed.is_set():
            failed.set()
            return 500
        return None

    service.failing = once
    relay = WandbRelay(calls, run, online).deliver(upto=29, settle=False)
    assert failed.wait(60)
    relay.deliver()
    check_complete(service, calls)


@pytest.mark.usefixtures("quick")
def test_what_the_client_gives_up_is_sent_again(service, online, run, save_dir):
    """On such an answer W&B's client stops to send for good, and finishes the run as if nothing were."""
    calls = recorded_run(save_dir)
    service.failing = lambda path: 404 if path.endswith("file_stream") else None
    relay = WandbRelay(calls, run, online).deliver(upto=29, settle=False)
    with pytest.raises(Unavailable, match=r"has the run up to step -1 of 30 only"):
        relay.deliver()
    service.failing = lambda _: None
    relay.deliver()
    check_complete(service, calls)


@pytest.mark.usefixtures("quick")
def test_an_upload_that_fails_is_made_again(service, online, save_dir):
    calls = recorded_run(save_dir)
    service.failing = lambda path: 403 if "best.pt" in path else None
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"did not take run_.*_model"):
            deliver(calls, online)
    with pytest.raises(Rejected, match=r"did not take run_.*_model") as caught:  # the rest of the run does not wait
        deliver(calls, online)
    assert caught.value.retry_after == 3600
    service.failing = lambda _: None
    deliver(calls, online)
    check_complete(service, calls)


@pytest.mark.usefixtures("quick")
def test_nothing_is_uploaded_twice_because_of_a_hiccup(service, online, run, save_dir):
    calls = recorded_run(save_dir)
    relay = WandbRelay(calls, run, online)
    nothing = relay.safe, relay.saved
    (save_dir / "results.png").rename(save_dir / "away.png")
    for _ in range(3):  # the table, the configuration and the weights are given each time
        with pytest.raises(Rejected, match="is gone"):
            relay.deliver()
        wait_for(lambda: "args.yaml" in service.run().files)
        relay.safe, relay.saved = nothing
    (save_dir / "away.png").rename(save_dir / "results.png")
    relay.deliver()
    check_complete(service, calls)
    uploads = Counter(path for method, path in service.requests if method == "PUT" and "manifest" not in path)
    named = [path for path in uploads if path.endswith(("results.csv", "args.yaml", "best.pt", "last.pt"))]
    assert len(named) == 4
    assert set(uploads.values()) == {1}, uploads
    assert service.operations["CreateArtifact"] == len(service.artifacts), "one is offered again"


@pytest.mark.usefixtures("quick")
def test_a_flush_does_not_wait_for_the_service(service, online, run, save_dir, monkeypatch):
    asked, answered = threading.Event(), threading.Event()
    received = service_module.Service.received

    def slow(*args, **options):
        asked.set()
        answered.wait()
        return received(*args, **options)

    monkeypatch.setattr(service_module.Service, "received", slow)
    relay = WandbRelay(recorded_run(save_dir), run, online).deliver(upto=14, settle=False)
    assert asked.wait(10)
    assert relay.flush() == 0
    answered.set()
    relay.settle()
    assert relay.safe == 14


@pytest.mark.usefixtures("quick")
def test_an_upload_that_takes_long_goes_on_meanwhile(service, online, save_dir, monkeypatch):
    monkeypatch.setattr(uploads_module, "PATIENCE", 1)
    calls = recorded_run(save_dir)
    uploads = []
    go_on = threading.Event()

    def slow(path):
        if "best.pt" in path:
            uploads.append(path)
            go_on.wait(30)

    service.failing = slow
    for _ in range(2):
        with pytest.raises(Unavailable, match="takes long and continues"):
            deliver(calls, online)
    go_on.set()
    deliver(calls, online)
    assert len(uploads) == 1
    check_complete(service, calls)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # a thread of the client's
@pytest.mark.usefixtures("quick")
def test_the_clients_own_process_may_die(service, online, run, save_dir):
    calls = recorded_run(save_dir)
    relay = WandbRelay(calls, run, online).deliver(upto=10, settle=False)
    (core,) = [child for child in psutil.Process().children() if child.name() == "wandb-core"]
    core.kill()
    core.wait()
    with pytest.raises(Unavailable, match="W&B's own process"):
        relay.deliver()
    relay.deliver()
    check_complete(service, calls)


def test_a_stop_asked_for_on_wandbs_page(service, online, save_dir, run, monkeypatch):
    monkeypatch.setattr(run_stopping.RunStopChecker.__init__, "__kwdefaults__", {"poll_interval": 0.2})  # not 15 s
    calls = recorded_run(save_dir)
    tracker, state = WandbTracker(), {}
    assert tracker.poll(online) is None
    play(tracker, calls[:10], run, destination=online, state=state)
    assert tracker.poll(online) is None
    service.run().stop = True
    play(tracker, calls[10:15], run, destination=online, state=state, before=calls[:10])
    asked = []
    wait_for(lambda: asked.append(WandbTracker().poll(online)) or asked[-1])  # also of another instance
    assert asked[-1] == Stop(reason="stopped on W&B's page")
    assert tracker.poll(online) is None
    play(tracker, calls[15:], run, destination=online, state=state, before=calls[:15])
    assert service.run().exit_code == 0


def test_failures_and_actions_are_alerts(service, online, save_dir):
    calls = recorded_run(save_dir, status="failed")
    action = {"action": Stop(reason="enough"), "plugin": "keeper", "outcome": "done"}
    deliver([*calls[:-1], Call(99, STARTED, "on_action", action), replace(calls[-1], seq=100)], online)
    assert service.run().exit_code == 1
    assert service.run().alerts == [
        {"title": "Stop of train", "text": "keeper: enough\ndone", "severity": "INFO"},
        {"title": "train failed", "text": "RuntimeError: boom", "severity": "ERROR"},
    ]


@pytest.mark.usefixtures("quick")
def test_nobody_is_alerted_once_for_each_try(service, online, save_dir):
    calls = recorded_run(save_dir, status="failed")
    service.failing = lambda path: 404 if path.endswith("file_stream") else None
    for _ in range(2):
        with pytest.raises(Unavailable):
            deliver(calls, online)
    service.failing = lambda _: None
    deliver(calls, online)
    assert [alert["title"] for alert in service.run().alerts] == ["train failed"]


@pytest.mark.usefixtures("quick")
def test_an_alert_is_sent_once_when_a_relay_dies(service, online, run, save_dir, die, monkeypatch):
    monkeypatch.setitem(process.SETTINGS, "x_file_stream_transmit_interval", 60.0)
    calls = recorded_run(save_dir)
    action = {"action": Stop(reason="enough"), "plugin": "keeper", "outcome": "done"}
    calls[12] = Call(13, STARTED, "on_action", action)  # in the place of an early view
    relay = WandbRelay(calls, run, online).deliver(upto=15, settle=False)
    die()  # its client had the rows, W&B did not
    assert relay.safe < 13
    monkeypatch.delitem(process.SETTINGS, "x_file_stream_transmit_interval")
    relay.deliver(upto=20)
    die()
    relay.deliver()
    assert [alert["title"] for alert in service.run().alerts] == ["Stop of train"]
    check_complete(service, calls)


@pytest.mark.usefixtures("quick")
def test_the_end_is_alerted_once_though_the_relay_dies_before_it_is_confirmed(service, online, run, save_dir, die):
    calls = recorded_run(save_dir, status="failed")
    relay = WandbRelay(calls, run, online).deliver(upto=calls[-2].seq)
    before = relay.safe, relay.saved
    relay.deliver()
    die()
    relay.safe, relay.saved = before
    relay.deliver()
    assert [alert["title"] for alert in service.run().alerts] == ["train failed"]
    assert service.run().exit_code == 1


def test_lines_of_the_log(service, online, save_dir):
    calls = recorded_run(save_dir)
    lines = Call(3, STARTED, "on_console", {"lines": ["first", "second"]})
    deliver([*calls[:2], lines, *calls[3:]], online)
    assert [line.split(" ", 1)[1] for line in service.run().output] == ["first", "second"]


@pytest.mark.usefixtures("quick")
def test_a_run_named_by_the_user_is_joined_behind_what_it_has(service, online, run, save_dir, die):
    theirs = {**online, "id": "theirs", "joined": True}
    rows = {step: json.dumps({"_step": step, "mine": 1}) for step in range(40)}
    service._run(ENTITY, "shapes", "theirs").streams["wandb-history.jsonl"] = rows
    calls = recorded_run(save_dir)
    relay = WandbRelay(calls, run, theirs).deliver(upto=14)
    assert relay.saved["first_step"] == 40
    die()
    relay.deliver()
    deliver(calls, theirs)  # the state lost: the run itself tells
    found = service.run("theirs")
    assert [row["_step"] for row in found.history[:40]] == list(range(40))
    assert [row["_step"] - 40 for row in found.history[40:]] == [2, 4, 8, 9, 11, 15, 16, 18, 22, 23, 24, 29, 30]
    check_epochs(found, calls)
    other = replace(sample_run(save_dir), uid="another")
    die()  # the replay has opened the run and not ended it
    with pytest.raises(Unavailable, match=f"{run.uid} is writing to"):
        deliver(calls, theirs, run=other)
    found.is_silent = True
    deliver(calls, theirs, run=other)
    assert [row["_step"] - 71 for row in found.history[53:]][:3] == [2, 4, 8]


def resumed(calls, first_seq):
    """What is added by a training that goes on with the epoch in which it was killed."""
    third = next(i for i, call in enumerate(calls) if call.hook == "on_epoch_start" and call.args["epoch"] == 3)
    start = Call(0, 0, "on_run_start", {**calls[0].args, "resumed": True})
    return [
        Call(first_seq + i, STARTED + 1000 + i, call.hook, call.args) for i, call in enumerate([start, *calls[third:]])
    ]


def test_a_resumed_training_goes_on_in_its_run(service, online, save_dir):
    calls = recorded_run(save_dir)
    killed = recorded_run(save_dir, status="killed")
    state = saved(deliver(killed, online))
    assert service.run().exit_code == 255
    assert [alert["title"] for alert in service.run().alerts] == ["train killed"]
    deliver(resumed(calls, len(killed) + 1), online, state, before=killed)
    check_complete(service, calls)
    assert [alert["title"] for alert in service.run().alerts] == ["train killed"]


@pytest.mark.usefixtures("quick")
def test_an_end_that_is_given_again_does_not_end_the_resumed_run(service, online, run, save_dir):
    killed = recorded_run(save_dir, status="killed")
    calls = [*killed, *resumed(recorded_run(save_dir), len(killed) + 1)]
    relay = WandbRelay(calls, run, online)
    nothing = relay.safe, relay.saved
    relay.deliver(upto=len(killed) + 4)
    relay.safe, relay.saved = nothing  # the disk was full for a moment
    relay.deliver(upto=len(killed) + 4)
    assert service.run().exit_code == 255, "of the part that was killed"
    relay.deliver()
    check_complete(service, recorded_run(save_dir))


@pytest.mark.usefixtures("quick")
def test_a_training_that_is_resumed_on_another_machine_goes_on_in_its_run(service, online, run, save_dir, die):
    calls = recorded_run(save_dir)
    deliver(recorded_run(save_dir, status="killed"), online)
    more = resumed(calls, 1)
    relay = WandbRelay(more, run, online).deliver(upto=6)
    die()
    relay.deliver()
    deliver(more, online)  # the state lost: the run itself tells
    check_complete(service, calls)


def test_a_run_of_a_sweep_is_joined_and_keeps_what_it_has(service, online, save_dir):
    theirs = service._run(ENTITY, "shapes", "trial7")
    theirs.fields["displayName"] = "brave-sweep-7"
    theirs.config = {"epochs": 9, "mine": 1}
    calls = recorded_run(save_dir)
    nameless = {"id": "trial7", "joined": True, "sweep": "s1", "name": "", "job_type": ""}  # as `capture` says it
    deliver(calls, {**online, **nameless})
    assert service.run("trial7").fields["sweep"] == "s1"
    assert service.run("trial7").fields["displayName"] == "brave-sweep-7"
    assert service.run("trial7").config["epochs"] == 9
    assert service.run("trial7").config["mine"] == 1
    check_complete(service, calls)


@pytest.mark.usefixtures("quick")
def test_what_was_changed_on_wandbs_page_stays(service, online, run, save_dir, die):
    calls = recorded_run(save_dir)
    relay = WandbRelay(calls, run, {**online, "tags": "a"}).deliver(upto=10, settle=False)
    wait_for(lambda: service.run().history)
    service.run().fields |= {"displayName": "my best", "tags": ["a", "b"]}
    die()
    relay.deliver()
    assert service.run().fields["displayName"] == "my best"
    assert service.run().fields["tags"] == ["a", "b"]


def test_a_run_shared_with_the_users_own_process_is_not_ended(service, online, save_dir, monkeypatch):
    monkeypatch.setattr(online_module, "_INTERVAL", 1.0)
    calls = recorded_run(save_dir)
    deliver(calls, {**online, "mode": "shared", "id": "theirs", "joined": True})
    found = service.run("theirs")
    assert found.exit_code is None
    assert [x for x, _ in found.points("train/box_loss", "epoch")] == [1, 2, 3]
    assert found.config["lr0"] == 0.01


def test_a_shared_run_is_not_sent_again_as_a_whole(service, online, run, save_dir, die, monkeypatch):
    monkeypatch.setattr(online_module, "_INTERVAL", 1.0)
    calls = recorded_run(save_dir)
    shared = {**online, "mode": "shared", "id": "theirs", "joined": True}
    relay = WandbRelay(calls, run, shared).deliver(upto=15)
    assert len(service.run("theirs").points("train/box_loss")) == 2  # sent, when it was acknowledged
    die()
    relay.deliver()
    assert [x for x, _ in service.run("theirs").points("train/box_loss", "epoch")] == [1, 2, 3]


def test_no_key_is_waited_for(service, online, save_dir, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    calls = recorded_run(save_dir)
    with pytest.raises(Unavailable, match=r"API key.*wandb login.*WANDB_API_KEY"):
        deliver(calls, online)
    assert service.requests == []
    monkeypatch.setenv("WANDB_API_KEY", service.environment()["WANDB_API_KEY"])
    deliver(calls, online)
    check_complete(service, calls)


@pytest.mark.parametrize("status", [401, 500])
@pytest.mark.usefixtures("quick")
def test_a_service_that_refuses_is_waited_for(service, online, save_dir, status):
    calls = recorded_run(save_dir)
    service.failing = lambda _: status
    for _ in range(2):
        with pytest.raises(Unavailable, match=f"{service.url} is not available: .*{status}"):
            deliver(calls, online)
    service.failing = lambda _: None
    deliver(calls, online)
    check_complete(service, calls)


@pytest.mark.parametrize(
    ("status", "message", "advice"),
    [
        (401, "user is not logged in", "Check WANDB_API_KEY"),
        (403, "permission denied", "another WANDB_API_KEY, or elsewhere: `tracking-hooks sync --to wandb --set entity"),
        (404, "project not found", "Create what is missing"),
        (409, "run one was previously created and deleted; try a new run name", "--set id=NEW"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_a_refusal_that_all_events_meet_comes_from_open_and_says_what_to_do(
    service, online, run, save_dir, status, message, advice
):
    service.failing = lambda _: status
    service.refusal = {"errors": [{"message": message}]}
    calls = recorded_run(save_dir)
    start = {**calls[0].args, "run": run, "state": {}, "destination": online, "time": STARTED}
    start = {**start, "epoch": 0, "status": None}
    del start["plan"]
    with pytest.raises(Unavailable) as told:
        WandbTracker().open(**start)
    assert message in str(told.value)
    assert advice in str(told.value)
    service.failing = lambda _: None
    deliver(calls, online)
    check_complete(service, calls)


@pytest.mark.usefixtures("quick")
def test_a_service_that_never_answers_is_not_waited_for(save_dir, online, service):
    service.stop()
    with socket.create_server(("127.0.0.1", int(service.url.rpartition(":")[2])), backlog=100):
        began = time.monotonic()
        with pytest.raises(Unavailable, match="is not available"):
            deliver(recorded_run(save_dir), online)
        assert time.monotonic() - began < 80, "W&B's client by itself takes 90 seconds"


def test_what_was_noted_down_counts_and_not_the_environment(service, online, save_dir, monkeypatch):
    for name in ("PROJECT", "ENTITY", "NAME", "RUN_ID", "RUN_GROUP", "TAGS", "NOTES", "JOB_TYPE", "SWEEP_ID"):
        monkeypatch.setenv(f"WANDB_{name}", "elsewhere")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SERVICE", "3-1-tcp-localhost-1")
    calls = recorded_run(save_dir)
    deliver(calls, online)
    found = check_complete(service, calls)
    assert "elsewhere" not in json.dumps(found.fields) + found.path


def test_nothing_is_left_behind(service, online, save_dir, tmp_path):
    deliver(recorded_run(save_dir), online)
    assert not list(tmp_path.glob("tracking-hooks-wandb-*"))
    assert not (tmp_path / "wandb").exists()
    assert not (tmp_path / "home/.local").exists()
    assert not (tmp_path / "home/.cache/wandb").exists()
    assert not [child for child in psutil.Process().children() if "wandb" in child.name()]
    assert wandb.run is None


def test_the_key_is_in_no_file(service, online, save_dir, tmp_path):
    calls = recorded_run(save_dir)
    state = deliver(calls[:10], online)
    key = os.environ["WANDB_API_KEY"]
    assert key not in json.dumps([online, state])
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert key.encode() not in path.read_bytes(), path
