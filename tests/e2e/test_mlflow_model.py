"""The best checkpoint in MLflow: a model that is loaded, asked and served by MLflow alone."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request

import pytest

pytestmark = pytest.mark.e2e

# Two epochs teach nothing, so the network is unsure of whatever it finds.
PARAMS = {"conf": 1e-5, "max_det": 5, "imgsz": 32}

PREDICT = """
import json, sys
from ultralytics import YOLO
(result,) = YOLO(sys.argv[1]).predict(sys.argv[2], save=False, verbose=False, **json.loads(sys.argv[3]))
boxes = result.boxes
print(json.dumps([result.names, boxes.cls.tolist(), boxes.conf.tolist(), boxes.xyxy.tolist()]))
"""

LOAD = """
import base64, json, sys
import cv2, mlflow, pandas
uri, image, params = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = mlflow.pyfunc.load_model(uri)
content = open(image, "rb").read()
array = cv2.imread(image)
forms = {
    "path": image, "paths": [image], "base64": base64.b64encode(content).decode(), "bytes": content,
    "array": array, "batch": array[None], "table": pandas.DataFrame({"image": [image]}),
    "table of arrays": pandas.DataFrame({"image": [array]}),
}
tables = {name: model.predict(form, params=params).to_dict("records") for name, form in forms.items()}
print(json.dumps({"tables": tables, "columns": list(model.predict(image).columns),
    "outputs": model.metadata.signature.outputs.input_names(),
    "params": {p.name: p.default for p in model.metadata.signature.params},
    "example": len(model.predict(model.input_example)), "model_id": model.metadata.model_id,
    "ours": [name for name in sys.modules if name.startswith("tracking_hooks_mlflow")]}))
"""


def expected(home, weights, image):
    """What Ultralytics itself finds."""
    output = home.run([sys.executable, "-c", PREDICT, str(weights), str(image), json.dumps(PARAMS)])
    names, classes, confidences, boxes = json.loads(output.strip().splitlines()[-1])
    return [
        {"image": 0, "class": names[str(int(number))], "class_id": int(number), "confidence": confidence}
        | dict(zip(("x1", "y1", "x2", "y2"), box))
        for number, confidence, box in zip(classes, confidences, boxes)
    ]


def same(table, rows):
    assert [row["class"] for row in table] == [row["class"] for row in rows]
    for found, row in zip(table, rows):
        numbers = {name: value for name, value in row.items() if name != "class"}
        assert {name: found[name] for name in numbers} == pytest.approx(numbers, rel=1e-4)
        assert found.keys() == row.keys()


def ask(port, payload):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(payload).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["predictions"]


def is_up(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
            return True
    except OSError:
        return False


def test_the_best_checkpoint_is_a_model_that_mlflow_alone_can_use(home, start_server, port, await_):
    start_server()
    uri = home.env["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
    home.run(home.yolo(seed=1), "mlflow", TRACKING_HOOKS_MLFLOW_REGISTER="shapes@champion")
    reader = home.reader(uri)
    check_that_it_is_the_runs(home, reader)

    before = contents(reader)
    replayed = home.run(["tracking-hooks", "sync", "--to", "mlflow", "--set", f"tracking_uri={uri}", "runs/train"])
    assert contents(reader) == before, replayed

    image = min((home.data.parent / "images/val").glob("*.png"))
    rows = expected(home, home.work / "runs/train/weights/best.pt", image)
    assert rows, "an unsure network finds something at a very low confidence"
    (model_id,) = [output.model_id for output in reader.only_run().outputs.model_outputs]
    check_that_it_is_loaded(home, model_id, image, rows)
    check_that_it_is_asked_by_the_command(home, model_id, image, rows)
    check_that_it_is_served(home, model_id, image, rows, await_)


def test_a_training_that_is_not_better_leaves_the_alias_where_it_is(home, start_server, port):
    start_server()
    uri = home.env["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
    home.env["TRACKING_HOOKS_MLFLOW_REGISTER"] = "shapes@champion if metrics/mAP50-95(B)"
    for name in ("train", "again"):
        home.run(home.yolo(name=name), "mlflow")  # of the same seed: the second one is as good as the first
    client = home.reader(uri).client
    first, again = (client.get_model_version("shapes", number) for number in "12")
    assert client.get_registered_model("shapes").aliases == {"champion": "1"}
    value, digest = first.tags["best_metrics_mAP50_95B"], first.tags["tracking_hooks_validation_data"]
    assert again.tags["best_metrics_mAP50_95B"] == value
    shown = f"{float(value):.6g}"
    assert first.description == f"champion moves to this version: no version had it. metrics/mAP50-95(B) is {shown}."
    assert again.description == (
        f"champion stays at version 1: metrics/mAP50-95(B) is {shown} here and {shown} there, on the same validation"
        f" data ({digest})."
    )


def check_that_it_is_the_runs(home, reader):
    run = reader.only_run()
    saved = [call.args for call in home.calls() if call.hook == "on_checkpoint_saved"]
    best = [args["epoch"] for args in saved if args["checkpoint"].kind == "best" and not args["checkpoint"].digest][-1]
    (model,) = reader.client.search_logged_models([run.info.experiment_id])
    assert (str(model.status), model.source_run_id, model.name) == ("READY", run.info.run_id, "yolo26n")
    assert model.params == {"task": "detect", "imgsz": "32", "epoch": str(best), "data": "data"}
    assert [(output.model_id, output.step) for output in run.outputs.model_outputs] == [(model.model_id, best)]
    measured = {key: value for key, value in run.data.metrics.items() if key.startswith("best/metrics/")}
    assert "best/metrics/mAP50B" in measured
    assert {metric.key: metric.value for metric in model.metrics} == measured
    version = reader.client.get_model_version_by_alias("shapes", "champion")
    assert (version.version, version.run_id) == ("1", run.info.run_id)
    assert version.source == f"models:/{model.model_id}"

    inputs = {entry.tags[0].value: entry.dataset for entry in run.inputs.dataset_inputs}
    for context, split, images in (("training", "train", 32), ("validation", "val", 8)):
        dataset = inputs.pop(context)
        assert dataset.name == "data"
        assert json.loads(dataset.source)["uri"] == str(home.data)
        labels = (home.data.parent / "labels" / split).glob("*.txt")
        profile = json.loads(dataset.profile)
        assert profile["images"] == images
        assert profile["instances"] == sum(len(path.read_text().splitlines()) for path in labels)
        assert sum(profile["instances_per_class"].values()) == profile["instances"]
    assert inputs == {}
    assert {metric.dataset_digest for metric in model.metrics} == {dataset.digest}


def contents(reader):
    """All that could be there twice."""
    run, client = reader.only_run(), reader.client
    return (
        [
            (model.model_id, model.status, model.metrics, model.tags, model.params)
            for model in client.search_logged_models([run.info.experiment_id])
        ],
        [(entry.dataset.name, entry.dataset.digest) for entry in run.inputs.dataset_inputs],
        [(output.model_id, output.step) for output in run.outputs.model_outputs],
        [(version.version, version.source, version.tags) for version in client.search_model_versions()],
        client.get_registered_model("shapes").aliases,
        {key: reader.history(run, key) for key in run.data.metrics},
        reader.artifacts(run),
    )


def check_that_it_is_loaded(home, model_id, image, rows):
    home.forks = False  # MLflow alone does it
    (home.work / "load.py").write_text(LOAD)
    output = home.run([sys.executable, "load.py", "models:/shapes@champion", str(image), json.dumps(PARAMS)])
    loaded = json.loads(output.strip().splitlines()[-1])
    for table in loaded["tables"].values():
        same(table, rows)
    assert loaded["columns"] == loaded["outputs"] == list(rows[0])
    assert loaded["params"] == {"conf": 0.25, "iou": 0.7, "imgsz": 32, "max_det": 300}
    assert loaded["model_id"] == model_id
    assert loaded["ours"] == []


def check_that_it_is_asked_by_the_command(home, model_id, image, rows):
    content = base64.b64encode(image.read_bytes()).decode()
    (home.work / "request.json").write_text(json.dumps({"inputs": [content], "params": PARAMS}))
    command = [sys.executable, "-m", "mlflow", "models", "predict", "-m", f"models:/{model_id}"]
    home.run([*command, "-i", "request.json", "-t", "json", "-o", "answer.json", "--env-manager", "local"])
    same(json.loads((home.work / "answer.json").read_text())["predictions"], rows)


def check_that_it_is_served(home, model_id, image, rows, await_):
    content = base64.b64encode(image.read_bytes()).decode()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{model_id}"]
    server = home.start([*command, "--host", "127.0.0.1", "-p", str(port), "--env-manager", "local"])
    try:
        await_(lambda: is_up(port) or server.poll() is not None, "the model's server")
        assert server.poll() is None, server.stdout.read()
        same(ask(port, {"inputs": [content], "params": PARAMS}), rows)
        same(ask(port, {"dataframe_split": {"columns": ["image"], "data": [[content]]}, "params": PARAMS}), rows)
        same(ask(port, {"dataframe_records": [{"image": str(image)}], "params": PARAMS}), rows)
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(port, {"inputs": ["missing.jpg"]})
        assert refused.value.code == 400
        assert "'missing.jpg' is no image's path" in refused.value.read().decode()
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # the session that was started above
        server.wait(30)
