import json

import pytest
from mlflow import MlflowClient
from mlflow.data import get_source
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from msgspec.structs import replace

from tracking_hooks.events import Dataset, Split
from tracking_hooks.testing import play, recorded_run, sample_run
from tracking_hooks_mlflow import datasets
from tracking_hooks_mlflow.tracker import MLflowTracker


def the_data(calls):
    return next(call.args["dataset"] for call in calls if call.hook == "on_train_start")


def with_data(calls, dataset):
    return [
        replace(call, args={**call.args, "dataset": dataset}) if call.hook == "on_train_start" else call
        for call in calls
    ]


def inputs_of(client):
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return {entry.tags[0].value: entry.dataset for entry in run.inputs.dataset_inputs}


def test_a_run_says_what_it_was_trained_and_validated_on(store, client, save_dir, run):
    calls = recorded_run(save_dir)
    for _ in range(2):
        play(MLflowTracker(), calls[:2], run, destination=store)
    found = inputs_of(client)
    assert set(found) == {"training", "validation"}
    assert {dataset.name for dataset in found.values()} == {"shapes"}
    assert found["training"].digest == "0" * 8 != found["validation"].digest
    assert json.loads(found["training"].profile) == {
        "images": 32, "instances": 64, "classes": 2, "instances_per_class": {"square": 40, "circle": 24},
    }  # fmt: skip
    assert json.loads(found["validation"].profile)["images"] == 8
    columns = json.loads(found["training"].schema)["mlflow_colspec"]
    assert [column["name"] for column in columns] == ["image", "class", "x", "y", "width", "height"]


def test_mlflow_finds_the_source(store, client, save_dir, run):
    play(MLflowTracker(), recorded_run(save_dir)[:2], run, destination=store)
    source = get_source(inputs_of(client)["training"])
    assert source.uri == str(save_dir / "shapes.yaml")


def test_two_runs_on_the_same_data_have_the_same_inputs(store, client, save_dir):
    calls = recorded_run(save_dir)
    for uid in ("one", "two"):
        play(MLflowTracker(), calls[:2], replace(sample_run(save_dir), uid=uid), destination=store)
    (experiment,) = (e for e in client.search_experiments() if e.name == "shapes")
    runs = client.search_runs([experiment.experiment_id], "dataset.digest = '00000000'")
    assert len(runs) == 2


SAID = {
    "SQLite": "(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.experiment_id, datasets.name",
    "PostgreSQL": '(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint "dataset_pk"',
    "MySQL": "(pymysql.err.IntegrityError) (1062, \"Duplicate entry '0-shapes' for key 'datasets.PRIMARY'\")",
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_trainings_on_the_same_data_that_start_together_all_have_it(store, client, save_dir, run, monkeypatch, said):
    real, refused = MlflowClient.log_inputs, []

    def come_second(self, *args, **options):
        if len(refused) < 2:
            refused.append(args)
            raise MlflowException(f"{said}\n(Background on this error at: https://sqlalche.me/e/21/gkpj)", BAD_REQUEST)
        real(self, *args, **options)

    monkeypatch.setattr(MlflowClient, "log_inputs", come_second)
    play(MLflowTracker(), recorded_run(save_dir)[:2], run, destination=store)
    assert set(inputs_of(client)) == {"training", "validation"}


def test_each_split_has_the_digest_of_its_own_data():
    def digests(train, val):
        splits = {
            name: Split(path=name, images=1, instances={}, digest=digest * 32)
            for name, digest in (("train", train), ("val", val))
        }
        dataset = Dataset(name="shapes", yaml=None, splits=splits, classes={}, digest=(train + val) * 16)
        return [entry.dataset.digest for entry in datasets.inputs(dataset, "detect")]

    (train, val), more_to_train_on = digests("a", "b"), digests("c", "b")
    assert train == "a" * datasets.DIGEST
    assert more_to_train_on == ["c" * datasets.DIGEST, val]
    assert len(set(digests("a", "a"))) == 2, "MLflow knows an input by name and digest, and would take them for one"


def test_a_folder_of_images_is_its_own_source():
    split = Split(path="/data/flowers/train", images=3, instances={"rose": 3})
    dataset = Dataset(name="flowers", yaml=None, splits={"train": split}, classes={0: "rose"}, digest="f" * 64)
    (entry,) = datasets.inputs(dataset, "classify")
    assert json.loads(entry.dataset.source)["uri"] == "/data/flowers/train"
    assert len(entry.dataset.digest) == datasets.DIGEST
    assert [column["name"] for column in json.loads(entry.dataset.schema)["mlflow_colspec"]] == ["image", "class"]


def test_no_data_set_is_too_large(store, client, save_dir, run):
    calls = recorded_run(save_dir)
    many = {f"class number {index} {'x' * 90}": index for index in range(20_000)}
    split = Split(path="images/train", images=1, instances=many)
    huge = replace(the_data(calls), name="n" * 600, splits={"train": split})
    play(MLflowTracker(), with_data(calls[:2], huge), run, destination=store)
    profile = json.loads(inputs_of(client)["training"].profile)
    assert profile["instances"] == sum(many.values())
    assert "instances_per_class" not in profile


@pytest.mark.parametrize(("task", "column"), [("semantic", "mask"), ("depth", "depth")])
def test_labels_that_are_pixels_are_not_said_to_be_no_objects(task, column):
    splits = {name: Split(path=name, images=3, instances={}) for name in ("train", "val")}
    dataset = Dataset(name="streets", yaml=None, splits=splits, classes={0: "road"}, digest="f" * 64)
    entry, _ = datasets.inputs(dataset, task)
    assert json.loads(entry.dataset.profile) == {"images": 3, "classes": 1}
    assert [kind["name"] for kind in json.loads(entry.dataset.schema)["mlflow_colspec"]] == ["image", column]


def test_images_of_nothing_beside_others_have_no_objects():
    splits = {"train": Split(path="t", images=3, instances={"road": 2}), "val": Split(path="v", images=1, instances={})}
    dataset = Dataset(name="streets", yaml=None, splits=splits, classes={0: "road"}, digest="f" * 64)
    _, entry = datasets.inputs(dataset, "detect")
    assert json.loads(entry.dataset.profile)["instances"] == 0
