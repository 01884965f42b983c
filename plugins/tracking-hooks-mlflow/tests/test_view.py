"""The view "Training" that an experiment has in MLflow's pages."""

import base64
import json
import zlib

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from msgspec.structs import replace

from tests.support.mlflow_parts import play_to_mlflow
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import STARTED, recorded_run, sample_run
from tracking_hooks.testing.scribe import Scribe
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


# -- what the model sees ----------------------------------------------------------------------------------------


@pytest.fixture
def see(store, save_dir, client):
    """Deliver a training that shows its model in so many images; return the tag with the view."""

    def deliver(*images, uid=None, **destination):
        run = sample_run(save_dir)
        run = replace(run, uid=uid) if uid else run
        calls = [*recorded_run(save_dir, epochs=2)[:2], *(seen(save_dir, step, images) for step in (1, 2))]
        play_to_mlflow(calls, destination={**store, **destination}, run=run)
        return client.get_experiment_by_name(store["experiment"]).tags.get(view.TAG)

    return deliver


def seen(folder, step, images):
    """What the model sees in images of these names."""
    scribe = Scribe(folder)
    scribe.seen(step)
    args = scribe.calls[0].args
    args["images"] = [replace(args["images"][0], path=f"images/val/{name}.jpg") for name in images]
    return Call(1000 + step, STARTED + 1000, "on_predictions", args)


def packed(tag, change):
    """The tag as MLflow's page saves it after a change."""
    saved = json.loads(tag)
    _, state = opened(tag)
    change(state)
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({**saved, "state": f"deflate;{packed}"})


def shown(tag):
    """The images that a view shows, in their order."""
    charts = opened(tag)[1]["compareRunCharts"]
    return [key for chart in charts if chart["type"] == "IMAGE" for key in chart["imageKeys"]]


def numbered(beginning, count):
    return [f"{beginning}{number:02}" for number in range(count)]


def test_the_view_shows_the_images_in_which_the_model_is_seen_without_the_params(see):
    name, state = opened(see(*numbered("", 16)))
    cards = [chart for chart in state["compareRunCharts"] if chart["type"] == "IMAGE"]
    (section,) = [section for section in state["compareRunSections"] if section["name"] == "predictions"]

    assert name == "Training"
    assert [card["imageKeys"] for card in cards] == [[f"predictions/{number:02}.jpg"] for number in range(8)]
    assert {card["metricSectionId"] for card in cards} == {section["uuid"]}
    assert {(card["showRunParams"], card["step"], card["deleted"]) for card in cards} == {(False, 0, False)}
    assert section["display"]
    open_ones = [section["name"] for section in state["compareRunSections"] if section["display"]]
    assert open_ones == ["mAP", "predictions", "losses", "learning rates"]


def test_the_next_training_on_these_images_changes_nothing(see):
    before = see("a", "b", uid="first")
    assert see("a", "b", uid="second") == before


def test_the_images_of_two_data_sets_are_shown_and_not_those_of_a_third(see):
    see(*numbered("a", 7), uid="first")
    see(*numbered("a", 2), *numbered("b", 3), uid="second")
    see(*numbered("c", 8), uid="third")
    before = see(*numbered("d", 8), uid="fourth")
    expected = [*numbered("a", 7), *numbered("b", 3), *numbered("c", 6)]
    assert shown(before) == [f"predictions/{name}.jpg" for name in expected]
    sections = [section["name"] for section in opened(before)[1]["compareRunSections"]]
    assert sections.count("predictions") == 1
    assert see("e", uid="fifth") == before
    assert len(before) < 5000, "what servers before MLflow 3.17 take"


def test_cards_that_somebody_has_hidden_or_moved_stay_so(see, client, store):
    def change(state):
        state["compareRunCharts"].reverse()
        state["compareRunCharts"][0]["deleted"] = True
        state["compareRunSections"][1]["display"] = False

    tag = packed(see("a", "b", uid="first"), change)
    number = client.get_experiment_by_name(store["experiment"]).experiment_id
    client.set_experiment_tag(number, view.TAG, tag)
    assert see("a", "b", uid="second") == tag


def test_a_section_that_the_page_has_made_for_the_images_gets_the_others(see, client, store):
    def change(state):
        state["compareRunSections"].append({"uuid": "0a1b", "name": "predictions", "display": True})
        card = {"uuid": "1", "type": "IMAGE", "metricSectionId": "0a1b", "imageKeys": ["predictions/a.jpg"]}
        state["compareRunCharts"].append(card)

    tag = packed(view.of_new("detect", 0)[view.TAG], change)
    client.create_experiment(store["experiment"], tags={view.TAG: tag})
    changed = see("a", "b")
    assert shown(changed) == ["predictions/a.jpg", "predictions/b.jpg"]
    assert {c["metricSectionId"] for c in opened(changed)[1]["compareRunCharts"] if c["type"] == "IMAGE"} == {"0a1b"}


OURS = view.of_new("detect", 0)[view.TAG]


@pytest.mark.parametrize(
    "tag",
    [
        "mine",
        "[]",
        '{"state": null}',
        '{"name": "Training", "state": "deflate;bm90aGluZw=="}',
        packed(OURS, lambda state: state.clear()),
        packed(OURS, lambda state: state["compareRunSections"].clear()),
        packed(OURS, lambda state: state.update(compareRunCharts=None)),
        packed(OURS, lambda state: state["compareRunCharts"].append("a chart")),
    ],
)
def test_a_view_that_is_not_like_ours_any_more_is_left_alone(tag, see, client, store):
    client.create_experiment(store["experiment"], tags={view.TAG: tag})
    assert see("a", "b") == tag


def test_an_experiment_without_the_view_is_left_alone(see, client, store):
    client.create_experiment(store["experiment"])
    assert see("a", "b") is None


def test_who_wants_no_view_changes_none(see):
    before = see("a", "b", uid="first")
    assert see("c", uid="second", view="off") == before


def test_an_experiment_that_we_may_not_write_to_costs_nothing(see, monkeypatch):
    def refuse(*_):
        asked.append(1)
        raise MlflowException("Permission denied", error_code=403)

    asked = []
    monkeypatch.setattr(MlflowClient, "set_experiment_tag", refuse)
    assert shown(see("a", "b")) == []
    assert len(asked) == 1, "once a run"


def test_a_run_asks_for_the_view_once(see, monkeypatch):
    asked = []
    real = view.show_images
    monkeypatch.setattr(view, "show_images", lambda *args: asked.append(1) or real(*args))
    see("a", "b")
    assert len(asked) == 1
