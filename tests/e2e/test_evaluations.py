"""What is done with the weights of a training, then or days later, is in the run that they are of."""

import json
import shutil

import pytest

pytestmark = pytest.mark.e2e


@pytest.fixture
def data(home):
    """The data of the training, with a split for a test."""
    yaml = home.copy_of_data("with-test")
    yaml.write_text(yaml.read_text() + "\ntest: images/val\n")
    return yaml


@pytest.fixture
def yolo(home):
    """Call the command ``yolo`` with a tracker."""

    def call(mode, **arguments):
        shown = {"project": home.work / "runs", "imgsz": 32, **arguments}
        return home.run(["yolo", mode, *(f"{name}={value}" for name, value in shown.items())], "mlflow")

    return call


def added(home):
    """Return the calls of the addenda: the hook, and its arguments."""
    _, *addenda = home.runs()
    return [(call.hook, call.args) for folder in addenda for call in home.calls(folder)]


def test_validations_and_exports_from_other_shells_are_in_the_run_of_the_weights(home, data, yolo):
    home.run(home.yolo(data=data), "mlflow")
    weights = home.work / "runs/train/weights"
    reader = home.reader()
    before = reader.only_run()

    yolo("val", model=weights / "best.pt", data=data, split="test", plots=True, workers=0)
    shipped = shutil.copy(weights / "last.pt", home.work / "shipped.pt")
    yolo("export", model=shipped, format="torchscript")
    exported = home.work / "shipped.torchscript"
    yolo("val", model=exported, data=data, workers=0, plots=False)
    yolo("predict", model=weights / "best.pt", source=data.parent / "images/val")
    home.wait_for_delivery()

    hooks = [hook for hook, _ in added(home) if hook != "on_artifact"]
    assert hooks == ["on_evaluation", "on_export", "on_evaluation"]
    run = reader.only_run()
    assert {name for name in run.data.metrics if name.startswith("test/")} >= {
        "test/metrics/mAP50B", "test/speed/inference_ms"
    }  # fmt: skip
    files = reader.artifacts(run)
    assert "circle" in reader.text(run, "evaluation/test/per_class.json")
    assert {"evaluation/test/confusion_matrix.png", "evaluation/test/val_batch0_pred.jpg"} <= files
    assert "exports/shipped.torchscript" in files
    assert "val-shipped.torchscript/metrics/mAP50B" in run.data.metrics
    assert "last.pt" in next(args for hook, args in added(home) if hook == "on_export")["checkpoint"].name(0)

    epochs = {name: value for name, value in run.data.metrics.items() if name in before.data.metrics}
    assert epochs == before.data.metrics, "a validation is not an epoch"
    assert (run.info.status, run.info.end_time) == (before.info.status, before.info.end_time)


def test_in_the_script_of_the_training_its_own_validations_are_not_added(home, data):
    lines = [
        f"model.val(data={str(data)!r}, split='test', imgsz=32, workers=0, plots=False)",
        "model.export(format='torchscript', imgsz=32)",
        f"model.benchmark(data={str(data)!r}, imgsz=32, format='torchscript', device='cpu')",
    ]
    command = home.script(data=data)
    script = home.work / command[1]
    script.write_text(script.read_text() + "\n".join(lines) + "\n")
    home.run(command, "mlflow")
    home.wait_for_delivery()

    calls = [(hook, args) for hook, args in added(home) if hook != "on_artifact"]
    assert [hook for hook, _ in calls] == ["on_evaluation", "on_export", "on_table"]
    assert (calls[0][1]["split"], calls[1][1]["format"]) == ("test", "torchscript")
    reader = home.reader()
    run = reader.only_run()
    assert "exports/best.torchscript" in reader.artifacts(run)
    table = json.loads(reader.text(run, "benchmark.json"))
    assert table["columns"][0] == "Format"
    assert [row[0] for row in table["data"]] == ["TorchScript"]


def test_evaluations_are_left_out_if_the_user_says_so(home, data):
    command = home.script(data=data)
    script = home.work / command[1]
    script.write_text(script.read_text() + f"model.val(data={str(data)!r}, imgsz=32, workers=0, plots=False)\n")
    home.run(command, "mlflow", TRACKING_HOOKS_EVALUATIONS="off")
    assert added(home) == []
