import json

from mlflow.data import get_source
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
