"""What a training leaves in the trackers beyond its curves."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


def test_classes_log_data_set_and_weights_are_recorded(home):
    rules = {"TRACKING_HOOKS_CHECKPOINTS": "best,every:2", "TRACKING_HOOKS_METRICS": "-lr/*, train/*=loss/*"}
    output = home.run(home.yolo(epochs=3, plots=True), "mlflow", **rules)
    reader = home.reader()
    run = reader.only_run()

    size = {name: float(run.data.params[f"model.{name}"]) for name in ("parameters", "gradients", "gflops_at_640")}
    assert (
        "{parameters:,.0f} parameters, {gradients:,.0f} gradients, {gflops_at_640:.1f} GFLOPs".format(**size) in output
    )
    rows = home.results()
    expected = [(epoch, pytest.approx(row["train/box_loss"], rel=1e-4)) for epoch, row in rows.items()]
    assert reader.history(run, "loss/box_loss") == expected, "renamed"
    assert not [key for key in run.data.metrics if key.startswith(("lr/", "train/"))], "dropped, and renamed"
    for name in ("square", "circle", "triangle"):
        steps = [step for step, _ in reader.history(run, f"val_per_class/{name}/metrics/mAP50B")]
        assert steps == list(rows)
    assert [step for step, _ in reader.history(run, "time/images_per_s")] == list(rows)

    files = reader.artifacts(run)
    assert {name for name in files if name.startswith("weights/")} == {"weights/best.pt", "weights/epoch2.pt"}
    assert {"console.log", "dataset/data.yaml", "results.csv", "args.yaml", "tables/confusion_matrix.json"} <= files
    log = reader.text(run, "console.log")
    assert "3 epochs completed" in log
    assert "\x1b" not in log
    assert "names:" in reader.text(run, "dataset/data.yaml")
    lines = [line for call in home.calls() if call.hook == "on_console" for line in call.args["lines"]]
    assert any("Starting training for 3 epochs" in line for line in lines)
    first = run.data.tags["mlflow.note.content"].splitlines()[0]
    assert re.fullmatch(r"\*\*Result:\*\* mAP50-95\(B\) \S+, mAP50\(B\) \S+, finished after 3 epochs", first)


def test_every_other_epochs_weights_are_uploaded_beside_ultralytics_own_save_period(home):
    home.run(home.yolo(epochs=4, save_period=1), "mlflow", TRACKING_HOOKS_CHECKPOINTS="every:2")
    reader = home.reader()
    run = reader.only_run()

    assert {name for name in reader.artifacts(run) if "weights/" in name} == {"weights/epoch2.pt", "weights/epoch4.pt"}
    for epoch in (2, 4):
        path = Path(reader.client.download_artifacts(run.info.run_id, f"weights/epoch{epoch}.pt"))
        # Ultralytics counts from 0 in the names of its files.
        assert path.read_bytes() == (home.work / f"runs/train/weights/epoch{epoch - 1}.pt").read_bytes()
    assert not list(home.run_folder().files.glob("*.pt")), "there is no second copy"


def test_the_console_log_of_a_killed_training_is_there_too(home):
    text = """
import os, signal
model.add_callback("on_fit_epoch_end", lambda trainer: os.kill(os.getpid(), signal.SIGKILL))
"""
    home.run(home.script(text), "mlflow", code=-9)
    home.wait_for_call("on_run_end")
    home.run(["tracking-hooks", "sync"])
    reader = home.reader()
    assert "Starting training for 2 epochs" in reader.text(reader.only_run(), "console.log")
