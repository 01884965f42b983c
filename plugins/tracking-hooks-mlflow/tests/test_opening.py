"""Copies of a run that are delivered by several machines at the same moment are one run in MLflow."""

import threading
from contextlib import suppress

import pytest
from mlflow import MlflowClient

from tests.support.mlflow import MLflowReader
from tests.support.mlflow_parts import play_to_mlflow
from tracking_hooks.events import Unavailable
from tracking_hooks.testing import STARTED, play, recorded_run
from tracking_hooks_mlflow import opening
from tracking_hooks_mlflow.run import BEGAN, RUN_UID
from tracking_hooks_mlflow.tracker import MLflowTracker


@pytest.fixture
def made_elsewhere(monkeypatch):
    """Have another machine make the run, too, just behind ours; return where it will be."""
    real, made = MlflowClient.create_run, []

    def create_both(self, experiment, **options):
        ours = real(self, experiment, **options)
        made.append(real(self, experiment, **{**options, "start_time": options["start_time"] + 1000}))
        return ours

    monkeypatch.setattr(MlflowClient, "create_run", create_both)
    return made


def test_two_machines_that_make_the_run_at_the_same_moment_have_one(server, run, save_dir, monkeypatch):
    calls = recorded_run(save_dir)
    destination = {"tracking_uri": server, "experiment": "copies", "run_name": "train"}
    MlflowClient(server).create_experiment("copies")
    both, real, states = threading.Barrier(2, timeout=120), MlflowClient.create_run, []

    def create_together(self, *args, **options):
        both.wait()  # neither has found a run
        return real(self, *args, **options)

    def deliver():
        while True:
            with suppress(Unavailable):  # both make one tag at the same moment: a relay would come again
                states.append(play_to_mlflow(calls, run, destination=destination))
                return

    monkeypatch.setattr(MlflowClient, "create_run", create_together)
    threads = [threading.Thread(target=deliver, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    reader = MLflowReader(server)
    experiment = reader.client.get_experiment_by_name("copies").experiment_id
    (found,) = reader.client.search_runs([experiment])
    assert [state["run_id"] for state in states] == [found.info.run_id] * 2
    assert found.info.status == "FINISHED"
    assert [step for step, _ in reader.history(found, "metrics/mAP50-95B")] == [1, 2, 3]


def test_a_run_with_which_another_machine_has_gone_on_is_the_one(
    store, client, run, save_dir, monkeypatch, made_elsewhere
):
    waited = []

    def say_that_it_goes_on(seconds):
        waited.append(seconds)
        client.set_tag(made_elsewhere[0].info.run_id, BEGAN, str(STARTED))

    monkeypatch.setattr(opening, "sleep", say_that_it_goes_on)
    state = play(MLflowTracker(), recorded_run(save_dir)[:2], run, destination=store)
    assert len(waited) == 1
    assert state["run_id"] == made_elsewhere[0].info.run_id
    assert [found.info.run_id for found in runs(client, run)] == [state["run_id"]]


def test_of_runs_that_none_has_gone_on_with_the_oldest_is_the_one(
    store, client, run, save_dir, monkeypatch, made_elsewhere
):
    monkeypatch.setattr(opening, "sleep", lambda _: None)
    state = play(MLflowTracker(), recorded_run(save_dir)[:2], run, destination=store)
    other = made_elsewhere[0].info.run_id
    assert state["run_id"] != other
    assert {found.info.run_id for found in runs(client, run)} == {state["run_id"], other}, "its maker deletes it"


def test_who_makes_the_run_alone_waits_for_nobody(store, run, save_dir, monkeypatch):
    monkeypatch.setattr(opening, "sleep", lambda _: pytest.fail("waited"))
    play(MLflowTracker(), recorded_run(save_dir)[:2], run, destination=store)


def runs(client, run):
    experiment = client.get_experiment_by_name("shapes").experiment_id
    return client.search_runs([experiment], f"tags.`{RUN_UID}` = '{run.uid}'")
