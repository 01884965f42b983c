"""What a script logs itself, and what comes behind a run's end, is where people look for it in MLflow."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image

from tests.support.mlflow import MLflowReader
from tests.support.mlflow_parts import play_to_mlflow
from tracking_hooks.events import ConfusionMatrix, Curve, Missing, Rejected, Unavailable
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import STARTED, play, recorded_addendum, recorded_run, sample_addendum
from tracking_hooks_mlflow.files import MLflowFiles
from tracking_hooks_mlflow.run import MLflowRun
from tracking_hooks_mlflow.tracker import MLflowTracker

LATER = STARTED + 7200


@pytest.fixture
def added(save_dir):
    """An addendum to the sample run."""
    return sample_addendum(save_dir)


@pytest.fixture
def reader(store):
    return MLflowReader(store["tracking_uri"])


@pytest.fixture
def _ended(store, save_dir, run):
    play_to_mlflow(recorded_run(save_dir), run, destination=store)


ended = pytest.mark.usefixtures("_ended")


def everything(reader):
    run = reader.only_run()
    return {
        "points": {key: reader.history(run, key) for key in run.data.metrics if key != "val/box_loss"},
        "params": run.data.params,
        "tags": run.data.tags,
        "artifacts": sorted(reader.artifacts(run)),
        "info": dict(run.info),
    }


@ended
def test_what_comes_behind_the_end_is_in_the_run(store, reader, save_dir, added):
    play_to_mlflow(recorded_addendum(save_dir), added, destination=store)
    run = reader.only_run()
    assert run.data.params["fold"] == "3"
    assert run.data.tags["reviewed"] == "yes"
    assert reader.history(run, "mine/score") == [(7, 0.75)]
    assert reader.history(run, "test/metrics/mAP50-95B") == [(0, 0.61)]
    assert run.data.tags["tracking_hooks.evaluation.test"] == "best.pt"
    assert run.data.tags["tracking_hooks.export.onnx"] == "best.onnx, 16 bytes, of best.pt"
    assert {"notes.txt", "errors.json", "exports/best.onnx"} <= reader.artifacts(run)
    assert not [key for key in run.data.metrics if "per_class" in key], "they are a table"
    assert json.loads(reader.text(run, "evaluation/test/per_class.json")) == {
        "columns": ["class", "metrics/mAP50"],
        "data": [["square", 0.81]],
    }


@ended
def test_the_training_itself_stays_as_it_was(store, reader, save_dir, added):
    before = everything(reader)
    play_to_mlflow(recorded_addendum(save_dir), added, destination=store)
    after = everything(reader)
    assert after["info"] == before["info"]
    for kind in ("points", "params"):
        assert before[kind].items() <= after[kind].items()
    listed = "mlflow.loggedArtifacts"
    known = {key: value for key, value in before["tags"].items() if key != listed}
    assert known.items() <= after["tags"].items()
    assert set(before["artifacts"]) < set(after["artifacts"])


@ended
def test_a_replay_adds_nothing(store, reader, save_dir, added):
    calls = recorded_addendum(save_dir)
    calls.append(Call(9, calls[-1].time + 1, "on_log", {"metrics": {"mine/score": 0.8}, "step": None}))
    state = play_to_mlflow(calls, added, destination=store)
    once = everything(reader)
    play_to_mlflow(calls, added, destination=store, state=state)
    play_to_mlflow(calls, added, destination=store)  # its state lost
    assert everything(reader) == once


@pytest.mark.parametrize("part", [MLflowTracker, MLflowFiles])
def test_it_waits_for_its_run_and_never_makes_one(store, client, save_dir, run, added, part):
    calls = recorded_run(save_dir)
    with pytest.raises(Unavailable, match="what came after its end waits") as caught:
        play(part(), recorded_addendum(save_dir), added, destination=store)
    assert caught.value.only_this_run
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    first = play(MLflowTracker(), calls[:1], run, destination=store)
    assert play(part(), recorded_addendum(save_dir), added, destination=store)["run_id"] == first["run_id"]


def test_a_run_that_was_resumed_into_another_experiment_is_found(store, reader, save_dir, run, added):
    play_to_mlflow(recorded_run(save_dir), run, destination={**store, "experiment": "before"})
    play_to_mlflow(recorded_addendum(save_dir), added, destination=store)
    assert reader.only_run().data.tags["reviewed"] == "yes"


@ended
def test_a_late_value_is_the_last_one(store, reader, save_dir, run, added):
    """MLflow shows the value at the highest step; each process counts its own events from 1."""
    during = [Call(n, STARTED + n, "on_log", {"metrics": {"mine": n / 100}, "step": None}) for n in (7, 80)]
    play(MLflowTracker(), during, run, destination=store, before=recorded_run(save_dir))
    for seconds, value in ((1, 0.9), (2, 0.95)):
        process = replace(added, addendum=f"process-{seconds}")
        call = Call(1, LATER + seconds, "on_log", {"metrics": {"mine": value}, "step": None})
        play(MLflowTracker(), [call], process, destination=store)
        assert reader.only_run().data.metrics["mine"] == value
    assert [step for step, _ in reader.history(reader.only_run(), "mine")] == [7, 80, 81, 82]


@ended
def test_a_value_at_a_step_of_the_users_own_is_at_that_step(store, reader, added):
    call = Call(1, LATER, "on_log", {"metrics": {"fitness": 0.5}, "step": 2})
    play(MLflowTracker(), [call], added, destination=store)
    assert (2, 0.5) in reader.history(reader.only_run(), "fitness")


def test_a_param_of_the_trainings_keeps_its_value_and_the_users_is_a_tag(store, reader, save_dir, run):
    calls = [*recorded_run(save_dir)[:2], Call(3, STARTED + 3, "on_params", {"params": {"lr0": 0.5, "fold": 3}})]
    play_to_mlflow(calls, run, destination=store)
    found = reader.only_run()
    assert (found.data.params["lr0"], found.data.params["fold"]) == ("0.01", "3")
    assert found.data.tags["tracking_hooks.param.lr0"] == "0.5"


def test_a_long_param_is_whole_in_a_file(store, reader, save_dir, run):
    calls = [*recorded_run(save_dir)[:1], Call(2, STARTED, "on_params", {"params": {"prompt": "x" * 7000}})]
    play_to_mlflow(calls, run, destination=store)
    assert reader.text(reader.only_run(), "params/prompt.txt") == "x" * 7000


def test_tags_by_which_the_run_is_found_are_not_the_users(store, reader, save_dir, run):
    tags = {"mine": "1", "tracking_hooks.run_uid": "another"}
    play(MLflowTracker(), recorded_run(save_dir)[:2], run, destination=store)
    with pytest.raises(Rejected, match=r"set by tracking-hooks alone: tracking_hooks\.run_uid"):
        play(MLflowTracker(), [Call(3, STARTED, "on_tags", {"tags": tags})], run, destination=store)
    found = reader.only_run().data.tags
    assert (found["mine"], found["tracking_hooks.run_uid"]) == ("1", run.uid)


def test_a_description_of_the_users_own_stays_above_ours(store, reader, save_dir, run):
    calls = recorded_run(save_dir)
    note = Call(3, STARTED, "on_tags", {"tags": {"mlflow.note.content": "Fold 3, new augmentation."}})
    play_to_mlflow([*calls[:2], note, *calls[2:]], run, destination=store)
    text = reader.only_run().data.tags["mlflow.note.content"]
    assert text.startswith("Fold 3, new augmentation.\n\n")
    assert "**Result:** mAP50-95(B) 0.71, mAP50(B) 0.91, finished after 3 epochs" in text


def image(folder, name, step, color, kind="PNG"):
    path = folder / f"{step}.{kind.lower()}"
    Image.new("RGB", (600, 300), color).save(path, kind)
    (artifact,) = [call.args["artifact"] for call in recorded_addendum(folder) if call.hook == "on_image"]
    return {"artifact": replace(artifact, path=path, name=name, digest=f"{step:064x}"), "step": step}


def images(reader):
    """The parts of the names of a run's images: key, step and time of each, and how the name ends."""
    names = [name for name in reader.artifacts(reader.only_run()) if name.startswith("images/")]
    return {
        (*name.split("+")[:5], name[-len("+compressed.webp") :] if "+compressed" in name else ".png") for name in names
    }


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@ended
def test_images_are_in_the_grid_by_the_names_that_mlflows_own_have(store, reader, save_dir, added, kind, client):
    run_id = reader.only_run().info.run_id
    for step in (1, 2):
        call = Call(step, LATER + step, "on_image", image(save_dir, "samples/first", step, "red", kind))
        play(MLflowFiles(), [call], added, destination=store)
    ours = images(reader)
    assert len(ours) == 4
    assert reader.only_run().data.tags["mlflow.loggedImages"] == "True"
    for step in (1, 2):
        time = round((LATER + step) * 1000)
        client.log_image(run_id, Image.new("RGB", (9, 9)), key="samples/first", step=step, timestamp=time)
    assert images(reader) == ours


@ended
def test_that_there_are_images_is_said_once_for_many(store, save_dir, added, monkeypatch):
    said, tag = [], MLflowRun.tag
    monkeypatch.setattr(MLflowRun, "tag", lambda self, tags: (said.append(tags), tag(self, tags)))
    calls = [Call(step, LATER + step, "on_image", image(save_dir, "sample", step, "red")) for step in (1, 2, 3)]
    play(MLflowFiles(), calls, added, destination=store)
    assert said == [{"mlflow.loggedImages": "True"}]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@ended
def test_an_image_and_its_small_copy_can_be_opened(store, reader, save_dir, added, kind, client):
    play(MLflowFiles(), [Call(1, LATER, "on_image", image(save_dir, "a", 1, "red", kind))], added, destination=store)
    run = reader.only_run()
    small, large = sorted(name for name in reader.artifacts(run) if name.startswith("images/"))
    for name, size in ((small, (256, 128)), (large, (600, 300))):
        with Image.open(client.download_artifacts(run.info.run_id, name)) as opened:
            assert opened.size == size
            assert opened.format == Path(name).suffix[1:].upper()


def test_what_is_no_image_is_uploaded_as_it_is(store, reader, save_dir, run):
    start = recorded_run(save_dir)[0]
    given = image(save_dir, "broken", 1, "red")
    given["artifact"].path.write_bytes(b"no image")
    play_to_mlflow([start, Call(2, STARTED, "on_image", given)], run, destination=store)
    found = reader.only_run()
    names = [name for name in reader.artifacts(found) if name.startswith("images/broken+")]
    assert [reader.text(found, name) for name in names] == ["no image", "no image"]


@ended
def test_a_table_is_one_that_mlflow_loads(store, reader, save_dir, added, monkeypatch):
    (table,) = [call for call in recorded_addendum(save_dir) if call.hook == "on_table"]
    steps = [replace(table, seq=n, args={**table.args, "step": n}) for n in (1, 2)]
    play(MLflowFiles(), [table, *steps], added, destination=store)
    run = reader.only_run()
    listed = [item["path"] for item in json.loads(run.data.tags["mlflow.loggedArtifacts"])]
    assert {"errors.json", "errors/step_1.json", "errors/step_2.json"} <= set(listed) & reader.artifacts(run)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store["tracking_uri"])  # it searches there, whatever the client is of
    loaded = reader.client.load_table(run.info.experiment_id, "errors.json", run_ids=[run.info.run_id])
    assert loaded["image"].tolist() == ["a.jpg", "b.jpg"]
    assert loaded["AP"].iloc[0] == 0.5


@ended
def test_more_tables_than_a_tag_holds_leave_the_latest_listed(store, reader, save_dir, added):
    (table,) = [call for call in recorded_addendum(save_dir) if call.hook == "on_table"]
    calls = [replace(table, seq=n, args={**table.args, "step": n}) for n in range(1, 150)]
    play(MLflowFiles(), calls, added, destination=store)
    run = reader.only_run()
    listed = [item["path"] for item in json.loads(run.data.tags["mlflow.loggedArtifacts"])]
    assert listed[-1] == "errors/step_149.json"
    assert "errors/step_1.json" in reader.artifacts(run)


@ended
def test_curves_of_an_evaluation_do_not_replace_those_of_the_training(store, reader, save_dir, added):
    before = reader.text(reader.only_run(), "tables/PR.json")
    (call,) = [call for call in recorded_addendum(save_dir) if call.hook == "on_evaluation"]
    curve = Curve(name="PR", x_label="R", y_label="P", x=[0.0], y={"square": [0.25]})
    matrix = ConfusionMatrix(labels=["square"], matrix=[[7.0]])
    args = {**call.args, "curves": [curve], "confusion_matrix": matrix}
    play(MLflowFiles(), [replace(call, args=args)], added, destination=store)
    run = reader.only_run()
    assert reader.text(run, "tables/PR.json") == before
    assert json.loads(reader.text(run, "evaluation/test/PR.json"))["data"] == [["square", 0.0, 0.25]]
    assert json.loads(reader.text(run, "evaluation/test/confusion_matrix.json"))["data"] == [["square", "square", 7.0]]


def evaluated(added, uid, seconds, value):
    """An addendum that has validated on the test split: with its table, its plot, and an export behind them."""
    calls = {call.hook: call for call in recorded_addendum(added.save_dir)}
    own = replace(added, addendum=uid)
    curve = Curve(name="PR", x_label="R", y_label="P", x=[0.0], y={"square": [value]})
    checkpoint = replace(calls["on_evaluation"].args["checkpoint"], path=Path(f"{uid}.pt"))
    files = {name: added.save_dir / f"{uid}-{name}" for name in ("PR.png", "best.onnx")}
    for path in files.values():
        path.write_text(uid)
    plot = replace(calls["on_artifact"].args["artifact"], path=files["PR.png"], name="evaluation/test/PR.png")
    exported = replace(calls["on_export"].args["artifact"], path=files["best.onnx"])
    told = [
        ("on_evaluation", {"curves": [curve], "metrics": {"score": value}, "checkpoint": checkpoint}),
        ("on_artifact", {"artifact": plot}),
        ("on_export", {"artifact": exported, "checkpoint": checkpoint}),
    ]
    return own, [
        Call(n, LATER + seconds + n, hook, {**calls[hook].args, **args}) for n, (hook, args) in enumerate(told, 1)
    ]


@ended
def test_an_evaluation_and_an_export_that_are_delivered_late_replace_nothing_newer(store, reader, added):
    old, new = evaluated(added, "old", 0, 0.25), evaluated(added, "new", 3600, 0.75)
    for own, calls in (new, old):
        play_to_mlflow(calls, own, destination=store)
    run = reader.only_run()
    assert json.loads(reader.text(run, "evaluation/test/PR.json"))["data"] == [["square", 0.0, 0.75]]
    assert reader.text(run, "evaluation/test/PR.png") == "new"
    assert reader.text(run, "exports/best.onnx") == "new"
    assert run.data.tags["tracking_hooks.evaluation.test"] == "new.pt"
    assert run.data.tags["tracking_hooks.export.onnx"].endswith("of new.pt")
    assert run.data.tags["tracking_hooks.evaluated.test"] == "2025-10-09T11:53:21.000000+00:00"
    assert run.data.metrics["test/score"] == 0.75
    assert sorted(value for _, value in reader.history(run, "test/score")) == [0.25, 0.75], "no number is lost"
    newest = evaluated(added, "newest", 7200, 0.5)
    play_to_mlflow(newest[1], newest[0], destination=store)
    run = reader.only_run()
    assert reader.text(run, "evaluation/test/PR.png") == reader.text(run, "exports/best.onnx") == "newest"
    assert run.data.tags["tracking_hooks.evaluation.test"] == "newest.pt"


LISTED = "mlflow.loggedArtifacts"


@ended
def test_relays_that_list_tables_at_once_lose_none(store, reader, save_dir, added, monkeypatch):
    (table,) = [call for call in recorded_addendum(save_dir) if call.hook == "on_table"]

    def list_table(uid, name):
        args = {**table.args, "artifact": replace(table.args["artifact"], name=name)}
        play(MLflowFiles(), [replace(table, args=args)], replace(added, addendum=uid), destination=store)

    real, others = MLflowRun.tag, ["third", "second"]

    def tag(self, tags):
        """Write the list as it was read; meanwhile other relays list a table each, and are done."""
        while LISTED in tags and others:
            name = others.pop()
            list_table(f"process-{name}", name)
        real(self, tags)

    monkeypatch.setattr(MLflowRun, "tag", tag)
    list_table("process-first", "first")
    listed = [item["path"] for item in json.loads(reader.only_run().data.tags[LISTED])]
    assert {"first.json", "second.json", "third.json", "tables/PR.json"} <= set(listed)
    assert len(listed) == len(set(listed))


@ended
def test_what_an_addendum_lacks_is_said_beside_what_the_run_lacks(store, reader, save_dir, run, added):
    def gap(name):
        return Missing(hook="on_artifact", name=name, reason="too large", first=4, last=4)

    calls = recorded_run(save_dir)
    play(MLflowFiles(), [], run, destination=store, before=calls, missing=[gap("results.csv")])
    play(MLflowFiles(), [], added, destination=store, missing=[gap("notes.txt")])
    tags = reader.only_run().data.tags
    assert "results.csv" in tags["tracking_hooks.incomplete.files"]
    assert "notes.txt" in tags[f"tracking_hooks.incomplete.files.{added.addendum}"]
    assert all(name in tags["mlflow.note.content"] for name in ("results.csv", "notes.txt"))
    play(MLflowFiles(), [], added, destination=store, missing=[])
    text = reader.only_run().data.tags["mlflow.note.content"]
    assert "results.csv" in text
    assert "notes.txt" not in text


@ended
def test_a_tag_that_ends_a_training_ends_no_addendum(store, client, reader, save_dir, added):
    tracker = MLflowTracker()
    play(tracker, recorded_addendum(save_dir), added, destination=store)
    client.set_tag(reader.only_run().info.run_id, "tracking_hooks.stop", "enough")
    assert tracker.poll() is None


def test_a_copy_that_lacks_events_takes_nothing_from_the_description(store, reader, save_dir, run):
    calls = recorded_run(save_dir)
    play(MLflowTracker(), calls, run, destination=store)
    without = [call for call in calls if call.hook not in ("on_train_start", "on_run_end")]
    play(MLflowTracker(), without, run, destination=store)  # by another machine, which has no state
    text = reader.only_run().data.tags["mlflow.note.content"]
    for part in ("yolo", "**Model:**", "**Result:** mAP50-95(B) 0.71, mAP50(B) 0.91, finished after 3 epochs"):
        assert part in text
