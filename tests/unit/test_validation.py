"""What is told of a validation is what Ultralytics draws of it and prints, under the names that belong to it."""

import inspect
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("ultralytics", reason="ultralytics is not installed")

import torch
from ultralytics.utils import metrics as theirs

from tracking_hooks.hosts.ultralytics import classes, data, validation

NAMES = {0: "square", 1: "circle", 2: "triangle", 3: "star"}
HEADS = {
    "detect": {"Box": "box"}, "obb": {"Box": "box"}, "segment": {"Box": "box", "Mask": "seg"},
    "pose": {"Box": "box", "Pose": "pose"},
}  # fmt: skip
KINDS = {"detect": "DetMetrics", "obb": "OBBMetrics", "segment": "SegmentMetrics", "pose": "PoseMetrics"}
FILES = {"Precision-Recall": "PR", "F1-Confidence": "F1", "Precision-Confidence": "P", "Recall-Confidence": "R"}


@pytest.fixture
def drawn(monkeypatch):
    """The curves that Ultralytics draws: file to class to values."""
    found = {}

    def draw_pr(x, ys, ap, path, names=(), **_):
        found[path.name] = dict(zip(names.values(), ys))

    def draw_mc(x, ys, path, names=(), *_, **__):
        found[path.name] = dict(zip(names.values(), ys))

    monkeypatch.setattr(theirs, "plot_pr_curve", draw_pr)
    monkeypatch.setattr(theirs, "plot_mc_curve", draw_mc)
    return found


def measured(task, names=NAMES, there=(0, 2, 3), found=(0, 2, 3)):
    """The metrics of a validation in which each head has found something else.

    :param there: the classes of which there were labels
    :param found: those that something was taken for
    """
    metrics = getattr(theirs, KINDS[task])(names=names)
    for number, (prefix, head) in enumerate(HEADS[task].items()):
        rng = np.random.default_rng(number)
        right = np.sort(rng.random((40, 10)) < 0.6, axis=1)[:, ::-1]
        detections = right, rng.random(40), rng.choice(found or (9,), 40), rng.permutation(np.resize(there, 30))
        results = theirs.ap_per_class(*detections, plot=True, save_dir=Path(), names=names, prefix=prefix)
        getattr(metrics, head).update(results[2:])
    return SimpleNamespace(metrics=metrics, names=names, confusion_matrix=None)


def thinned(by_class):
    return {label: pytest.approx(row[::9]) for label, row in by_class.items()}


def check_that_it_is_drawn_so(curves, drawn, task):
    wanted = {
        f"{name}({prefix[0]})": drawn[f"{prefix}{file}_curve.png"]
        for prefix in HEADS[task]
        for name, file in FILES.items()
    }
    assert [curve.name for curve in curves] == list(wanted)
    for curve in curves:
        assert curve.y == thinned(wanted[curve.name])
        assert f"{curve.y_label}-{curve.x_label}" == curve.name.partition("(")[0]
        assert (curve.x[0], curve.x[-1]) == (0.0, 1.0)


@pytest.mark.parametrize("task", HEADS)
def test_a_curve_has_the_name_of_the_picture_and_the_classes_in_it(drawn, task):
    validator = measured(task)
    check_that_it_is_drawn_so(validation.curves(validator), drawn, task)


def test_curves_of_poses_are_not_called_curves_of_boxes(drawn, monkeypatch):
    """Releases such as 8.3.200 and 8.4.0 name those of the boxes twice, then those of the poses: twelve for eight."""
    of_boxes = [f"{name}(B)" for name in FILES]
    names = [*of_boxes, *of_boxes, *(f"{name}(P)" for name in FILES)]
    monkeypatch.setattr(theirs.PoseMetrics, "curves", property(lambda _: names))
    check_that_it_is_drawn_so(validation.curves(measured("pose")), drawn, "pose")


@pytest.mark.parametrize("found", [(0, 3), (3,), ()], ids=str)
def test_a_class_that_nothing_was_taken_for_takes_no_other_ones_curve(drawn, found):
    """8.4.0 and earlier ones leave out its row of precision over recall, and draw the next one under its name."""
    validator = measured("detect", found=found)
    box = validator.metrics.box
    rows = {label: pytest.approx(row[::9]) for label, row in zip(("square", "triangle", "star"), whole_rows(box))}
    kept = [row for row in whole_rows(box) if row.any()]
    for given in (whole_rows(box), np.array(kept) if kept else np.zeros((1, 1000))):
        box.prec_values = given
        curve = validation.curves(validator)[0]
        assert (curve.name, curve.y) == ("Precision-Recall(B)", rows)


def whole_rows(box):
    """Return precision over recall with a row for each class, also of a release that leaves some out."""
    if len(box.prec_values) == len(box.ap_class_index):
        return box.prec_values
    whole = np.zeros((len(box.ap_class_index), 1000))
    if (detected := box.p_curve.any(axis=1)).any():
        whole[detected] = box.prec_values
    return whole


def test_rows_of_unknown_classes_are_nobodys():
    validator = measured("detect")
    validator.metrics.box.prec_values = validator.metrics.box.prec_values[:2]
    assert [curve.name for curve in validation.curves(validator)] == [f"{name}(B)" for name in [*FILES][1:]]


def test_a_curve_that_was_not_computed_is_left_out():
    """Older releases compute precision over recall only to draw it."""
    validator = measured("segment")
    validator.metrics.box.prec_values = validator.metrics.seg.prec_values = np.array([])
    names = [curve.name for curve in validation.curves(validator)]
    assert names == [f"{name}({head})" for head in "BM" for name in [*FILES][1:]]


def test_results_of_two_classes_of_the_same_name_are_kept_apart(drawn):
    validator = measured("segment", names={**NAMES, 3: "square"})
    assert [list(curve.y) for curve in validation.curves(validator)] == [["square", "triangle", "square #3"]] * 8
    of_classes = data.per_class(validator)
    metrics = validator.metrics
    assert of_classes == {
        label: dict(zip(metrics.keys, metrics.class_result(position)))
        for position, label in enumerate(("square", "triangle", "square #3"))
    }


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({0: "a", 1: "b"}, {0: "a", 1: "b"}),
        (["a", "b", "a"], {0: "a", 1: "b", 2: "a #2"}),
        (["a", "a #2", "a"], {0: "a", 1: "a #2", 2: "a #2 #2"}),
        ("depth", {0: "depth"}),
        ({"0": 1}, {0: "1"}),
        (None, {}),
    ],
)
def test_each_class_has_a_name_of_its_own(given, named):
    assert classes.named(given) == named


# -- the confusion matrix -----------------------------------------------------------------------------------------


@pytest.fixture
def picture(monkeypatch):
    """The picture that Ultralytics would save of a confusion matrix."""
    from matplotlib.figure import Figure

    if "names" not in inspect.signature(theirs.ConfusionMatrix).parameters:
        pytest.skip("this release of Ultralytics gives the names elsewhere")

    def look(confusion):
        seen = []
        monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: seen.append(figure.axes[0]))
        confusion.plot(normalize=False)
        (axes,) = seen
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("True", "Predicted")
        across, down = ([tick.get_text() for tick in ticks()] for ticks in (axes.get_xticklabels, axes.get_yticklabels))
        assert across == down
        return down, np.nan_to_num(np.ma.filled(axes.images[0].get_array(), 0.0)).tolist()

    return look


def objects(*classes, shift=0.0):
    boxes = torch.tensor([[20.0 * place + shift, 0, 20.0 * place + shift + 10, 10] for place in range(len(classes))])
    return {
        "cls": torch.tensor(classes, dtype=torch.float32),
        "bboxes": boxes,
        "conf": torch.full((len(classes),), 0.9),
    }


def test_the_confusion_matrix_of_a_detector_has_the_rows_and_columns_of_the_picture(picture):
    confusion = theirs.ConfusionMatrix(names=NAMES)
    confusion.process_batch(objects(0, 2, 2, 3), objects(0, 0, 2))  # one is confused, one is in the background
    confusion.process_batch(objects(), objects(1))  # one is missed
    found = validation.confusion_matrix(SimpleNamespace(confusion_matrix=confusion, names=NAMES))
    assert (found.labels, found.matrix) == picture(confusion)
    assert found.labels == [*NAMES.values(), "background"]
    assert found.matrix[2][0] == found.matrix[3][4] == found.matrix[4][1] == 1


def test_the_confusion_matrix_of_a_classifier_has_no_background(picture):
    confusion = theirs.ConfusionMatrix(names=NAMES, task="classify")
    confusion.process_cls_preds([torch.tensor([[1, 0], [2, 0]])], [torch.tensor([1, 3])])
    found = validation.confusion_matrix(SimpleNamespace(confusion_matrix=confusion, names=NAMES))
    labels, matrix = picture(confusion)
    assert (found.labels, found.matrix) == (labels[: len(NAMES)], matrix)  # 8.4.0 writes "background" beside nothing
    assert found.labels == list(NAMES.values())
    assert found.matrix[2][3] == 1


def test_a_class_that_is_called_background_is_not_what_belongs_to_no_class():
    confusion = SimpleNamespace(matrix=np.ones((3, 3)), names={0: "background", 1: "dog"})
    found = validation.confusion_matrix(SimpleNamespace(confusion_matrix=confusion, names=confusion.names))
    assert found.labels == ["background", "dog", "background #2"]


def test_a_matrix_without_names_has_those_of_the_validator():
    confusion = SimpleNamespace(matrix=np.ones((3, 3)))  # as in older releases
    for names in ({0: "cat", 1: "dog"}, ["cat", "dog"]):
        found = validation.confusion_matrix(SimpleNamespace(confusion_matrix=confusion, names=names))
        assert found.labels == ["cat", "dog", "background"]


# -- labels of pixels ---------------------------------------------------------------------------------------------


def segmented(names, predicted, true, folder):
    """A validation of the classes of pixels."""
    semantic = pytest.importorskip("ultralytics.models.yolo.semantic", reason="this release has no such task")
    from ultralytics.cfg import get_cfg

    validator = semantic.SemanticSegmentationValidator(save_dir=folder, args=get_cfg(overrides={"plots": False}))
    validator.init_metrics(SimpleNamespace(names=names))
    validator.update_metrics(torch.tensor([predicted]), {"semantic_mask": torch.tensor([true])})
    validator.get_stats()
    return validator


@pytest.mark.parametrize(
    ("names", "labels"), [({0: "road", 1: "sky"}, ["road", "sky"]), ({0: "road"}, ["background", "road"])]
)
def test_the_confusion_matrix_of_pixels_has_the_rows_and_columns_of_the_picture(picture, tmp_path, names, labels):
    validator = segmented(names, [[1, 1], [0, 1]], [[0, 1], [0, 255]], tmp_path)
    found = validation.confusion_matrix(validator)
    assert (found.labels, found.matrix) == picture(validator.confusion_matrix)
    assert (found.labels, found.matrix[1][0]) == (labels, 1.0)


@pytest.mark.parametrize("names", [{0: "road", 1: "sky", 2: "car"}, {0: "road"}], ids=len)
def test_the_metrics_of_classes_of_pixels_are_those_that_ultralytics_prints(tmp_path, names):
    validator = segmented(names, [[1, 1], [0, 1]], [[0, 1], [0, 255]], tmp_path)
    printed = {row["Class"]: row["IoU"] for row in validator.metrics.summary()}
    of_classes = data.per_class(validator)
    assert {label: values["metrics/mIoU"] for label, values in of_classes.items()} == pytest.approx(printed, abs=1e-5)
    assert validation.curves(validator) == []


def test_depths_have_no_classes(tmp_path):
    if not hasattr(theirs, "DepthMetrics"):
        pytest.skip("this release of Ultralytics has no depth")
    validator = SimpleNamespace(metrics=theirs.DepthMetrics(), confusion_matrix=None, names={0: "depth"})
    assert validation.parts(validator) == {"per_class": None, "curves": [], "confusion_matrix": None}


def test_a_classifier_has_its_confusion_matrix_and_no_curves():
    confusion = SimpleNamespace(matrix=np.eye(4))
    validator = SimpleNamespace(metrics=theirs.ClassifyMetrics(), confusion_matrix=confusion, names=NAMES)
    found = validation.parts(validator)
    assert (found["per_class"], found["curves"]) == (None, [])
    assert found["confusion_matrix"].labels == list(NAMES.values())


def test_a_part_that_cannot_be_read_is_left_out_alone(drawn):
    validator = measured("detect")
    validator.confusion_matrix = SimpleNamespace(matrix=np.ones((2, 2)), names=3)
    found = validation.parts(validator)
    assert found["confusion_matrix"] is None
    assert len(found["curves"]) == 4
    assert set(found["per_class"]) == {"square", "triangle", "star"}
