"""The worst images of a validation: which they are, the list of what to label next, the command that shows them."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("ultralytics")

import numpy as np
import torch
from click.testing import CliRunner
from msgspec import structs
from ultralytics.utils.metrics import ConfusionMatrix as TheirMatrix

from tracking_hooks.cli import main
from tracking_hooks.events import Checkpoint, ConfusionMatrix
from tracking_hooks.hosts.ultralytics import portions
from tracking_hooks.hosts.ultralytics.looking import Sight
from tracking_hooks.hosts.ultralytics.objects import Objects
from tracking_hooks.hosts.ultralytics.worst import WholeValidation, Worst, rows_of_pairs
from tracking_hooks.predictions import CONFIDENT, OVERLAP, SeenImage
from tracking_hooks.run import copies, worst
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.worst import Wrong
from tracking_hooks.testing import recorded_run, sample_run, writing
from tracking_hooks.testing.scribe import Scribe

NAMES = {0: "square", 1: "circle", 2: "ring"}


def sight(score: float, reason: str = "1 missed") -> Sight:
    return Sight(SeenImage(path="", width=8, height=8, picture="", score=score, reason=reason))


# -- which images -----------------------------------------------------------------------------------------------


def test_the_worst_come_first_and_what_is_right_is_none_of_them():
    found = Worst({Path("/data/images/b.png"): "images/b.png"}, most=2)
    for name, score in {"a": 0.2, "b": 0.9, "c": 0.5, "d": 0.1}.items():
        found[Path(f"/data/images/{name}.png")] = sight(score)
    found[Path("/data/images/right.png")] = sight(0.0, reason="")
    assert [one.image.score for one in found.in_order().values()] == [0.9, 0.5]
    assert len(found) == 2, "nothing else is held"
    assert [(row.score, row.path) for row in found.rows()] == [
        (0.9, "images/b.png"), (0.5, "c.png"), (0.2, "a.png"), (0.1, "d.png"),
    ]  # fmt: skip


def test_of_equal_scores_more_mistakes_are_worse_and_then_the_first_that_came():
    found = Worst({}, most=3)
    for name, number in {"a": 1, "b": 2, "c": 1, "d": 1}.items():
        path = Path(f"/{name}.png")
        if found.note(path, 1.0, f"{number} missed", number):
            found[path] = sight(1.0)
    assert [path.stem for path in found.in_order()] == ["b", "a", "c"]


def test_an_image_that_comes_twice_is_there_once():
    found = Worst({}, most=2)
    for name, score in [("a", 0.5), ("a", 0.5), ("b", 0.7), ("c", 0.9), ("c", 0.9)]:
        found[Path(f"/{name}.png")] = sight(score)
    assert [path.stem for path in found.in_order()] == ["c", "b"]
    assert [row.path for row in found.rows()] == ["c.png", "b.png", "a.png"]


def test_what_another_rank_has_counted_is_added():
    found, other = Worst({}, most=2), Worst({}, most=2)
    for name, score in {"a": 0.5, "b": 0.1}.items():
        found[Path(f"/{name}.png")] = sight(score)
    for name, score in {"c": 0.7, "d": 0.2, "e": 0.3}.items():
        other[Path(f"/{name}.png")] = sight(score)
    found.add(other.ranked(), other.in_order())
    assert [path.stem for path in found.in_order()] == ["c", "a"]
    assert [row.path for row in found.rows()] == [f"{name}.png" for name in "caedb"]


def test_a_rank_leaves_what_it_has_counted_for_the_one_that_records(tmp_path):
    folder = RunFolder.beside(tmp_path / "train", "uid")
    folder.create()
    whole, other = WholeValidation(Reader(), {}), WholeValidation(Reader(), {})
    whole.confident, other.confident = Counter({(0, 1): 1}), Counter({(0, 1): 2, (1, 2): 3})
    other.worst[Path("/data/caf\udce9.png")] = sight(0.7)  # a name that is no UTF-8
    other.worst[Path("/data/a.png")] = sight(0.2)
    portions.leave(folder, 1, other)
    assert portions.add_others(folder, SimpleNamespace(world_size=3), whole) == [2], "it has left nothing"
    assert whole.confident == {(0, 1): 3, (1, 2): 3}
    assert whole.worst.rows() == other.worst.rows()
    assert whole.worst.in_order() == other.worst.in_order()
    assert not list(folder.path.glob("*-1.*")), "nothing of it stays"


def test_five_thousand_images_take_the_memory_of_a_few():
    found = Worst({}, most=24, listed=100)
    for number in np.random.default_rng(0).permutation(5_000):
        found[Path(f"/{number}.png")] = sight(number / 5_000)
        assert len(found) <= 24
    assert [path.stem for path in found.in_order()] == [str(number) for number in range(4_999, 4_975, -1)]
    assert [row.path for row in found.rows()] == [f"{number}.png" for number in range(4_999, 4_899, -1)]


# -- how mistakes are counted -----------------------------------------------------------------------------------


class Validator:
    """What is used of Ultralytics' validator, with images by chance."""

    def __init__(self, *, oriented: bool) -> None:
        self.names, self.seen = NAMES, []
        self.matrix = TheirMatrix(names=NAMES, task="obb" if oriented else "detect")
        self._oriented = oriented

    def _process_batch(self, predictions, labels):
        self.seen.append(labels["im_file"])
        return {"tp": None}

    def validate(self, images: int) -> None:
        """Compare labels with predictions that are near them, of another class, elsewhere, or not confident."""
        chance = torch.Generator().manual_seed(1)
        for number in range(images):
            labels, predictions = self._boxes(number % 7, chance), self._boxes(number % 11, chance)
            shared = min(len(labels["cls"]), len(predictions["cls"]))
            predictions["bboxes"][:shared] = labels["bboxes"][:shared] * (
                1 + 0.2 * torch.rand(shared, 1, generator=chance)
            )
            conf = torch.rand(len(predictions["cls"]), generator=chance).sort(descending=True).values
            predictions["conf"] = conf
            labels["im_file"] = f"/data/images/{number}.png"
            self._process_batch(predictions, labels)
            self.matrix.process_batch(predictions, labels, conf=CONFIDENT, iou_thres=OVERLAP)

    def _boxes(self, count: int, chance: torch.Generator) -> dict:
        corners = 40 * torch.rand(count, 2, generator=chance)
        sizes = 5 + 20 * torch.rand(count, 2, generator=chance)
        boxes = torch.cat([corners, sizes if self._oriented else corners + sizes], 1)
        if self._oriented:
            boxes = torch.cat([boxes, torch.rand(count, 1, generator=chance)], 1)
        return {"cls": torch.randint(0, 3, (count,), generator=chance).float(), "bboxes": boxes}


class Reader(Objects):
    """Notes which images are looked at closely."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = []

    def attach(self, validator, wanted) -> None:
        def look(predictions, labels):
            path = Path(labels["im_file"])
            if wanted(path):
                self.looked.append(path)
                self.seen[path] = sight(0.5)

        self._watch.before(validator, "_process_batch", look)


@pytest.mark.parametrize("oriented", [False, True], ids=["detect", "obb"])
def test_what_is_counted_image_by_image_sums_to_the_confusion_matrix(oriented):
    validator, reader = Validator(oriented=oriented), Reader()
    whole = WholeValidation(reader, {})
    whole.attach(validator)
    validator.validate(300)
    whole.detach()
    assert whole.error is None
    theirs = {(int(true), int(predicted)): int(validator.matrix.matrix[predicted, true])
              for predicted, true in np.argwhere(validator.matrix.matrix)}  # fmt: skip
    assert len(theirs) > 10, "classes are mixed up, too"
    assert whole.confident == theirs
    assert len(reader.looked) < 150, "only what is among the worst is looked at closely"
    assert set(whole.worst) <= set(reader.looked)
    assert "_process_batch" not in vars(validator)


def test_a_failure_while_counting_is_told_and_disturbs_no_validation():
    validator = Validator(oriented=False)
    whole = WholeValidation(Reader(), {})
    whole.attach(validator)
    validator._process_batch({"conf": None}, {"im_file": "/a.png", "cls": None})
    assert isinstance(whole.error, AttributeError)
    assert validator.seen == ["/a.png"]


def test_pairs_of_classes_are_those_of_the_matrix_most_frequent_first():
    matrix = ConfusionMatrix(
        labels=["square", "circle", "background"], matrix=[[38.0, 1.0, 300.0], [4.0, 20.0, 2.0], [1.0, 3.0, 0.0]]
    )
    assert rows_of_pairs(matrix, None) == [
        {"true": "background", "predicted": "square", "count": 300},
        {"true": "square", "predicted": "circle", "count": 4},
        {"true": "circle", "predicted": "background", "count": 3},
        {"true": "background", "predicted": "circle", "count": 2},
        {"true": "square", "predicted": "background", "count": 1},
        {"true": "circle", "predicted": "square", "count": 1},
    ]
    confident = Counter({(0, 2): 9, (0, 0): 30, (2, 0): 2})
    assert rows_of_pairs(matrix, confident)[:2] == [
        {"true": "square", "predicted": "background", "count": 1, "confident": 9},
        {"true": "background", "predicted": "square", "count": 300, "confident": 2},
    ]


# -- the list ---------------------------------------------------------------------------------------------------


def test_the_list_is_read_as_fiftyone_reads_it(tmp_path):
    """A CSV file with a column ``filepath``: absolute paths, which need no folder of the data set beside them."""
    image = tmp_path / 'with, comma and "quotes"/ä.png'
    rows = [
        Wrong(str(image), 2 / 3, "1 missed, 1 circle taken for square", "images/ä.png"),
        Wrong("/b.png", 0.5, "1 missed", "b.png"),
    ]
    (tmp_path / "label_next.csv").write_bytes(worst.listed(rows))
    with (tmp_path / "label_next.csv").open(encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [Path(row.pop("filepath")) for row in read] == [image, Path("/b.png")]
    assert [float(row.pop("score")) for row in read] == [0.6667, 0.5]
    assert read[0] == {"reason": "1 missed, 1 circle taken for square", "path": "images/ä.png"}


def test_the_list_is_no_larger_than_what_is_delivered(tmp_path):
    rows = [Wrong(f"/{'x' * 200}/{number}.png", 1.0, "1 missed", f"{number}.png") for number in range(10_000)]
    content = worst.listed(rows)
    assert 0.99 * copies.LARGE < len(content) <= copies.LARGE
    (tmp_path / "list.csv").write_bytes(content)
    assert [row.path for row in worst.read_list(tmp_path / "list.csv")] == [
        f"{number}.png" for number in range(content.count(b"\n") - 1)
    ]


# -- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def scribe(tmp_path):
    """Writes down a training that has come to its final validation."""
    scribe = Scribe(tmp_path / "train")
    scribe.start(3)
    scribe.epoch(1)
    return scribe


@pytest.fixture
def told(tmp_path, scribe):
    """A run whose worst images are recorded."""
    tell(scribe)
    scribe.end(3, "finished")
    return written(scribe, tmp_path)


def written(scribe, tmp_path):
    return writing.write(sample_run(tmp_path / "train"), scribe.calls, {})


def validate(scribe):
    best = Checkpoint(path=Path("best.pt"), kind="best")
    scribe.record("on_final_validation", metrics={}, per_class=None, curves=[], confusion_matrix=None, checkpoint=best)


def tell(scribe, step=2, pairs=None, rows=None):
    """Record the final validation, and the worst images behind it."""
    validate(scribe)
    seen = scribe.added("worst.zip", b"", "file", worst.IMAGES)
    reason = "2 missed, 1 false positive, 1 circle taken for square, 1 square taken for circle"
    images = [
        SeenImage(path=f"images/val/{name}.jpg", width=8, height=8, picture="a.jpg", score=score, reason=reason)
        for name, score in {"street" * 20: 1.0, "b": 0.4}.items()
    ]
    pairs = pairs or {"columns": ["true", "predicted", "count", "confident"], "data": [["circle", "square", 40, 3]]}
    table = scribe.added("mistakes.json", json.dumps(pairs).encode(), "table", worst.PAIRS)
    rows = rows or worst.listed(
        Wrong(f"/data/shapes {name}.jpg", 0.5, "1 missed", f"{name}.jpg") for name in ("a", "b", "\udcff")
    )
    listed = scribe.added("x.csv", rows, "table", worst.LIST)
    seen, table, listed = (structs.replace(artifact, epoch=step) for artifact in (seen, table, listed))
    scribe.record("on_table", artifact=table, step=None)
    scribe.record("on_artifact", artifact=listed)
    scribe.record("on_predictions", artifact=seen, images=images, step=step, classes=NAMES)


def test_worst_shows_images_pairs_and_where_the_list_is(cli, told, tmp_path):
    result = cli("worst", tmp_path / "train")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].endswith(f"({told.uid}): the worst 2 images, by the weights of epoch 2")
    assert lines[3] == (
        " 0.40  images/val/b.jpg  2 missed, 1 false positive, 1 circle taken for square, 1 square taken for circle"
    )
    assert lines[5:7] == ["true    predicted  count  confident", "circle  square     40     3"]
    assert lines[-2:] == ["All images with a mistake, the worst first:", f"  {tmp_path / 'train/added/x.csv'}"]


def test_worst_fits_a_terminal_of_80_columns(told, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    output = CliRunner(env={"COLUMNS": "80"}).invoke(main, ["worst", str(tmp_path / "train")]).output
    too_long = [line for line in output.splitlines() if len(line) > 80]
    assert [line for line in too_long if "/" not in line] == [], "only paths are not broken"
    assert "1 square taken for circle" in " ".join(output.split())


def test_worst_lists_files_for_cvat(cli, told, tmp_path):
    files = cli("worst", tmp_path / "train", "--files").stdout_bytes
    assert files.splitlines() == [b"/data/shapes a.jpg", b"/data/shapes b.jpg", os.fsencode("/data/shapes \udcff.jpg")]


def test_worst_as_data(cli, told, tmp_path):
    (found,) = json.loads(cli("worst", tmp_path / "train", "--json").output)
    assert (found["uid"], found["name"], found["epoch"]) == (told.uid, "train", 2)
    assert [image["score"] for image in found["images"]] == [1.0, 0.4]
    assert found["mistakes"] == [{"true": "circle", "predicted": "square", "count": 40, "confident": 3}]
    assert Path(found["csv"]).read_text(errors="replace").startswith("filepath,score,reason,path\n")


def test_worst_says_that_the_list_is_gone(cli, told, tmp_path):
    (tmp_path / "train/added/x.csv").unlink()
    assert "x.csv is gone" in cli("worst", tmp_path / "train").output
    result = cli("worst", tmp_path / "train", "--files")
    assert result.exit_code == 1
    assert "x.csv is gone" in result.output


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_what_a_script_logs_under_the_same_names_takes_no_place_of_ours(cli, scribe, tmp_path, is_first):
    def log_mine():
        table = scribe.added("mine.json", b'{"columns": ["mine"], "data": [[1]]}', "table", worst.PAIRS)
        scribe.record("on_table", artifact=table, step=None)
        scribe.record("on_artifact", artifact=scribe.added("mine.csv", b"mine\n1\n", "table", worst.LIST))
        seen = SeenImage(path="mine.jpg", width=8, height=8, picture="mine.jpg")
        shown = scribe.added("mine.zip", b"", "file", worst.IMAGES)
        scribe.record("on_predictions", artifact=shown, images=[seen], step=9, classes={})

    if is_first:
        log_mine()
    tell(scribe)
    if not is_first:
        log_mine()
        in_save_dir = scribe.added("copy.csv", b"mine\n1\n", "table", worst.LIST)
        scribe.record("on_artifact", artifact=structs.replace(in_save_dir, epoch=3))
    written(scribe, tmp_path)
    output = cli("worst", tmp_path / "train").output
    assert "by the weights of epoch 2" in output
    assert "circle  square     40     3" in output
    assert output.splitlines()[-1].endswith("x.csv")
    assert "mine" not in output


def test_of_two_final_validations_the_last_one_that_was_looked_at_is_told(cli, scribe, tmp_path):
    tell(scribe, step=2)
    tell(scribe, step=3)
    validate(scribe)
    written(scribe, tmp_path)
    assert "the worst 2 images, by the weights of epoch 3" in cli("worst", tmp_path / "train").output


@pytest.mark.parametrize(
    "rows", [b"filepath,score\n/a.jpg,0.5\n", b"filepath,score,reason,path\n/a.jpg\n", b"\0\xff", b'filepath,"\n']
)
def test_a_list_that_is_damaged_is_said_in_a_sentence(cli, scribe, tmp_path, rows):
    tell(scribe, rows=rows)
    written(scribe, tmp_path)
    result = cli("worst", tmp_path / "train", "--files")
    assert isinstance(result.exception, SystemExit)
    assert "x.csv is no list of images with mistakes, or is damaged" in " ".join(result.output.split())


@pytest.mark.parametrize("pairs", [{"columns": ["true"]}, {"columns": ["true"], "data": [[1, 2]]}, [1]], ids=str)
def test_a_table_that_is_damaged_is_said_and_the_images_are_shown(cli, scribe, tmp_path, pairs):
    tell(scribe, pairs=pairs)
    written(scribe, tmp_path)
    result = cli("worst", tmp_path / "train")
    assert result.exit_code == 0, result.output
    assert "mistakes.json is no table of pairs with mistakes, or is damaged" in result.output
    assert "images/val/b.jpg" in result.output


def test_worst_says_what_to_do_where_there_are_none(cli, tmp_path):
    writing.write(sample_run(tmp_path / "train"), recorded_run(tmp_path / "train"), {})
    result = cli("worst", tmp_path / "train")
    assert result.exit_code == 1
    assert "has no worst images. They are recorded at the end of a training that draws plots" in result.output
