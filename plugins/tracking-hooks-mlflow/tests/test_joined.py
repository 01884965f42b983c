"""A run that the user has opened takes one training; each further one is a run of its own, nested below it."""

import threading

import pytest
from mlflow import MlflowClient
from msgspec.structs import replace

from tests.support.mlflow import MLflowReader
from tests.support.mlflow_parts import play_to_mlflow
from tracking_hooks.events import Unavailable
from tracking_hooks.testing import play, recorded_addendum, recorded_run, sample_run
from tracking_hooks_mlflow.files import MLflowFiles
from tracking_hooks_mlflow.tracker import MLflowTracker


@pytest.fixture
def served(server):
    """A destination behind a real server: a run that the user has opened."""
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("by hand")
    number = experiment.experiment_id if experiment else client.create_experiment("by hand")
    mine = client.create_run(number, run_name="my own")
    return {"tracking_uri": server, "experiment": "shapes", "run_name": "train", "run_id": mine.info.run_id}


def fold(tmp_path, number):
    """A training of its own, with its own folder."""
    folder = tmp_path / f"fold{number}"
    run = replace(sample_run(folder), uid=f"{tmp_path.name}-{number}", name=f"fold{number}")
    return run, recorded_run(folder)


def nested(reader, destination):
    found = reader.client.search_runs(
        [experiment.experiment_id for experiment in reader.client.search_experiments()],
        f"tags.`mlflow.parentRunId` = '{destination['run_id']}'",
    )
    return sorted(found, key=lambda run: run.info.run_name)


def test_each_training_in_one_open_run_is_whole(served, tmp_path):
    for number in (1, 2, 3):
        run, calls = fold(tmp_path, number)
        play_to_mlflow(calls, run, destination={**served, "run_name": run.name})
    reader = MLflowReader(served["tracking_uri"])
    mine = reader.client.get_run(served["run_id"])
    others = nested(reader, served)
    assert [run.info.run_name for run in others] == ["fold2", "fold3"]
    for run in (mine, *others):
        assert [step for step, _ in reader.history(run, "fitness")] == [1, 2, 3]
        assert {"weights/best.pt", "weights/last.pt", "args.yaml"} <= reader.artifacts(run)
        assert len(run.outputs.model_outputs) == 1
    assert mine.info.run_name == "my own"
    assert mine.info.status == "RUNNING"
    assert "mlflow.note.content" not in mine.data.tags
    for run in others:
        assert run.info.status == "FINISHED"
        assert run.info.experiment_id == mine.info.experiment_id
        assert (
            "**Result:** mAP50-95(B) 0.71, mAP50(B) 0.91, finished after 3 epochs"
            in run.data.tags["mlflow.note.content"]
        )


def test_a_training_that_is_resumed_goes_on_in_the_run_that_it_had(served, tmp_path):
    reader = MLflowReader(served["tracking_uri"])
    for number in (1, 2):
        run, calls = fold(tmp_path, number)
        play_to_mlflow(calls[:9], run, destination=served)
    for number in (1, 2):  # on another machine, which has no state
        run, calls = fold(tmp_path, number)
        play_to_mlflow(calls, run, destination=served)
    (other,) = nested(reader, served)
    for run in (reader.client.get_run(served["run_id"]), other):
        assert [step for step, _ in reader.history(run, "fitness")] == [1, 2, 3]


def test_two_trainings_that_start_at_once_do_not_share_the_run(served, tmp_path, monkeypatch):
    """As long as neither has taken it, both see a run that nobody has."""
    both_have_looked = threading.Barrier(2, timeout=30)
    not_yet = set()
    get_run = MlflowClient.get_run

    def look(self, number):
        found = get_run(self, number)
        if threading.current_thread() in not_yet:
            not_yet.remove(threading.current_thread())
            both_have_looked.wait()
        return found

    monkeypatch.setattr(MlflowClient, "get_run", look)
    states, errors = {}, []

    def deliver(number):
        run, calls = fold(tmp_path, number)
        try:
            states[number] = play(MLflowTracker(), calls, run, destination=served)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=deliver, args=(number,)) for number in (1, 2)]
    not_yet.update(threads)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    reader = MLflowReader(served["tracking_uri"])
    (other,) = nested(reader, served)
    assert {state["run_id"] for state in states.values()} == {served["run_id"], other.info.run_id}


def test_files_of_a_nested_training_wait_for_its_run(served, tmp_path):
    first, calls = fold(tmp_path, 1)
    play_to_mlflow(calls, first, destination=served)
    second, calls = fold(tmp_path, 2)
    with pytest.raises(Unavailable, match="does not have this training's run yet: its files wait"):
        play(MLflowFiles(), calls, second, destination=served)
    state = play(MLflowTracker(), calls[:1], second, destination=served)
    assert play(MLflowFiles(), calls, second, destination=served)["run_id"] == state["run_id"] != served["run_id"]


def test_files_of_a_run_of_the_users_own_wait_until_it_is_known_whose_it_is(served, tmp_path):
    run, calls = fold(tmp_path, 1)
    with pytest.raises(Unavailable, match="its files wait"):
        play(MLflowFiles(), calls, run, destination=served)
    play(MLflowTracker(), calls[:1], run, destination=served)
    assert play(MLflowFiles(), calls, run, destination=served)["run_id"] == served["run_id"]


def test_a_run_of_the_users_for_a_fold_is_below_that_of_the_group_unless_it_is_nested_already(served, tmp_path):
    client = MLflowReader(served["tracking_uri"]).client
    experiment = client.get_run(served["run_id"]).info.experiment_id
    place = {"tracking_uri": served["tracking_uri"], "experiment_id": experiment}
    group, calls = fold(tmp_path, 0)
    above = play_to_mlflow(calls[:1], replace(group, task="group"), destination={**place, "run_name": "2-fold"})
    nested = client.create_run(experiment, tags={"mlflow.parentRunId": "elsewhere"}).info.run_id
    for number, mine in enumerate((served["run_id"], nested), 1):
        run, calls = fold(tmp_path, number)
        run = replace(run, parent=group.uid, group="2-fold")
        play_to_mlflow(calls[:1], run, destination={**place, "run_name": run.name, "run_id": mine})
    found = [client.get_run(number).data.tags for number in (served["run_id"], nested)]
    assert [tags["mlflow.parentRunId"] for tags in found] == [above["run_id"], "elsewhere"]
    assert {tags["tracking_hooks.group"] for tags in found} == {"2-fold"}


def test_what_is_added_to_a_training_goes_where_that_went(served, tmp_path):
    for number in (1, 2):
        run, calls = fold(tmp_path, number)
        play_to_mlflow(calls, run, destination=served)
        added = replace(run, addendum=f"addendum-{number}")
        play_to_mlflow(recorded_addendum(tmp_path / f"fold{number}"), added, destination=served)
    reader = MLflowReader(served["tracking_uri"])
    (other,) = nested(reader, served)
    for run in (reader.client.get_run(served["run_id"]), other):
        assert reader.history(run, "test/metrics/mAP50B") == [(0, 0.81)]
        assert "exports/best.onnx" in reader.artifacts(run)


def test_what_a_search_returns_by_mistake_is_left_alone(store, client, tmp_path, monkeypatch):
    """As a server that does not know a filter might answer: with everything that it has."""
    experiment = client.create_experiment("shapes")
    others = [client.create_run(experiment, tags=tags) for tags in ({}, {"tracking_hooks.run_uid": "another"})]
    search = MlflowClient.search_runs

    def search_everything(self, experiments, filter_string="", **options):
        return search(self, experiments, **options)

    monkeypatch.setattr(MlflowClient, "search_runs", search_everything)
    run, calls = fold(tmp_path, 1)
    state = play_to_mlflow(calls, run, destination=store)
    assert state["run_id"] not in {other.info.run_id for other in others}
    for other in others:
        found = client.get_run(other.info.run_id)
        assert found.info.lifecycle_stage == "active"
        assert found.data.tags == other.data.tags
