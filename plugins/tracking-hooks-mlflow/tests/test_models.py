import json
import logging
import math
from pathlib import Path

import mlflow
import msgspec
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    ENDPOINT_NOT_FOUND,
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    TEMPORARILY_UNAVAILABLE,
)
from msgspec.structs import replace

from tests.support.mlflow import MLflowReader
from tests.support.mlflow_parts import play_to_mlflow
from tests.support.runs import write_run
from tracking_hooks.delivery import relay
from tracking_hooks.events import Rejected, Unavailable
from tracking_hooks.settings import Settings
from tracking_hooks.testing import play, recorded_run, sample_run
from tracking_hooks_mlflow import models as models_module
from tracking_hooks_mlflow.files import MLflowFiles


@pytest.fixture
def registering(store):
    return {**store, "register": "shapes@champion"}


def deliver(calls, destination, state=None, **options):
    options.setdefault("run", sample_run(Path("runs/train").absolute()))  # as the fixture `run`
    return play_to_mlflow(calls, destination=destination, state=state, **options)


def saved(state):
    return msgspec.json.decode(msgspec.json.encode(state))


def the_run(client):
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return run


def models(client):
    return list(client.search_logged_models([experiment.experiment_id for experiment in client.search_experiments()]))


def files(client, model):
    folder = Path(model.artifact_location.removeprefix("file://"))
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def found(client):
    """All of the models that a replay could double."""
    run = the_run(client)
    return {
        "models": [
            (str(model.status), model.params, sorted((metric.key, metric.value) for metric in model.metrics))
            for model in models(client)
        ],
        "files": [files(client, model) for model in models(client)],
        "outputs": [output.step for output in run.outputs.model_outputs] if run.outputs else [],
        "inputs": sorted(entry.tags[0].value for entry in run.inputs.dataset_inputs),
        "versions": [(version.version, version.tags) for version in client.search_model_versions()],
        "aliases": [
            {alias: str(version) for alias, version in model.aliases.items()}
            for model in client.search_registered_models()
        ],
        "points": {key: len(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics},
        "status": run.info.status,
    }


def test_the_best_checkpoint_is_a_model_with_the_final_metrics(store, client, save_dir):
    deliver(recorded_run(save_dir), store)
    run, (model,) = the_run(client), models(client)
    assert str(model.status) == "READY"
    assert (model.name, model.model_type, model.source_run_id) == ("yolo26n", "detect", run.info.run_id)
    assert model.params == {"task": "detect", "imgsz": "", "epoch": "3", "data": "shapes"}
    assert model.tags["mlflow.user"] == "ada"
    assert [(output.model_id, output.step) for output in run.outputs.model_outputs] == [(model.model_id, 3)]
    assert {metric.key: metric.value for metric in model.metrics} == {
        "best/metrics/mAP50B": 0.91,
        "best/metrics/mAP50-95B": 0.71,
    }
    validation = next(entry.dataset for entry in run.inputs.dataset_inputs if entry.tags[0].value == "validation")
    assert {(metric.dataset_name, metric.dataset_digest) for metric in model.metrics} == {("shapes", validation.digest)}
    assert files(client, model) == {
        "MLmodel", "artifacts/best.pt", "yolo_model.py", "requirements.txt", "conda.yaml", "python_env.yaml",
        "input_example.json", "serving_input_example.json",
    }  # fmt: skip
    assert client.search_registered_models() == []


def test_mlflow_reads_what_the_package_says(store, client, save_dir):
    deliver(recorded_run(save_dir), store)
    (model,) = models(client)
    folder = Path(model.artifact_location.removeprefix("file://"))
    read = mlflow.models.Model.load(str(folder))
    assert (read.model_id, read.run_id) == (model.model_id, model.source_run_id)
    assert [param.name for param in read.signature.params] == ["conf", "iou", "imgsz", "max_det"]
    assert read.signature.outputs.input_names()[:4] == ["image", "class", "class_id", "confidence"]
    assert list(read.load_input_example(str(folder)).columns) == ["image"]
    assert (folder / "requirements.txt").read_text().splitlines() == [
        f"mlflow=={mlflow.__version__}", "ultralytics==8.4.190", "torch==2.14.1",
    ]  # fmt: skip
    assert read.flavors["python_function"]["python_version"] == "3.11.7"


@pytest.mark.parametrize("lost", [False, True], ids=["with its state", "without"])
def test_a_replay_makes_nothing_twice(registering, client, save_dir, lost):
    calls = recorded_run(save_dir)
    state = deliver(calls, registering)
    once = found(client)
    deliver(calls, registering, {} if lost else saved(state))
    assert found(client) == once
    assert len(once["models"]) == len(once["outputs"]) == len(once["versions"]) == 1


STEPS = [
    "search_logged_models", "create_logged_model", "log_inputs", "log_model_artifact", "set_logged_model_tags",
    "finalize_logged_model", "log_outputs", "create_registered_model", "create_model_version",
    "set_registered_model_alias", "set_model_version_tag", "set_terminated",
]  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_leaves_one_model(registering, client, save_dir, monkeypatch, step, when):
    calls = recorded_run(save_dir)
    real = getattr(MlflowClient, step)

    def crash(*args, **options):
        if when == "after":
            real(*args, **options)
        raise ConnectionResetError(step)

    cut = 1 if step == "log_inputs" else 2
    state = deliver(calls[:cut], registering)
    before = saved(state)  # as it is when the relay comes back: the cursor has not moved
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, crash)
        with pytest.raises((ConnectionResetError, Unavailable), match=step):
            deliver(calls[cut:], registering, state, before=calls[:cut])
    deliver(calls[cut:], registering, before, before=calls[:cut])
    again = found(client)
    deliver(calls, registering)
    assert found(client) == again
    assert len(again["models"]) == len(again["outputs"]) == len(again["versions"]) == 1
    assert again["models"][0][0] == "READY"
    assert again["aliases"] == [{"champion": "1"}]
    assert again["status"] == "FINISHED"


def test_a_create_that_the_server_gets_to_late_leaves_no_second_model(store, client, save_dir, monkeypatch):
    calls = recorded_run(save_dir)
    given_up = []

    def time_out(self, *args, **options):
        given_up.append((args, options))
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_logged_model", time_out)
        with pytest.raises(TimeoutError):
            deliver(calls, store)
    state = deliver(calls[:-1], store)
    for args, options in given_up:
        client.create_logged_model(*args, **options)
    assert len(models(client)) == 2
    deliver(calls[-1:], store, state, before=calls[:-1])
    (model,) = models(client)
    assert model.model_id == state["files"]["model_id"]


def test_an_artifact_store_that_fails_again_and_again_for_the_model_leaves_one_of_it(
    registering, client, save_dir, run, monkeypatch
):
    folder = write_run(run, recorded_run(save_dir), {"mlflow": registering, "mlflow.files": registering})

    def time_out(*_args, **_options):
        raise MlflowException("too slow", TEMPORARILY_UNAVAILABLE)

    def deliver_to(part):
        relay.Relay(folder, part, Settings(), drain=True).run()

    monkeypatch.setattr(relay, "_DRAIN_PATIENCE", -1.0)  # each gives up at once
    deliver_to("mlflow")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifact", time_out)
        for _ in range(3):
            deliver_to("mlflow.files")
            assert [str(model.status) for model in models(client)] == ["PENDING"]
    deliver_to("mlflow.files")
    assert [str(model.status) for model in models(client)] == ["READY"]
    assert len(client.search_model_versions()) == 1


def test_a_copy_that_is_delivered_at_the_same_moment_on_another_machine_makes_no_second_model(
    store, client, save_dir, monkeypatch
):
    create, others = models_module._create, []

    def create_both(*args):
        others.append(create(*args).model_id)
        return create(*args)

    monkeypatch.setattr(models_module, "_create", create_both)
    deliver(recorded_run(save_dir), store)
    (model,) = models(client)
    assert [model.model_id] == others
    assert str(model.status) == "READY"


def test_a_model_that_another_machine_has_deleted_in_favour_of_its_own_is_not_missed(
    store, client, save_dir, monkeypatch
):
    """It has ended the run first: then a model that is not ready was given up, as far as it knows."""
    describe = models_module._describe

    def too_late(run, training, state):
        monkeypatch.setattr(models_module, "_describe", describe)
        theirs = models_module._create(run, training, state)
        client.delete_logged_model(state["model_id"])
        client.finalize_logged_model(theirs.model_id, "READY")
        describe(run, training, state)

    monkeypatch.setattr(models_module, "_describe", too_late)
    calls, state = recorded_run(save_dir), {}
    with pytest.raises(Unavailable, match="another process has made the run's model"):
        deliver(calls, store, state)
    deliver(calls, store, state)
    assert [str(model.status) for model in models(client)] == ["READY"]


@pytest.mark.parametrize(
    "error",
    [NotImplementedError("RestStore"), MlflowException("404: no such page", ENDPOINT_NOT_FOUND)],
    ids=["a store without", "an old server"],
)
def test_a_store_without_models_has_the_rest(registering, client, save_dir, monkeypatch, caplog, error):
    def refuse(*_args, **_options):
        raise error

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "tracking_hooks_mlflow"):
        for step in ("search_logged_models", "create_logged_model", "log_inputs"):
            patch.setattr(MlflowClient, step, refuse)
        state = deliver(recorded_run(save_dir), registering)
    run = the_run(client)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["best/metrics/mAP50B"] == 0.91
    assert {info.path for info in client.list_artifacts(run.info.run_id, "weights")} == {
        "weights/best.pt", "weights/last.pt",
    }  # fmt: skip
    assert state["files"]["model_id"] is None
    assert client.search_registered_models() == []
    data, model = (record.message for record in caplog.records)
    assert "data sets" in data and "sqlite" in data
    assert "does not become a model" in model and "MLflow 3" in model


def test_a_client_of_mlflow_2_has_the_rest(registering, client, save_dir, monkeypatch, caplog):
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "tracking_hooks_mlflow"):
        patch.setattr(models_module, "_KNOWS_MODELS", False)
        for name in ("LoggedModelStatus", "LoggedModelOutput"):
            patch.delattr(mlflow.entities, name)
        for step in [step for step in dir(MlflowClient) if "logged_model" in step]:
            patch.delattr(MlflowClient, step)
        state = deliver(recorded_run(save_dir), registering)
    run = the_run(client)
    assert (run.info.status, models(client)) == ("FINISHED", [])
    assert run.data.metrics["best/metrics/mAP50B"] == 0.91
    assert "weights/best.pt" in {info.path for info in client.list_artifacts(run.info.run_id, "weights")}
    assert state["files"]["model_id"] is None
    (said,) = [record.message for record in caplog.records]
    assert "does not become a model: this MLflow does not support models of runs (MLflow 3 does)" in said


def test_an_address_without_mlflow_is_waited_for(store, save_dir, monkeypatch):
    """A proxy whose server is down gives the same answer to everything."""
    calls = recorded_run(save_dir)
    state = deliver(calls[:-6], store)

    def no_such_page(*_args, **_options):
        raise MlflowException("404: no such page", ENDPOINT_NOT_FOUND)

    for step in ("search_logged_models", "get_run", "log_batch"):
        monkeypatch.setattr(MlflowClient, step, no_such_page)
    with pytest.raises(Unavailable, match="no such page"):
        deliver(calls[-6:], store, state, before=calls[:-6])


def test_a_model_that_is_refused_is_set_aside_and_costs_nothing_else(registering, client, save_dir, monkeypatch):
    calls = recorded_run(save_dir)
    weights = calls.index(saving_of_best(calls))

    def refuse(*_args, **_options):
        raise MlflowException("no more models for you", INVALID_PARAMETER_VALUE)

    state = deliver(calls[:weights], registering)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_logged_model", refuse)
        with pytest.raises(Rejected, match=r"does not become a model.*no more models for you"):
            deliver([calls[weights]], registering, saved(state), before=calls[:weights])
        state = deliver(calls[weights + 1 :], registering, state, before=calls[: weights + 1])
    run = the_run(client)
    assert run.info.status == "FINISHED"
    assert {info.path for info in client.list_artifacts(run.info.run_id, "weights")} == {
        "weights/best.pt", "weights/last.pt",
    }  # fmt: skip
    assert client.list_artifacts(run.info.run_id, "tables")
    play(
        MLflowFiles(),
        [calls[weights]],
        sample_run(save_dir),
        destination=registering,
        state=state["files"],
        before=calls,
    )
    (model,) = models(client)
    assert str(model.status) == "READY"
    assert len(client.search_model_versions()) == 1


def saving_of_best(calls):
    (found,) = [call for call in calls if "kind='best'" in repr(call.args) and "digest='" in repr(call.args)]
    return found


def test_metrics_that_come_when_the_copy_of_the_weights_was_let_go_make_a_model_of_the_weights_themselves(
    store, client, tmp_path
):
    run = sample_run(tmp_path / "runs/train")
    calls = recorded_run(run.save_dir)
    copy = tmp_path / "copy.pt"
    copy.write_bytes((run.save_dir / "weights/best.pt").read_bytes())
    late = [call for call in calls if call.hook in ("on_final_validation", "on_run_end")]
    for call in calls:
        if call.hook == "on_checkpoint_saved" and call.args["checkpoint"].kind == "best":
            call.args["checkpoint"] = msgspec.structs.replace(call.args["checkpoint"], path=copy)
    state = {}
    deliver([call for call in calls if call not in late], store, state, run=run)
    assert models(client) == []
    copy.unlink()
    deliver(late, store, saved(state), run=run)
    (model,) = models(client)
    assert "artifacts/best.pt" in files(client, model)


def test_a_model_of_a_task_that_cannot_be_packaged_is_left_out(store, client, save_dir, caplog):
    deliver(recorded_run(save_dir), store, run=replace(sample_run(save_dir), task="regression"))
    assert models(client) == []
    assert "'regression'" in caplog.text


@pytest.mark.parametrize("status", ["failed", "killed", "interrupted"])
def test_a_run_that_was_cut_short_has_weights_and_no_model(registering, client, save_dir, status):
    deliver(recorded_run(save_dir, status=status), registering)
    assert models(client) == []
    assert client.search_registered_models() == []
    assert client.list_artifacts(the_run(client).info.run_id, "weights")


def test_there_is_no_model_without_weights(registering, client, save_dir):
    calls = recorded_run(save_dir)
    (save_dir / "weights/best.pt").unlink()
    at = calls.index(saving_of_best(calls))
    state = deliver(calls[:at], registering)
    with pytest.raises(Rejected, match=r"best\.pt is gone"):
        deliver(calls[at : at + 1], registering, saved(state), before=calls[:at])
    deliver(calls[at + 1 :], registering, state, before=calls[: at + 1])
    assert models(client) == []
    assert client.search_registered_models() == []


@pytest.mark.parametrize("delivered", [[], ["last"]])
def test_there_is_no_model_where_the_best_weights_are_not_delivered(registering, client, save_dir, delivered):
    calls = [
        call
        for call in recorded_run(save_dir)
        if call.hook != "on_checkpoint_saved"
        or call.args["checkpoint"].digest is None
        or call.args["checkpoint"].kind in delivered
    ]
    deliver(calls, registering)
    assert models(client) == []
    assert client.search_registered_models() == []
    assert the_run(client).info.status == "FINISHED"


def test_a_model_whose_files_do_not_arrive_has_failed(registering, client, save_dir, monkeypatch):
    calls = recorded_run(save_dir)
    at = calls.index(saving_of_best(calls))

    def refuse(*_args, **_options):
        raise MlflowException("not these files", INVALID_PARAMETER_VALUE)

    state = deliver(calls[:at], registering)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifact", refuse)
        with pytest.raises(Rejected, match="not these files"):
            deliver(calls[at : at + 1], registering, saved(state), before=calls[:at])
    deliver(calls[at + 1 :], registering, state, before=calls[: at + 1])
    (model,) = models(client)
    assert str(model.status) == "FAILED"
    assert client.search_registered_models() == []


def test_a_metric_that_is_no_number_is_the_runs_only(store, client, save_dir):
    calls = recorded_run(save_dir)
    for index, call in enumerate(calls):
        if call.hook == "on_final_validation":
            metrics = {**call.args["metrics"], "metrics/mAP75(B)": math.nan}
            calls[index] = replace(call, args={**call.args, "metrics": metrics})
    deliver(calls, store)
    assert math.isnan(the_run(client).data.metrics["best/metrics/mAP75B"])
    (model,) = models(client)
    assert len(model.metrics) == 2


def test_a_model_is_registered_with_its_alias(registering, client, save_dir):
    deliver(recorded_run(save_dir), registering)
    (model,) = models(client)
    version = client.get_model_version_by_alias("shapes", "champion")
    assert version.run_id == the_run(client).info.run_id
    assert version.source == model.artifact_location
    noted = json.loads(model.tags["mlflow.modelVersions"])
    assert [(entry["name"], str(entry["version"])) for entry in noted] == [("shapes", str(version.version))]


def test_a_model_may_be_registered_without_an_alias(store, client, save_dir):
    deliver(recorded_run(save_dir), {**store, "register": "shapes"})
    (registered,) = client.search_registered_models()
    assert (registered.name, registered.aliases) == ("shapes", {})
    assert len(client.search_model_versions("name = 'shapes'")) == 1


def test_a_replay_does_not_take_the_alias_from_a_newer_version(registering, client, save_dir):
    calls = recorded_run(save_dir)
    deliver(calls, registering)
    deliver(calls, registering, run=replace(sample_run(save_dir), uid="newer"))
    assert str(client.get_model_version_by_alias("shapes", "champion").version) == "2"
    deliver(calls, registering)
    assert str(client.get_model_version_by_alias("shapes", "champion").version) == "2"
    assert len(client.search_model_versions("name = 'shapes'")) == 2


def test_a_trial_of_a_tuning_is_not_registered(registering, client, save_dir):
    deliver(recorded_run(save_dir), registering, run=replace(sample_run(save_dir), parent="tuning"))
    assert len(models(client)) == 1
    assert client.search_registered_models() == []


def test_a_run_of_a_group_is_registered_as_any_training(registering, client, save_dir):
    fold = replace(sample_run(save_dir), parent="group", group="5-fold")
    deliver(recorded_run(save_dir), registering, run=fold)
    assert len(client.search_registered_models()) == 1


def test_a_registry_that_may_not_be_written_waits_for_the_user(registering, client, save_dir, monkeypatch):
    calls = recorded_run(save_dir)

    def forbid(*_args, **_options):
        raise MlflowException("not yours", PERMISSION_DENIED)

    state = deliver(calls[:-1], registering)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_model_version", forbid)
        with pytest.raises(Unavailable, match="not yours"):
            deliver(calls[-1:], registering, state, before=calls[:-1])
    assert the_run(client).info.status == "FINISHED"
    deliver(calls[-1:], registering, state, before=calls[:-1])
    assert len(client.search_model_versions()) == 1


def test_two_trainings_in_one_joined_run_have_a_model_each(store, client, save_dir):
    mine = client.create_run(client.create_experiment("by hand")).info.run_id
    for uid in ("first", "second"):
        run = replace(sample_run(save_dir), uid=uid)
        deliver(recorded_run(save_dir), {**store, "run_id": mine}, run=run)
    runs = MLflowReader(store["tracking_uri"]).runs()
    assert len(models(client)) == len(runs) == 2
    assert [len(found.outputs.model_outputs) for found in runs] == [1, 1]
