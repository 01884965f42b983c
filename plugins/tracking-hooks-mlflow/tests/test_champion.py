"""Registration by merit: an alias that moves to better versions only."""

import json
import logging
import math
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from msgspec.structs import replace

from tests.support.gate import Gate
from tests.support.mlflow_parts import play_to_mlflow
from tracking_hooks.events import Unavailable
from tracking_hooks.testing import recorded_run, sample_run

METRIC = "metrics/mAP50-95(B)"
KEY = "best_metrics_mAP50_95B"
CONDITION = f"shapes@champion if {METRIC}"
DATA = "tracking_hooks_validation_data"


@pytest.fixture
def by_merit(store):
    return {**store, "register": CONDITION}


def train(uid, value, destination, *, digest="0" * 32, validated_on="", metric=METRIC):
    """Deliver a training of one epoch whose best checkpoint reached a value, without plots and tables.

    :param digest: of the whole data set
    :param validated_on: the digest of its validation data; empty: as an older release has recorded it
    """
    run = sample_run(Path("runs", uid).absolute())
    calls = [call for call in recorded_run(run.save_dir, epochs=1) if call.hook != "on_artifact"]
    for index, call in enumerate(calls):
        args = dict(call.args)
        if call.hook == "on_final_validation":
            args["metrics"] = {metric: value, "metrics/mAP50(B)": 0.5}
        if call.hook == "on_train_start":
            data = args["dataset"]
            splits = {**data.splits, "val": replace(data.splits["val"], digest=validated_on)}
            args["dataset"] = replace(data, digest=digest, splits=splits)
        calls[index] = replace(call, args=args)
    run = replace(run, uid=uid)
    state = play_to_mlflow(calls[:-1], run, destination=destination)
    return play_to_mlflow(calls[-1:], run, destination=destination, state=state, before=calls[:-1])


def champion(client, name="shapes"):
    return int(client.get_registered_model(name).aliases["champion"])


def said(client, version, name="shapes"):
    found = client.get_model_version(name, str(version))
    assert found.description == found.tags["tracking_hooks_compared"]
    assert "tracking_hooks_contends" not in found.tags
    return found.description


def versions(client, name="shapes"):
    return sorted(int(version.version) for version in client.search_model_versions(f"name = '{name}'"))


# -- who has the alias ----------------------------------------------------------------------------------------


def test_the_alias_moves_to_a_better_version_and_stays_where_it_is_not_better(by_merit, client, caplog):
    caplog.set_level(logging.INFO, "tracking_hooks_mlflow")
    for uid, value in (("first", 0.5), ("worse", 0.4), ("equal", 0.5), ("better", 0.6)):
        train(uid, value, by_merit)
    assert champion(client) == 4
    digest = client.get_model_version("shapes", "1").tags[DATA]
    assert said(client, 1) == f"champion moves to this version: no version had it. {METRIC} is 0.5."
    on = f"on the same validation data ({digest})"
    assert said(client, 2) == f"champion stays at version 1: {METRIC} is 0.4 here and 0.5 there, {on}."
    assert said(client, 3) == f"champion stays at version 1: {METRIC} is 0.5 here and 0.5 there, {on}."
    assert (
        said(client, 4) == f"champion moves to this version from version 1: {METRIC} is 0.6 here and 0.5 there, {on}."
    )
    assert f"version 2 of shapes: {said(client, 2)}" in caplog.text


def test_every_finished_training_is_a_version_with_what_it_reached(by_merit, client):
    train("first", 0.5, by_merit)
    train("worse", 0.25, by_merit)
    tags = client.get_model_version("shapes", "2").tags
    assert (tags[KEY], tags["best_metrics_mAP50B"]) == ("0.25", "0.5")
    (run,) = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()],
        "tags.`tracking_hooks.run_uid` = 'worse'",
    )
    (validation,) = [entry.dataset for entry in run.inputs.dataset_inputs if entry.tags[0].value == "validation"]
    assert tags[DATA] == validation.digest


def test_less_of_a_loss_is_better(by_merit, client):
    wish = {**by_merit, "register": "shapes@champion if val/box_loss"}
    for uid, value in (("first", 1.5), ("worse", 1.75), ("better", 1.25)):
        train(uid, value, wish, metric="val/box_loss")
    assert champion(client) == 3
    assert said(client, 2).startswith("champion stays at version 1: val/box_loss is 1.75 here and 1.5 there")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_never_gets_the_alias(by_merit, client, value):
    train("first", value, by_merit)
    assert client.get_registered_model("shapes").aliases == {}
    train("second", 0.5, by_merit)
    train("third", value, by_merit)
    assert champion(client) == 2
    has = f"the final validation of this version has no number {METRIC}; it has best_metrics_mAP50B."
    assert said(client, 1) == f"champion is not set: {has}"
    assert said(client, 3) == f"champion stays at version 2: {has}"


def test_a_metric_that_there_is_not_is_said_with_those_that_there_are(by_merit, client):
    train("first", 0.5, {**by_merit, "register": "shapes@champion if metrics/mAP95"})
    assert client.get_registered_model("shapes").aliases == {}
    assert "no number metrics/mAP95; it has best_metrics_mAP50B, best_metrics_mAP50_95B." in said(client, 1)


@pytest.mark.parametrize("name", [METRIC, "metrics/mAP50-95B", "best/metrics/mAP50-95B", KEY])
def test_a_metric_may_be_called_as_mlflow_shows_it(by_merit, client, name):
    wish = {**by_merit, "register": f"shapes@champion if {name}"}
    train("first", 0.5, wish)
    train("worse", 0.4, wish)
    assert champion(client) == 1


def test_two_values_that_look_the_same_are_shown_in_full(by_merit, client):
    train("first", 0.5, by_merit)
    train("better", 0.50000000001, by_merit)
    assert "is 0.50000000001 here and 0.5 there" in said(client, 2)


def test_versions_on_other_data_are_not_compared(by_merit, client):
    train("first", 0.5, by_merit)
    train("elsewhere", 0.9, by_merit, digest="1" * 32)
    train("unknown", 0.9, by_merit, digest="")
    assert champion(client) == 1
    there, here = (client.get_model_version("shapes", number).tags[DATA] for number in "12")
    assert said(client, 2) == (
        f"champion stays at version 1: this version was validated on other data ({here}) than that one ({there}), so"
        " they cannot be compared."
    )
    assert "validated on other data (unknown) than that one" in said(client, 3)


def test_more_images_to_train_on_leave_versions_comparable(by_merit, client):
    train("first", 0.5, by_merit, digest="0" * 32, validated_on="a" * 32)
    train("more images", 0.6, by_merit, digest="1" * 32, validated_on="a" * 32)
    assert champion(client) == 2
    train("other validation", 0.9, by_merit, digest="1" * 32, validated_on="b" * 32)
    assert champion(client) == 2
    assert "validated on other data" in said(client, 3)


def test_a_champion_that_was_registered_by_hand_stays_until_its_value_is_said(by_merit, client, tmp_path):
    client.create_registered_model("shapes")
    client.create_model_version("shapes", source=str(tmp_path))
    client.set_registered_model_alias("shapes", "champion", "1")
    train("first", 0.5, by_merit)
    assert champion(client) == 1
    digest = client.get_model_version("shapes", "2").tags[DATA]
    text = said(client, 2)
    assert text.startswith(f"champion stays at version 1: that one has no tag {KEY} and no tag {DATA}. For the next ")
    _, _, how = text.removesuffix(".").partition("set it by ")
    for call in how.replace("<number>", "0.4").replace("<digest>", digest).split(" and "):
        eval(call.replace("MlflowClient()", "client"), {"client": client})
    train("second", 0.45, by_merit)
    assert champion(client) == 3


def test_without_a_condition_the_newest_has_the_alias(by_merit, client):
    train("first", 0.5, by_merit)
    train("worse", 0.4, {**by_merit, "register": "shapes@champion"})
    assert champion(client) == 2
    train("third", 0.45, by_merit)
    assert champion(client) == 3, "what has to be beaten is the version that has the alias"


def test_a_description_of_the_users_own_is_kept(by_merit, client, monkeypatch):
    real = MlflowClient.set_model_version_tag

    def describe_before(self, name, version, *args):
        self.update_model_version(name, version, description="mine")
        real(self, name, version, *args)

    train("first", 0.5, by_merit)
    monkeypatch.setattr(MlflowClient, "set_model_version_tag", describe_before)
    monkeypatch.setattr("tracking_hooks_mlflow.champion._Contest._champion", lambda _: None)
    train("second", 0.6, by_merit)
    assert client.get_model_version("shapes", "2").description == "mine"


# -- replays, and what the user does meanwhile ----------------------------------------------------------------


def test_a_replay_makes_no_second_version_and_compares_nothing_again(by_merit, client):
    train("first", 0.5, by_merit)
    train("better", 0.6, by_merit)
    client.set_registered_model_alias("shapes", "champion", "1")  # by hand: the better one has a fault
    before = [client.get_model_version("shapes", number).tags for number in "12"]
    train("better", 0.6, by_merit)
    train("first", 0.5, by_merit)
    assert versions(client) == [1, 2]
    assert champion(client) == 1
    assert [client.get_model_version("shapes", number).tags for number in "12"] == before


def test_the_version_to_beat_is_the_one_that_the_user_has_chosen(by_merit, client):
    for uid, value in (("first", 0.5), ("better", 0.7)):
        train(uid, value, by_merit)
    client.set_registered_model_alias("shapes", "champion", "1")
    train("third", 0.6, by_merit)
    assert champion(client) == 3, "the better one, which the user has rejected, does not come back"


def test_after_the_champion_was_deleted_the_next_version_has_the_alias(by_merit, client):
    train("first", 0.5, by_merit)
    client.delete_model_version("shapes", "1")
    train("worse", 0.4, by_merit)
    assert champion(client) == 2


STEPS = [
    "search_model_versions", "create_model_version", "get_registered_model", "get_model_version",
    "set_registered_model_alias", "update_model_version", "set_model_version_tag", "delete_model_version_tag",
]  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_server_that_goes_down_at_any_step_costs_nothing(by_merit, client, monkeypatch, step, when):
    train("first", 0.5, by_merit)
    real = getattr(MlflowClient, step)
    down = MlflowException("down")

    def crash(*args, **options):
        if when == "after":
            real(*args, **options)
        raise down

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, crash)
        with pytest.raises((MlflowException, Unavailable), match="down"):
            train("better", 0.6, by_merit)
    train("better", 0.6, by_merit)
    assert versions(client) == [1, 2]
    assert champion(client) == 2
    tags = client.get_model_version("shapes", "2").tags
    assert tags["tracking_hooks_alias"] == "champion"
    assert tags["tracking_hooks_compared"].startswith("champion ")
    assert "tracking_hooks_contends" not in tags


# -- two trainings at once ------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", ["better", "worse"])
def test_of_two_trainings_that_end_together_the_better_one_has_the_alias(server, last, monkeypatch):
    """Both have seen the champion before one of them sets the alias; the other one sets it when that has ended."""
    name = f"together-{last}"
    to_server = {"tracking_uri": server, "experiment": name, "register": f"{name}@champion if {METRIC}"}
    train(f"{name} first", 0.5, to_server)
    both, ended = threading.Barrier(2, timeout=120), threading.Event()
    real, begun = MlflowClient.set_registered_model_alias, {}

    def set_together(self, *args):
        if self not in begun:  # a relay gives the alias to its own version first
            uid = self.get_model_version(name, args[2]).tags["tracking_hooks_run_uid"]
            me = begun[self] = uid.removeprefix(f"{name} ")
            both.wait()
            if me == last:
                assert ended.wait(120)
        real(self, *args)

    def end(uid, value):
        train(f"{name} {uid}", value, to_server)
        ended.set()

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", set_together)
    threads = [threading.Thread(target=end, args=case, daemon=True) for case in (("better", 0.7), ("worse", 0.6))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert set(begun.values()) == {"better", "worse"}
    client = MlflowClient(server)
    found = client.get_model_version_by_alias(name, "champion")
    assert found.tags["tracking_hooks_run_uid"] == f"{name} better"
    (worse,) = {"2", "3"} - {str(found.version)}
    assert said(client, found.version, name).startswith("champion moves to this version from version 1: ")
    if last == "worse":
        assert said(client, worse, name) == (
            f"champion goes to version {found.version}, of a training that ended at the same time: {METRIC} is 0.6 here"
            f" and 0.7 there, on the same validation data ({found.tags[DATA]})."
        )
        assert "tracking_hooks_alias" not in client.get_model_version(name, worse).tags


@pytest.mark.parametrize("wish", [CONDITION, "shapes@champion"])
def test_an_alias_that_somebody_else_makes_at_the_same_moment_costs_no_version(by_merit, client, monkeypatch, wish):
    real, refused = MlflowClient.set_registered_model_alias, []

    def collide(self, *args):
        if not refused:
            refused.append(args)
            raise MlflowException(
                "(sqlite3.IntegrityError) UNIQUE constraint failed: registered_model_aliases.alias"
                " (Background on this error at: https://sqlalche.me/e/21/gkpj)",
                BAD_REQUEST,
            )
        real(self, *args)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", collide)
    train("first", 0.5, {**by_merit, "register": wish})
    assert refused
    assert champion(client) == 1


# -- Unity Catalog, and registries like it --------------------------------------------------------------------


def test_a_registry_that_takes_one_condition_in_a_search_is_served(server):
    with Gate(
        server, lambda request: not ("model-versions/search" in request.path and "and" in request.path)
    ).open() as gate:
        gate.status = 400
        gate.answer = json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": "unsupported filter"}).encode()
        to_gate = {"tracking_uri": gate.address, "experiment": "one", "register": f"one@champion if {METRIC}"}
        for uid, value in (("one first", 0.5), ("one worse", 0.4), ("one better", 0.6), ("one better", 0.6)):
            train(uid, value, to_gate)
        assert gate.refused == []
    client = MlflowClient(server)
    assert champion(client, "one") == 3
    assert versions(client, "one") == [1, 2, 3]


@pytest.mark.parametrize("lacking", [("tags", "aliases"), ("tags", "aliases", "run_id")], ids=" and ".join)
def test_a_registry_whose_search_tells_numbers_only_is_served(by_merit, client, monkeypatch, lacking):
    real = MlflowClient.search_model_versions

    def search(self, *args, **options):
        page = real(self, *args, **options)
        for index, found in enumerate(page):
            about = {key: value for key, value in dict(found).items() if key not in lacking}
            page[index] = ModelVersion(**about)
        return page

    monkeypatch.setattr(MlflowClient, "search_model_versions", search)
    for uid, value in (("first", 0.5), ("worse", 0.4), ("better", 0.6), ("better", 0.6)):
        train(uid, value, by_merit)
    assert versions(client) == [1, 2, 3]
    assert champion(client) == 3
    assert said(client, 2).startswith("champion stays at version 1")


def test_no_tag_has_a_name_that_unity_catalog_refuses(by_merit, client, monkeypatch):
    given = set()
    make, tag = MlflowClient.create_model_version, MlflowClient.set_model_version_tag

    def note_made(self, *args, tags, **options):
        given.update(tags)
        return make(self, *args, tags=tags, **options)

    def note_set(self, name, version, key, value):
        given.add(key)
        tag(self, name, version, key, value)

    monkeypatch.setattr(MlflowClient, "create_model_version", note_made)
    monkeypatch.setattr(MlflowClient, "set_model_version_tag", note_set)
    train("first", 0.5, by_merit)
    assert {KEY, DATA, "tracking_hooks_compared", "tracking_hooks_alias"} <= given
    assert not [key for key in given if set(key) & set(".,-=/:")]


def test_versions_are_found_over_the_pages_of_a_search(by_merit, client, monkeypatch):
    real = MlflowClient.search_model_versions

    def search(self, filter_string=None, page_token=None):
        return real(self, filter_string, max_results=1, page_token=page_token)

    for uid, value in (("first", 0.5), ("better", 0.6), ("worse", 0.4)):
        train(uid, value, by_merit)
    monkeypatch.setattr(MlflowClient, "search_model_versions", search)
    train("first", 0.5, by_merit)
    monkeypatch.undo()
    assert versions(client) == [1, 2, 3]
