"""The model's own code, as MLflow loads it. Networks have random weights, which find little and are unsure of it."""

import base64
import inspect
import io
import json
import threading

import mlflow
import pytest

pytest.importorskip("ultralytics", reason="ultralytics is not installed")

import cv2
import numpy as np
import pandas as pd
import torch
from mlflow.pyfunc.scoring_server import predictions_to_json
from ultralytics import YOLO, cfg

from tracking_hooks_mlflow import package, yolo_model
from tracking_hooks_mlflow.yolo_model import read_images

NETWORKS = {
    "detect": "yolo26n.yaml", "segment": "yolo26n-seg.yaml", "pose": "yolo26n-pose.yaml", "obb": "yolo26n-obb.yaml",
    "classify": "yolo26n-cls.yaml",
}  # fmt: skip
DENSE = {"semantic": "yolo26n-sem.yaml", "depth": "yolo26n-depth.yaml"}
UNSURE = {"conf": 1e-5, "max_det": 4, "imgsz": 64}


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "noise.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8))
    return path


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Makes a model's folder of a checkpoint, as the relay does, once for each task."""
    made = {}

    def make(task):
        if task not in made:
            folder = tmp_path_factory.mktemp(task)
            torch.manual_seed(0)  # with some weights nothing is found at all
            YOLO({**NETWORKS, **DENSE}[task]).save(folder / "best.pt")
            contents = package.Contents(
                weights=folder / "best.pt", task=task, imgsz=64, model_id="m-1", run_id="1", created=0.0,
                python="3.11.7", versions={"ultralytics": "8.4.190", "torch": "2.14.1+cpu"},
            )  # fmt: skip
            (folder / "model").mkdir()
            package.write(folder / "model", contents)
            made[task] = folder
        return made[task]

    return make


@pytest.fixture(scope="module")
def detector(packages):
    return mlflow.pyfunc.load_model(str(packages("detect") / "model"))


def theirs(folder, picture):
    (result,) = YOLO(folder / "best.pt").predict(str(picture), save=False, verbose=False, **UNSURE)
    return result


@pytest.mark.parametrize("task", NETWORKS)
def test_the_table_has_what_ultralytics_finds(packages, picture, task):
    folder = packages(task)
    model = mlflow.pyfunc.load_model(str(folder / "model"))
    table = model.predict(str(picture), params=UNSURE)
    result = theirs(folder, picture)
    assert list(table.columns) == model.metadata.signature.outputs.input_names()
    assert 0 < len(table) <= UNSURE["max_det"]
    assert table["confidence"].is_monotonic_decreasing
    assert list(table["class"]) == [result.names[number] for number in table["class_id"]]
    if task == "classify":
        assert list(table["confidence"]) == pytest.approx(sorted(result.probs.data.tolist(), reverse=True)[:4])
        return
    found = result.obb if task == "obb" else result.boxes
    assert table[["x1", "y1", "x2", "y2"]].to_numpy() == pytest.approx(found.xyxy.numpy(), abs=1e-3)
    assert list(table["confidence"]) == pytest.approx(found.conf.tolist())
    if task == "segment":
        assert [np.shape(mask)[1] for mask in table["mask"]] == [2] * len(table)
        assert np.array(table["mask"][0]) == pytest.approx(result.masks.xy[0], abs=1e-3)
    if task == "pose":
        assert np.array(table["keypoints"].tolist()) == pytest.approx(result.keypoints.data.numpy(), abs=1e-3)
    if task == "obb":
        assert np.array(table["xywhr"].tolist()) == pytest.approx(result.obb.xywhr.numpy(), abs=1e-3)
        assert np.array(table["corners"].tolist()) == pytest.approx(result.obb.xyxyxyxy.numpy(), abs=1e-3)


def dense(packages, picture, task):
    """What the model says of a picture, and what Ultralytics itself does, where the labels are pixels."""
    if task not in cfg.TASKS:
        pytest.skip(f"this release of Ultralytics has no {task}")
    folder = packages(task)
    model = mlflow.pyfunc.load_model(str(folder / "model"))
    table = model.predict([str(picture)] * 2, params={"imgsz": 64})
    assert list(table.columns) == model.metadata.signature.outputs.input_names()
    predictions_to_json(table, answer := io.StringIO())  # as it is served
    assert len(json.loads(answer.getvalue())["predictions"]) == len(table)
    (result,) = YOLO(folder / "best.pt").predict(str(picture), imgsz=64, save=False, verbose=False)
    return table, result


def of_runs(size, counts):
    """A mask from its run lengths, as the README shows it."""
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size, order="F")


def test_the_table_has_the_regions_that_ultralytics_finds(packages, picture):
    table, result = dense(packages, picture, "semantic")
    for number in (0, 1):
        regions = table[table["image"] == number]
        found = np.full(result.orig_shape, 255)
        for _, row in regions.iterrows():
            found[of_runs(row["size"], row["counts"])] = row["class_id"]
        assert (found == result.semantic_mask.data.numpy()).all()
        said = {row["name"]: row["pixel_ratio"] for row in result.summary()}
        assert dict(zip(regions["class"], regions["share"])) == pytest.approx(said, abs=1e-5)
        assert regions["share"].is_monotonic_decreasing


def test_the_table_has_the_depths_that_ultralytics_finds(packages, picture):
    table, result = dense(packages, picture, "depth")
    depth = result.depth.data.numpy()
    assert list(table["image"]) == [0, 1]
    for _, row in table.iterrows():
        assert np.array(row["depth"]) == pytest.approx(depth, abs=1e-3)
        assert (row["min"], row["max"]) == pytest.approx((depth.min(), depth.max()))


@pytest.mark.parametrize(
    ("classes", "names", "expected"),
    [
        ([[0, 1], [0, 255], [0, 1]], {0: "road", 1: "sky"}, [("road", 0.5, [0, 3, 3]), ("sky", 1 / 3, [3, 1, 1, 1])]),
        ([[0, 1], [0, 255], [0, 1]], {0: "road"}, [("road", 1 / 3, [3, 1, 1, 1])]),  # 0 is what it is not
        ([[255, 255]], {0: "road", 1: "sky"}, []),
        ([[1, 1]], {0: "road", 1: "sky"}, [("sky", 1.0, [0, 2])]),
    ],
)
def test_a_region_is_told_by_run_lengths_that_begin_outside_of_it(classes, names, expected):
    rows = list(yolo_model._regions(np.array(classes, dtype=np.uint8), names))
    assert [(row["class"], row["share"], row["counts"]) for row in rows] == expected
    for row in rows:
        assert of_runs(row["size"], row["counts"]).mean() == row["share"]


def test_where_no_depth_is_known_there_is_no_nearest_point():
    row = yolo_model._depths(np.array([[0.0, 0.0]]))
    assert np.isnan([row["min"], row["max"]]).all()
    assert yolo_model._depths(np.array([[0.0, 2.00049]])) == {"min": 2.00049, "max": 2.00049, "depth": [[0.0, 2.0]]}


def forms(picture):
    """One image in every way that it may be given."""
    content, array = picture.read_bytes(), cv2.imread(str(picture))
    text = base64.b64encode(content).decode()
    return {
        "path": str(picture),
        "base64": text,
        "lines of base64": "\n".join(text[i : i + 76] for i in range(0, len(text), 76)),
        "data URI": f"data:image/png;base64,{text}",
        "bytes": content,
        "array": array,
        "batch": array[None],
        "large integers": array.astype(np.int64),
        "JSON of an array": array.tolist(),
        "list of paths": [str(picture)],
        "list of bytes": [content],
        "list of arrays": [array],
        "array of texts": np.array([[text]]),
        "array of objects": np.array([content, None], dtype=object)[:1],
        "series": pd.Series([str(picture)]),
        "dict": {"image": [text]},
        "table": pd.DataFrame({"image": [str(picture)], "more": [1]}),
        "table of bytes": pd.DataFrame({"image": [content]}),
        "table of arrays": pd.DataFrame({"image": [array]}),
        "table without a name": pd.DataFrame([text]),
    }


def test_an_image_may_be_given_in_many_ways(detector, picture):
    expected = detector.predict(str(picture), params=UNSURE)
    for name, form in forms(picture).items():
        pd.testing.assert_frame_equal(detector.predict(form, params=UNSURE), expected, obj=name)


def test_many_images_are_numbered(detector, picture):
    count = 35  # more than the network is given at once
    table = detector.predict([str(picture)] * count, params={**UNSURE, "max_det": 1})
    assert list(table["image"]) == list(range(count))


def test_images_may_be_of_different_sizes(detector, picture):
    array = cv2.imread(str(picture))
    table = detector.predict([array, array[:32, :40], array[:, :, 0]], params={**UNSURE, "max_det": 1})
    assert list(table["image"]) == [0, 1, 2]


@pytest.mark.parametrize("images", [[], np.zeros((64, 64, 3), np.uint8)], ids=["no image", "nothing to find"])
def test_an_empty_table_has_its_columns_and_types(detector, picture, images):
    table = detector.predict(images, params={"conf": 0.99})
    full = detector.predict(str(picture), params=UNSURE)
    assert len(table) == 0
    assert dict(table.dtypes) == dict(full.dtypes)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ("missing.jpg", "'missing.jpg' is no image's path"),
        ("https://example.com/bus.jpg", "no image's path"),
        ("0", "no image's path"),
        (b"", "0 bytes are no image"),
        (b"text", "4 bytes are no image"),
        (base64.b64encode(b"text").decode(), "no image's path"),
        (np.zeros((8, 8, 3), np.float32), "whole numbers from 0 to 255"),
        (np.full((8, 8, 3), 256), "whole numbers from 0 to 255"),
        (np.zeros(8, np.uint8), "2 or 3 dimensions"),
        (None, "not NoneType"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), "column named 'image'"),
        ({"picture": "x"}, "under the name 'image'"),
    ],
)
def test_what_is_no_image_is_refused_in_words(images, words):
    """Ultralytics itself would go out for these: cameras, screens, streams, addresses."""
    with pytest.raises(ValueError, match=words):
        list(read_images(images))


def test_requests_at_the_same_time_do_not_disturb_each_other(detector, picture):
    wanted = [1, 2, 3, 4] * 3
    counted = {}

    def ask(index, number):
        counted[index] = len(detector.predict(str(picture), params={**UNSURE, "max_det": number}))

    threads = [threading.Thread(target=ask, args=pair) for pair in enumerate(wanted)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [counted[index] for index in range(len(wanted))] == wanted


def test_code_and_package_tell_the_same():
    assert {task: tuple(columns) for task, columns in package.TASKS.items()} == yolo_model.COLUMNS
    source = inspect.getsource(yolo_model)
    assert "tracking_hooks" not in source, "it is loaded where this plugin is not"


def test_the_package_lacks_nothing_that_mlflow_writes(packages, tmp_path):
    """MLflow's own way, which loads the code and asks the network, makes the same."""
    folder = packages("detect") / "model"
    ours = mlflow.models.Model.load(str(folder))
    code = inspect.getsourcefile(yolo_model)
    mlflow.pyfunc.save_model(
        tmp_path / "theirs", python_model=code, artifacts={"weights": str(folder / "artifacts/best.pt")},
        signature=ours.signature, input_example=ours.load_input_example(str(folder)),
        pip_requirements=(folder / "requirements.txt").read_text().splitlines(),
    )  # fmt: skip
    written = mlflow.models.Model.load(str(tmp_path / "theirs"))
    flavor, same = ours.flavors["python_function"], written.flavors["python_function"]
    assert set(same) - set(flavor) == {"cloudpickle_version"}  # nothing of ours is pickled
    unlike = {"artifacts", "cloudpickle_version", "model_code_path", "python_version"}
    assert {key: flavor[key] for key in set(same) - unlike} == {key: same[key] for key in set(same) - unlike}
    assert ours.saved_input_example_info == written.saved_input_example_info
    assert ours.signature == written.signature
    names = {path.name for path in folder.rglob("*") if "__pycache__" not in path.parts}
    theirs = {path.name for path in (tmp_path / "theirs").rglob("*") if "__pycache__" not in path.parts}
    assert theirs == names
    for name in ("requirements.txt", "input_example.json"):
        assert (folder / name).read_text().strip() == (tmp_path / "theirs" / name).read_text().strip()
    serving = [json.loads((path / "serving_input_example.json").read_text()) for path in (folder, tmp_path / "theirs")]
    assert serving[0] == serving[1]
