"""What happens to a run folder, one by one: another user's beside it, a power failure, an upgrade, a copy."""

from __future__ import annotations

import random
import shutil
import threading
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from tests.faults import content, dying, mishaps, sink
from tests.faults.reference import made_up
from tests.faults.sequences import Fault, Plan, play
from tests.support import forking
from tests.support.runs import read_calls
from tracking_hooks.delivery.sync import deliver
from tracking_hooks.run import journal
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.liveness import Lock
from tracking_hooks.run.state import is_delivered, owed
from tracking_hooks.settings import Settings

pytestmark = pytest.mark.faults

MEANING = yaml.safe_load((mishaps.GOLDEN / "meaning.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("reference"), epochs=20)


@pytest.fixture(scope="module", autouse=True)
def _forked():
    with forking.relays_are_forked():
        yield


@pytest.mark.parametrize(
    "fault",
    [
        Fault(0.5, "stranger", "tensorboard"),
        Fault(0.6, "power", "tensorboard"),
        Fault(0.7, "power", sink.NAME, pause=0.2),
        Fault(0.4, "upgrade", "tensorboard", pause=0.2),
        Fault(0.8, "upgrade", sink.NAME),
    ],
    ids=str,
)
def test_in_mid_training_it_costs_nothing(fault, reference, tmp_path, monkeypatch):
    monkeypatch.setattr(Plan, "draw", lambda *_: Plan([fault], linger=0.0, exit_wait=1.0))
    outcome = play(0, ["tensorboard", sink.NAME], reference, tmp_path, None)
    assert not outcome.failed, outcome
    assert outcome.faults == {fault.kind: 1}


def test_a_training_that_was_killed_and_copied_is_delivered_from_both_places(reference, tmp_path, monkeypatch):
    faults = [Fault(0.0, "sink", "refuse open", lasts=1000.0), Fault(0.5, "trainer", "kill")]
    plan = Plan([*faults, Fault(2.0, "copy", sink.NAME)], linger=0.0, exit_wait=0.0)
    monkeypatch.setattr(Plan, "draw", lambda *_: plan)
    outcome = play(0, [sink.NAME], reference, tmp_path, None)
    assert not outcome.failed, outcome
    assert outcome.faults["copy"] == 1


@pytest.mark.parametrize("seed", range(4))
def test_power_that_fails_drops_only_what_no_relay_has_given(ended_run, tmp_path, seed):
    logdir = tmp_path / "logdir"
    run = ended_run(2, tensorboard={"logdir": str(logdir)})
    steps = dying.steps(run, "tensorboard", 7, tmp_path / "steps")
    shutil.rmtree(logdir)
    shutil.rmtree(run.relay("tensorboard").path)
    dying.die(run, "tensorboard", 7, len(steps) * (seed + 1) // 5)
    given = mishaps._durable(run, ["tensorboard"])
    last = mishaps.lose_power(run, ["tensorboard"], random.Random(seed))
    assert run.journal.stat().st_size >= given
    assert dying.finish(run, "tensorboard") == 0
    assert read_calls(run.journal)[-1].hook == "on_run_end"
    assert read_calls(run.journal)[-1].seq >= (last.seq if last else 0)
    clean = content.clean_tensorboard(run, tmp_path / "clean")
    assert content.difference(clean, content.of_tensorboard(logdir)) == ({}, {})


# -- an upgrade in mid-run ----------------------------------------------------------------------------------------


@pytest.fixture
def golden(tmp_path):
    """The run that an older release has recorded, with two more destinations: one for each way to deliver it."""

    def make(**destinations: dict[str, str]) -> tuple[RunFolder, dict[str, str]]:
        run = RunFolder.beside(tmp_path / "project/train", MEANING["head"]["run"]["uid"])
        shutil.copytree(mishaps.GOLDEN / "train", tmp_path / "project/train")
        shutil.copytree(mishaps.GOLDEN / "run", run.path)
        return run, {name: run.add_replay(name.partition("_")[0], to) for name, to in destinations.items()}

    return make


def upgraded_in_mid_run(run, labels, seq):
    """Deliver up to an event while the older release records, and the rest with what it has left behind."""
    whole = run.journal.read_bytes()
    _, start = journal.read_head(run.journal)
    end = next(entry.end for entry in journal.read(run.journal, start) if entry.call and entry.call.seq == seq)
    run.journal.write_bytes(whole[:end])
    trainer = Lock(run.lock)
    assert trainer.acquire()
    for label in labels:
        assert dying.finish(run, label) == 0
        assert run.relay(label).read_cursor().seq == seq
        assert mishaps.write_old_cursor(run, label)
    run.journal.write_bytes(whole)
    trainer.release()
    for label in labels:
        assert dying.finish(run, label) == 0
        assert is_delivered(run, label)


@pytest.mark.parametrize("seq", [1, MEANING["cursor"]["seq"], 20, 30])
def test_tensorboard_goes_on_where_an_older_release_has_stopped(golden, tmp_path, seq):
    logdirs = [tmp_path / "at once", tmp_path / "in two parts"]
    run, labels = golden(**{f"tensorboard_{logdir.name}": {"logdir": str(logdir)} for logdir in logdirs})
    whole, parted = labels.values()
    assert dying.finish(run, whole) == 0
    upgraded_in_mid_run(run, [parted], seq)
    clean, found = (content.of_tensorboard(logdir) for logdir in logdirs)
    assert sum(clean.values()) > 20
    assert content.difference(clean, found) == ({}, {})


def test_mlflow_goes_on_where_an_older_release_has_stopped(golden, store, tmp_path):
    def destination(name):
        return {"tracking_uri": f"sqlite:///{store(name)}", "experiment": "shapes", "run_name": "train"}

    stores = {name: destination(name) for name in ("whole", "parted")}
    run, labels = golden(**{f"{part}_{name}": to for part in ("mlflow", "mlflow.files") for name, to in stores.items()})
    for part in ("mlflow", "mlflow.files"):
        assert dying.finish(run, labels[f"{part}_whole"]) == 0
    upgraded_in_mid_run(run, [labels["mlflow_parted"], labels["mlflow.files_parted"]], MEANING["cursor"]["seq"])
    clean, found = (content.of_mlflow(MlflowClient(to["tracking_uri"]), run.uid, "shapes") for to in stores.values())
    assert sum(clean.values()) > 20
    assert content.difference(clean, found) == ({}, {})


# -- a copied run folder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [False, True], ids=["one after the other", "at once, the run having been made"])
def test_a_copied_run_that_two_machines_deliver_is_one_run_with_each_point_once(ended_run, store, tmp_path, begun):
    destination = {"tracking_uri": f"sqlite:///{store('store')}", "experiment": "shapes", "run_name": "train"}
    run = ended_run(1, **{"mlflow": destination, "mlflow.files": destination})
    if begun:
        dying.die(run, "mlflow", 5, 40)
    copy = mishaps.copy_to_another_machine(run, tmp_path / "copy", ["mlflow", "mlflow.files"])
    machines = [threading.Thread(target=lambda one=one: list(deliver([one], Settings()))) for one in (run, copy)]
    for machine in machines:
        machine.start()
        if not begun:
            machine.join()
    for machine in machines:
        machine.join()
    for one in (run, copy):
        for label in ("mlflow", "mlflow.files"):
            list(deliver([one], Settings()))
            assert owed(one, label).aside == []
            assert is_delivered(one, label)
    clean = content.clean_mlflow(run, f"sqlite:///{store('clean')}")
    here = Path(shutil.copy(tmp_path / "store/mlflow.db", tmp_path / "read.db"))
    found = content.of_mlflow(MlflowClient(f"sqlite:///{here}"), run.uid, "shapes")
    lost, doubled = content.difference(clean, found)
    assert {point[:2] for point in lost + doubled} <= {("tag", "tracking_hooks.save_dir")}
