"""What a script does with its run, while it is trained and afterwards."""

import json
import logging
import math

import numpy as np
import pytest
import torch
from PIL import Image

import tracking_hooks
from tests.support.runs import read_calls
from tracking_hooks.events import Capture
from tracking_hooks.recording import given, process
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import index, state
from tracking_hooks.run.layout import Cursor, write_json
from tracking_hooks.settings import Settings
from tracking_hooks.testing import sample_run


@pytest.fixture
def recorder(make_plugin, environment, tmp_path):
    """A training in progress, tracked by a plugin that writes down what it is given."""
    run = sample_run(tmp_path / "project/train")
    run.save_dir.mkdir(parents=True)
    plugin = make_plugin("class Plugin(Notes): pass")
    captures = {plugin: Capture(destination={"file": str(tmp_path / "notes"), "id": "its-id"})}
    settings = Settings(system_every=0.0, console="off")
    recorder = Recorder.start(run, captures, settings, logging.getLogger("host"), params={}, environment=environment)
    recorder.begin(params={}, environment=environment)
    yield recorder
    recorder.end("finished")
    recorder.supervisor.stop()
    process.recorders.clear()


@pytest.fixture
def ended(recorder):
    recorder.end("finished")
    return recorder


def added():
    """What was added to the run since its end."""
    return [(call.hook, call.args) for one in process.addenda for call in read_calls(one.folder.journal)]


def recorded(recorder, hook):
    return [call.args for call in read_calls(recorder.folder.journal) if call.hook == hook]


def kept(recorder, hook):
    """The content of each file that was recorded, by name."""
    found = {}
    for args in recorded(recorder, hook):
        artifact = args["artifact"]
        found[artifact.name] = (recorder.folder.files / f"{artifact.digest}{artifact.path.suffix}").read_bytes()
    return found


# -- which run ------------------------------------------------------------------------------------------------


def test_there_is_no_run_before_the_first_training():
    assert tracking_hooks.current_run() is None


def test_the_handle_tells_of_the_run(recorder):
    run = tracking_hooks.current_run()
    (plugin,) = state.labels(recorder.folder)
    assert (run.uid, run.name, run.folder) == (recorder.run.uid, "train", recorder.folder.path)
    assert run.ids == {plugin: "its-id"}
    recorder.supervisor.stop()
    cursor = Cursor(state={"run_id": "abc", "url": "http://tracker/abc"})
    write_json(recorder.folder.relay(plugin).cursor, cursor)
    assert (run.ids, run.links) == ({plugin: "abc"}, {plugin: "http://tracker/abc"})


def test_the_last_run_of_the_process_stays_at_hand(ended):
    assert tracking_hooks.current_run().uid == ended.run.uid


def test_a_run_that_a_launched_process_has_recorded_is_at_hand(ended, monkeypatch):
    process.recorders.clear()
    monkeypatch.setattr(process, "launched", None)
    process.note_launched(ended.folder, Complaints(logging.getLogger("host")))
    run = tracking_hooks.current_run()
    run.log({"test/mAP50": 0.5})
    assert run.uid == ended.run.uid
    assert added() == [("on_log", {"metrics": {"test/mAP50": 0.5}, "step": None})]


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("log", ({"a": 1.0},)), ("log_params", ({"a": 1},)), ("set_tags", ({"a": "b"},)), ("log_artifact", ("a",)),
        ("log_image", ("a", "b")), ("log_table", ("a", [])),
    ],
)  # fmt: skip
def test_without_a_run_one_sentence_says_so(call, arguments, monkeypatch, caplog):
    monkeypatch.setattr("tracking_hooks.recording.handle._without_run", Complaints(logging.getLogger("ours")))
    getattr(tracking_hooks, call)(*arguments)
    assert not caplog.messages  # nobody has asked for tracking
    monkeypatch.setenv("TRACKING_HOOKS", "mlflow")
    for _ in range(2):
        getattr(tracking_hooks, call)(*arguments)
    (said,) = caplog.messages
    assert "what a script logs is left out while no training of this process is tracked" in said


# -- what is added --------------------------------------------------------------------------------------------


def test_params_tags_and_metrics_are_in_the_run(recorder):
    tracking_hooks.log({"mine": 1.0}, step=np.int64(3))
    tracking_hooks.log_params({"fold": 3, "model": {"width": np.float32(0.5)}, "api_token": "abcdefgh12345"})
    tracking_hooks.set_tags({"reviewed": True})
    assert recorded(recorder, "on_log") == [{"metrics": {"mine": 1.0}, "step": 3}]
    assert recorded(recorder, "on_params") == [
        {"params": {"fold": 3, "model": {"width": 0.5}, "api_token": "[redacted]"}}
    ]
    assert recorded(recorder, "on_tags") == [{"tags": {"reviewed": "True"}}]


def test_what_comes_after_the_end_is_added_to_the_run(ended, tmp_path):
    before = ended.folder.journal.read_bytes()
    (tmp_path / "notes.txt").write_text("notes")
    tracking_hooks.log({"test/mAP50": 0.5})
    tracking_hooks.set_tags({"reviewed": "yes"})
    tracking_hooks.log_artifact(tmp_path / "notes.txt")
    assert [hook for hook, _ in added()] == ["on_log", "on_tags", "on_artifact"]
    assert len(process.addenda) == 1
    assert ended.folder.journal.read_bytes() == before


def test_something_is_added_to_a_run_of_this_process_also_where_no_index_can_be_written(ended):
    index.forget(ended.folder)
    tracking_hooks.log({"test/mAP50": 0.5})
    assert [hook for hook, _ in added()] == ["on_log"]


def test_a_file_is_as_it_was_when_it_was_given(recorder, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("first")
    tracking_hooks.log_artifact(path, "mine/notes.txt")
    path.write_text("later")
    path.unlink()
    assert kept(recorder, "on_artifact") == {"mine/notes.txt": b"first"}


def test_a_text_is_given_without_its_secrets(recorder, tmp_path):
    (tmp_path / "mine.yaml").write_text("lr: 0.1\npassword: hunter2hunter2\n")
    tracking_hooks.log_artifact(tmp_path / "mine.yaml")
    (content,) = kept(recorder, "on_artifact").values()
    assert b"lr: 0.1" in content and b"hunter2" not in content


def test_a_folder_is_given_with_all_that_is_in_it(recorder, tmp_path):
    (tmp_path / "mine/deep").mkdir(parents=True)
    (tmp_path / "mine/a.txt").write_text("a")
    (tmp_path / "mine/deep/b.txt").write_text("b")
    tracking_hooks.log_artifact(tmp_path / "mine")
    assert kept(recorder, "on_artifact") == {"mine/a.txt": b"a", "mine/deep/b.txt": b"b"}


def test_a_very_large_file_is_linked_and_that_is_said(recorder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(given, "MOST", 3)
    (tmp_path / "large.bin").write_bytes(b"large")
    tracking_hooks.log_artifact(tmp_path / "large.bin")
    assert "is linked, not copied: do not write to it before it is delivered" in caplog.text
    (tmp_path / "large.bin").unlink()
    assert kept(recorder, "on_artifact") == {"large.bin": b"large"}


RED = np.zeros((4, 6, 3), np.uint8) + np.array([255, 0, 0], np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        RED,
        RED / 255,
        RED.astype(np.int64),
        Image.fromarray(RED),
        torch.from_numpy(RED).permute(2, 0, 1),
        (torch.from_numpy(RED).permute(2, 0, 1) / 255).to(torch.bfloat16).requires_grad_(),
    ],
    ids=["bytes", "floats", "integers", "Pillow", "tensor", "tensor of floats"],
)
def test_a_picture_is_kept_as_it_looks(recorder, picture):
    tracking_hooks.log_image("samples/red", picture, step=2)
    (args,) = recorded(recorder, "on_image")
    assert (args["artifact"].name, args["artifact"].kind, args["step"]) == ("samples/red", "plot", 2)
    with Image.open(recorder.folder.files / f"{args['artifact'].digest}.png") as found:
        assert np.array_equal(np.asarray(found.convert("RGB")), RED)


def test_a_grey_picture_and_a_figure_are_kept(recorder):
    from matplotlib.figure import Figure

    tracking_hooks.log_image("mask", np.eye(8, dtype=bool))
    tracking_hooks.log_image("figure", Figure())
    assert all(content.startswith(b"\x89PNG") for content in kept(recorder, "on_image").values())
    assert list(kept(recorder, "on_image")) == ["mask", "figure"]


def test_a_picture_in_a_file_is_taken_as_it_is_or_made_a_png(recorder, tmp_path):
    Image.fromarray(RED).save(tmp_path / "red.jpg")
    Image.fromarray(RED).save(tmp_path / "red.bmp")
    tracking_hooks.log_image("one", tmp_path / "red.jpg")
    tracking_hooks.log_image("other", str(tmp_path / "red.bmp"))
    found = kept(recorder, "on_image")
    assert found["one"] == (tmp_path / "red.jpg").read_bytes()
    assert found["other"].startswith(b"\x89PNG")


class Frame:
    """A data frame as pandas has it."""

    def to_dict(self, orient):
        return {"list": {"image": ["a.jpg", "b.jpg"], "AP": [np.float64(0.5), math.nan]}}[orient]


class PolarsFrame:
    """The same as Polars has it."""

    def to_dicts(self):
        raise NotImplementedError

    def to_dict(self, *, as_series):
        return Frame().to_dict("list") if not as_series else None


@pytest.mark.parametrize(
    "rows",
    [
        [{"image": "a.jpg", "AP": 0.5}, {"image": "b.jpg"}],
        {"image": ["a.jpg", "b.jpg"], "AP": np.array([0.5, math.nan])},
        Frame(),
        PolarsFrame(),
    ],
    ids=["rows", "columns", "pandas", "Polars"],
)
def test_a_table_is_kept_as_columns_and_rows(recorder, rows):
    tracking_hooks.log_table("errors", rows)
    (content,) = kept(recorder, "on_table").values()
    assert json.loads(content) == {"columns": ["image", "AP"], "data": [["a.jpg", 0.5], ["b.jpg", None]]}


def test_a_secret_that_was_set_since_the_run_began_is_masked(recorder, monkeypatch):
    monkeypatch.setenv("QUEUE_PASSWORD", "correct-horse")
    tracking_hooks.log_params({"note": "by correct-horse"})
    tracking_hooks.set_tags({"note": "correct-horse"})
    assert recorded(recorder, "on_params")[0]["params"] == {"note": "by [redacted]"}
    assert recorded(recorder, "on_tags")[0]["tags"] == {"note": "[redacted]"}


def test_a_table_is_without_secrets(recorder):
    tracking_hooks.log_table("users", [{"name": "ada", "password": "hunter2hunter2"}])
    (content,) = kept(recorder, "on_table").values()
    assert json.loads(content)["data"] == [["ada", "[redacted]"]]


@pytest.mark.parametrize(
    ("call", "arguments", "said"),
    [
        ("log", ("loss",), "log() is left out: metrics='loss' is not a dict"),
        ("log", ({"loss": 1.0}, "two"), "log() is left out: step='two' is not a whole number"),
        ("log", ({"loss": "high"},), "metric 'loss' is left out: str is not a number"),
        ("log_params", ([1],), "log_params() is left out: params=[1] is not a dict"),
        ("set_tags", (None,), "set_tags() is left out: tags=None is not a dict"),
        ("log_artifact", ("gone.txt",), "log_artifact() is left out: path='gone.txt' does not exist"),
        ("log_artifact", (b"\0",), "log_artifact() is left out: path=b'\\x00' is not the path"),
        ("log_artifact", (".", "../up"), "log_artifact() is left out: name='../up' is not a name"),
        ("log_image", ("a", object()), "log_image() is left out: image=object is none of"),
        ("log_image", ("a", np.zeros((2, 3, 4, 4))), "log_image() is left out: image: an array of shape (2, 3, 4, 4)"),
        ("log_image", ("", RED), "log_image() is left out: name='' is not a name"),
        ("log_table", ("a", "text"), "log_table() is left out: rows=str is no table"),
        ("log_table", ("a", {"x": [1], "y": [1, 2]}), "log_table() is left out: rows: the columns of a table"),
    ],
)
def test_what_is_wrong_costs_a_sentence_that_names_the_argument(recorder, call, arguments, said, caplog):
    before = [call for call in read_calls(recorder.folder.journal) if call.hook != "on_log"]
    getattr(tracking_hooks, call)(*arguments)
    assert said in caplog.text
    assert [call for call in read_calls(recorder.folder.journal) if call.hook != "on_log"] == before


# -- waiting --------------------------------------------------------------------------------------------------


def test_wait_returns_when_the_run_and_what_was_added_is_delivered(ended, tmp_path):
    tracking_hooks.log({"test/mAP50": 0.5})
    (delivery,) = tracking_hooks.current_run().wait().values()
    assert (delivery.delivered, delivery.pending, delivery.set_aside) == (3, 0, 0)
    assert sorted((tmp_path / "notes").read_text().split()) == ["1", "1", "2", "on_log", "on_run_end", "on_run_start"]


def test_wait_in_mid_training_is_for_what_was_recorded_so_far(recorder, tmp_path):
    tracking_hooks.log({"mine": 1.0})
    tracking_hooks.current_run().wait()
    assert "on_log" in (tmp_path / "notes").read_text()
    assert recorder.is_recording


def test_wait_is_not_for_ever(recorder):
    (plugin,) = state.labels(recorder.folder)
    recorder.supervisor.processes[plugin].terminate()
    delivery = tracking_hooks.current_run().wait(timeout=0)
    assert set(delivery) == {plugin}


def test_a_script_that_ends_waits_for_what_it_has_added_last(python, make_plugin, tmp_path):
    plugin = make_plugin("class Plugin(Notes): pass")
    done = python(
        f"""
        import logging, sys
        from pathlib import Path
        import msgspec, tracking_hooks
        from tracking_hooks.events import Capture
        from tracking_hooks.recording.environment import describe
        from tracking_hooks.recording.recorder import Recorder
        from tracking_hooks.settings import Settings
        from tracking_hooks.testing import sample_run
        logging.basicConfig(level=logging.INFO, stream=sys.stdout)
        sys.path.insert(0, {str(tmp_path / "code")!r})
        run = sample_run(Path({str(tmp_path)!r}) / "project/train")
        run.save_dir.mkdir(parents=True)
        captures = {{{plugin!r}: Capture(destination={{"file": {str(tmp_path / "notes")!r}}})}}
        settings = Settings(system_every=0.0, console="off")
        environment = describe([], [])
        recorder = Recorder.start(run, captures, settings, logging.getLogger(), params={{}}, environment=environment)
        recorder.begin(params={{}}, environment=environment)
        recorder.end("finished")
        tracking_hooks.log({{"test/mAP50": 0.5}})
        """
    )
    assert f"added to train: {plugin}: all 1 events delivered" in done.stdout
    assert len(index.all_runs()) == 2
    assert "on_log" in (tmp_path / "notes").read_text()
