"""The part of the plugin that has the files: what it waits for, what it sets aside, and in which order it can come."""

import hashlib
import json
import os
from collections import Counter
from itertools import permutations

import pytest
from msgspec.structs import replace

from tests.support.gate import Gate
from tests.support.mlflow import MLflowReader
from tests.support.mlflow_parts import Relay, play_to_mlflow
from tests.support.runs import write_run
from tracking_hooks.delivery.sync import deliver as deliver_runs
from tracking_hooks.events import Unavailable
from tracking_hooks.run.journal import Call
from tracking_hooks.settings import Settings
from tracking_hooks.testing import STARTED, play, recorded_run, sample_run
from tracking_hooks_mlflow.files import MLflowFiles
from tracking_hooks_mlflow.tracker import MLflowTracker

FILES = {"args.yaml", "results.csv", "results.png", "weights/best.pt", "weights/last.pt"}
TABLES = {"tables/PR.json", "tables/confusion_matrix.json", "tables/per_class.json"}


def the_models(client):
    return list(client.search_logged_models([experiment.experiment_id for experiment in client.search_experiments()]))


def content(client):
    """What a run, its model and its version hold."""
    reader = MLflowReader(client.tracking_uri)
    run = reader.only_run()
    return {
        "artifacts": sorted(reader.artifacts(run)),
        "points": {key: reader.history(run, key) for key in run.data.metrics if key != "val/box_loss"},
        "tags": run.data.tags,
        "models": [
            (
                model.name, str(model.status), model.params, model.tags["tracking_hooks.weights"],
                sorted((metric.key, metric.value, metric.step, metric.dataset_digest) for metric in model.metrics),
            )
            for model in the_models(client)
        ],
        "outputs": [output.step for output in run.outputs.model_outputs],
        "versions": [version.version for version in client.search_model_versions()],
        "status": run.info.status,
    }  # fmt: skip


def is_saving_of_best(call):
    return call.hook == "on_checkpoint_saved" and call.args["checkpoint"].name(0) == "best.pt" and is_final(call)


def is_final(call):
    return call.args["checkpoint"].digest is not None


def with_weights(calls, path, data):
    """The calls of a training whose best weights are these."""
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return [
        replace(
            call,
            args={
                **call.args,
                "checkpoint": replace(call.args["checkpoint"], path=path, size=len(data), digest=digest),
            },
        )
        if is_saving_of_best(call)
        else call
        for call in calls
    ]


def named_files(save_dir, *names):
    """The calls of a training that gives a file these names, one after the other."""
    calls = recorded_run(save_dir)
    (csv,) = [call.args["artifact"] for call in calls if call.hook == "on_artifact" and "csv" in str(call.args)]
    given = [{"artifact": replace(csv, name=name)} for name in names]
    return calls + [Call(100 + at, 1e9, "on_artifact", args) for at, args in enumerate(given)]


@pytest.fixture
def registering(store):
    return {**store, "register": "shapes@champion"}


def test_files_wait_for_the_run_and_never_make_it(store, client, save_dir, run):
    calls = recorded_run(save_dir)
    with pytest.raises(Unavailable, match="does not have this training's run yet"):
        play(MLflowFiles(), calls, run, destination=store)
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    client.create_experiment("shapes")
    with pytest.raises(Unavailable, match="does not have this training's run yet"):
        play(MLflowFiles(), calls, run, destination=store)
    play(MLflowTracker(), calls[:1], run, destination=store)
    play(MLflowFiles(), calls, run, destination=store)
    reader = MLflowReader(store["tracking_uri"])
    assert reader.artifacts(reader.only_run()) == FILES | TABLES


def test_files_that_are_ahead_of_the_numbers_say_the_same(registering, client, save_dir, run):
    calls = recorded_run(save_dir)
    state = play(MLflowTracker(), calls[:1], run, destination=registering)
    play(MLflowFiles(), calls, run, destination=registering)
    play(MLflowTracker(), calls[1:], run, destination=registering, state=state, before=calls[:1])
    ahead = content(client)
    assert ahead["models"][0][1] == "READY"
    play_to_mlflow(calls, run, destination=registering)
    assert content(client) == ahead


def test_an_empty_run_that_the_server_made_too_late_is_not_taken(store, client, save_dir, run):
    calls = recorded_run(save_dir)
    experiment = client.create_experiment("shapes")
    empty = client.create_run(experiment, tags={"tracking_hooks.run_uid": run.uid}, start_time=0)
    with pytest.raises(Unavailable):
        play(MLflowFiles(), calls, run, destination=store)
    client.delete_run(empty.info.run_id)
    first = play(MLflowTracker(), calls[:5], run, destination=store)
    client.restore_run(empty.info.run_id)
    files = play(MLflowFiles(), calls, run, destination=store)
    assert files["run_id"] == first["run_id"] != empty.info.run_id


ORDERS = list(permutations(["final", "weights", "end"]))


@pytest.mark.parametrize("fresh", [False, True], ids=["one instance", "a fresh one each"])
@pytest.mark.parametrize("order", ORDERS, ids=[", ".join(order) for order in ORDERS])
def test_a_model_is_finished_whatever_comes_last(registering, client, save_dir, run, order, fresh):
    calls = recorded_run(save_dir)
    late = {
        "final": next(call for call in calls if call.hook == "on_final_validation"),
        "weights": next(call for call in calls if is_saving_of_best(call)),
        "end": calls[-1],
    }
    early = [call for call in calls if call not in late.values()]
    play(MLflowTracker(), calls, run, destination=registering)
    in_order = [*early, *(late[name] for name in order)]
    if fresh:
        relay = Relay(MLflowFiles, run, registering)
        relay.deliver(in_order)
        assert relay.set_aside == []
    else:
        play(MLflowFiles(), in_order, run, destination=registering)
    found = content(client)
    assert [status for _, status, *_ in found["models"]] == ["READY"]
    assert (found["outputs"], len(found["versions"])) == ([3], 1)
    assert client.get_model_version_by_alias("shapes", "champion").run_id == the_models(client)[0].source_run_id
    play_to_mlflow(calls, run, destination=registering)  # in the usual order, once more
    assert content(client) == found


@pytest.mark.parametrize("status", ["failed", "killed"])
def test_weights_that_come_after_an_unhappy_end_make_no_model(registering, client, save_dir, run, status):
    calls = recorded_run(save_dir, status=status)
    (weights,) = [call for call in calls if is_saving_of_best(call)]
    play(MLflowTracker(), calls, run, destination=registering)
    relay = Relay(MLflowFiles, run, registering)
    relay.deliver([*(call for call in calls if call is not weights), weights])
    assert the_models(client) == []
    reader = MLflowReader(registering["tracking_uri"])
    assert "weights/best.pt" in reader.artifacts(reader.only_run())


def test_weights_that_come_after_the_run_was_resumed_do_not_end_it(registering, client, save_dir, run, tmp_path):
    first = with_weights(recorded_run(save_dir), tmp_path / "old.pt", b"old weights")
    second = with_weights(recorded_run(save_dir, epochs=4), tmp_path / "new.pt", b"new weights")
    second = [replace(call, seq=100 + call.seq, time=100 + call.time) for call in second]
    second[0] = replace(second[0], args={**second[0].args, "resumed": True})
    (late,) = [call for call in first if is_saving_of_best(call)]
    files = Relay(MLflowFiles, run, registering)
    numbers = Relay(MLflowTracker, run, registering)
    numbers.deliver([*first, *second[:8]])
    files.deliver([*(call for call in first if call is not late), *second[:8], late])
    assert MLflowReader(registering["tracking_uri"]).only_run().info.status == "RUNNING"
    assert client.search_model_versions() == []
    numbers.deliver(second[8:])
    files.deliver(second[8:])
    found = content(client)
    ((_, status, _, digest, _),) = found["models"]
    assert (status, digest) == ("READY", hashlib.sha256(b"new weights").hexdigest())
    assert (found["status"], len(found["versions"])) == ("FINISHED", 1)


def test_weights_that_another_training_has_overwritten_do_not_become_the_model(store, client, save_dir, run, tmp_path):
    """The metrics come late, and the file is not the one that was uploaded."""
    path = tmp_path / "kept.pt"
    calls = with_weights(recorded_run(save_dir), path, b"ours")
    (final,) = [call for call in calls if call.hook == "on_final_validation"]
    play(MLflowTracker(), calls, run, destination=store)
    relay = Relay(MLflowFiles, run, store)
    relay.deliver([call for call in calls if call is not final])
    path.write_bytes(b"theirs")
    relay.deliver([final])
    ((_, error),) = relay.set_aside
    assert "kept.pt is gone" in str(error)
    assert [str(model.status) for model in the_models(client)] != ["READY"]
    reader = MLflowReader(store["tracking_uri"])
    assert reader.artifacts(reader.only_run()) >= TABLES


def test_two_trainings_of_one_name_keep_their_files_apart(store, client, save_dir, tmp_path):
    for uid in ("first", "second"):
        run = replace(sample_run(save_dir), uid=uid)
        calls = with_weights(recorded_run(save_dir), tmp_path / f"{uid}.pt", uid.encode())
        play_to_mlflow(calls, run, destination=store)
    reader = MLflowReader(store["tracking_uri"])
    runs = reader.runs()
    assert {run.info.run_name for run in runs} == {"train"}
    assert {run.data.tags["tracking_hooks.run_uid"]: reader.text(run, "weights/best.pt") for run in runs} == {
        "first": "first", "second": "second",
    }  # fmt: skip


def test_a_training_whose_weights_are_not_wanted_has_no_model(registering, client, save_dir, run):
    """As with ``TRACKING_HOOKS_CHECKPOINTS=none``."""
    calls = [call for call in recorded_run(save_dir) if call.hook != "on_checkpoint_saved" or not is_final(call)]
    play_to_mlflow(calls, run, destination=registering)
    assert the_models(client) == []
    assert MLflowReader(registering["tracking_uri"]).only_run().info.status == "FINISHED"


def test_tables_of_the_users_own_stay_listed(store, client, save_dir, run):
    mine = [{"path": "mine.json", "type": "table"}]
    number = client.create_run(client.create_experiment("by hand")).info.run_id
    client.set_tag(number, "mlflow.loggedArtifacts", json.dumps(mine))
    for _ in range(2):
        play_to_mlflow(recorded_run(save_dir), run, destination={**store, "run_id": number})
    tables = json.loads(client.get_run(number).data.tags["mlflow.loggedArtifacts"])
    assert sorted(table["path"] for table in tables) == sorted(["mine.json", *TABLES])


# --- a store that cannot be reached ---


def folder_that_cannot_be_made(tmp_path):
    (tmp_path / "no folder").write_text("")
    return f"file://{tmp_path}/no folder/artifacts"


def test_numbers_params_and_the_end_need_no_artifact_store(store, client, save_dir, run, tmp_path):
    client.create_experiment("shapes", folder_that_cannot_be_made(tmp_path))
    calls = recorded_run(save_dir)
    calls[0] = replace(calls[0], args={**calls[0].args, "params": {"names": "é" * 7000}})
    error = recorded_run(save_dir, status="failed")[-1].args
    calls[-1] = replace(calls[-1], args=error)
    play(MLflowTracker(), calls, run, destination=store)
    found = MLflowReader(store["tracking_uri"]).only_run()
    assert (found.info.status, found.data.metrics["best/metrics/mAP50B"]) == ("FAILED", 0.91)
    assert found.data.params["names"] == "é" * 6000
    for call in calls:
        if call.hook in {"on_run_start", "on_artifact", "on_final_validation", "on_run_end"}:
            with pytest.raises(Unavailable, match=r"the artifact store of MLflow at sqlite:.*does not take "):
                play(MLflowFiles(), [call], run, destination=store, before=calls[:1])


def test_a_file_whose_name_the_store_cannot_have_does_not_hold_up_the_next(store, client, save_dir, run):
    """``a`` is a file there, so there is no folder for ``a/b``."""
    named = ["a", "a/b", f"{'x' * 300}/b", "y" * 300, "c"]
    calls = named_files(save_dir, *named)
    play(MLflowTracker(), calls, run, destination=store)
    relay = Relay(MLflowFiles, run, store)
    relay.deliver(calls)
    assert [call.args["artifact"].name for call, _ in relay.set_aside] == named[1:4]
    assert "cannot store a file named a/b: " in str(relay.set_aside[0][1])
    reader = MLflowReader(store["tracking_uri"])
    assert reader.artifacts(reader.only_run()) >= {"a", "c"}


def test_a_bucket_without_credentials_is_waited_for(store, client, save_dir, run, monkeypatch):
    pytest.importorskip("boto3")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(save_dir))
    client.create_experiment("shapes", "s3://nobody/x")
    calls = recorded_run(save_dir)
    play(MLflowTracker(), calls, run, destination=store)
    with pytest.raises(Unavailable, match=r"the artifact store of .* does not take .*credentials"):
        play(MLflowFiles(), calls, run, destination=store)


def is_upload(request):
    return request.command == "PUT" and "/mlflow-artifacts/artifacts/" in request.path


def size(request):
    return int(request.headers.get("Content-Length") or 0)


def uploads(gate):
    """How often each file was taken, by its name in the run; those of the model by their place in it."""
    names = [path.partition("/artifacts/")[2].partition("/artifacts/")[2] for path in gate.passed]
    return Counter(name for name in names if name)


@pytest.fixture
def gate(server):
    """What the client talks to: the server, as far as the gate lets it."""
    with Gate(server, lambda _: True).open() as gate:
        yield gate


def found_in(server, experiment):
    reader = MLflowReader(server)
    (run,) = [run for run in reader.runs() if reader.client.get_experiment(run.info.experiment_id).name == experiment]
    return reader, run


@pytest.mark.e2e
@pytest.mark.parametrize("status", [500, 503, 504])
def test_the_files_follow_when_their_store_is_back_each_once(gate, server, save_dir, run, status):
    experiment = f"away {status}"
    calls = recorded_run(save_dir)
    destination = {"tracking_uri": gate.address, "experiment": experiment}
    gate.status = status
    gate.allows = lambda request: not is_upload(request)
    numbers = Relay(MLflowTracker, run, destination)
    files = Relay(MLflowFiles, run, destination)
    numbers.deliver(calls)
    _, found = found_in(server, experiment)
    assert (found.info.status, found.data.metrics["best/metrics/mAP50B"]) == ("FINISHED", 0.91)
    assert found.data.params["lr0"] == "0.01"
    for _ in range(3):
        with pytest.raises(Unavailable, match="not available"):
            files.deliver(calls[len(files.given) :])
    assert files.set_aside == []
    assert sum(uploads(gate).values()) == 0

    gate.allows = lambda _: True
    files.deliver(calls[len(files.given) :])
    reader, found = found_in(server, experiment)
    assert reader.artifacts(found) == FILES | TABLES
    counted = uploads(gate)
    assert set(counted) > FILES | TABLES
    assert set(counted.values()) == {1}
    assert set(map(len, (reader.history(found, key) for key in found.data.metrics if key.startswith("best/")))) == {1}


@pytest.mark.e2e
def test_a_file_that_is_too_large_is_set_aside_and_taken_when_the_limit_is_raised(
    gate, server, save_dir, run, tmp_path
):
    calls = with_weights(recorded_run(save_dir), tmp_path / "best.pt", os.urandom(200_000))
    destination = {"tracking_uri": gate.address, "experiment": "limited", "register": "limited@champion"}
    gate.status = 413
    gate.allows = lambda request: size(request) < 100_000
    play(MLflowTracker(), calls, run, destination=destination)
    relay = Relay(MLflowFiles, run, destination)
    relay.deliver(calls)
    ((call, error),) = relay.set_aside
    assert is_saving_of_best(call)
    assert error.retry_after == 3600
    assert "weights/best.pt" in str(error)
    assert "client_max_body_size" in str(error)
    reader, found = found_in(server, "limited")
    assert reader.artifacts(found) == TABLES | FILES - {"weights/best.pt"}
    assert found.info.status == "FINISHED"
    assert reader.client.search_model_versions("name = 'limited'") == []

    gate.allows = lambda _: True
    relay.retry()
    relay.deliver([call])  # as after a crash
    assert relay.set_aside == []
    assert reader.artifacts(found) == TABLES | FILES
    assert set(uploads(gate).values()) == {1}
    (version,) = reader.client.search_model_versions("name = 'limited'")
    assert version.run_id == found.info.run_id
    (model,) = reader.client.search_logged_models([found.info.experiment_id])
    assert str(model.status) == "READY"
    assert sorted(metric.key for metric in model.metrics) == ["best/metrics/mAP50-95B", "best/metrics/mAP50B"]


@pytest.mark.e2e
@pytest.mark.parametrize("status", [403, 404])
def test_a_file_that_is_refused_does_not_hold_up_the_next(gate, server, save_dir, run, status):
    experiment = f"refused {status}"
    calls = recorded_run(save_dir)
    destination = {"tracking_uri": gate.address, "experiment": experiment}
    gate.status = status
    gate.allows = lambda request: not (is_upload(request) and request.path.endswith(("results.csv", "PR.json")))
    play(MLflowTracker(), calls, run, destination=destination)
    relay = Relay(MLflowFiles, run, destination)
    relay.deliver(calls)
    assert [call.hook for call, _ in relay.set_aside] == ["on_final_validation", "on_artifact"]
    assert {error.retry_after for _, error in relay.set_aside} == {3600}
    reader, found = found_in(server, experiment)
    assert reader.artifacts(found) == (FILES | TABLES) - {"results.csv", "tables/PR.json"}
    gate.allows = lambda _: True
    relay.retry()
    assert reader.artifacts(found) == FILES | TABLES
    (model,) = reader.client.search_logged_models([found.info.experiment_id])
    assert str(model.status) == "READY"


@pytest.mark.e2e
def test_a_relay_that_sends_all_files_at_once_sends_none_twice_because_another_one_is_refused(
    gate, server, save_dir, run
):
    destination = {"tracking_uri": gate.address, "experiment": "some refused"}
    folder = write_run(run, recorded_run(save_dir), {"mlflow": destination, "mlflow.files": destination})
    refused = ("results.csv", "results.png", "weights/last.pt")
    gate.status = 413
    gate.allows = lambda request: not (is_upload(request) and request.path.endswith(refused))
    assert all(result.done for result in deliver_runs([folder], Settings()))
    aside = folder.relay("mlflow.files").read_aside()
    assert sorted(event.name for event in aside) == ["last last.pt", "results.csv", "results.png"]
    assert all("client_max_body_size" in event.reason and event.retry_at for event in aside)
    reader, found = found_in(server, "some refused")
    assert reader.artifacts(found) == (FILES | TABLES) - set(refused)
    assert set(uploads(gate).values()) == {1}
    (model,) = reader.client.search_logged_models([found.info.experiment_id])
    assert str(model.status) == "READY"

    gate.allows = lambda _: True
    assert all(result.done for result in deliver_runs([folder], Settings(), retry=True))
    assert reader.artifacts(found) == FILES | TABLES
    assert set(uploads(gate).values()) == {1}


@pytest.mark.e2e
def test_a_name_that_the_servers_store_cannot_have_does_not_hold_up_the_next(server, save_dir, run):
    """The server says no more than that it has failed."""
    destination = {"tracking_uri": server, "experiment": "names"}
    calls = named_files(save_dir, "a", "a/b", "c/d", "c", "e")
    play(MLflowTracker(), calls, run, destination=destination)
    relay = Relay(MLflowFiles, run, destination)
    relay.deliver(calls)
    assert [call.args["artifact"].name for call, _ in relay.set_aside] == ["a/b", "c"]
    reader, found = found_in(server, "names")
    assert reader.artifacts(found) >= {"a", "c/d", "e"}


@pytest.mark.e2e
def test_a_training_whose_files_were_all_refused_is_complete_when_they_are_taken(gate, server, save_dir, run):
    calls = recorded_run(save_dir)
    calls[0] = replace(calls[0], args={**calls[0].args, "params": {"names": "é" * 7000}})
    destination = {"tracking_uri": gate.address, "experiment": "all refused", "register": "refused@champion"}
    gate.status = 403
    gate.allows = lambda request: not is_upload(request)
    play(MLflowTracker(), calls, run, destination=destination)
    relay = Relay(MLflowFiles, run, destination)
    relay.deliver(calls)
    reader, found = found_in(server, "all refused")
    assert found.info.status == "FINISHED"
    assert reader.artifacts(found) == set()
    gate.allows = lambda _: True
    relay.retry()
    assert relay.set_aside == []
    assert reader.artifacts(found) == FILES | TABLES | {"params/names.txt"}
    assert len(reader.client.search_model_versions("name = 'refused'")) == 1
    assert set(uploads(gate).values()) == {1}


@pytest.mark.e2e
def test_a_server_that_forbids_everything_is_waited_for(gate, save_dir, run):
    calls = recorded_run(save_dir)
    destination = {"tracking_uri": gate.address, "experiment": "forbidden"}
    play_to_mlflow(calls[:2], run, destination=destination)
    gate.status = 403
    gate.allows = lambda request: not is_upload(request)
    refused = Call(3, STARTED + 3, "on_artifact", calls[-2].args)
    relay = Relay(MLflowFiles, run, destination)
    relay.deliver([*calls[:2], refused])
    assert len(relay.set_aside) == 1
    uploads = []

    def until_the_first_upload(request):
        uploads.extend([request.path] if is_upload(request) else [])
        return not uploads

    gate.allows = until_the_first_upload
    with pytest.raises(Unavailable, match="MLFLOW_TRACKING_USERNAME"):
        play(MLflowFiles(), [refused], run, destination=destination, before=calls[:2])
    for part in (MLflowTracker, MLflowFiles):
        with pytest.raises(Unavailable, match="MLFLOW_TRACKING_USERNAME"):
            play(part(), calls[2:], run, destination=destination, before=calls[:2])
