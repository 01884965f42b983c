import inspect
import json
import math
import shlex
from pathlib import Path

import msgspec
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from msgspec.structs import replace

from tests.support.classes import thousand
from tests.support.mlflow_parts import play_to_mlflow
from tracking_hooks.delivery import relay
from tracking_hooks.delivery.spawn import DELIVERED
from tracking_hooks.events import Checkpoint, Missing, Origin, Plan, Rejected, Unavailable
from tracking_hooks.markers import hookimpl
from tracking_hooks.run.journal import Call
from tracking_hooks.settings import Settings
from tracking_hooks.testing import BATCHES, STARTED, play, recorded_run, sample_run
from tracking_hooks_mlflow import tags
from tracking_hooks_mlflow.files import MLflowFiles
from tracking_hooks_mlflow.tracker import MLflowTracker


def deliver(calls, destination, state=None, **options):
    options.setdefault("run", sample_run(Path("runs/train").absolute()))  # as the fixture `run`
    return play_to_mlflow(calls, destination=destination, state=state, **options)


def saved(state):
    """The state as it comes back from disk."""
    return msgspec.json.decode(msgspec.json.encode(state))


def all_runs(client):
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(experiments, run_view_type=ViewType.ALL)


def the_run(client):
    (run,) = all_runs(client)
    return run


def points(client):
    """Everything in the only run's metrics: key to (step, milliseconds, value) in order."""
    run = the_run(client)
    return {
        key: sorted(
            (point.step, point.timestamp, point.value) for point in client.get_metric_history(run.info.run_id, key)
        )
        for key in run.data.metrics
    }


def artifacts(client, path=None):
    found = []
    for info in client.list_artifacts(the_run(client).info.run_id, path):
        found += artifacts(client, info.path) if info.is_dir else [info.path]
    return sorted(found)


def everything(client):
    """For comparing: as text, since NaN is not equal to itself."""
    run = the_run(client)
    found = {"points": points(client), "params": run.data.params, "tags": run.data.tags}
    rows = [f"{kind} {key} = {value}" for kind, values in found.items() for key, value in sorted(values.items())]
    return [*rows, *artifacts(client), run.info.status, run.info.start_time, run.info.end_time]


def times_of(calls, hook):
    return [round(call.time * 1000) for call in calls if call.hook == hook]


def test_every_epoch_is_there_once_at_its_step_and_time(store, client, save_dir):
    calls = recorded_run(save_dir, epochs=3)
    deliver(calls, store)
    times = times_of(calls, "on_epoch_end")
    found = points(client)
    assert found["train/box_loss"] == [(1, times[0], 2.0), (2, times[1], 1.0), (3, times[2], 2.0 / 3)]
    assert [step for step, _, _ in found["metrics/mAP50-95B"]] == [1, 2, 3]
    first, *others = found["val/box_loss"]
    assert math.isnan(first[2])
    assert [value for _, _, value in others] == [1.1, 2.2 / 3]


def test_batches_system_and_final_metrics_have_axes_of_their_own(store, client, save_dir):
    calls = recorded_run(save_dir, epochs=3)
    deliver(calls, store)
    found = points(client)
    assert [step for step, _, _ in found["train_batch/box_loss"]] == [BATCHES, 2 * BATCHES, 3 * BATCHES]
    system = [call.seq for call in calls if call.hook == "on_system_metrics"]
    assert [step for step, _, _ in found["system/cpu_percent"]] == system
    assert found["best/metrics/mAP50B"] == [(0, times_of(calls, "on_final_validation")[0], 0.91)]


def test_a_repository_is_not_called_clean_where_nobody_knows(save_dir):
    (start,) = [call for call in recorded_run(save_dir) if call.hook == "on_run_start"]
    environment = start.args["environment"]
    unknown = replace(environment, git=replace(environment.git, dirty=None))
    assert tags.of_source(environment).keys() - tags.of_source(unknown).keys() == {"mlflow.source.git.dirty"}


def test_the_run_says_what_it_is(store, client, save_dir, run):
    tagged = replace(run, tags={"team": "vision"})
    calls = recorded_run(save_dir)
    deliver(calls, store, run=tagged)
    found = the_run(client)
    assert client.get_experiment(found.info.experiment_id).name == "shapes"
    assert found.info.run_name == "train"
    assert found.info.status == "FINISHED"
    assert found.info.start_time == round(STARTED * 1000)
    assert found.info.end_time == times_of(calls, "on_run_end")[0]
    assert found.data.params["lr0"] == "0.01"
    assert found.data.params["model"] == "yolo26n.yaml"
    assert found.data.params["model.parameters"] == "2500000"
    expected = {
        "tracking_hooks.run_uid": run.uid,
        "mlflow.user": "ada",
        "mlflow.source.name": "yolo",
        "tracking_hooks.command": "yolo train model=yolo26n.yaml",
        "mlflow.source.git.branch": "main",
        "task": "detect",
        "team": "vision",
        "version.ultralytics": "8.4.190",
        "dataset.name": "shapes",
    }
    assert expected.items() <= found.data.tags.items()


def test_files_have_the_names_of_ultralytics_own_integration(store, client, save_dir):
    deliver(recorded_run(save_dir), store)
    theirs = ["args.yaml", "results.csv", "results.png", "weights/best.pt", "weights/last.pt"]
    assert [name for name in artifacts(client) if not name.startswith("tables/")] == theirs
    path = client.download_artifacts(the_run(client).info.run_id, "weights/best.pt")
    assert Path(path).read_bytes() == b"best weights"


def test_curves_and_confusion_matrix_are_tables(store, client, save_dir):
    calls = recorded_run(save_dir)
    deliver(calls, store)
    run = the_run(client)
    (final,) = [call.args for call in calls if call.hook == "on_final_validation"]
    tables = {item["path"] for item in json.loads(run.data.tags["mlflow.loggedArtifacts"])}
    assert tables == {name for name in artifacts(client) if name.startswith("tables/")}
    curve = final["curves"][0]
    table = read_json(client, run, f"tables/{curve.name}.json")
    assert table["columns"] == ["class", curve.x_label, curve.y_label]
    assert table["data"] == [[label, x, y] for label, values in curve.y.items() for x, y in zip(curve.x, values)]
    matrix = final["confusion_matrix"]
    by_class = read_json(client, run, "tables/per_class.json")
    assert {label: dict(zip(by_class["columns"][1:], row)) for label, *row in by_class["data"]} == final["per_class"]
    assert not [key for key in run.data.metrics if key.startswith("best/") and "class" in key], "they are in the table"
    assert sum(count for _, _, count in read_json(client, run, "tables/confusion_matrix.json")["data"]) == sum(
        map(sum, matrix.matrix)
    )


def test_of_1000_classes_20_get_curves_and_the_table_has_all(store, client, save_dir):
    folder = thousand(save_dir, {"mlflow": store, "mlflow.files": store})
    for part in ("mlflow", "mlflow.files"):
        assert relay.Relay(folder, part, Settings(), drain=True).run() == DELIVERED
    run = the_run(client)
    classes = {key.split("/")[1] for key in run.data.metrics if key.startswith("val_per_class/")}
    assert len(classes) == 20
    assert {"class 3", "class 5"} <= classes
    assert len(read_json(client, run, "tables/per_class.json")["data"]) == 1000
    curve = read_json(client, run, "tables/Precision-Confidence_B.json")["data"]
    assert {label for label, *_ in curve} == {"mean", *classes}
    assert [y for label, _, y in curve if label == "mean"] == pytest.approx([0.0, 0.4995])


def read_json(client, run, name):
    return json.loads(Path(client.download_artifacts(run.info.run_id, name)).read_text("utf-8"))


def test_metrics_of_classes_whose_names_mlflow_does_not_tell_apart_are_kept_apart(store, client, save_dir):
    start, *_ = recorded_run(save_dir)
    per_class = {"a(b)": {"mAP50": 0.25}, "ab": {"mAP50": 0.5}}
    settled = {"epoch": 1, "step": 1, "metrics": {"fitness": 0.1}, "per_class": per_class}
    deliver([start, Call(2, STARTED, "on_epoch_end", settled)], store)
    values = [value for key, value in the_run(client).data.metrics.items() if key.startswith("val_per_class/")]
    assert sorted(values) == [0.25, 0.5]
    assert the_run(client).data.metrics["val_per_class/ab/mAP50"] == 0.5


def test_the_description_tells_result_model_data_and_command(store, client, save_dir):
    calls = recorded_run(save_dir)
    deliver(calls[:2], store)
    assert the_run(client).data.tags["mlflow.note.content"].startswith("**Model:**")
    deliver(calls, store)
    text = the_run(client).data.tags["mlflow.note.content"]
    first = "**Result:** mAP50-95(B) 0.71, mAP50(B) 0.91, finished after 3 epochs"
    assert text.splitlines()[0] == first, "a list of runs shows the beginning"
    assert text.index("**Model:**") < text.index("**Data set:**") < text.index("yolo train")
    assert "5.8 GFLOPs at 640" in text
    for part in ("yolo", "**Data set:** shapes", "finished after 3 epochs", "| metrics/mAP50(B) |"):
        assert part in text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_training_whose_last_figures_are_no_numbers_ends_with_its_description(store, client, save_dir, value):
    calls = recorded_run(save_dir)
    (last,) = [index for index, call in enumerate(calls) if call.hook == "on_final_validation"]
    calls[last].args["metrics"]["val/box_loss"] = value
    state = saved(deliver(calls[: last + 1], store))  # the relay is started again
    deliver(calls[last + 1 :], store, state, before=calls[: last + 1])
    assert the_run(client).info.status == "FINISHED"
    text = the_run(client).data.tags["mlflow.note.content"]
    assert text.startswith("**Result:** mAP50-95(B) 0.71, mAP50(B) 0.91, finished after 3 epochs")
    assert f"| val/box_loss | {value} |" in text


def test_a_long_command_in_the_description_is_in_lines_that_a_shell_takes(store, client, save_dir):
    words = ["/opt/bin/yolo", "train", *(f"argument{number}=a value" for number in range(20))]
    start, *_ = recorded_run(save_dir)
    environment = replace(start.args["environment"], argv=words)
    deliver([replace(start, args={**start.args, "environment": environment})], store)
    tags = the_run(client).data.tags
    _, *lines, _ = tags["mlflow.note.content"].splitlines()
    assert max(map(len, lines)) < 80
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == words
    assert shlex.split(tags["tracking_hooks.command"]) == words
    assert tags["mlflow.source.name"] == "/opt/bin/yolo"


def test_weights_of_an_epoch_are_named_after_it(store, client, save_dir):
    start, *_ = recorded_run(save_dir)
    kept = save_dir / "abc.pt"
    kept.write_bytes(b"weights")
    checkpoint = Checkpoint(path=kept, kind="periodic", size=7, digest="00")
    deliver([start, Call(2, STARTED, "on_checkpoint_saved", {"epoch": 5, "checkpoint": checkpoint})], store)
    assert artifacts(client) == ["weights/epoch5.pt"]


def test_a_run_that_is_to_be_kept_active_is_left_running(store, client, save_dir):
    deliver(recorded_run(save_dir), {**store, "keep_active": True})
    assert the_run(client).info.status == "RUNNING"


def test_a_file_is_named_by_the_event_not_by_where_it_is_kept(store, client, save_dir):
    calls = recorded_run(save_dir)
    kept = save_dir / "3f2a9c"
    kept.write_bytes(b"a plot")
    artifact = replace(calls[-2].args["artifact"], path=kept, name="plots/PR.png")
    deliver([*calls[:2], Call(3, STARTED, "on_artifact", {"artifact": artifact})], store)
    assert artifacts(client) == ["plots/PR.png"]


@pytest.mark.parametrize("status", ["finished", "failed", "killed"])
def test_a_replay_adds_nothing(store, client, save_dir, status):
    calls = recorded_run(save_dir, status=status)
    state = deliver(calls, store)
    once = everything(client)
    deliver(calls, store, saved(state))
    deliver(calls, store)  # its state lost: found by the tag
    assert everything(client) == once


@pytest.mark.parametrize("cut", [1, 2, 6, 10, 17])
def test_a_restart_anywhere_continues_the_run(store, client, save_dir, cut):
    calls = recorded_run(save_dir)
    state = saved(deliver(calls[:cut], store))
    deliver(calls[cut:][:3], store, saved(state), before=calls[:cut])  # delivered, but its cursor was not saved
    deliver(calls[cut:], store, state, before=calls[:cut])
    restarted = everything(client)
    client.delete_run(the_run(client).info.run_id)
    store["experiment"] = "undisturbed"
    deliver(calls, store)
    client.delete_experiment(client.get_experiment_by_name("shapes").experiment_id)
    assert everything(client) == restarted


def test_a_first_event_of_any_kind_finds_or_makes_the_run(store, client, save_dir):
    calls = recorded_run(save_dir)
    for number, call in enumerate(calls[1:], 1):
        deliver([call], store, before=calls[:number])
    deliver(calls[:1], store)
    assert len(points(client)["train/box_loss"]) == 3
    assert artifacts(client)


def test_what_was_not_flushed_comes_again(store, client, save_dir):
    calls = recorded_run(save_dir)
    deliver(calls[:-6], store, flush=False)
    assert not the_run(client).data.metrics
    deliver(calls[:-6], store)
    assert len(points(client)["train/box_loss"]) == 3


def test_a_resumed_run_goes_on_and_tells_what_changed(store, client, save_dir):
    calls = recorded_run(save_dir, status="killed")
    state = deliver(calls, store)
    assert the_run(client).info.status == "KILLED"
    params = {**calls[0].args["params"], "lr0": 0.02, "patience": 5}
    resumed = Call(99, STARTED + 99, "on_run_start", {**calls[0].args, "params": params, "resumed": True})
    deliver([resumed], store, state, before=calls)
    found = the_run(client)
    assert "**Result:**" not in found.data.tags["mlflow.note.content"], "it has none now"
    assert found.info.status == "RUNNING"
    assert found.data.params["lr0"] == "0.01"
    assert found.data.params["patience"] == "5"
    assert {key: value for key, value in found.data.tags.items() if key.startswith("tracking_hooks.param.")} == {
        "tracking_hooks.param.lr0": "0.02"
    }


def resumed(calls, seconds=99):
    return Call(99, STARTED + seconds, "on_run_start", {**calls[0].args, "resumed": True})


def test_a_run_that_is_resumed_on_another_machine_is_found_wherever_it_is(store, client, save_dir):
    calls = recorded_run(save_dir, status="killed")
    deliver(calls, store)
    deliver([resumed(calls)], {**store, "experiment": "another"})
    assert the_run(client).info.status == "RUNNING"


def test_a_start_that_was_set_aside_does_not_reopen_the_run_that_has_ended(store, client, save_dir):
    calls = recorded_run(save_dir)
    calls[0] = replace_args(calls[0], resumed=True)
    state = deliver(calls[1:], store, before=calls[:1])
    assert the_run(client).info.status == "FINISHED"
    deliver(calls[:1], store, state, before=calls)
    assert the_run(client).info.status == "FINISHED"
    assert the_run(client).data.params["lr0"] == "0.01"


@pytest.mark.parametrize("delivered", [0, 5], ids=["all of it", "the rest of it"])
def test_what_a_killed_part_has_to_say_too_late_does_not_end_the_resumed_run(store, client, save_dir, delivered):
    calls = recorded_run(save_dir, status="killed")
    state = deliver(calls[:delivered], store) if delivered else {}
    deliver([resumed(calls)], store)  # on another machine, which has no state
    deliver(calls[delivered:], store, state, before=calls[:delivered])
    assert the_run(client).info.status == "RUNNING"
    assert len(points(client)["train/box_loss"]) == 2


@pytest.mark.parametrize("first", ["the tuning", "the trial"])
def test_a_trial_is_nested_below_its_tuning_whichever_arrives_first(store, client, save_dir, first):
    calls = recorded_run(save_dir)
    tuning = replace(sample_run(save_dir), uid="tuning", name="tune")
    trial = replace(sample_run(save_dir), uid="trial", name="trial-1", parent="tuning")
    for run in (tuning, trial) if first == "the tuning" else (trial, tuning):
        deliver(calls, {**store, "run_name": run.name}, run=run)
    runs = {run.info.run_name: run for run in all_runs(client)}
    assert runs["trial-1"].data.tags["mlflow.parentRunId"] == runs["tune"].info.run_id
    assert "mlflow.parentRunId" not in runs["tune"].data.tags


@pytest.mark.parametrize("first", ["the group", "the fold"])
def test_a_run_of_a_group_is_nested_below_it_and_has_its_name_as_a_tag(store, client, save_dir, first):
    calls = recorded_run(save_dir)
    group = replace(sample_run(save_dir), uid="group", name="5-fold", task="group")
    fold = replace(sample_run(save_dir), uid="fold", name="fold-1", parent="group", group="5-fold")
    for run in (group, fold) if first == "the group" else (fold, group):
        deliver(calls, {**store, "run_name": run.name}, run=run)
    runs = {run.info.run_name: run for run in all_runs(client)}
    assert runs["fold-1"].data.tags["mlflow.parentRunId"] == runs["5-fold"].info.run_id
    assert runs["fold-1"].data.tags["tracking_hooks.group"] == "5-fold"


def test_a_group_that_is_recorded_behind_its_runs_takes_them_below_it(store, client, save_dir):
    calls = recorded_run(save_dir)
    for name in ("fold-1", "fold-2", "other"):
        run = replace(sample_run(save_dir), uid=name, name=name, group="5-fold")
        deliver(calls, {**store, "run_name": name}, run=run)
    start = replace_args(calls[0], plan=Plan(members=["fold-1", "fold-2", "missing"]))
    group = replace(sample_run(save_dir), uid="group", name="5-fold", task="group")
    deliver([start, *calls[1:]], {**store, "run_name": "5-fold"}, run=group)
    runs = {run.info.run_name: run for run in all_runs(client)}
    below = {
        name for name, run in runs.items() if run.data.tags.get("mlflow.parentRunId") == runs["5-fold"].info.run_id
    }
    assert below == {"fold-1", "fold-2"}


def test_a_run_names_the_run_whose_weights_it_started_from(store, client, save_dir):
    origin = Origin(uid="first", name="train", checkpoint="best.pt")
    deliver(recorded_run(save_dir), store, run=replace(sample_run(save_dir), started_from=origin))
    tags = the_run(client).data.tags
    assert tags["tracking_hooks.started_from"] == "first"
    assert tags["tracking_hooks.started_from.checkpoint"] == "train/best.pt"


def test_params_of_any_number_length_and_shape_are_taken(store, client, save_dir):
    start = recorded_run(save_dir)[0]
    params = {**{f"p{i}": i for i in range(250)}, "names": "é" * 7000, "nested": {"a": {"b": [1]}}, "a(b)": 1, "ab": 2}
    state = deliver([replace_args(start, params=params)], store)
    deliver([replace_args(start, params=params)], store, state)
    found = the_run(client)
    assert len(found.data.params) == 254
    assert found.data.params["nested.a.b"] == "[1]"
    assert found.data.params["names"] == "é" * 6000
    assert not [key for key in found.data.tags if key.startswith("tracking_hooks.param.")]
    path = client.download_artifacts(found.info.run_id, "params/names.txt")
    assert Path(path).read_text("utf-8") == "é" * 7000


def replace_args(call, **args):
    return replace(call, args={**call.args, **args})


def test_no_metric_name_costs_the_others_theirs(store, client, save_dir):
    metrics = {"/a": 1.0, "a//b": 2.0, "../x": 3.0, "50 %": 4.0, "m(B)": 5.0, "mB": 6.0, "x" * 300: 7.0, "": 8.0}
    calls = [
        Call(1, STARTED, "on_log", {"metrics": metrics, "step": 7}),
        Call(2, STARTED, "on_log", {"metrics": {"loss": math.inf}, "step": None}),
    ]
    deliver(calls, store)
    found = points(client)
    assert sorted(value for [(step, _, value)] in found.values() if step == 7) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert found["mB"][0][2] == 6.0
    [(step, _, value)] = found["loss"]
    assert (step, value > 1e308) == (2, True)


def test_more_metrics_than_one_request_holds(store, client, save_dir):
    metrics = {f"class/{i}": float(i) for i in range(700)}
    deliver([Call(i, STARTED + i, "on_log", {"metrics": metrics, "step": i}) for i in (1, 2, 3)], store)
    found = points(client)
    assert len(found) == 700
    assert {len(history) for history in found.values()} == {3}


def test_a_failed_run_shows_its_traceback(store, client, save_dir):
    deliver(recorded_run(save_dir, status="failed"), store)
    found = the_run(client)
    assert found.info.status == "FAILED"
    assert found.data.tags["tracking_hooks.error"] == "RuntimeError: boom"
    path = client.download_artifacts(found.info.run_id, "traceback.txt")
    assert "RuntimeError: boom" in Path(path).read_text("utf-8")


@pytest.mark.parametrize("status", ["interrupted", "killed"])
def test_a_run_cut_short_is_killed(store, client, save_dir, status):
    deliver(recorded_run(save_dir, status=status), store)
    assert the_run(client).info.status == "KILLED"


def test_a_joined_run_stays_open_and_keeps_its_name(store, client, save_dir):
    experiment = client.create_experiment("by hand")
    mine = client.create_run(experiment, run_name="my own", tags={"mlflow.user": "me"}).info.run_id
    deliver(recorded_run(save_dir), {**store, "run_id": mine})
    found = the_run(client)
    assert found.info.run_id == mine
    assert found.info.status == "RUNNING"
    assert found.info.run_name == "my own"
    assert found.data.tags["mlflow.user"] == "me"
    assert len(points(client)["fitness"]) == 3


@pytest.mark.parametrize("part", [MLflowTracker, MLflowFiles])
def test_a_deleted_run_is_waited_for(store, client, save_dir, run, part):
    calls = recorded_run(save_dir)
    state = deliver(calls[:6], store)
    own = state["files"] if part is MLflowFiles else state
    client.delete_run(state["run_id"])
    for some in (calls[6:10], calls[-1:]):
        with pytest.raises(Unavailable, match=rf"sqlite.*deleted.*mlflow runs restore --run-id {state['run_id']}"):
            play(part(), some, run, destination=store, state=own)
    client.restore_run(state["run_id"])
    deliver(calls[6:], store, state, before=calls[:6])
    assert the_run(client).info.status == "FINISHED"
    assert "weights/best.pt" in artifacts(client)


@pytest.mark.parametrize("part", [MLflowTracker, MLflowFiles])
@pytest.mark.parametrize("what", ["run", "experiment"])
def test_what_is_deleted_in_mid_run_is_no_fault_of_an_event(store, client, save_dir, run, part, what):
    calls = recorded_run(save_dir)
    state = deliver(calls[:6], store)
    (experiment,) = {run.info.experiment_id for run in all_runs(client)}
    play(part(), calls[6:], run, destination=store, state=dict(state), before=calls[:6])  # it can be taken

    class Deleting(part):
        """Deleted behind ``open``."""

        @hookimpl
        def open(self, params, environment, resumed, epoch, status, run, time, state, destination):
            arguments = dict(locals())
            names = inspect.signature(part.open).parameters
            part.open(**{name: arguments[name] for name in names})
            if what == "run":
                client.delete_run(state["run_id"])
            else:
                client.delete_experiment(experiment)

    words = f"runs restore --run-id {state['run_id']}" if what == "run" else f"restore --experiment-id {experiment}"
    with pytest.raises(Unavailable, match=words):
        play(Deleting(), calls[6:], run, destination=store, state=dict(state), before=calls[:6])


def test_a_deleted_experiment_waits_for_the_user(store, client, save_dir):
    calls = recorded_run(save_dir)
    experiment = client.create_experiment("shapes")
    client.delete_experiment(experiment)
    with pytest.raises(Unavailable, match=f"restore --experiment-id {experiment}"):
        deliver(calls, store)
    client.restore_experiment(experiment)
    deliver(calls, store)
    assert the_run(client).info.status == "FINISHED"


def test_an_experiment_created_meanwhile_is_taken(store, client, save_dir, monkeypatch):
    experiment = client.create_experiment("shapes")
    found = MlflowClient.get_experiment_by_name

    answers = [None]

    def not_at_first(self, name):
        return answers.pop() if answers else found(self, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", not_at_first)
    deliver(recorded_run(save_dir), store)
    assert the_run(client).info.experiment_id == experiment


@pytest.mark.parametrize("name", ["results.csv", "weights/best.pt"])
def test_a_file_that_vanished_is_rejected(store, save_dir, name):
    calls = recorded_run(save_dir)
    (save_dir / name).unlink()
    final = [call for call in calls if name in repr(call.args) and "digest='" in repr(call.args)]
    state = deliver(calls[:2], store)
    with pytest.raises(Rejected, match=f"{name} is gone"):
        deliver(final, store, state, before=calls[:2])


def test_weights_that_may_still_change_are_left_alone(store, client, save_dir):
    calls = recorded_run(save_dir)
    deliver([call for call in calls if call.hook == "on_checkpoint_saved" and "digest=None" in repr(call.args)], store)
    assert artifacts(client) == [], "nothing was to be uploaded"
    (run,) = all_runs(client)
    assert (run.data.metrics, run.data.params) == ({}, {}), "nothing was to be written"


def test_state_is_small_json(store, save_dir):
    state = deliver(recorded_run(save_dir), store)
    assert saved(state) == state
    files = state.pop("files")
    assert len(msgspec.json.encode(state)) < 1000
    assert len(msgspec.json.encode(files)) < 1000


# -- what is missing --------------------------------------------------------------------------------------------

PLOT = Missing(hook="on_artifact", name="results.png", reason="it is gone", first=30, last=30)
GAP = Missing(reason="not in the journal", first=4, last=9)


@pytest.fixture
def told(store, run, save_dir):
    """Deliver a whole run; return what says to one part what is missing."""
    calls = recorded_run(save_dir)
    states = {MLflowTracker: {}, MLflowFiles: {}}
    for part, state in states.items():
        play(part(), calls, run, destination=store, state=state)

    def tell(part, *missing):
        play(part(), [], run, destination=store, state=states[part], before=calls, missing=missing)

    return tell


def incomplete(client):
    tags = the_run(client).data.tags
    said = {name.removeprefix("tracking_hooks."): text for name, text in tags.items() if ".incomplete" in name}
    return said, tags["mlflow.note.content"].partition("**Incomplete:** ")[2].splitlines()


def test_what_both_parts_lack_stands_in_a_tag_of_each_and_together_in_the_description(told, client):
    before = the_run(client).data.tags["mlflow.note.content"]
    told(MLflowFiles, PLOT)
    told(MLflowTracker, GAP)
    words = ["6 events, 4 to 9: not in the journal", "event 30, on_artifact results.png: it is gone"]
    tags, (heading, _, *lines) = incomplete(client)
    assert tags == {"incomplete": words[0], "incomplete.files": words[1]}
    assert heading == "of what was recorded, MLflow does not have"
    assert lines == [f"- {line}" for line in words]
    (found,) = client.search_runs(
        [the_run(client).info.experiment_id], "tags.`tracking_hooks.incomplete` LIKE '%'", max_results=1
    )
    assert found.info.run_id == the_run(client).info.run_id
    assert the_run(client).data.tags["mlflow.note.content"].startswith(before)


def test_what_was_said_is_taken_back_part_by_part(told, client):
    before = the_run(client).data.tags["mlflow.note.content"]
    told(MLflowTracker, GAP)
    told(MLflowFiles, PLOT)
    told(MLflowTracker)
    tags, (_, _, *lines) = incomplete(client)
    assert list(tags) == ["incomplete.files"]
    assert lines == ["- event 30, on_artifact results.png: it is gone"]
    told(MLflowFiles)
    assert incomplete(client) == ({}, [])
    assert the_run(client).data.tags["mlflow.note.content"] == before


def test_what_the_user_has_written_into_the_description_stays(told, client):
    told(MLflowTracker, GAP)
    number = the_run(client).info.run_id
    client.set_tag(number, "mlflow.note.content", "Our best one.")
    told(MLflowTracker, GAP)
    assert the_run(client).data.tags["mlflow.note.content"].startswith("Our best one.\n\n**Incomplete:**")
    told(MLflowTracker)
    assert the_run(client).data.tags["mlflow.note.content"] == "Our best one."


def test_a_run_that_is_resumed_keeps_what_was_said_of_its_files(told, store, client, run, save_dir):
    told(MLflowFiles, PLOT)
    calls = recorded_run(save_dir)
    again = Call(100, STARTED + 100, "on_run_start", {**calls[0].args, "resumed": True})
    play(MLflowTracker(), [again], run, destination=store, before=calls)
    assert incomplete(client)[1][2:] == ["- event 30, on_artifact results.png: it is gone"]


def test_in_a_run_of_the_users_own_a_tag_says_it_and_the_description_is_theirs(store, client, run, save_dir):
    experiment = client.create_experiment("own")
    own = client.create_run(experiment)
    joined = {**store, "run_id": own.info.run_id}
    play(MLflowTracker(), recorded_run(save_dir), run, destination=joined, missing=[GAP])
    tags = client.get_run(own.info.run_id).data.tags
    assert tags["tracking_hooks.incomplete"] == "6 events, 4 to 9: not in the journal"
    assert "mlflow.note.content" not in tags
