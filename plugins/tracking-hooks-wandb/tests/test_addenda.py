"""What comes after the end of a run, or from another process, goes into that run, which stays as it ended."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.support.processes import PATIENCE
from tests.support.wandb_files import WandbFiles
from tests.support.wandb_relay import WandbRelay
from tracking_hooks.events import Unavailable
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import STARTED, recorded_addendum, recorded_run, sample_addendum
from tracking_hooks_wandb import service as service_module
from tracking_hooks_wandb.addenda import OnlineAddendum
from tracking_hooks_wandb.trainer import capture

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(service_module, "EVERY", 0.2)


@pytest.fixture
def calls(save_dir):
    return recorded_run(save_dir)


@pytest.fixture
def added(calls, save_dir):
    return recorded_addendum(save_dir)


@pytest.fixture
def addendum(save_dir):
    return sample_addendum(save_dir)


def own(row):
    return {name: value for name, value in row.items() if not name.startswith("_") and not isinstance(value, dict)}


def steps(found):
    return [row["_step"] for row in found.history]


def resumed(calls, behind=None):
    """The part that a resume adds to a training."""
    last = calls[-1].seq if behind is None else behind
    start = next(i for i, call in enumerate(calls) if call.hook == "on_epoch_start" and call.args["epoch"] == 3)
    part = [Call(0, 0, "on_run_start", {**calls[0].args, "resumed": True}), *calls[start:]]
    return [Call(last + i, STARTED + 9000 + i, call.hook, call.args) for i, call in enumerate(part, 1)]


def added_rows(found):
    names = {"mine/score", "samples/first", "errors", "samples/boxes/images", "test/checkpoint"}
    return [row for row in found.history if names & {*row}]


def check_rows(rows):
    assert own(rows[0]) == {"mine/score": 0.75, "log_step": 7}
    assert (rows[1]["samples/first"]["_type"], rows[1]["log_step"]) == ("image-file", 7)
    assert (rows[2]["errors"]["_type"], rows[2]["errors"]["ncols"], rows[2]["errors"]["nrows"]) == ("table-file", 2, 2)
    evaluated = {"test/metrics/mAP50(B)": 0.81, "test/metrics/mAP50-95(B)": 0.61, "test/checkpoint": "best.pt"}
    assert rows[3]["samples/boxes/images"]["_type"] == "images/separated"
    assert own(rows[4]) == evaluated
    assert rows[4]["test/per_class"]["_type"] == "table-file"


@pytest.mark.parametrize("dies", [False, True])
def test_an_addendum_goes_into_the_run_behind_what_that_has(
    service, online, run, addendum, calls, added, save_dir, die, dies
):
    WandbRelay(calls, run, online).deliver()
    before = steps(service.run())
    fields = dict(service.run().fields)
    config = dict(service.run().config)
    if dies:
        die()
    WandbRelay(added, addendum, online).deliver()
    found = service.run()
    rows = found.history
    assert steps(found) == [*before, *range(before[-1] + 1, before[-1] + 6)]
    check_rows(rows[-5:])
    assert [row["_timestamp"] for row in rows[-5:]] == [call.time for call in added if call.seq in (3, 4, 5, 6, 8)]
    assert rows[-3]["errors"]["path"] in found.files
    assert found.files["notes.txt"] == b"notes"
    assert {**found.config, "_wandb": 0, "tracking_hooks_addenda": 0} == {
        **config, "_wandb": 0, "tracking_hooks_addenda": 0, "fold": 3
    }  # fmt: skip
    assert found.fields["tags"] == ["reviewed=yes"]
    assert {name: found.fields[name] for name in fields if name != "tags"} == {
        name: fields[name] for name in fields if name != "tags"
    }
    assert (found.exit_code, found.summary["status"]) == (0, "finished")
    assert found.alerts == []
    exported = service.artifact(f"run_{run.uid}_export", "onnx")
    assert exported.files == {"best.onnx": b"exported weights"}
    assert (exported.metadata["format"], exported.metadata["checkpoint"]) == ("onnx", "best.pt")


@pytest.mark.parametrize(("status", "code"), [("failed", 1), ("killed", 255)])
def test_a_run_that_did_not_finish_is_closed_as_it_was(service, online, run, addendum, save_dir, added, status, code):
    WandbRelay(recorded_run(save_dir, status=status), run, online).deliver()
    service.run().exit_code = 1  # all that the service tells
    WandbRelay(added, addendum, online).deliver()
    assert service.run().exit_code == code
    assert service.run().summary["status"] == status
    assert len(service.run().alerts) == 1, "the failure is not told again"


def test_a_run_that_was_resumed_between_two_additions_is_closed_as_it_has_ended_since(
    service, online, run, addendum, save_dir, added, die
):
    WandbRelay(recorded_run(save_dir, status="failed"), run, online).deliver()
    relay = WandbRelay(added, addendum, online).deliver(upto=3)
    assert service.run().exit_code == 1
    die()
    service.run().exit_code = 0
    service.run().summary["status"] = "finished"
    relay.deliver()
    assert service.run().exit_code == 0


def test_an_addendum_waits_for_its_run_and_for_its_end(service, online, run, addendum, calls, added, die):
    with pytest.raises(Unavailable, match="does not have the run") as caught:
        WandbRelay(added, addendum, online).deliver()
    assert caught.value.only_this_run
    assert service.runs == {}
    relay = WandbRelay(calls, run, online).deliver(upto=20)
    die()
    with pytest.raises(Unavailable, match="has not ended") as caught:
        WandbRelay(added, addendum, online).deliver()
    assert caught.value.only_this_run
    relay.deliver()
    WandbRelay(added, addendum, online).deliver()
    assert service.run().points("mine/score", "log_step") == [(7, 0.75)]


@pytest.fixture
def die_over(die, monkeypatch):
    """Let the relay of an addendum die when its rows have arrived, before it can end the run."""

    def die_over(relay, *, upto):
        saved, safe = relay.saved, relay.safe
        with monkeypatch.context() as patch:
            patch.setattr(OnlineAddendum, "finish", lambda *_: None)
            relay.deliver(upto=upto)
        die()
        relay.saved, relay.safe = saved, safe

    return die_over


@pytest.mark.parametrize("tells_its_status", [True, False])
def test_a_relay_that_dies_over_an_addendum_costs_nothing_and_doubles_nothing(
    service, online, run, addendum, calls, added, die_over, tells_its_status
):
    at_one_time = [Call(call.seq, added[0].time, call.hook, call.args) for call in added]
    WandbRelay(calls, run, online).deliver()
    before = steps(service.run())
    relay = WandbRelay(at_one_time, addendum, online)
    relay.deliver(upto=2)
    if not tells_its_status:  # as that of a user's own
        service.run().streams["wandb-summary.json"].clear()
    die_over(relay, upto=5)
    with pytest.raises(Unavailable, match="has not ended"):
        relay.deliver()
    service.run().is_silent = True
    relay.deliver()
    found = service.run()
    assert steps(found) == [*before, *range(before[-1] + 1, before[-1] + 6)]
    check_rows(found.history[-5:])
    assert found.exit_code == 0


def test_a_training_that_was_resumed_in_between_is_left_alone(service, online, run, addendum, calls, added, die):
    WandbRelay(calls, run, online).deliver()
    relay = WandbRelay(added, addendum, online).deliver(upto=3)
    die()
    WandbRelay([*calls, *resumed(calls)], run, online, safe=calls[-1].seq).deliver(upto=calls[-1].seq + 8)
    die()
    before = steps(service.run())
    for _ in range(2):
        with pytest.raises(Unavailable, match="has not ended") as caught:
            relay.deliver()
        assert caught.value.only_this_run
        service.run().is_silent = True  # its network is gone for some minutes
    assert (steps(service.run()), service.run().state) == (before, "crashed")


def test_while_the_service_is_down_nobody_is_told_to_look_at_the_key(service, online, addendum, added, monkeypatch):
    monkeypatch.setattr(service_module, "_TIMEOUT", 2)
    service.stop()
    with pytest.raises(Unavailable, match=f"W&B at {service.url} is not available") as caught:
        WandbRelay(added, addendum, online).deliver()
    assert "API_KEY" not in str(caught.value)
    service.start()
    service.failing = lambda _: 401
    with pytest.raises(Unavailable, match=r"error 401.*Check WANDB_API_KEY"):
        WandbRelay(added, addendum, online).deliver()


@pytest.mark.parametrize("says_its_steps", [True, False])
def test_a_training_that_is_resumed_waits_for_an_addendum_and_is_whole(
    service, online, run, addendum, calls, added, die, die_over, says_its_steps
):
    training = WandbRelay(calls, run, online).deliver()
    die()
    die_over(WandbRelay(added, addendum, online), upto=5)
    assert service.run().config["tracking_hooks_addenda"]["open_by"] == addendum.addendum
    if not says_its_steps:  # the client sends the config some seconds behind the rows
        service.run().config["tracking_hooks_addenda"]["steps"] = []
    training.calls += resumed(calls)
    with pytest.raises(Unavailable, match=f"{addendum.addendum} is writing to") as caught:
        training.deliver()
    assert caught.value.only_this_run
    service.run().is_silent = True
    training.deliver()
    found = service.run()
    batches = [call.args["step"] for call in training.calls if call.hook == "on_batch_end"]
    assert [x for x, _ in found.points("train_batch/box_loss", "global_step")] == batches
    assert steps(found) == sorted(set(steps(found)))
    assert (found.exit_code, found.summary["status"]) == (0, "finished")
    assert found.config["tracking_hooks_addenda"]["open_by"] == ""


def test_of_several_addenda_each_finds_its_place(service, online, run, addendum, calls, added, die):
    WandbRelay(calls, run, online).deliver()
    before = steps(service.run())
    first = WandbRelay(added, addendum, online).deliver(upto=3)
    die()
    later = [Call(call.seq, call.time + 1000, call.hook, call.args) for call in added[:3]]
    WandbRelay(later, replace(addendum, addendum="20251009-101200-0ther000"), online).deliver()
    die()
    first.deliver()
    found = service.run()
    assert [own(row).get("mine/score") for row in found.history[len(before) :]] == [0.75, 0.75, None, None, None, None]
    assert steps(found)[len(before) :] == list(range(before[-1] + 1, before[-1] + 7))


@pytest.mark.parametrize("dies", [False, True])
def test_a_training_that_is_resumed_behind_an_addendum_loses_no_row(
    service, online, run, addendum, save_dir, added, die, dies
):
    killed = recorded_run(save_dir, status="killed")
    relay = WandbRelay(killed, run, online).deliver()
    die()
    WandbRelay(added, addendum, online).deliver()
    last = killed[-1].seq
    relay.calls += resumed(recorded_run(save_dir), behind=last)
    if dies:
        die()
        relay.deliver(upto=last + 8)
        die()
    relay.deliver()
    found = service.run()
    assert [x for x, _ in found.points("metrics/mAP50(B)", "epoch")] == [1, 2, 3]
    batches = [call.args["step"] for call in relay.calls if call.hook == "on_batch_end"]
    assert [x for x, _ in found.points("train_batch/box_loss", "global_step")] == batches
    assert found.points("mine/score", "log_step") == [(7, 0.75)]
    assert steps(found) == sorted(set(steps(found)))
    assert (found.exit_code, found.summary["status"]) == (0, "finished")


# -- offline ----------------------------------------------------------------------------------------------------


def sync(folder, service):
    env = {**os.environ, **service.environment()}
    env.pop("WANDB_MODE", None)
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=PATIENCE)
    assert "ERROR" not in done.stderr, done.stderr


@pytest.mark.parametrize("dies", [False, True])
def test_offline_an_addendum_is_a_folder_that_wandb_sync_appends(
    offline, run, addendum, calls, added, service, die, dies
):
    with pytest.raises(Unavailable, match="does not have the end of the run") as caught:
        WandbRelay(added, addendum, offline).deliver()
    assert caught.value.only_this_run
    WandbRelay(calls, run, offline).deliver()
    relay = WandbRelay(added, addendum, offline).deliver(upto=4)
    if dies:
        die()
    relay.deliver()
    main, folder = Path(offline["folder"]), Path(f"{offline['folder']}-{addendum.addendum}")
    assert sorted(path.name for path in main.parent.glob("offline-run-*")) == [main.name, folder.name]
    found = WandbFiles(folder)
    check_rows(added_rows(found))
    assert found.exits == [0]
    assert found.config["fold"] == 3
    assert list(found.runs[-1].tags) == ["reviewed=yes"]
    assert WandbFiles(main).exits == [0]

    sync(main, service)
    before = steps(service.run())
    sync(folder, service)
    online = service.run()
    assert steps(online)[: len(before)] == before
    assert steps(online) == sorted(set(steps(online)))
    check_rows(online.history[len(before) :])
    assert online.exit_code == 0
    assert online.config["lr0"] == 0.01
    assert online.fields["tags"] == ["reviewed=yes"]
    assert online.files["notes.txt"] == b"notes"
    assert service.artifact(f"run_{run.uid}_export", "onnx").files == {"best.onnx": b"exported weights"}


def test_a_failed_offline_run_stays_failed(offline, run, addendum, save_dir, added):
    WandbRelay(recorded_run(save_dir, status="failed"), run, offline).deliver()
    WandbRelay(added, addendum, offline).deliver()
    assert WandbFiles(Path(f"{offline['folder']}-{addendum.addendum}")).exits == [1]


# -- in the run's own journal, and elsewhere --------------------------------------------------------------------


def test_what_the_script_logs_during_the_training_stands_in_the_same_places(offline, run, calls, added):
    between = [*calls[:20], *added, *calls[20:]]
    between = [Call(i, STARTED + i, call.hook, call.args) for i, call in enumerate(between, 1)]
    WandbRelay(between, run, offline).deliver()
    found = WandbFiles(Path(offline["folder"]))
    check_rows(added_rows(found))
    assert found.config["fold"] == 3
    assert list(found.runs[-1].tags) == ["reviewed=yes"]
    assert found.exits == [0]
    (exported,) = [artifact for artifact in found.artifacts if "onnx" in artifact.aliases]
    assert json.loads(exported.metadata)["format"] == "onnx"


def test_a_shared_run_takes_an_addendum(service, online, run, addendum, calls, added):
    shared = {**online, "mode": "shared", "id": "theirs", "joined": True}
    with pytest.raises(Unavailable, match="does not have the run"):
        WandbRelay(added, addendum, shared).deliver()
    WandbRelay(calls, run, shared).deliver()
    WandbRelay(added, addendum, shared).deliver()
    assert service.run("theirs").points("mine/score", "log_step") == [(7, 0.75)]


def test_a_shared_run_that_the_script_has_ended_stays_ended(service, online, run, addendum, calls, added):
    shared = {**online, "mode": "shared", "id": "theirs", "joined": True}
    WandbRelay(calls, run, shared).deliver()
    service.run("theirs").exit_code, service.run("theirs").is_open = 3, False
    WandbRelay(added, addendum, shared).deliver()
    assert service.run("theirs").points("mine/score", "log_step") == [(7, 0.75)]
    assert service.run("theirs").state == "failed"


def test_where_wandb_is_switched_off_an_addendum_does_nothing(run, addendum, added, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    play_to = capture(run, None).destination
    WandbRelay(added, addendum, play_to).deliver()
