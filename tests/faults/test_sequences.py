"""The short form of ``python -m tests.faults``: a few sequences, always the same ones."""

from __future__ import annotations

import pytest

from tests.faults import sink
from tests.faults.proxy import Trouble
from tests.faults.reference import made_up
from tests.faults.sequences import REQUEST_TIMEOUT, Fault, Lab, Plan, play
from tests.support import forking, postgres

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("reference"), epochs=20)


@pytest.fixture(scope="module")
def lab(database, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    (folder / "server.db").write_bytes(database.read_bytes())
    with Lab(folder, f"sqlite:///{folder / 'server.db'}", database) as lab:
        yield lab


@pytest.fixture(scope="module")
def lab_on_postgresql(database, tmp_path_factory):
    if reason := postgres.missing():
        pytest.skip(reason)
    server = postgres.Postgres()
    server.start()
    try:
        with Lab(tmp_path_factory.mktemp("lab"), server.uri, database) as lab:
            yield lab
    finally:
        server.stop()


@pytest.fixture(scope="module")
def forked():
    with forking.relays_are_forked():
        yield


@pytest.fixture(autouse=True)
def _impatient_clients(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_TIMEOUT))


def check(outcome):
    assert not outcome.failed, outcome
    assert outcome.faults, "nothing happened: take another seed"


def test_a_training_killed_before_its_first_event_leaves_nothing_pending(reference, tmp_path, monkeypatch):
    plan = Plan([Fault(0.0, "trainer", "kill")], linger=0.0, exit_wait=0.0)
    monkeypatch.setattr(Plan, "draw", lambda *_: plan)
    check(play(0, ["tensorboard"], reference, tmp_path, None))


def test_tensorboard_with_relays_as_in_real_life(reference, tmp_path):
    check(play(3, ["tensorboard"], reference, tmp_path, None))


@pytest.mark.parametrize("seed", [0, 1, 4, 6, 12])
@pytest.mark.usefixtures("forked")
def test_tensorboard(seed, reference, tmp_path):
    check(play(seed, ["tensorboard"], reference, tmp_path, None))


@pytest.mark.usefixtures("forked")
def test_a_plugin_that_does_everything_wrong_once(reference, tmp_path, monkeypatch):
    faults = [Fault(0.1 + number / 20, "sink", flag, lasts=1.0) for number, flag in enumerate(sink.FLAGS)]
    plan = Plan(faults, linger=0.0, exit_wait=1.0, call_timeout=2.0)
    monkeypatch.setattr(Plan, "draw", lambda *_: plan)
    outcome = play(0, [sink.NAME], reference, tmp_path, None)
    check(outcome)
    not_sure = {"sink hang poll": 0}  # only a training that runs is asked about
    assert outcome.faults | not_sure == {f"sink {flag}": 1 for flag in sink.FLAGS} | not_sure


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("trouble", [Trouble("limit", 2_000), Trouble("store", 503)], ids=lambda trouble: trouble.kind)
def test_an_mlflow_server_that_takes_no_files_for_as_long_as_the_training_lasts(
    reference, tmp_path, lab, monkeypatch, trouble
):
    fault = Fault(0.0, "network", trouble.kind, lasts=1000.0, trouble=trouble)
    plan = Plan([fault], linger=0.0, exit_wait=1.0)
    monkeypatch.setattr(Plan, "draw", lambda *_: plan)
    check(play(1, ["mlflow"], reference, tmp_path, lab))


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5])  # in the last the server is killed
@pytest.mark.usefixtures("forked")
def test_mlflow_and_tensorboard(seed, reference, tmp_path, lab):
    check(play(seed, ["tensorboard", "mlflow"], reference, tmp_path, lab))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.usefixtures("forked")
def test_mlflow_on_postgresql(seed, reference, tmp_path, lab_on_postgresql):
    check(play(seed, ["mlflow"], reference, tmp_path, lab_on_postgresql))
