"""Offline runs, read from W&B's files by a reader that is not the plugin's."""

import base64
import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.support.processes import PATIENCE
from tests.support.wandb_files import WandbFiles
from tests.support.wandb_standin import WandbStandIn
from tracking_hooks.events import (
    Artifact,
    Checkpoint,
    ConfusionMatrix,
    Curve,
    Origin,
    Rejected,
    SaveCheckpoint,
    ScaleLearningRate,
    Stop,
    Unavailable,
)
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import BATCHES, STARTED, play, recorded_run, sample_run
from tracking_hooks_wandb import content
from tracking_hooks_wandb import offline as offline_module
from tracking_hooks_wandb.tracker import WandbTracker

pytestmark = pytest.mark.e2e


def deliver(calls, destination, state=None, **options):
    options.setdefault("run", sample_run(Path("runs/train").absolute()))  # as the fixture `run`
    return play(WandbTracker(), calls, destination=destination, state=state, **options)


def saved(state):
    """The state as it comes back from disk."""
    return msgspec.json.decode(msgspec.json.encode(state))


def read(destination):
    return WandbFiles(Path(destination["folder"]))


def check_epochs(found, calls):
    """Every metric of every epoch stands there once, at its epoch, step and time."""
    epochs = [call for call in calls if call.hook == "on_epoch_end"]
    assert epochs
    for name in {name for call in epochs for name in call.args["metrics"]}:
        rows = [row for row in found.history if name in row]
        assert [row["epoch"] for row in rows] == [call.args["epoch"] for call in epochs], name
        assert [row["_step"] for row in rows] == [call.seq for call in epochs]
        assert [row["_timestamp"] for row in rows] == [call.time for call in epochs]
        assert [row[name] for row in rows] == pytest.approx([c.args["metrics"][name] for c in epochs], nan_ok=True)


def without_chance(found):
    """For comparing: what the client does not make up anew in each client."""
    chance = {"_runtime", "artifact_path", "_latest_artifact_path"}

    def rid(value):
        if isinstance(value, dict):
            return {key: rid(item) for key, item in value.items() if key not in chance | {"path"}}
        return value

    artifacts = [
        (a.type, a.name if a.type != "run_table" else "", a.digest, sorted(a.aliases), a.use_after_commit)
        for a in found.artifacts
    ]
    summary = {key: value for key, value in found.summary.items() if key not in {"_wandb", "_runtime"}}
    rows = [json.dumps(rid(row), sort_keys=True) for row in found.history]  # as text: NaN is not equal to itself
    return rows, rid(found.config), json.dumps(rid(summary), sort_keys=True), artifacts, found.exits, found.alerts


def sync(folder, service, *options):
    env = {**os.environ, **service.environment()}
    env.pop("WANDB_MODE", None)
    command = [sys.executable, "-m", "wandb", "sync", *options, str(folder)]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=PATIENCE)
    assert "ERROR" not in done.stderr, done.stderr
    return done.stderr


def test_every_metric_of_every_epoch_is_there_once(offline, save_dir):
    calls = recorded_run(save_dir)
    deliver(calls, offline)
    found = read(offline)
    assert len(found.paths) == 1
    check_epochs(found, calls)
    steps = [row["_step"] for row in found.history]
    assert steps == sorted(set(steps))
    assert math.isnan(found.points("val/box_loss")[0][1])


def test_every_chart_is_drawn_over_its_own_axis(offline, save_dir):
    calls = recorded_run(save_dir)
    deliver(calls, offline)
    found = read(offline)
    axes = {"train/*": "epoch", "metrics/*": "epoch", "train_batch/*": "global_step", "system/*": "seconds"}
    assert axes.items() <= found.x_axes.items()
    assert [x for x, _ in found.points("train_batch/box_loss", "global_step")] == [BATCHES, 2 * BATCHES, 3 * BATCHES]
    systems = [call for call in calls if call.hook == "on_system_metrics"]
    assert [x for x, _ in found.points("system/cpu_percent", "seconds")] == [call.time - STARTED for call in systems]
    assert found.points("best/metrics/mAP50(B)", "epoch") == [(3, 0.91)]
    assert len(found.points("metrics/mAP50(B)")) == 3  # that one is no point of the curve


def test_the_config_names_the_group_and_the_run_whose_weights_it_started_from(offline, run, save_dir):
    origin = Origin(uid="first", name="train", checkpoint="best.pt")
    deliver(recorded_run(save_dir), offline, run=replace(run, group="5-fold", started_from=origin))
    ours = read(offline).config["tracking_hooks"]
    assert ours["group"] == "5-fold"
    assert ours["started_from"] == {"uid": "first", "name": "train", "checkpoint": "best.pt"}


def test_the_run_says_what_it_is(offline, save_dir, run):
    destination = {**offline, "group": "g", "job_type": "tune", "tags": "a,team=vision", "notes": "n", "entity": "us"}
    deliver(recorded_run(save_dir), destination)
    found = read(destination)
    (head,) = found.runs
    assert (head.run_id, head.project, head.entity) == (run.uid, "shapes", "us")
    assert (head.display_name, head.run_group, head.job_type, head.notes) == ("train", "g", "tune", "n")
    assert list(head.tags) == ["a", "team=vision"]
    assert (head.host, head.git.commit) == ("laptop", "c0ffee" * 6 + "c0ff")
    assert found.config["lr0"] == 0.01
    assert found.config["model"] == "yolo26n.yaml"
    ours = found.config["tracking_hooks"]
    assert ours["run_uid"] == run.uid
    assert ours["command"] == "yolo train model=yolo26n.yaml"
    assert ours["git"]["dirty"] is True
    assert ours["versions"]["ultralytics"] == "8.4.190"
    assert found.summary["model/parameters"] == 2_500_000
    assert found.summary["model/GFLOPs"] == found.summary["model/GFLOPs at 640"] == 5.8
    assert found.summary["status"] == "finished"
    assert found.exits == [0]
    # Of the process that delivers nothing is told.
    assert "stats" not in found.kinds
    assert "output_raw" not in found.kinds
    assert found.output == []
    assert {"wandb-metadata.json", "requirements.txt"}.isdisjoint(found.files)


def test_plots_are_pictures_and_other_files_are_files(offline, save_dir):
    deliver(recorded_run(save_dir), offline)
    found = read(offline)
    files = Path(offline["folder"], "files")
    (picture,) = [row["results"] for row in found.history if "results" in row]
    assert picture["_type"] == "image-file"
    assert (files / picture["path"]).read_bytes() == (save_dir / "results.png").read_bytes()
    assert {"results.csv", "args.yaml"} <= set(found.files)
    assert (files / "results.csv").read_bytes() == (save_dir / "results.csv").read_bytes()


def test_curves_and_the_confusion_matrix_are_native_charts(offline, save_dir):
    deliver(recorded_run(save_dir), offline)
    found = read(offline)
    panels = found.config["_wandb"]["visualize"]
    assert {name: panel["panel_config"]["panelDefId"] for name, panel in panels.items()} == {
        "curves/PR": "wandb/area-under-curve/v0",
        "best/confusion_matrix": "wandb/confusion_matrix/v1",
    }

    def table(key):
        (entry,) = [row[key] for row in found.history if key in row]
        assert entry["_type"] == "table-file"
        content = json.loads(Path(offline["folder"], "files", entry["path"]).read_text())
        return [dict(zip(content["columns"], row)) for row in content["data"]]

    curve = table("curves/PR_table")
    assert [(row["x"], row["y"]) for row in curve if row["class"] == "square"] == [(0, 1), (0.5, 0.9), (1, 0.2)]
    assert [(row["x"], row["y"]) for row in curve if row["class"] == "mean"] == [(0, 1), (0.5, 0.85), (1, 0.15)]
    matrix = {(row["Actual"], row["Predicted"]): row["nPredictions"] for row in table("best/confusion_matrix_table")}
    assert len(matrix) == 9
    assert matrix["circle", "square"] == 1  # matrix[predicted][true]
    assert matrix["background", "square"] == 3
    assert table("best/per_class") == [
        {"class": "square", "metrics/mAP50": 0.95},
        {"class": "circle", "metrics/mAP50": 0.87},
    ]


def test_a_confusion_matrix_that_is_too_large_for_the_chart_is_a_table_of_the_most_frequent_confusions():
    labels = [f"class {number}" for number in range(101)]
    matrix = [[100.0 if true == predicted else 0.0 for true in range(101)] for predicted in range(101)]
    matrix[7][3], matrix[2][4] = 5.0, 9.0  # matrix[predicted][true]
    table = content.confusion(ConfusionMatrix(labels=labels, matrix=matrix))
    assert table.columns == ["Actual", "Predicted", "nPredictions"]
    assert table.data == [["class 4", "class 2", 9.0], ["class 3", "class 7", 5.0]]


def test_a_curve_of_some_classes_has_the_mean_of_all():
    curve = Curve(name="PR", x_label="x", y_label="y", x=[0.0, 1.0], y={"square": [1.0, 0.5]}, mean=[0.75, 0.25])
    rows = content.curve(curve).table.data
    assert rows == [["mean", 0.75, 0.0], ["mean", 0.25, 1.0], ["square", 1.0, 0.0], ["square", 0.5, 1.0]]


def test_weights_are_versions_of_one_model_and_the_data_set_is_an_input(offline, save_dir, run):
    def is_better_in_the_last_epoch(call):
        is_early = call.hook == "on_checkpoint_saved" and call.args["checkpoint"].digest is None
        return is_early and call.args["epoch"] == 3

    deliver([call for call in recorded_run(save_dir) if not is_better_in_the_last_epoch(call)], offline)
    found = read(offline)
    model = [artifact for artifact in found.artifacts if artifact.type == "model"]
    assert [(a.name, sorted(a.aliases)) for a in model] == [
        (f"run_{run.uid}_model", ["best", "epoch_2", "latest"]),
        (f"run_{run.uid}_model", ["epoch_3", "last", "latest"]),
    ]
    metadata = json.loads(model[0].metadata)
    assert metadata["epoch"] == 2
    assert metadata["metrics"] == {"metrics/mAP50(B)": 0.91, "metrics/mAP50-95(B)": 0.71}
    assert metadata["sha256"] == hashlib.sha256(b"best weights").hexdigest()
    for artifact, name in zip(model, ("best", "last")):
        (entry,) = artifact.manifest.contents
        assert entry.path == f"{name}.pt"
        content = Path(entry.local_path).read_bytes()
        assert Path(offline["folder"]) in Path(entry.local_path).parents
        assert content == f"{name} weights".encode()
        assert entry.digest == base64.b64encode(hashlib.md5(content).digest()).decode()
    (dataset,) = [artifact for artifact in found.artifacts if artifact.type == "dataset"]
    assert dataset.use_after_commit
    assert dataset.name == "shapes"
    assert json.loads(dataset.metadata)["digest"] == "0" * 32
    (entry,) = dataset.manifest.contents
    assert json.loads(Path(entry.local_path).read_text())["splits"]["train"]["instances"]["circle"] == 24


def test_a_final_figure_that_is_no_number_is_named_beside_the_weights(offline, save_dir):
    calls = recorded_run(save_dir)
    (final,) = [call for call in calls if call.hook == "on_final_validation"]
    final.args["metrics"]["val/box_loss"] = math.nan
    deliver(calls, offline)
    best = next(artifact for artifact in read(offline).artifacts if artifact.type == "model")
    assert json.loads(best.metadata)["metrics"]["val/box_loss"] == "nan"


def test_the_same_data_set_is_the_same_version_wherever_it_lies(offline, tmp_path):
    digests = set()
    for place in ("a", "b"):
        run = replace(sample_run(tmp_path / place), uid=place)
        destination = {**offline, "id": place, "folder": str(tmp_path / f"offline-run-{place}")}
        deliver(recorded_run(tmp_path / place)[:2], destination, run=run)
        digests |= {a.digest for a in read(destination).artifacts if a.type == "dataset"}
    assert len(digests) == 1


def test_weights_of_every_kind_are_versions_with_aliases(offline, save_dir, run):
    calls = []
    for epoch, kind, name in [
        (1, "periodic", "0a1b"),
        (2, "action", "at peak"),
        (2, "best", "best"),
        (3, "last", "last"),
    ]:
        path = save_dir / f"weights/{name}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        checkpoint = Checkpoint(path=path, kind=kind, size=len(name), digest=hashlib.sha256(name.encode()).hexdigest())
        args = {"epoch": epoch, "checkpoint": checkpoint}
        calls.append(Call(len(calls) + 1, STARTED, "on_checkpoint_saved", args))
    deliver(calls, offline)
    found = [
        (entry.path, set(a.aliases) - {"latest"}) for a in read(offline).artifacts for entry in a.manifest.contents
    ]
    assert found == [
        ("epoch1.pt", {"epoch_1"}),
        ("at peak.pt", {"at_peak", "epoch_2"}),
        ("best.pt", {"best", "epoch_2"}),
        ("last.pt", {"last", "epoch_3"}),
    ]


def test_the_best_weights_of_a_tuning_are_of_no_epoch(offline, save_dir):
    path = save_dir / "best.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"best")
    checkpoint = Checkpoint(path=path, kind="best", size=4, digest=hashlib.sha256(b"best").hexdigest())
    deliver([Call(1, STARTED, "on_checkpoint_saved", {"epoch": 0, "checkpoint": checkpoint})], offline)
    (model,) = read(offline).artifacts
    assert set(model.aliases) == {"best", "latest"}
    assert "epoch" not in json.loads(model.metadata)


def test_metrics_of_a_class_are_curves(offline):
    per_class = {"square": {"metrics/mAP50": 0.5}, "a b": {"metrics/mAP50": 0.25}}
    args = {"epoch": 2, "step": 8, "metrics": {"train/box_loss": 1.0}, "per_class": per_class}
    deliver([Call(1, STARTED, "on_epoch_end", args)], offline)
    found = read(offline)
    assert found.points("per_class/square/metrics/mAP50", "epoch") == [(2, 0.5)]
    assert found.points("per_class/a b/metrics/mAP50", "epoch") == [(2, 0.25)]
    assert found.x_axes["per_class/*"] == "epoch"


@pytest.mark.parametrize(
    ("status", "code", "alerts"),
    [
        ("failed", 1, [("train failed", "RuntimeError: boom", "ERROR")]),
        ("killed", 255, [("train killed", "its process died without saying why", "ERROR")]),
        ("interrupted", 255, []),
    ],
)
def test_a_run_that_was_cut_short_says_so(offline, save_dir, status, code, alerts):
    deliver(recorded_run(save_dir, status=status), offline)
    found = read(offline)
    assert found.exits == [code]
    assert found.alerts == alerts
    assert found.summary["status"] == status
    if status == "failed":
        assert found.summary["error"] == "RuntimeError: boom"
        assert "boom" in Path(offline["folder"], "files/traceback.txt").read_text()


def test_actions_and_lines_are_told_and_nobody_is_alerted_of_each_checkpoint(offline, save_dir):
    saved = {"action": SaveCheckpoint(name="good", reason="mAP is up"), "plugin": "keeper", "outcome": "done"}
    lowered = {"action": ScaleLearningRate(factor=0.5, reason="a plateau"), "plugin": "keeper", "outcome": "done"}
    refused = {"action": Stop(reason="enough"), "plugin": "keeper", "outcome": "not in the first epoch"}
    calls = [
        Call(1, STARTED, "on_console", {"lines": ["first", "second"]}),
        Call(2, STARTED, "on_action", saved),
        Call(3, STARTED, "on_action", lowered),
        Call(4, STARTED, "on_action", refused),
    ]
    deliver(calls, offline)
    found = read(offline)
    assert found.output == ["first", "second", "SaveCheckpoint good, keeper: mAP is up", "done"]
    assert found.alerts == [
        ("ScaleLearningRate of train", "keeper: a plateau\ndone", "INFO"),
        ("Stop of train", "keeper: enough\nnot in the first epoch", "WARN"),
    ]


def test_what_the_user_logs_has_the_users_own_axis(offline):
    calls = [
        Call(4, STARTED, "on_log", {"metrics": {"mine/x": 1.0, "_step": 5.0, "up": math.inf}, "step": 70}),
        Call(9, STARTED, "on_log", {"metrics": {"other": 2.0}, "step": None}),
    ]
    deliver(calls, offline)
    found = read(offline)
    assert found.points("mine/x", "log_step") == [(70, 1)]
    assert found.x_axes["mine/x"] == "log_step"
    assert found.points("user_step") == [(4, 5)]
    assert found.points("up") == [(4, math.inf)]
    assert found.points("other") == [(9, 2)]


def test_any_hook_may_be_the_first(offline, save_dir):
    calls = recorded_run(save_dir)
    deliver(calls[1:], offline)
    check_epochs(read(offline), calls)


@pytest.mark.parametrize("status", ["finished", "failed", "killed"])
def test_a_replay_adds_nothing(offline, save_dir, status):
    calls = recorded_run(save_dir, status=status)
    deliver(calls, offline)
    once = without_chance(read(offline))
    state = deliver(calls, offline)  # the old one is lost
    assert without_chance(read(offline)) == once
    deliver(calls[-1:], offline, saved(state), before=calls[:-1])
    assert read(offline).exits == [once[4][0]]


@pytest.mark.parametrize("cut", [1, 2, 7, 14, 24, 26])
def test_a_relay_that_died_costs_nothing(offline, save_dir, die, cut):
    calls = recorded_run(save_dir)
    state = saved(deliver(calls[:cut], offline))
    # Given to the client, and not acknowledged:
    deliver(calls[cut:][:4], offline, saved(state), before=calls[:cut], flush=False)
    die()
    deliver(calls[cut:], offline, state, before=calls[:cut])
    found = read(offline)
    check_epochs(found, calls)
    restarted = without_chance(found)
    undisturbed = {**offline, "folder": f"{offline['folder']}-undisturbed"}
    deliver(calls, undisturbed)
    assert without_chance(read(undisturbed)) == restarted


def test_what_is_not_given_again_before_a_relay_dies_is_there_once(offline, save_dir, run, die):
    calls = recorded_run(save_dir)
    state = saved(deliver(calls[:10], offline))
    deliver(calls[10:18], offline, saved(state), before=calls[:10], flush=False)  # and then there was an error
    again, tracker = saved(state), WandbTracker()
    play(tracker, calls[10:12], run, destination=offline, state=again, before=calls[:10], flush=False)
    given = 12 if tracker.flush(state=again) is None else 10
    die()
    deliver(calls[given:], offline, again if given == 12 else state, before=calls[:given])
    found = read(offline)
    check_epochs(found, calls)
    steps = [row["_step"] for row in found.history]
    assert steps == sorted(set(steps))


def test_what_is_acknowledged_is_on_disk(offline, save_dir, die):
    calls = recorded_run(save_dir)
    deliver(calls[:10], offline)
    die()
    check_epochs(read(offline), calls[:10])


def test_an_error_does_not_close_the_run(offline, save_dir):
    calls = recorded_run(save_dir)
    state = deliver(calls[:5], offline)
    (save_dir / "results.png").write_bytes(b"no picture")
    for _ in range(2):
        with pytest.raises(Rejected, match=r"results\.png cannot be shown in W&B: "):
            deliver(calls[5:], offline, saved(state), before=calls[:5])  # a new instance each time, as the relay does
    good = [call for call in calls[5:] if "results.png" not in repr(call.args)]
    deliver(good, offline, state, before=calls[:5])
    found = read(offline)
    check_epochs(found, calls)
    assert found.exits == [0]
    assert len([a for a in found.artifacts if a.type == "model"]) == 2


def test_a_disk_that_is_full_for_a_while_costs_nothing(offline, save_dir, monkeypatch):
    *calls, end = recorded_run(save_dir)
    logged = Call(end.seq, end.time, "on_log", {"metrics": {"mine": 0.5}, "step": 3})
    calls = [*calls, logged, Call(end.seq + 1, end.time, end.hook, end.args)]
    state = deliver(calls[:5], offline)

    def full(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(offline_module.OfflineFolder, "_bring", full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                deliver(calls[5:], offline, saved(state), before=calls[:5])
    deliver(calls[5:], offline, state, before=calls[:5])
    found = read(offline)
    check_epochs(found, calls)
    assert [row["mine"] for row in found.history if "mine" in row] == [0.5]
    assert found.exits == [0]


def test_the_clients_own_process_may_die(offline, save_dir):
    import psutil

    calls = recorded_run(save_dir)
    state = deliver(calls[:5], offline)
    (core,) = [child for child in psutil.Process().children() if child.name() == "wandb-core"]
    core.kill()
    core.wait()
    with pytest.raises(Unavailable, match="W&B's own process has ended"):
        deliver(calls[5:], offline, saved(state), before=calls[:5])
    deliver(calls[5:], offline, state, before=calls[:5])
    check_epochs(read(offline), calls)


def resumed(save_dir, calls):
    """What is added by a training that goes on with the epoch in which it was killed."""
    whole = recorded_run(save_dir)
    start = next(i for i, call in enumerate(whole) if call.hook == "on_epoch_start" and call.args["epoch"] == 3)
    resume = Call(0, 0, "on_run_start", {**calls[0].args, "resumed": True})
    return [Call(100 + i, STARTED + 100 + i, call.hook, call.args) for i, call in enumerate([resume, *whole[start:]])]


def test_a_resumed_training_goes_on_in_the_same_folder(offline, save_dir):
    calls = recorded_run(save_dir, status="killed")
    more = resumed(save_dir, calls)
    state = deliver(calls, offline)
    assert read(offline).exits == [255]
    deliver(more, offline, saved(state), before=calls)
    found = read(offline)
    assert found.exits == [0]
    assert found.points("train/box_loss", "epoch") == [(1, 2), (2, 1), (3, pytest.approx(2 / 3))]
    both = {**offline, "folder": f"{offline['folder']}-both"}
    deliver([*calls, *more], both)  # in one batch
    assert read(both).points("train/box_loss", "epoch") == found.points("train/box_loss", "epoch")
    assert read(both).exits == [0]


def test_a_folder_that_has_lost_data_is_not_written_to(offline, save_dir, die):
    calls = recorded_run(save_dir)
    state = deliver(calls[:5], offline)
    die()
    (log,) = Path(offline["folder"]).glob("*.wandb")
    log.write_bytes(b"short")
    with pytest.raises(Unavailable, match="has lost data"):
        deliver(calls[5:], offline, state, before=calls[:5])
    assert log.read_bytes() == b"short"


def test_files_that_vanished_are_rejected(offline, save_dir):
    calls = recorded_run(save_dir)
    for name in ("results.csv", "results.png", "weights/best.pt"):
        (save_dir / name).unlink()
        final = [call for call in calls if name in repr(call.args) and "digest='" in repr(call.args)]
        with pytest.raises(Rejected, match=f"{Path(name).name} is gone"):
            deliver(final, offline)


@pytest.mark.parametrize("name", ["../outside.csv", "/outside.csv", "a/../../outside.csv"])
def test_no_name_leads_out_of_the_folder(offline, save_dir, name):
    recorded_run(save_dir)
    artifact = Artifact(path=save_dir / "results.csv", kind="table", name=name, size=1, digest="")
    with pytest.raises(Rejected, match="is not the name of a file"):
        deliver([Call(1, STARTED, "on_artifact", {"artifact": artifact})], offline)


def test_a_plot_in_a_folder_and_one_that_is_no_picture(offline, save_dir):
    save_dir.mkdir(parents=True)
    calls = []
    for seq, name in enumerate(("sub/a.b.png", "plot.pdf"), 1):
        path = save_dir / name
        path.parent.mkdir(exist_ok=True)
        recorded_run(save_dir.parent / "other")
        path.write_bytes((save_dir.parent / "other/results.png").read_bytes())
        artifact = Artifact(path=path, kind="plot", name=name, size=1, digest="")
        calls.append(Call(seq, STARTED, "on_artifact", {"artifact": artifact}))
    deliver(calls, offline)
    found = read(offline)
    assert [row["sub/a.b"]["_type"] for row in found.history] == ["image-file"]
    assert "plot.pdf" in found.files


def test_wandb_sync_takes_the_folder(offline, save_dir, service):
    calls = recorded_run(save_dir)
    deliver(calls, offline)
    sync(offline["folder"], service)
    assert "No runs to sync" in sync(offline["folder"], service)
    run = service.run()
    check_epochs(run, calls)
    assert len(run.history) == len({row["_step"] for row in run.history})
    assert run.exit_code == 0
    assert run.config["lr0"] == 0.01
    assert service.artifact(f"run_{run.name}_model", "best").files == {"best.pt": b"best weights"}
    assert service.artifact(f"run_{run.name}_model").files == {"last.pt": b"last weights"}
    dataset = service.artifact("shapes")
    assert run.used == [dataset.id]
    assert {"results.csv", "args.yaml"} <= set(run.files)
    assert [name for name in run.files if name.startswith("media/images/results_")]
    assert [a.version for a in service.artifacts if a.type == "model"] == [0, 1]


def check_resumed(run):
    assert [x for x, _ in run.points("train/box_loss", "epoch")] == [1, 2, 3]
    steps = [row["_step"] for row in run.history]
    assert steps == sorted(set(steps))
    assert run.exit_code == 0


def test_wandb_sync_takes_what_a_training_adds_that_is_resumed_on_another_machine(offline, save_dir, service):
    calls = recorded_run(save_dir, status="killed")
    deliver(calls, offline)
    sync(offline["folder"], service)
    elsewhere = {**offline, "folder": f"{offline['folder']}-elsewhere"}
    more = [replace(call, seq=seq) for seq, call in enumerate(resumed(save_dir, calls), 1)]  # a journal of its own
    deliver(more, elsewhere)
    sync(elsewhere["folder"], service)
    check_resumed(service.run())


@pytest.mark.parametrize("in_between", [False, True])
def test_wandb_sync_takes_what_a_resumed_training_adds(offline, save_dir, service, in_between):
    calls = recorded_run(save_dir, status="killed")
    state = deliver(calls, offline)
    if in_between:
        sync(offline["folder"], service)
        assert service.run().exit_code == 255
    deliver(resumed(save_dir, calls), offline, saved(state), before=calls)
    sync(Path(offline["folder"]).parent, service)
    run = service.run()
    check_resumed(run)
    assert len(list(Path(offline["folder"]).parent.glob("offline-run-*"))) == 1 + in_between


def test_wandb_sync_of_a_run_that_is_still_going_on(offline, save_dir, service, die):
    calls = recorded_run(save_dir)
    state = deliver(calls[:10], offline)
    sync(offline["folder"], service)
    state = saved(deliver(calls[10:15], offline, saved(state), before=calls[:10]))
    die()
    deliver(calls[15:], offline, state, before=calls[:15])
    sync(Path(offline["folder"]).parent, service)
    run = service.run()
    check_epochs(run, calls)
    assert run.exit_code == 0
    assert run.config["lr0"] == 0.01


def test_state_is_small_json(offline, save_dir):
    state = deliver(recorded_run(save_dir), offline)
    assert saved(state) == state
    assert len(msgspec.json.encode(state)) < 1000


def test_switched_off_means_nothing_at_all(save_dir, offline, tmp_path):
    state = deliver(recorded_run(save_dir), {**offline, "mode": "disabled"})
    assert not list(tmp_path.rglob("*.wandb"))
    assert "size" not in state


def test_nothing_is_left_in_the_temporary_folder(offline, save_dir, tmp_path):
    deliver(recorded_run(save_dir), offline)
    assert not list(tmp_path.glob("tracking-hooks-wandb-*"))
    assert not (tmp_path / "home/.local").exists()
    assert not (tmp_path / "home/.cache/wandb").exists()


def test_the_standin_is_not_needed_for_an_offline_run(offline, save_dir):
    standin = WandbStandIn()
    standin.start()
    try:
        deliver(recorded_run(save_dir), {**offline, "base_url": standin.url})
        assert standin.requests == []
    finally:
        standin.stop()
