"""Events that were set aside, and come after later ones: W&B takes rows in the order of their steps only."""

from pathlib import Path

import pytest
import wandb

from tests.support.wandb_files import WandbFiles
from tests.support.wandb_relay import WandbRelay
from tracking_hooks.events import Missing, Rejected
from tracking_hooks.testing import recorded_run
from tracking_hooks_wandb import service as service_module
from tracking_hooks_wandb.trainer import capture

pytestmark = pytest.mark.e2e

EPOCH_2 = 15
BEST, PLOT = 25, 29


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(service_module, "EVERY", 0.2)


@pytest.fixture
def calls(save_dir):
    calls = recorded_run(save_dir)
    assert calls[EPOCH_2 - 1].args["epoch"] == 2
    assert calls[EPOCH_2 - 1].hook == "on_epoch_end"
    assert calls[PLOT - 1].args["artifact"].name == "results.png"
    return calls


def epochs(found):
    return [x for x, _ in found.points("train/box_loss", "epoch")]


@pytest.mark.parametrize("dies", [False, True])
def test_a_row_that_the_run_has_passed_is_set_aside_and_says_so(service, online, run, calls, die, dies):
    relay = WandbRelay(calls, run, online).deliver(upto=20, skip=[EPOCH_2])
    if dies:
        die()
    with pytest.raises(Rejected, match=r"passed step 15: .*drops one that comes late\. Not in W&B: train/box_loss, "):
        relay.late(EPOCH_2)
    relay.deliver()
    assert epochs(service.run()) == [1, 3]
    assert service.run().exit_code == 0


def test_a_row_that_was_set_aside_in_a_relay_that_died_is_not_taken_for_delivered(service, online, run, calls, die):
    relay = WandbRelay(calls, run, online)
    nothing = relay.safe, relay.saved
    relay.deliver(upto=20, skip=[EPOCH_2])
    die()
    relay.safe, relay.saved = nothing
    with pytest.raises(Rejected, match="passed step 15"):
        relay.deliver()
    relay.deliver(skip=[EPOCH_2])
    assert epochs(service.run()) == [1, 3]


def test_where_the_history_cannot_be_read_rows_are_taken_to_be_there(service, online, run, calls, die, monkeypatch):
    relay = WandbRelay(calls, run, online)
    nothing = relay.safe, relay.saved
    relay.deliver(upto=20)
    die()
    relay.safe, relay.saved = nothing

    def cannot(*_, **_options):
        raise RuntimeError("no such query")

    monkeypatch.setattr(wandb.apis.public.Run, "scan_history", cannot)
    relay.deliver()
    assert epochs(service.run()) == [1, 2, 3]


@pytest.mark.parametrize("dies", [False, True])
def test_a_plot_that_comes_late_is_a_file(service, online, run, calls, save_dir, die, dies):
    early = 12  # as train_batch0.jpg is
    calls = [*calls[: early - 1], _as(calls[PLOT - 1], early), *calls[early:]]
    relay = WandbRelay(calls, run, online).deliver(upto=20, skip=[early])
    if dies:
        die()
    relay.late(early)
    relay.deliver()
    relay.settle()
    found = service.run()
    assert found.files["results.png"] == (save_dir / "results.png").read_bytes()
    assert [row["_step"] for row in found.history if "results" in row] == [PLOT]
    assert found.exit_code == 0


@pytest.mark.parametrize("dies", [False, True])
def test_after_the_end_files_and_weights_are_added_and_the_run_stays_as_it_ended(
    service, online, run, calls, save_dir, die, dies
):
    relay = WandbRelay(calls, run, online).deliver(skip=[EPOCH_2, BEST, PLOT])
    assert service.run().exit_code == 0
    service.run().exit_code = None
    if dies:
        die()
    with pytest.raises(Rejected, match="passed step 15"):
        relay.late(EPOCH_2)
    assert service.run().exit_code is None, "it was opened for nothing"
    relay.late(BEST, PLOT)
    relay.settle()
    found = service.run()
    assert found.exit_code == 0
    assert found.files["results.png"] == (save_dir / "results.png").read_bytes()
    assert "best.pt" in service.artifact(f"run_{run.uid}_model", "best").files
    assert epochs(found) == [1, 3]
    assert found.alerts == []


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("ended", [False, True])
def test_offline_it_is_the_same(offline, run, calls, save_dir, die, dies, ended):
    relay = WandbRelay(calls, run, offline).deliver(upto=30 if ended else 29, skip=[EPOCH_2, PLOT])
    if dies:
        die()
    with pytest.raises(Rejected, match="passed step 15"):
        relay.late(EPOCH_2)
    if ended:
        relay.late(PLOT)
        relay.settle()
    else:
        relay.deliver()
    found = WandbFiles(Path(offline["folder"]))
    assert epochs(found) == [1, 3]
    assert found.exits == [0]
    if ended:
        assert "results.png" in found.files
        assert Path(offline["folder"], "files/results.png").read_bytes() == (save_dir / "results.png").read_bytes()


def test_in_a_shared_run_no_row_is_late(service, online, run, calls):
    shared = {**online, "mode": "shared", "id": "theirs", "joined": True}
    relay = WandbRelay(calls, run, shared).deliver(upto=20, skip=[EPOCH_2])
    relay.late(EPOCH_2)
    relay.deliver()
    assert sorted(epochs(service.run("theirs"))) == [1, 2, 3]


# -- what is missing --------------------------------------------------------------------------------------------

ROW = Missing(hook="on_epoch_end", reason="it comes late", first=EPOCH_2, last=EPOCH_2)
WORDS = f"event {EPOCH_2}, on_epoch_end: it comes late"


@pytest.mark.parametrize("dies", [False, True])
def test_what_is_missing_stands_in_the_summary_of_the_ended_run_until_it_is_delivered(
    service, online, run, calls, die, dies
):
    relay = WandbRelay(calls, run, online).deliver(skip=[EPOCH_2])
    before = dict(service.run().summary)
    if dies:
        die()
    relay.report(ROW)
    assert service.run().summary["incomplete"] == WORDS
    assert service.run().exit_code == 0
    if dies:
        die()
    relay.report()
    after = dict(service.run().summary)
    assert "incomplete" not in after
    assert after["status"] == "finished"
    assert after.keys() | {"_step"} == before.keys(), "the client leaves _step out where a run is opened without a row"
    assert epochs(service.run()) == [1, 3]
    assert service.run().alerts == []


@pytest.mark.parametrize("dies", [False, True])
def test_offline_too(offline, run, calls, die, dies):
    relay = WandbRelay(calls, run, offline).deliver(skip=[EPOCH_2])
    before = epochs(WandbFiles(Path(offline["folder"])))
    if dies:
        die()
    relay.report(ROW)
    found = WandbFiles(Path(offline["folder"]))
    assert found.summary["incomplete"] == WORDS
    assert found.exits == [0]
    if dies:
        die()
    relay.report()
    found = WandbFiles(Path(offline["folder"]))
    assert "incomplete" not in found.summary
    assert found.summary["status"] == "finished"
    assert epochs(found) == before
    assert found.exits == [0]


def test_in_a_shared_run_the_summary_says_it_and_the_run_stays_open(service, online, run, calls):
    shared = {**online, "mode": "shared", "id": "theirs", "joined": True}
    relay = WandbRelay(calls, run, shared).deliver(skip=[EPOCH_2])
    relay.report(ROW)
    assert service.run("theirs").summary["incomplete"] == WORDS


def test_where_wandb_is_switched_off_nothing_is_said(run, calls, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    relay = WandbRelay(calls, run, capture(run, None).destination).deliver(skip=[EPOCH_2])
    relay.report(ROW)
    relay.report()


def _as(call, seq):
    return type(call)(seq, call.time, call.hook, call.args)
