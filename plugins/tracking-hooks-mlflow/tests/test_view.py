"""The view "Training" that an experiment has in MLflow's pages."""

import base64
import json
import zlib

import pytest

from tests.support.mlflow_parts import play_to_mlflow
from tracking_hooks.testing import recorded_run, sample_run
from tracking_hooks_mlflow import view


@pytest.fixture
def tags(store, save_dir, client):
    """Deliver a training; return the tags of its experiment."""

    def deliver(wish=None):
        destination = {**store, "view": wish} if wish else store
        play_to_mlflow(recorded_run(save_dir, epochs=1), destination=destination, run=sample_run(save_dir))
        return client.get_experiment_by_name(store["experiment"]).tags

    return deliver


def opened(tag):
    """What MLflow's page makes of the tag."""
    saved = json.loads(tag)
    packed = saved["state"].removeprefix("deflate;")
    return saved["name"], json.loads(zlib.decompress(base64.b64decode(packed)))


def test_an_experiment_that_is_made_has_the_view(tags, client, store):
    name, state = opened(tags()[view.TAG])
    experiment = client.get_experiment_by_name(store["experiment"])
    (run,) = client.search_runs([experiment.experiment_id])

    assert name == "Training"
    assert state["orderByKey"] == "metrics.`best/metrics/mAP50-95B`"
    assert not state["orderByAsc"]
    assert "best/metrics/mAP50-95B" in run.data.metrics
    for column in state["selectedColumns"]:
        kind, _, key = column.partition(".")
        assert kind == "attributes" or key.strip("`") in getattr(run.data, kind), column


def test_the_view_draws_each_loss_of_training_and_validation_in_one_chart(tags, client, store):
    _, state = opened(tags()[view.TAG])
    (run,) = client.search_runs([client.get_experiment_by_name(store["experiment"]).experiment_id])
    charts = [set(chart["selectedMetricKeys"]) for chart in state["compareRunCharts"]]

    for loss in [name.removeprefix("train/") for name in run.data.metrics if name.startswith("train/")]:
        assert {f"train/{loss}", f"val/{loss}"} in charts
    open_ones = [section["name"] for section in state["compareRunSections"] if section["display"]]
    assert open_ones == ["mAP", "losses", "learning rates"]
    used = {chart["metricSectionId"] for chart in state["compareRunCharts"]}
    assert used == set(open_ones)


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("detect", "mAP50-95B"),
        ("obb", "mAP50-95B"),
        ("segment", "mAP50-95M"),
        ("classify", "accuracy_top1"),
        ("semantic", "mIoU"),
        ("depth", "delta1"),
    ],
)
def test_runs_are_sorted_by_the_metric_of_their_task(task, metric):
    _, state = opened(view.of_new(task, 0)[view.TAG])
    assert state["orderByKey"] == state["selectedColumns"][0] == f"metrics.`best/metrics/{metric}`"


def test_an_experiment_of_somebody_else_is_left_as_it_is(tags, client, store):
    client.create_experiment(store["experiment"])
    assert view.TAG not in tags()


def test_an_experiment_of_somebody_else_gets_the_view_on_demand(tags, client, store):
    client.create_experiment(store["experiment"])
    name, _ = opened(tags("on")[view.TAG])
    assert name == "Training"


@pytest.mark.parametrize("wish", [None, "on"])
def test_a_view_that_was_changed_is_kept(tags, client, store, wish):
    client.create_experiment(store["experiment"], tags={view.TAG: "mine"})
    assert tags(wish)[view.TAG] == "mine"


def test_no_experiment_gets_the_view_if_nobody_wants_it(tags):
    assert view.TAG not in tags("off")
