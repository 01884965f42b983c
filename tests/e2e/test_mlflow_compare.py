"""Beside Ultralytics' own MLflow integration: the same seeded trainings with each, into one real server.

What is different, and meant to be:

* Their epochs count from 0, ours from 1, as in ``results.csv`` and in TensorBoard.
* They append the validation of the best checkpoint to the curves, as one epoch more; with us it is ``best/…``.
* They name an experiment after an absolute ``project`` as a whole; we take its last part and keep the path as a tag.
* ``mlflow.source.name`` is a file of Ultralytics with them, the user's program with us.
* With ``MLFLOW_KEEP_RUN_ACTIVE`` their run is the active one of the process, and MLflow ends it when the process ends.
  Ours stays open, since nobody else ends it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.support.home import Home
from tests.support.mlflow import MLflowReader, mlflow_server
from tracking_hooks.run.layout import find_runs

pytestmark = pytest.mark.e2e

EPOCHS = 2
EXPERIMENT, RUN = "by MLFLOW_EXPERIMENT_NAME", "by MLFLOW_RUN"
BY_HAND, STAY = {"theirs": "by hand", "ours": "by hand, ours"}, "stay"
"""Experiments with what is not compared: a run that the script itself opens, runs that stay open."""

OWN_FOLDER = {"save_dir"}
"""Params that differ, since each of the two sides trains in a home folder of its own."""

TRAININGS = """
import os
from ultralytics import YOLO
for variables, arguments in {trainings!r}:
    os.environ.update(variables)
    YOLO("yolo26n.yaml").train(**arguments)
    for name in variables:
        del os.environ[name]

import mlflow
mlflow.set_experiment({experiment!r})
with mlflow.start_run(run_name="mine") as run:
    mlflow.log_param("mine", 1)
    YOLO("yolo26n.yaml").train(**{arguments!r})
    assert mlflow.active_run().info.run_id == run.info.run_id
    print("afterwards it is", mlflow.get_run(run.info.run_id).info.status)
    mlflow.log_metric("after", 1.0)
"""


def plain(home, **more):
    """The arguments of a training as text and numbers."""
    arguments = home.arguments(epochs=1, **more)
    del arguments["model"]
    return {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}


def four_trainings(home):
    """Four ways to name an experiment and a run; the first of them is compared in all that it logs."""
    return [
        ({}, plain(home, project="shapes", name="first") | {"epochs": EPOCHS, "plots": True}),
        ({}, plain(home, project=None, name=None)),
        ({}, plain(home, project=home.work / "absolute", name="third")),
        ({"MLFLOW_EXPERIMENT_NAME": EXPERIMENT, "MLFLOW_RUN": RUN}, plain(home, project="shapes", name="fourth")),
    ]


def trainings_that_stay_open(home, run_id):
    return [
        ({"MLFLOW_KEEP_RUN_ACTIVE": "True", "MLFLOW_EXPERIMENT_NAME": STAY}, plain(home, name="kept")),
        ({"MLFLOW_RUN_ID": run_id}, plain(home, name="joined")),
    ]


class Sides:
    """What both have logged to the server."""

    def __init__(self, reader, homes, outputs):
        self.homes = homes
        self.outputs = outputs
        self.reader = reader
        self.experiments = {found.experiment_id: found.name for found in reader.client.search_experiments()}

    def runs(self, side):
        is_ours = {"ours": True, "theirs": False}[side]
        runs = [run for run in self.reader.runs() if ("tracking_hooks.run_uid" in run.data.tags) is is_ours]
        compared = [run for run in runs if self.experiments[run.info.experiment_id] not in {STAY, *BY_HAND.values()}]
        return sorted(compared, key=lambda run: run.info.start_time)

    def of_experiment(self, name):
        """Runs by name."""
        found = self.reader.client.get_experiment_by_name(name)
        return {run.info.run_name: run for run in self.reader.client.search_runs([found.experiment_id])}

    def names(self, side):
        return [(self.experiments[run.info.experiment_id], run.info.run_name) for run in self.runs(side)]


@pytest.fixture(scope="module")
def server(tmp_path_factory, database):
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder, store=f"sqlite:///{shutil.copy(database, folder)}") as address:
        yield address


@pytest.fixture(scope="module")
def sides(server, tmp_path_factory, shapes):
    """Both sides' trainings; their integration is on, as it is where mlflow is installed."""
    folder = tmp_path_factory.mktemp("homes")
    homes = {side: Home(folder / side, shapes) for side in ("theirs", "ours")}
    for home in homes.values():  # else Ultralytics takes the repository that it is installed in, if it is in one
        home.run([home.yolo()[0], "settings", f"runs_dir={home.work / 'runs'}", "clearml=False", "raytune=False"])
    reader = MLflowReader(server)
    begun = reader.client.create_run(reader.client.create_experiment(STAY), run_name="begun elsewhere")
    outputs = {}
    for side, home in homes.items():
        trainings = four_trainings(home)
        if side == "ours":
            trainings += trainings_that_stay_open(home, begun.info.run_id)
        script = TRAININGS.format(trainings=trainings, experiment=BY_HAND[side], arguments=plain(home))
        (home.work / "trainings.py").write_text(script)
        trackers = "mlflow" if side == "ours" else None
        outputs[side] = home.run([sys.executable, "trainings.py"], trackers, MLFLOW_TRACKING_URI=server)
    yield Sides(reader, homes, outputs)
    for home in homes.values():
        home.close()


@pytest.fixture
def first(sides):
    return sides.runs("theirs")[0], sides.runs("ours")[0]


def test_experiments_and_runs_are_named_by_the_same_rules(sides):
    absolute = str(sides.homes["theirs"].work / "absolute")
    assert sides.names("theirs") == [
        ("shapes", "first"), ("/Shared/Ultralytics", "train"), (absolute, "third"), (EXPERIMENT, RUN),
    ]  # fmt: skip
    assert sides.names("ours") == [
        ("shapes", "first"), ("/Shared/Ultralytics", "train"), ("absolute", "third"), (EXPERIMENT, RUN),
    ]  # fmt: skip
    third = sides.runs("ours")[2]
    assert third.data.tags["tracking_hooks.project"] == str(sides.homes["ours"].work / "absolute")
    assert {run.info.status for side in ("theirs", "ours") for run in sides.runs(side)} == {"FINISHED"}


def test_every_metric_of_theirs_is_in_ours_with_the_same_points(sides, first):
    theirs, ours = first
    assert len(theirs.data.metrics) >= 13
    assert set(theirs.data.metrics) <= set(ours.data.metrics)
    for key in theirs.data.metrics:
        points = [(step + 1, value) for step, value in sides.reader.history(theirs, key)]
        epochs = [(step, pytest.approx(value)) for step, value in points if step <= EPOCHS]
        assert sides.reader.history(ours, key) == epochs, key
        assert [step for step, _ in epochs] == list(range(1, EPOCHS + 1)), key
        for step, value in points[EPOCHS:]:
            assert step == EPOCHS + 1, key
            assert ours.data.metrics[f"best/{key}"] == pytest.approx(value), key


def test_every_param_of_theirs_is_in_ours_with_the_same_value(sides, first):
    theirs, ours = first
    assert len(theirs.data.params) >= 110
    same = set(theirs.data.params) - OWN_FOLDER
    assert {key: ours.data.params.get(key) for key in same} == {key: theirs.data.params[key] for key in same}
    for key, home in zip(("theirs", "ours"), sides.homes.values()):
        (run,) = [found for found in first if (found is ours) is (key == "ours")]
        assert Path(run.data.params["save_dir"]).is_relative_to(home.folder)


def test_every_artifact_of_theirs_is_in_ours_under_the_same_name(sides, first):
    theirs, ours = (sides.reader.artifacts(run) for run in first)
    assert {"weights/best.pt", "weights/last.pt", "results.csv", "args.yaml", "results.png", "labels.jpg"} <= theirs
    assert len(theirs) >= 15
    assert theirs <= ours


def test_every_tag_of_theirs_is_in_ours(first):
    theirs, ours = first
    assert set(theirs.data.tags) <= set(ours.data.tags)
    for key in ("mlflow.user", "mlflow.source.type", "mlflow.runName"):
        assert ours.data.tags[key] == theirs.data.tags[key]


def test_their_integration_is_off_where_ours_records(sides):
    assert len(sides.runs("theirs")) == len(sides.runs("ours")) == 4
    assert len(find_runs(sides.homes["ours"].folder)) == 7
    assert find_runs(sides.homes["theirs"].folder) == []


@pytest.mark.parametrize("side", ["theirs", "ours"])
def test_a_run_that_the_script_has_open_is_joined_and_left_open(sides, side):
    assert "afterwards it is RUNNING" in sides.outputs[side]
    (run,) = sides.of_experiment(BY_HAND[side]).values()
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    assert {"mine": "1", "epochs": "1"}.items() <= run.data.params.items()
    assert {"after", "train/box_loss", "metrics/mAP50B"} <= set(run.data.metrics)
    assert "weights/best.pt" in sides.reader.artifacts(run)
    assert "mlflow.note.content" not in run.data.tags


def test_a_run_that_is_to_stay_open_stays_open(sides):
    runs = sides.of_experiment(STAY)
    assert set(runs) == {"kept", "begun elsewhere"}
    for run in runs.values():
        assert run.info.status == "RUNNING"
        assert "weights/best.pt" in sides.reader.artifacts(run), "all of it is there"
    assert runs["begun elsewhere"].data.params["name"] == "joined"


@pytest.mark.parametrize("value", ["1", "true", "YES", "on", "y", "T", " true ", "0", "false", "off", "no", "", "2"])
def test_the_variable_for_that_is_read_as_theirs(value, monkeypatch, tmp_path):
    from ultralytics.utils import env_bool

    from tracking_hooks.testing import sample_run
    from tracking_hooks_mlflow.trainer import capture

    monkeypatch.setenv("MLFLOW_KEEP_RUN_ACTIVE", value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    destination = capture(sample_run(tmp_path), None).destination
    assert destination.get("keep_active", False) is env_bool("MLFLOW_KEEP_RUN_ACTIVE")
