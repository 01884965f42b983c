"""What a script does with its run, while it is trained and afterwards."""

import io
import json
import logging
import math
import sys

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

import tracking_hooks
from tests.support.runs import read_calls
from tracking_hooks.events import Capture
from tracking_hooks.predictions import Box, read_member
from tracking_hooks.recording import boxes as boxed
from tracking_hooks.recording import given, process, waiting
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import index, state
from tracking_hooks.run.layout import Cursor, write_json
from tracking_hooks.settings import Settings
from tracking_hooks.testing import sample_run
from tracking_hooks.testing.scribe import Scribe


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


@pytest.mark.parametrize(
    "name", [".env", "debug.log", "notes.TXT", "setup.toml", "mine.yml", "mine.ini", "mine.cfg", "MINE.YAML", "README"]
)
def test_every_text_is_given_without_its_secrets_whatever_it_is_called(recorder, tmp_path, name):
    (tmp_path / name).write_bytes("größe: 3\r\npassword: hunter2hunter2\r\n".encode())
    tracking_hooks.log_artifact(tmp_path / name)
    assert list(kept(recorder, "on_artifact").values()) == ["größe: 3\r\npassword: [redacted]\r\n".encode()]


@pytest.mark.parametrize("content", [b"PK\3\4\0password: hunter2hunter2", b"\xff\xfe\x80password: hunter2hunter2"])
def test_a_file_that_is_no_text_is_given_as_it_is(recorder, tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    tracking_hooks.log_artifact(tmp_path / "data.npz")
    assert kept(recorder, "on_artifact") == {"data.npz": content}


def test_a_folder_is_given_without_the_text_that_is_too_large_and_that_is_said(recorder, tmp_path, caplog):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.txt").write_text("a")
    (tmp_path / "mine/large.txt").write_text("ö" * 500_001)
    (tmp_path / "mine/z.bin").write_bytes(b"\0" * 1_000_001)
    tracking_hooks.log_artifact(tmp_path / "mine")
    assert list(kept(recorder, "on_artifact")) == ["mine/a.txt", "mine/z.bin"]
    assert f"{tmp_path / 'mine/large.txt'} (1.0 MB) is not delivered" in caplog.text


def test_a_large_text_is_given_as_it_is_if_the_setting_says_so(recorder, tmp_path):
    recorder.settings = msgspec.structs.replace(recorder.settings, large_texts="on")
    (tmp_path / "large.txt").write_text("password: hunter2hunter2\n" * 50_000)
    tracking_hooks.log_artifact(tmp_path / "large.txt")
    (content,) = kept(recorder, "on_artifact").values()
    assert content == (tmp_path / "large.txt").read_bytes()


def test_a_folder_is_given_with_all_that_is_in_it(recorder, tmp_path):
    (tmp_path / "mine/deep").mkdir(parents=True)
    (tmp_path / "mine/a.txt").write_text("a")
    (tmp_path / "mine/deep/b.txt").write_text("b")
    tracking_hooks.log_artifact(tmp_path / "mine")
    assert kept(recorder, "on_artifact") == {"mine/a.txt": b"a", "mine/deep/b.txt": b"b"}


def test_a_very_large_file_is_linked_and_that_is_said(recorder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(given, "MOST", 3)
    (tmp_path / "large.bin").write_bytes(b"\0large")
    tracking_hooks.log_artifact(tmp_path / "large.bin")
    assert "is linked, not copied: do not write to it before it is delivered" in caplog.text
    (tmp_path / "large.bin").unlink()
    assert kept(recorder, "on_artifact") == {"large.bin": b"\0large"}


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


# -- pictures with boxes --------------------------------------------------------------------------------------

CAR = {"label": "car", "box": [10, 20, 30, 40]}
SCENE = np.zeros((100, 200, 3), np.uint8)


def one_seen(recorder):
    (args,) = recorded(recorder, "on_predictions")
    return args, args["images"][0]


def test_boxes_with_a_confidence_are_predictions_and_are_compared_with_the_labels(recorder):
    found = [
        {**CAR, "box": [10, 20, 30, 41], "confidence": 0.9},
        {"label": "bus", "box": [100, 0, 150, 50], "confidence": 0.95},
        {"label": "car", "box": [50, 50, 60, 60], "confidence": 0.5},
        {"label": "car", "box": [70, 70, 80, 80], "confidence": 0.1},  # below what counts
    ]
    labels = [CAR, {"label": "van", "box": [100, 0, 150, 50]}, {"label": "car", "box": [0, 80, 20, 100]}]
    tracking_hooks.log_image("samples/street", SCENE, step=3, boxes=[*found, *labels])
    args, image = one_seen(recorder)
    assert (args["artifact"].name, args["step"]) == ("samples/street", 3)
    assert args["classes"] == {0: "bus", 1: "car", 2: "van"}
    assert (image.path, image.width, image.height) == ("samples/street", 200, 100)
    assert [(box.label, box.confidence, box.match) for box in image.predictions] == [
        ("bus", 0.95, 1), ("car", 0.9, 0), ("car", 0.5, None),
    ]  # fmt: skip
    assert [(box.label, box.match) for box in image.labels] == [("car", 1), ("van", 0), ("car", None)]
    assert image.labels[0].iou == image.predictions[1].iou == pytest.approx(20 / 21, abs=1e-4)
    assert image.reason == "1 missed, 1 false positive, 1 van taken for bus"
    assert image.score == pytest.approx(1 - 2 * 1 / (3 + 3), abs=1e-4)


@pytest.mark.parametrize("boxes", [[CAR], [{**CAR, "confidence": 0.9}], []], ids=["labels", "predictions", "none"])
def test_without_anything_to_compare_with_nothing_is_called_a_mistake(recorder, boxes):
    tracking_hooks.log_image("street", SCENE, boxes=boxes)
    _, image = one_seen(recorder)
    assert (len(image.labels) + len(image.predictions), image.score, image.reason) == (len(boxes), None, "")


def test_labels_of_which_the_model_is_sure_of_none_are_missed(recorder):
    tracking_hooks.log_image("street", SCENE, boxes=[CAR, {**CAR, "confidence": 0.2}])
    assert one_seen(recorder)[1].reason == "1 missed"


def test_boxes_are_taken_as_tensors_arrays_and_structs(recorder):
    label = Box(label="car", box=(10.0, 20.0, 30.0, 40.0), match=7)
    found = {"label": "car", "box": torch.tensor([10.5, 20, 30, 40]), "confidence": torch.tensor(0.75)}
    outline = {"label": "van", "polygon": np.array([[50, 0], [70, 0], [60, 30]]), "keypoints": [(55, 5), (60, 6, 0.5)]}
    tracking_hooks.log_image("street", SCENE, boxes=(label, found, outline))
    _, image = one_seen(recorder)
    assert [box.box for box in image.labels] == [(10, 20, 30, 40), (50, 0, 70, 30)]
    assert image.labels[1].polygon == [(50, 0), (70, 0), (60, 30)]
    assert image.labels[1].keypoints == [(55, 5, 1), (60, 6, 0.5)]
    assert (image.predictions[0].box, image.predictions[0].confidence) == ((10.5, 20, 30, 40), 0.75)
    assert (image.labels[0].match, image.labels[1].match) == (0, None)


def test_boxes_end_at_the_edge_of_the_image(recorder):
    tracking_hooks.log_image("street", SCENE, boxes=[{**CAR, "box": [-5, 20, 230, 140]}])
    assert one_seen(recorder)[1].labels[0].box == (0, 20, 200, 100)


def test_classes_have_the_indices_of_the_data_set(recorder, tmp_path):
    """So that trackers draw a class in the same color at each step."""
    scribe = Scribe(tmp_path / "scribe")
    scribe.start(1)
    recorder.record("on_train_start", **scribe.calls[1].args)
    for name in ("car", "square"):
        tracking_hooks.log_image("street", SCENE, boxes=[{**CAR, "label": name}])
    assert [args["classes"] for args in recorded(recorder, "on_predictions")] == [
        {0: "square", 1: "circle", 2: "car"}, {0: "square", 1: "circle"},
    ]  # fmt: skip


def small_picture(recorder):
    args, image = one_seen(recorder)
    archive = recorder.folder.files / f"{args['artifact'].digest}.zip"
    with Image.open(io.BytesIO(read_member(archive, image.picture))) as opened:
        opened.load()
        return opened, (image.width, image.height)


@pytest.mark.parametrize("library", ["Pillow", "OpenCV"])
def test_the_picture_is_reduced_and_the_boxes_stay_in_pixels_of_the_image(recorder, tmp_path, monkeypatch, library):
    """A photo is shown as its camera was held."""
    photo = Image.new("RGB", (1600, 800), (255, 0, 0))
    exif = photo.getexif()
    exif[0x0112] = 6  # turned by a quarter
    photo.save(tmp_path / "photo.jpg", exif=exif)
    if library == "OpenCV":
        monkeypatch.setitem(sys.modules, "PIL", None)
    tracking_hooks.log_image("photo", tmp_path / "photo.jpg", boxes=[{**CAR, "box": [0, 1500, 800, 1600]}])
    monkeypatch.undo()
    shown, size = small_picture(recorder)
    assert (shown.size, size) == ((320, 640), (800, 1600))
    assert shown.getpixel((10, 10)) == pytest.approx((254, 0, 0), abs=3)


@pytest.mark.parametrize("library", ["Pillow", "OpenCV"])
@pytest.mark.parametrize("kind", ["grey", "16 bits"])
def test_a_picture_without_colors_is_shown_as_bright_as_it_is(recorder, kind, library, tmp_path, monkeypatch):
    picture = np.full((10, 20), 0.5)
    if kind == "16 bits":
        picture = tmp_path / "grey.png"
        Image.fromarray(np.full((10, 20), 128 * 256, np.uint16)).save(picture)
    if library == "OpenCV":
        monkeypatch.setitem(sys.modules, "PIL", None)
    tracking_hooks.log_image("grey", picture, boxes=[])
    monkeypatch.undo()
    shown, size = small_picture(recorder)
    assert (shown.size, size, shown.mode) == ((20, 10), (20, 10), "RGB")
    assert shown.getpixel((5, 5)) == pytest.approx((128, 128, 128), abs=2)


def test_so_many_boxes_are_kept_that_a_tracker_can_show_them(recorder, monkeypatch):
    monkeypatch.setattr(boxed, "MOST", 2)
    tracking_hooks.log_image("street", SCENE, boxes=[{**CAR, "confidence": conf} for conf in (0.5, 0.9, 0.7)])
    _, image = one_seen(recorder)
    assert ([box.confidence for box in image.predictions], image.left_out) == ([0.9, 0.7], 1)


def test_a_picture_with_boxes_is_added_after_the_end_too(ended):
    tracking_hooks.log_image("street", SCENE, 4, boxes=[CAR])
    ((hook, args),) = added()
    assert (hook, args["step"], args["images"][0].labels[0].label) == ("on_predictions", 4, "car")


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ({"label": "car"}, "boxes=dict is no list of boxes such as {'label': 'car', 'box': [left, top, right, bottom]"),
        ([[1, 2, 3, 4]], "boxes[0]=list is no box such as {'label'"),
        ([CAR, {**CAR, "score": 0.9}], "boxes[1] has 'score', which is none of: label, box, confidence, polygon, key"),
        ([{"box": [1, 2, 3, 4]}], "boxes[0]: label=None is not the name of a class"),
        ([{**CAR, "label": 3}], "boxes[0]: label=3 is not the name of a class"),
        ([{"label": "car"}], "boxes[0]: box=None is not [left, top, right, bottom]"),
        ([{**CAR, "box": [1, 2, 3]}], "boxes[0]: box=[1, 2, 3] is not [left, top, right, bottom]"),
        ([{**CAR, "box": [30, 2, 10, 4]}], "boxes[0]: box=[30, 2, 10, 4] is not [left, top, right, bottom]"),
        ([{**CAR, "box": [0, 0, math.nan, 4]}], "boxes[0]: box=[0, 0, nan, 4] is not [left, top, right, bottom]"),
        ([{**CAR, "box": "1234"}], "boxes[0]: box='1234' is not [left, top, right, bottom]"),
        ([{**CAR, "box": [201, 0, 300, 9]}], "lies outside of the image, which has 200 x 100 pixels"),
        ([{**CAR, "box": [0.1, 0.1, 0.5, 0.9]}], "boxes: all of them are within 0 to 1; they are given in pixels"),
        ([{**CAR, "confidence": 90}], "boxes[0]: confidence=90 is not a number from 0 to 1"),
        ([{**CAR, "confidence": "high"}], "boxes[0]: confidence='high' is not a number from 0 to 1"),
        ([{**CAR, "polygon": [[1, 2], [3, 4]]}], "boxes[0]: polygon has 2 points; an outline has at least three"),
        ([{**CAR, "polygon": [1, 2, 3, 4]}], "boxes[0]: polygon=[1, 2, 3, 4] is not a list of points [x, y]"),
        ([{**CAR, "keypoints": [[1]]}], "boxes[0]: keypoints=[[1]] is not a list of points [x, y]"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_box_is_said_and_names_it(recorder, boxes, said, caplog):
    tracking_hooks.log_image("street", SCENE, boxes=boxes)
    assert "log_image() is left out: boxes" in caplog.text
    assert said in caplog.text
    assert not recorded(recorder, "on_predictions")


@pytest.mark.parametrize("name", ["predictions", "worst"])
def test_a_picture_with_boxes_is_not_taken_for_what_a_training_shows(recorder, name, caplog):
    tracking_hooks.log_image(name, SCENE, boxes=[CAR])
    assert f"log_image() is left out: name='{name}' is what a training shows by itself" in caplog.text
    assert not recorded(recorder, "on_predictions")


@pytest.mark.parametrize("library", ["Pillow", "OpenCV"])
def test_a_file_that_is_no_picture_is_said_to_be_none_also_with_boxes(recorder, tmp_path, caplog, library, monkeypatch):
    (tmp_path / "photo.jpg").write_bytes(b"no picture")
    if library == "OpenCV":
        monkeypatch.setitem(sys.modules, "PIL", None)
    tracking_hooks.log_image("photo", tmp_path / "photo.jpg", boxes=[])
    assert f"log_image() is left out: image='{tmp_path}/photo.jpg' is no picture that can be read" in caplog.text


# -- tables ---------------------------------------------------------------------------------------------------


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
        ("log", ({"loss": 1.0}, 2**63), "log() is left out: step=9223372036854775808 is beyond 64 bits"),
        ("log", ({"": 1.0},), "'' in metrics is left out: it is no name"),
        ("log", ({"loss": "high"},), "metric 'loss' is left out: str is not a number"),
        ("log_params", ([1],), "log_params() is left out: params=[1] is not a dict"),
        ("set_tags", (None,), "set_tags() is left out: tags=None is not a dict"),
        ("log_artifact", ("gone.txt",), "log_artifact() is left out: path='gone.txt' does not exist"),
        ("log_artifact", (b"\0",), "log_artifact() is left out: path=b'\\x00' is not the path"),
        ("log_artifact", (".", "../up"), "log_artifact() is left out: name='../up' is not a name"),
        ("log_artifact", (".", "/up"), "log_artifact() is left out: name='/up' is not a name"),
        ("log_artifact", (".", "C:\\up"), "log_artifact() is left out: name='C:\\\\up' is not a name"),
        ("log_artifact", (".", "a//b"), "log_artifact() is left out: name='a//b' is not a name"),
        ("log_artifact", (".", "a\nb"), "log_artifact() is left out: name='a\\nb' is not a name"),
        ("log_artifact", (".", "é" * 128), "is longer than 255 bytes between two slashes"),
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


@pytest.mark.parametrize("step", [None, -1, 0, 3.0, 1 << 60, -(2**63), 2**63 - 1])
def test_a_step_is_any_whole_number_of_64_bits(recorder, step):
    tracking_hooks.log({"loss": 1.0}, step)
    assert [args["step"] for args in recorded(recorder, "on_log")] == [step]


TAKEN = ["x" * 600, "ö/ü 🐢", " a", "a:b?", "a\\b", "../a", "1"]


def test_a_name_of_one_line_is_taken_as_it_is(recorder, caplog):
    tracking_hooks.log(dict.fromkeys(TAKEN, 1.0))
    tracking_hooks.log_params(dict.fromkeys(TAKEN))
    tracking_hooks.set_tags(dict.fromkeys(TAKEN, "long\n" * 3000))
    assert [*recorded(recorder, "on_log")[0]["metrics"]] == TAKEN
    assert recorded(recorder, "on_params") == [{"params": dict.fromkeys(TAKEN)}]
    assert recorded(recorder, "on_tags") == [{"tags": dict.fromkeys(TAKEN, "long\n" * 3000)}]
    assert not caplog.messages


def test_of_a_name_the_line_breaks_are_spaces_and_what_has_no_name_is_left_out(recorder, caplog):
    """As where names of classes come from the lines of a file."""
    given = {"AP/cat\n": 1.0, "AP/\r\n\tdog": 2.0, "": 3.0, " ": 4.0, "\0": 5.0, "\ud800": 6.0}
    tracking_hooks.log(given)
    tracking_hooks.log_params(given)
    tracking_hooks.set_tags(given)
    names = {"AP/cat": 1.0, "AP/ dog": 2.0, "?": 6.0}
    assert recorded(recorder, "on_log") == [{"metrics": names, "step": None}]
    assert recorded(recorder, "on_params") == [{"params": names}]
    assert recorded(recorder, "on_tags") == [{"tags": {name: str(value) for name, value in names.items()}}]
    assert r"the name 'AP/cat\n' in metrics has line breaks or other control characters" in caplog.text
    assert r"'\x00' in tags is left out: it is no name" in caplog.text


def test_of_a_folder_the_file_is_left_out_whose_name_no_tracker_takes(recorder, tmp_path, caplog):
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("a.txt", "b\n.txt"):
        (folder / name).write_text(name)
    tracking_hooks.log_artifact(folder)
    assert [*kept(recorder, "on_artifact")] == ["notes/a.txt"]
    assert "b\n.txt is not delivered: name=" in caplog.text


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


def test_wait_ends_when_a_tracker_that_is_up_never_confirms(recorder, make_plugin, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(waiting, "NO_MORE", 0.2)
    plugin = make_plugin("""
        class Plugin(Notes):
            @hookimpl
            def flush(self):
                return 0
    """)
    settings = Settings(system_every=0.0, console="off")
    captures = {plugin: Capture(destination={"file": str(tmp_path / "unconfirmed")})}
    run = msgspec.structs.replace(sample_run(tmp_path / "project/other"), uid="unconfirmed")
    run.save_dir.mkdir(parents=True)
    logger = logging.getLogger("host")
    other = Recorder.start(run, captures, settings, logger, params={}, environment=recorder._early["environment"])
    other.begin(params={}, environment=recorder._early["environment"])
    try:
        assert tracking_hooks.current_run().wait()[plugin].pending == 1
        assert f"Pending events: {plugin} 1." in caplog.text
    finally:
        other.end("finished")
        other.supervisor.stop()


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
    assert f"added to train: {plugin}: 1 event delivered" in done.stdout
    assert len(index.all_runs()) == 2
    assert "on_log" in (tmp_path / "notes").read_text()
