"""Every task of Ultralytics: what it prints and draws is in the trackers, and its best checkpoint is a model."""

from __future__ import annotations

import base64
import io
import json
import sys
import zlib
from pathlib import Path
from statistics import fmean

import pytest
from PIL import Image

from tests.support import mistakes, tasks
from tracking_hooks.predictions import read_member
from tracking_hooks_mlflow import view
from tracking_hooks_mlflow.names import spelled
from tracking_hooks_tensorboard import names

pytestmark = pytest.mark.e2e

DENSE = ("semantic", "depth")
PLOTTED = ("obb", "classify", *DENSE)
CURVES = ("Precision-Recall", "F1-Confidence", "Precision-Confidence", "Recall-Confidence")
ANYTHING = {"conf": 1e-6, "imgsz": 32}  # an epoch teaches nothing, so the network is unsure of whatever it finds

ASK = """
import json, sys
import mlflow
model = mlflow.pyfunc.load_model("models:/things/1")
table = model.predict([sys.argv[1]], params=json.loads(sys.argv[2]))
print(json.dumps({"columns": list(table.columns), "signed": model.metadata.signature.outputs.input_names(),
    "rows": len(table), "classes": sorted(set(table["class"])) if "class" in table else []}))
"""


def charts(tags):
    """The metrics that the experiment's view draws."""
    packed = json.loads(tags[view.TAG])["state"].removeprefix("deflate;")
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    return {key for chart in state["compareRunCharts"] for key in chart.get("selectedMetricKeys", ())}


def check_images(calls, printed):
    """What is told of each image adds up to what Ultralytics has printed, and its maps lie over its picture."""
    shown = [call.args for call in calls if call.hook == "on_predictions"]
    ((images, archive),) = [
        (args["images"], args["artifact"].path) for args in shown if args["artifact"].name == "predictions"
    ]
    assert all(image.score > 0 and (image.width, image.height) > (0, 0) for image in images)
    if "metrics/abs_rel" in printed:
        assert fmean(image.score for image in images) == pytest.approx(printed["metrics/abs_rel"], abs=1e-4)
    if "metrics/accuracy_top1" in printed:
        assert fmean(not image.reason for image in images) == pytest.approx(printed["metrics/accuracy_top1"], abs=1e-4)
        assert all(image.label in image.path and sum(image.probabilities.values()) > 0.99 for image in images)
        return
    for image in images:
        members = [
            Image.open(io.BytesIO(read_member(archive, name)))
            for name in (image.picture, image.label_map, image.predicted_map)
        ]
        assert {member.size for member in members} == {(64, 64)}


@pytest.mark.parametrize("kind", tasks.HEADS)
def test_what_is_printed_and_drawn_is_in_the_trackers_and_the_best_checkpoint_is_asked(home, shapes, scalars, kind):
    task = "detect" if kind == "rtdetr" else kind
    data = tasks.data(shapes, home.folder / "data", kind)
    command = home.yolo(model=tasks.network(home.work, kind), data=data, epochs=1, plots=kind in PLOTTED)
    command[1] = task
    home.run(command, "mlflow,tensorboard", TRACKING_HOOKS_MLFLOW_REGISTER="things")
    home.wait_for_delivery()
    save_dir, reader = home.work / "runs/train", home.reader()
    run, tags = reader.only_run(), scalars(save_dir)

    (row,) = home.results().values()
    printed = {name: value for name, value in row.items() if name.startswith(("train/", "val/", "metrics/"))}
    for name, value in printed.items():
        expected = [(1, pytest.approx(value, rel=1e-4, abs=1e-5, nan_ok=True))]
        assert reader.history(run, spelled(name)) == expected, name
        assert tags[name] == expected, name
    own = [name for name in printed if name.startswith("metrics/")]
    assert set(names.of_task(task)) == set(own), "the columns of the HParams tab"
    assert {names.FITNESS, *(names.of_validation(names.BEST) + name for name in own)} <= tags.keys()
    assert {spelled(name) for name in printed} <= charts(reader.client.get_experiment(run.info.experiment_id).tags)

    (final,) = [call.args for call in home.calls() if call.hook == "on_final_validation"]
    heads = dict.fromkeys(name[-3:] for name in own if name.endswith(")"))
    assert [curve.name for curve in final["curves"]] == [f"{name}{head}" for head in heads for name in CURVES]
    assert all(list(of_class) == own for of_class in (final["per_class"] or {}).values())
    assert (final["per_class"] is None) == (task in ("classify", "depth"))
    if kind in DENSE:
        pictures = {path.name for path in [*save_dir.glob("*.png"), *save_dir.glob("*.jpg")]}
        assert pictures
        assert pictures <= reader.artifacts(run)

    if kind in PLOTTED:
        calls = home.calls()
        if final["confusion_matrix"]:
            assert mistakes.by_pair(calls) == mistakes.of_matrix(calls)
        (epoch, seen), listed = mistakes.shown(calls), mistakes.listed(calls)
        assert epoch == 1
        assert [image.path for image in seen] == [row.path for row in listed], "fewer than are shown at most"
        assert all(image.reason and image.score for image in seen)
        assert all(Path(row.filepath).is_file() for row in listed)
    if kind in ("classify", *DENSE):
        check_images(calls, printed)

    # Of a depth, Ultralytics rewrites the weights behind the last validation.
    weights = Path(reader.client.download_artifacts(run.info.run_id, "weights/best.pt"))
    assert weights.read_bytes() == (save_dir / "weights/best.pt").read_bytes()

    image = min(home.data.parent.glob("images/val/*.png"))
    answer = home.run([sys.executable, "-c", ASK, str(image), json.dumps(ANYTHING)])
    asked = json.loads(answer.strip().splitlines()[-1])
    assert asked["columns"] == asked["signed"]
    assert asked["rows"]
    model = next(call.args["model"] for call in home.calls() if call.hook == "on_train_start")
    assert set(asked["classes"]) <= set(model.classes.values())
