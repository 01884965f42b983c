"""What is validated, exported and compared after a training is added to the run that the weights are of."""

import json
import os
import shutil
import zipfile
from types import SimpleNamespace

import pytest

pytest.importorskip("ultralytics")

from tracking_hooks.hosts.ultralytics import afterwards
from tracking_hooks.run import index
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.testing import STARTED

METRICS = {"metrics/mAP50(B)": 0.5, "fitness": 0.4}


@pytest.fixture
def mine(record_run, monkeypatch):
    """A run of mine, whose data set is ``shapes.yaml``."""
    monkeypatch.setenv("TRACKING_HOOKS", "notes")
    run = record_run()
    index.enter(run.folder)
    for path in (run.save_dir / "weights").iterdir():
        os.utime(path, (STARTED, STARTED))
    return run


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """What is added, as (uid of the run, hook, arguments)."""
    found = []

    def open_for(folder, logger):
        def record(hook, **args):
            found.append((folder.uid, hook, args))

        return SimpleNamespace(folder=added, record=record)

    added = RunFolder(tmp_path / "added")
    added.create()
    monkeypatch.setattr(afterwards.addenda, "open_for", open_for)
    return found


class Validator:
    """Ultralytics' validator, as far as we look at it."""

    def __init__(self, save_dir, **args):
        self.args = SimpleNamespace(**{"model": "yolo26n.yaml", "data": "/data/shapes.yaml", "split": "test", **args})
        self.plots = {save_dir / "confusion_matrix.png": {}, save_dir / "never_drawn.png": {}}
        self.speed = {"preprocess": 0.1, "inference": 2.5, "loss": 0.0, "postprocess": 0.2}
        self.metrics, self.confusion_matrix, self.names = SimpleNamespace(class_result=None), None, {0: "square"}
        save_dir.mkdir(exist_ok=True)
        (save_dir / "confusion_matrix.png").write_bytes(b"plot")


def validate(validator, **kwargs):
    return afterwards.validate(lambda *_, **__: METRICS, validator, **kwargs)


def model_of(path):
    """A network that Ultralytics has loaded from a file."""
    return SimpleNamespace(pt_path=str(path))


def test_a_validation_is_added_to_the_run_with_its_metrics_speed_and_plots(mine, recorded, tmp_path):
    best = mine.save_dir / "weights/best.pt"
    assert validate(Validator(tmp_path / "val"), model=model_of(best)) == METRICS
    (uid, hook, evaluation), (_, second, plot) = recorded
    assert (uid, hook, second) == (mine.folder.uid, "on_evaluation", "on_artifact")
    assert (evaluation["split"], evaluation["checkpoint"].kind, evaluation["checkpoint"].path) == ("test", "best", best)
    assert evaluation["metrics"] == {
        **METRICS, "speed/preprocess_ms": 0.1, "speed/inference_ms": 2.5, "speed/postprocess_ms": 0.2
    }  # fmt: skip
    assert plot["artifact"].name == "evaluation/test/confusion_matrix.png"


@pytest.mark.parametrize(
    ("file", "data", "split"),
    [
        ("best.pt", "/elsewhere/shapes.yaml", "test"),
        ("last.pt", "shapes.yaml", "test-last.pt"),
        ("best.onnx", "shapes.yaml", "test-best.onnx"),
        ("epoch5.pt", "shapes.yaml", "test-epoch5.pt"),
        ("best.pt", "at night.yaml", "at_night-test"),
        ("best.pt", "/data/night/data.yaml", "night-test"),
    ],
)
def test_validations_of_other_weights_and_of_other_data_are_told_apart(mine, recorded, tmp_path, file, data, split):
    path = mine.save_dir / "weights" / file
    path.touch()
    os.utime(path, (STARTED, STARTED))
    validate(Validator(tmp_path / "val", data=data), model=str(path))
    assert recorded[0][2]["split"] == split
    assert recorded[0][2]["checkpoint"].path == path


def test_a_trainer_s_own_validations_are_none_also_the_last_one_which_is_called_like_the_user_s(
    mine, recorded, tmp_path
):
    validator = Validator(tmp_path / "val")
    validate(validator, trainer=object())
    validate(validator, model=mine.save_dir / "weights/best.pt")
    assert recorded == []


@pytest.mark.parametrize(("name", "value"), [("TRACKING_HOOKS", "off"), ("TRACKING_HOOKS_EVALUATIONS", "off")])
def test_nothing_is_added_if_nobody_asks_for_it(mine, recorded, tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    validate(Validator(tmp_path / "val"), model=mine.save_dir / "weights/best.pt")
    assert recorded == []


def test_weights_that_were_not_tracked_are_validated_as_ever(mine, recorded, tmp_path):
    (tmp_path / "yolo26n.pt").write_bytes(b"pretrained")
    assert validate(Validator(tmp_path / "val", model=str(tmp_path / "yolo26n.pt"))) == METRICS
    assert validate(Validator(tmp_path / "val"), model=object()) == METRICS
    assert recorded == []


def test_an_error_of_ours_does_not_end_a_validation(mine, recorded, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS_EVALUATIONS", "perhaps")
    assert validate(Validator(tmp_path / "val"), model=mine.save_dir / "weights/best.pt") == METRICS


def test_an_exported_file_is_added_with_its_format(mine, recorded):
    path = mine.save_dir / "weights/best.onnx"
    exporter = SimpleNamespace(args=SimpleNamespace(format="onnx"))

    def export(*_, **__):
        path.write_bytes(b"exported")
        return str(path)

    assert afterwards.export(export, exporter, model=model_of(mine.save_dir / "weights/best.pt")) == str(path)
    ((uid, hook, args),) = recorded
    assert (uid, hook, args["format"], args["checkpoint"].name(0)) == (mine.folder.uid, "on_export", "onnx", "best.pt")
    assert (args["artifact"].name, args["artifact"].size) == ("best.onnx", 8)
    path.write_bytes(b"the next one")
    assert args["artifact"].path.read_bytes() == b"exported", "the next export takes nothing from it"


def test_an_exported_file_is_known_wherever_it_is_copied_to(mine, recorded, tmp_path):
    path = tmp_path / "shipped.onnx"
    path.write_bytes(b"exported")
    exporter = SimpleNamespace(args=SimpleNamespace(format="onnx"))
    afterwards.export(lambda *_: str(path), exporter, model_of(mine.save_dir / "weights/last.pt"))
    copy = shutil.copy(path, tmp_path / "elsewhere.onnx")
    validate(Validator(tmp_path / "val"), model=str(copy))
    assert [(uid, hook) for uid, hook, _ in recorded][:2] == [
        (mine.folder.uid, "on_export"),
        (mine.folder.uid, "on_evaluation"),
    ]
    assert recorded[1][2]["split"] == "test-elsewhere.onnx"


def test_an_exported_folder_is_added_as_an_archive(mine, recorded, tmp_path):
    path = mine.save_dir / "weights/best_saved_model"
    (path / "assets").mkdir(parents=True)
    (path / "assets/labels.txt").write_text("square")
    exporter = SimpleNamespace(args=SimpleNamespace(format="saved_model"))
    afterwards.export(lambda *_, **__: str(path), exporter, model_of(mine.save_dir / "weights/best.pt"))
    artifact = recorded[0][2]["artifact"]
    assert artifact.name == "best_saved_model.zip"
    assert zipfile.ZipFile(artifact.path).namelist() == ["best_saved_model/assets/labels.txt"]
    assert artifact.path == tmp_path / "added/files" / f"{artifact.digest}.zip", "kept until it is delivered"


class Frame:
    """The data frame of a benchmark."""

    columns = (" ", "Format", "Size (MB)", "metrics/mAP50-95(B)")

    def rows(self):
        return [("1", "PyTorch", "5.4", "0.61"), ("2", "ONNX", "10.2", "-")]


def test_a_benchmark_is_one_table_and_what_it_validates_and_exports_is_not_added(mine, recorded, tmp_path):
    best = model_of(mine.save_dir / "weights/best.pt")

    def benchmark(model):
        validate(Validator(tmp_path / "val"), model=model.model)
        afterwards.export(lambda *_, **__: "best.onnx", SimpleNamespace(args=None), model=model.model)
        return Frame()

    afterwards.benchmark(benchmark, model=SimpleNamespace(model=best))
    ((uid, hook, args),) = recorded
    assert (uid, hook, args["artifact"].name, args["step"]) == (mine.folder.uid, "on_table", "benchmark", None)
    assert json.loads(args["artifact"].path.read_text()) == {
        "columns": ["Format", "Size (MB)", "metrics/mAP50-95(B)"],
        "data": [["PyTorch", 5.4, 0.61], ["ONNX", 10.2, None]],
    }


def test_a_benchmark_of_a_copy_by_its_path_is_added_too(mine, recorded, tmp_path):
    from tracking_hooks.events import Checkpoint
    from tracking_hooks.run import checkpoints, files

    best = mine.save_dir / "weights/best.pt"
    size, sha = files.digest(best)
    checkpoints.note(mine.folder, Checkpoint(path=best, kind="best", size=size, digest=sha))
    copy = shutil.copy(best, tmp_path / "shipped.pt")
    afterwards.benchmark(lambda _: Frame(), str(copy))
    assert [(uid, args["artifact"].name) for uid, _, args in recorded] == [(mine.folder.uid, "benchmark")]
