"""Images with labels and predictions: what W&B's own client writes for them, also when they come again."""

import io
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import wandb
from msgspec.structs import replace
from PIL import Image

from tests.support.wandb_files import WandbFiles
from tests.support.wandb_relay import WandbRelay
from tracking_hooks.drawing import draw
from tracking_hooks.events import Rejected
from tracking_hooks.predictions import Box, SeenImage, write_archive
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import STARTED, play, recorded_addendum, recorded_run, sample_addendum, sample_run
from tracking_hooks.testing.scribe import Scribe
from tracking_hooks_wandb import overlays
from tracking_hooks_wandb import service as service_module
from tracking_hooks_wandb.tracker import WandbTracker

pytestmark = pytest.mark.e2e

CLASSES = {0: "square", 1: "circle"}
# In an image of 200 x 100 pixels, whose picture has 64 x 32.
MISSED = Box(label="circle", box=(100.0, 50.0, 150.0, 100.0))
LABELS = [Box(label="square", box=(0.0, 0.0, 50.0, 25.0), match=0, iou=0.9), MISSED]
FOUND = [Box(label="square", box=(-4.0, 0.0, 50.0, 25.0), match=0, iou=0.9, confidence=0.8)]
MISTAKEN = SeenImage(
    path="val/a.jpg", width=200, height=100, picture="a.jpg", labels=LABELS, predictions=FOUND, score=1 / 3,
    reason="1 missed",
)  # fmt: skip
POSITION = {"minX": 0.0, "maxX": 0.25, "minY": 0.0, "maxY": 0.25}
BOXES = {
    "predictions": {
        "box_data": [
            {
                "position": POSITION, "class_id": 0, "box_caption": "square 0.80",
                "scores": {"confidence": 0.8, "iou": 0.9},
            }
        ],
        "class_labels": CLASSES,
    },
    "ground_truth": {
        "box_data": [
            {"position": POSITION, "class_id": 0, "box_caption": "square"},
            {
                "position": {"minX": 0.5, "maxX": 0.75, "minY": 0.5, "maxY": 1.0},
                "class_id": 1, "box_caption": "circle (missed)",
            },
        ],
        "class_labels": CLASSES,
    },
}  # fmt: skip


def picture(width=64, height=32, color=(200, 30, 30), format="jpeg"):
    file = io.BytesIO()
    Image.new("RGB" if isinstance(color, tuple) else "L", (width, height), color).save(file, format=format)
    return file.getvalue()


@pytest.fixture
def show(save_dir):
    """Record images, in the run of a scribe."""

    def shown(scribe, images, members, step=1, name="predictions"):
        artifact = scribe.added(f"{name}-{step}.zip", write_archive(members), "file", name)
        scribe.record("on_predictions", artifact=artifact, images=images, step=step, classes=CLASSES)

    return shown


@pytest.fixture
def seen(offline, save_dir, show):
    """Deliver an event to an offline run, and return what that holds."""

    def delivered(images, members, task="detect", **options):
        scribe = Scribe(save_dir)
        scribe.start(1)
        show(scribe, images, members, **options)
        play(WandbTracker(), scribe.calls, destination=offline, run=replace(sample_run(save_dir), task=task))
        return Found(Path(offline["folder"]))

    return delivered


class Found(WandbFiles):
    """What W&B's client has written."""

    def __init__(self, folder):
        super().__init__(folder)
        self.folder = folder / "files"

    def json(self, file):
        return json.loads((self.folder / file["path"]).read_text())

    def boxes(self, key="predictions/images"):
        """The boxes of each image, by group."""
        (row,) = [row[key] for row in self.history if key in row]
        return [boxes and {name: self.json(file)["box_data"] for name, file in boxes.items()} for boxes in _all(row)]

    def masks(self, key="predictions/images"):
        (row,) = [row[key] for row in self.history if key in row]
        return [
            {name: numpy.asarray(Image.open(self.folder / file["path"])) for name, file in (masks or {}).items()}
            for masks in row.get("all_masks") or [row.get("masks")]
        ]

    def table(self, key="predictions/table"):
        """The table as W&B's page has it: of an artifact, with the pictures."""
        entries = [entry for artifact in self.artifacts for entry in artifact.manifest.contents]
        files = {entry.path: Path(entry.local_path) for entry in entries}
        return json.loads(files[f"{key}.table.json"].read_text()), files


def _all(row):
    return row.get("all_boxes", [None]) if row["_type"] == "images/separated" else [row.get("boxes")]


def plain(row):
    """Without the step, which is part of the names of files."""
    return json.loads(re.sub(r"(?<=images_)\d+(?=_)", "", json.dumps(row)))


def test_boxes_are_written_as_by_the_users_own_call_of_wandb_image(seen, tmp_path):
    """The rows, the files and the classes in the config are those of a script that calls W&B by itself."""
    found = seen([MISTAKEN], {"a.jpg": picture()})
    ours = next(row["predictions/images"] for row in found.history if "predictions/images" in row)

    (tmp_path / "a.jpg").write_bytes(picture())
    by_hand = wandb.Image(
        str(tmp_path / "a.jpg"), caption="val/a.jpg · score 0.33 · 1 missed", boxes=BOXES,
        classes=[{"id": 0, "name": "square"}, {"id": 1, "name": "circle"}],
    )  # fmt: skip
    with wandb.init(mode="offline", dir=str(tmp_path / "theirs"), reinit="create_new") as run:
        run.log({"predictions/images": [by_hand]})
        folder = Path(run.dir)
    wandb.teardown()  # behind it, all is on disk
    theirs = Found(folder.parent)
    assert plain(ours) == plain(theirs.history[0]["predictions/images"])
    for group, file in ours["all_boxes"][0].items():
        assert found.json(file) == theirs.json(theirs.history[0]["predictions/images"]["all_boxes"][0][group])
    assert found.config["_wandb"]["bounding_box/class_labels"] == theirs.config["_wandb"]["bounding_box/class_labels"]


def test_the_panel_is_drawn_over_epochs_and_the_best_one_comes_last(offline, save_dir, show):
    """The epoch of the best checkpoint is recorded at the end: W&B's step rises, and the epoch tells which it is."""
    scribe = Scribe(save_dir)
    scribe.start(3)
    for epoch in (1, 3, 2):
        show(scribe, [MISTAKEN], {"a.jpg": picture()}, step=epoch)
    show(scribe, [MISTAKEN], {"a.jpg": picture()}, step=2, name="worst")
    play(WandbTracker(), scribe.calls, destination=offline, run=sample_run(save_dir))
    found = Found(Path(offline["folder"]))
    assert [x for x, _ in found.points("predictions/images", "epoch")] == [1, 3, 2]
    assert [x for x, _ in found.points("worst/images", "epoch")] == [2]
    steps = [row["_step"] for row in found.history]
    assert steps == sorted(set(steps))
    assert found.x_axes["predictions/*"] == found.x_axes["worst/*"] == "epoch"


def test_pictures_of_several_sizes_get_a_margin_so_that_the_panel_does_not_stretch_them(seen, caplog):
    upright = replace(MISTAKEN, path="val/b.jpg", picture="b.jpg", width=100, height=200)
    with caplog.at_level(logging.WARNING):
        found = seen([MISTAKEN, upright], {"a.jpg": picture(), "b.jpg": picture(32, 64)})
    assert "sizes do not match" not in caplog.text
    (row,) = [row["predictions/images"] for row in found.history if "predictions/images" in row]
    shown = [Image.open(found.folder / name) for name in row["filenames"]]
    assert [image.size for image in shown] == [(64, 64), (64, 64)]
    assert [found.boxes()[i]["ground_truth"][1]["position"] for i in (0, 1)] == [
        {"minX": 0.5, "minY": 0.25, "maxX": 0.75, "maxY": 0.5},
        {"minX": 0.5, "minY": 0.25, "maxX": 0.75, "maxY": 0.5},
    ]
    assert shown[0].getpixel((60, 10)) == pytest.approx((200, 30, 30), abs=6)
    assert shown[0].getpixel((60, 60)) == pytest.approx((114, 114, 114), abs=6)
    cells = [row[0] for row in found.table()[0]["data"]]
    assert [(cell["width"], cell["height"]) for cell in cells] == [(64, 32), (32, 64)]  # each as it is


def test_the_table_has_a_row_for_each_image_with_what_is_wrong_in_it(seen):
    taken = Box(label="circle", box=(0.0, 0.0, 50.0, 25.0), match=0, iou=0.9, confidence=0.8)
    alone = Box(label="circle", box=(60.0, 0.0, 90.0, 25.0), confidence=0.3)
    second = replace(MISTAKEN, path="val/b.jpg", predictions=[taken, alone], score=1.0, left_out=7)
    table, files = seen([second, MISTAKEN], {"a.jpg": picture()}, name="worst").table("worst/table")
    assert table["columns"] == [
        "image", "path", "score", "reason", "labelled", "predicted", "missed", "false positives", "wrong class",
    ]  # fmt: skip
    assert [row[1:] for row in table["data"]] == [
        ["val/b.jpg", 1.0, "1 missed", "1 square, 1 circle", "2 circle", 1, 1, 1],
        ["val/a.jpg", 0.3333, "1 missed", "1 square, 1 circle", "1 square", 1, 0, 0],
    ]
    first = table["data"][0][0]
    assert [box["box_caption"] for box in first["boxes"]["predictions"]] == [
        "circle 0.80 (is square)",
        "circle 0.30 (false positive)",
    ]
    assert first["caption"] == "val/b.jpg · score 1.00 · 1 missed · 7 more objects"
    assert files[first["path"]].read_bytes() == picture()
    classes = json.loads(files[first["classes"]["path"]].read_text())["class_set"]
    assert classes == [{"id": 0, "name": "square"}, {"id": 1, "name": "circle"}]


def test_the_outlines_of_objects_become_a_mask_in_which_the_most_confident_one_is_in_front(seen):
    square = [(0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)]
    sure = replace(FOUND[0], label="circle", polygon=square)
    unsure = replace(FOUND[0], confidence=0.3, polygon=[(x + 50, y) for x, y in square])
    image = replace(MISTAKEN, labels=[replace(LABELS[0], polygon=square)], predictions=[sure, unsure])
    found = seen([image], {"a.jpg": picture()}, task="segment")
    masks = found.masks()[0]
    assert [masks["predictions"][16, x] for x in (10, 30, 40, 60)] == [1, 1, 0, 255]
    assert [masks["ground_truth"][16, x] for x in (10, 30, 40)] == [0, 0, 255]
    labels = found.config["_wandb"]["mask/class_labels"]["predictions/images_wandb_delimeter_predictions"]
    assert labels["value"] == {"0": "square", "1": "circle"}  # what has no class has no color


def test_an_object_of_a_class_that_masks_have_no_room_for_has_a_box(tmp_path):
    (archive := tmp_path / "seen.zip").write_bytes(write_archive({"a.jpg": picture()}))
    outlined = replace(MISSED, label="zebra", match=None, polygon=[(0.0, 0.0), (50.0, 0.0), (50.0, 50.0)])
    image = replace(MISTAKEN, labels=[outlined], predictions=[])
    for number, has_mask in ((254, True), (255, False)):
        with overlays.unpacked(archive, [image], {number: "zebra"}, "segment") as pictures:
            shown = pictures.single()
        assert bool(shown._masks) == has_mask
        assert [box["class_id"] for box in shown._boxes["ground_truth"]._val] == [number]


def test_the_maps_of_a_semantic_segmentation_are_masks(seen):
    maps = {"t.png": picture(color=1, format="png"), "p.png": picture(color=255, format="png")}
    image = SeenImage(
        path="val/a.jpg", width=200, height=100, picture="a.jpg", score=0.5, label_map="t.png", predicted_map="p.png"
    )
    found = seen([image], {"a.jpg": picture(), **maps}, task="semantic")
    assert {name: set(mask.flat) for name, mask in found.masks()[0].items()} == {
        "ground_truth": {1}, "predictions": {255},
    }  # fmt: skip
    assert found.table()[0]["data"][0][1:] == ["val/a.jpg", 0.5, "", "", "", None, None, None]


CORNERS = [(50.0, 0.0), (100.0, 50.0), (50.0, 100.0), (0.0, 50.0)]


@pytest.mark.parametrize(
    ("task", "image"),
    [
        ("obb", replace(MISTAKEN, labels=[replace(MISSED, polygon=CORNERS)], predictions=[])),
        ("pose", replace(MISTAKEN, labels=[replace(MISSED, keypoints=[(110.0, 60.0, 2.0)])], predictions=[])),
        (
            "depth",
            SeenImage(
                path="val/a.jpg", width=200, height=100, picture="a.jpg", score=0.5, label_map="t.png",
                predicted_map="t.png", depths=(0.5, 8.0),
            ),
        ),
    ],
)  # fmt: skip
def test_what_w_and_b_has_no_overlay_for_is_drawn_with_the_labels_beside_the_predictions(seen, task, image):
    found = seen([image], {"a.jpg": picture(), "t.png": picture(color=9, format="png")}, task=task)
    assert (found.boxes(), found.masks()) == ([None], [{}])
    (row,) = [row["predictions/images"] for row in found.history if "predictions/images" in row]
    shown = Image.open(found.folder / row["filenames"][0])
    assert shown.width == 900
    archive = next((found.folder.parents[2] / "runs/train/added").glob("*.zip"))
    assert (found.folder / row["filenames"][0]).read_bytes() == draw(image, archive, CLASSES)
    cell = found.table()[0]["data"][0][0]
    assert "boxes" not in cell
    assert (cell["width"], cell["height"]) == shown.size


def test_a_whole_image_is_captioned_with_its_class_and_the_probable_ones(seen):
    image = SeenImage(
        path="val/a.jpg", width=200, height=100, picture="a.jpg", score=0.9, label="circle",
        probabilities={"square": 0.9, "circle": 0.1},
    )  # fmt: skip
    found = seen([image], {"a.jpg": picture()}, task="classify")
    (row,) = [row["predictions/images"] for row in found.history if "predictions/images" in row]
    assert row["captions"] == ["val/a.jpg · circle, predicted square 0.90, circle 0.10 · score 0.90"]
    cells = ["val/a.jpg", 0.9, "", "circle", "square 0.90, circle 0.10", None, None, 1]
    assert found.table()[0]["data"][0][1:] == cells


def test_the_users_own_image_has_its_own_name_and_step(seen):
    """Nothing is called missed where there are no labels to compare with."""
    image = SeenImage(
        path="samples/a", width=200, height=100, picture="a.jpg",
        predictions=[Box(label="car", box=(0.0, 0.0, 50.0, 25.0), confidence=0.5), replace(FOUND[0], match=None)],
    )  # fmt: skip
    found = seen([image], {"a.jpg": picture()}, name="samples/a", step=40)
    ((step, row),) = found.points("samples/a", "log_step")
    assert (step, row["_type"], row["caption"]) == (40, "image-file", "samples/a")
    (boxes,) = found.boxes("samples/a")
    assert [(box["class_id"], box["box_caption"]) for box in boxes["predictions"]] == [
        (2, "car 0.50"),  # a class that the data set does not have
        (0, "square 0.80"),
    ]
    assert [box["scores"] for box in boxes["predictions"]] == [{"confidence": 0.5}, {"confidence": 0.8}]
    assert not [row for row in found.history if "samples/a/table" in row]


@pytest.mark.parametrize("members", [{}, {"a.jpg": b"no picture"}])
def test_an_archive_without_the_picture_is_set_aside_and_says_so(seen, members):
    with pytest.raises(Rejected, match=r"a\.jpg of .*predictions-1\.zip cannot be shown in W&B: "):
        seen([MISTAKEN], members)


def test_pillow_is_imported_when_there_are_images():
    code = "import sys, wandb; sys.modules.setdefault('PIL', None); import tracking_hooks_wandb.tracker"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_no_images_are_no_row(seen):
    assert not [row for row in seen([], {}, name="worst").history if "worst/images" in row]


# -- online ---------------------------------------------------------------------------------------------------


@pytest.fixture
def _quick(monkeypatch):
    monkeypatch.setattr(service_module, "EVERY", 0.2)


@pytest.fixture
def calls(save_dir, show):
    scribe = Scribe(save_dir)
    scribe.start(1)
    upright = replace(MISTAKEN, path="val/b.jpg", picture="b.jpg", width=100, height=200)
    square = [(0.0, 0.0), (100.0, 0.0), (100.0, 100.0)]
    masked = replace(MISTAKEN, labels=[replace(LABELS[0], polygon=square)])
    for name, step in (("predictions", 1), ("worst", 1)):
        show(scribe, [masked, upright], {"a.jpg": picture(), "b.jpg": picture(32, 64)}, step=step, name=name)
    scribe.epoch(1)
    scribe.end(1, "finished")
    return scribe.calls


def media(run):
    return sorted(name for name in run.files if name.startswith("media/") and "curves" not in name)


@pytest.mark.usefixtures("_quick")
def test_what_is_given_again_is_not_there_twice(service, online, run, calls, die):
    """A relay that died before it wrote down what is safe: rows, files and versions of tables stay as they are."""
    relay = WandbRelay(calls, run, online)
    nothing = relay.safe, relay.saved
    relay.deliver(upto=4)
    die()
    before = media(service.run())
    tables = [(a.name, a.version, a.digest, sorted(a.files)) for a in service.artifacts if a.type == "run_table"]
    assert len(tables) == 2
    relay.safe, relay.saved = nothing
    relay.deliver(upto=4)
    assert media(service.run()) == before
    assert tables == [
        (a.name, a.version, a.digest, sorted(a.files)) for a in service.artifacts if a.type == "run_table"
    ]
    relay.deliver()
    found = service.run()
    assert [x for x, _ in found.points("predictions/images", "epoch")] == [1]
    for _, row in [*found.points("predictions/images"), *found.points("worst/images")]:
        named = [*row["filenames"], *(file["path"] for boxes in row["all_boxes"] for file in boxes.values())]
        named += [file["path"] for masks in row["all_masks"] if masks for file in masks.values()]
        assert {*named} <= {*found.files}


@pytest.mark.usefixtures("_quick")
def test_images_that_come_late_are_a_file(service, online, run, calls):
    (early, _) = [call.seq for call in calls if call.hook == "on_predictions"]
    relay = WandbRelay(calls, run, online).deliver(upto=6, skip=[early])
    relay.late(early)
    relay.deliver()
    relay.settle()
    assert service.run().points("predictions/images") == []
    assert service.run().files["predictions.zip"] == calls[early - 1].args["artifact"].path.read_bytes()


@pytest.mark.usefixtures("_quick")
def test_an_image_that_comes_after_the_end_goes_into_the_run(service, online, run, save_dir):
    WandbRelay(recorded_run(save_dir), run, online).deliver()
    added = recorded_addendum(save_dir)
    (image,) = [call.args["images"][0] for call in added if call.hook == "on_predictions"]
    one = [
        Call(call.seq, STARTED + 9000, call.hook, {**call.args, "images": [image], "step": 7})
        for call in added
        if call.hook == "on_predictions"
    ]
    WandbRelay(one, sample_addendum(save_dir), online).deliver()
    ((step, row),) = service.run().points("samples/boxes", "log_step")
    assert (step, row["_type"]) == (7, "image-file")
    assert {file["path"] for file in row["boxes"].values()} <= {*service.run().files}
