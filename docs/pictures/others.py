"""The runs beside the demo: one with another learning rate, one that fails, and a tuning."""

from __future__ import annotations

from pathlib import Path

from docs.pictures.home import TUNING, Home
from tracking_hooks.cli.shapes import make_shapes

FAST, BROKEN, TUNE = "lr0-0.02", "broken", "tune"
"""The names of runs."""

_BROKEN = """
import yaml
from ultralytics import YOLO


def lose_the_disk(trainer):
    if trainer.epoch == 4:
        raise OSError("the disk with the images is gone")


model = YOLO("yolo26n.yaml")
model.add_callback("on_train_epoch_start", lose_the_disk)
model.train(**{**yaml.safe_load(open("cpu.yaml")), "data": "data.yaml", "name": "broken"})
"""

_TUNE = """
import yaml
from ultralytics import YOLO

given = {**yaml.safe_load(open("cpu.yaml")), "data": "data.yaml", "name": "tune", "epochs": 2, "plots": False}
YOLO("yolo26n.yaml").tune(iterations=3, **given)
"""


def train(home: Home) -> None:
    """Train them, one after the other."""
    same = ["yolo", "train", "model=yolo26n.yaml", "data=data.yaml", "cfg=cpu.yaml"]
    home.run(*same, f"name={FAST}", "lr0=0.02", "epochs=12", TRACKING_HOOKS="mlflow")
    for name, script in {"broken.py": _BROKEN, "tune.py": _TUNE}.items():
        (home.work / name).write_text(script)
    home.run("python", "broken.py", fails=True, TRACKING_HOOKS="mlflow")
    home.run("python", "tune.py", TRACKING_HOOKS="mlflow", MLFLOW_EXPERIMENT_NAME=TUNING)


def with_large_images(home: Home) -> Path:
    """Train on images of 256 pixels, whose pictures are sharp when they are large; return the training's folder."""
    data = make_shapes(home.folder / "large", size=256)
    arguments = ["model=yolo26n.yaml", f"data={data}", "cfg=cpu.yaml", "name=large", "epochs=14"]
    home.run("yolo", "train", *arguments, TRACKING_HOOKS="mlflow", MLFLOW_EXPERIMENT_NAME="large")
    return home.work / "runs/large"
