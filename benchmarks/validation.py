"""Validation: what it costs to see what the model sees, in an epoch and in the final validation."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.group import ROOT, Group, main
from benchmarks.processes import end_all
from benchmarks.training import settings_folder
from tracking_hooks.cli.shapes import make_shapes

FEW, MANY = "50 images", "5,000 images"
OFF, ON = "{}, pictures off", "{}, pictures on"
FIRST, LATER, FINAL = "{}, the first validation", "{}", "{}, the final validation"
SIZES = {FEW: 50, MANY: 5000}
EPOCHS = {FEW: 12, MANY: 2}
FINALS = {name: f"{name}, final" for name in SIZES}
PAIRS = {ON.format(name): OFF.format(name) for name in (*SIZES, *FINALS.values())}
ROWS = [form.format(name) for name in SIZES for form in (FIRST, LATER, FINAL)]
PICTURES = "pictures of the whole training, CPU of another thread"
MEMORY = "peak memory of this training"
MEMORY_PAIRS = {ON.format(name): OFF.format(name) for name in SIZES}
DISTINCT = 250
"""Images that differ; the others are the same files under other names."""
SIDES = 160, 120


def measure(group: Group) -> None:
    folder = group.folder / "validation"
    folder.mkdir()
    images = _images(folder / "images", group.scaled(DISTINCT, 10))
    data = {name: _data(folder / str(size), images, group.scaled(size, size // 5)) for name, size in SIZES.items()}
    if group.options.quick:
        del data[MANY]
    settings = settings_folder(folder / "settings", ())
    for _ in group.rounds():
        for name, limit in group.mixed([(name, limit) for name in data for limit in ("off", "")]):
            epochs = group.scaled(EPOCHS[name], 2)
            _add(group, name, _train(folder, settings, name, data[name], epochs=epochs, limit=limit), is_on=not limit)


def _add(group: Group, name: str, told: dict[str, Any], *, is_on: bool) -> None:
    first, *later, final = told["validations"]
    form = ON if is_on else OFF
    for variant, took in ((name, later), (FINALS[name], [final])):
        for benchmark, key in (("a validation", "wall"), ("a validation, CPU of the training process", "cpu")):
            group.add(benchmark, form.format(variant), statistics.median(one[key] for one in took), "s")
    group.add(MEMORY, form.format(name), told["peak"] / 1e6, "MB")
    if is_on:
        for variant, took in ((FIRST, [first]), (LATER, later), (FINAL, [final])):
            for benchmark, ours, whole in (("ours", "ours", "wall"), ("ours, CPU", "ours_cpu", "cpu")):
                milliseconds = 1e3 * statistics.median(one[ours] for one in took)
                group.add(benchmark, variant.format(name), milliseconds, "ms")
                share = 100 * statistics.median(one[ours] / one[whole] for one in took)
                group.add(f"{benchmark}, share of the validation", variant.format(name), share, "%")
        group.add(PICTURES, name, 1e3 * told["thread"], "ms")


def _train(folder: Path, settings: Path, name: str, data: Path, *, epochs: int, limit: str) -> dict[str, Any]:
    """Train, and return what the process tells."""
    place = folder / "one"
    place.mkdir()
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "YOLO_CONFIG_DIR": str(settings), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false",
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 2) - 1)), "TRACKING_HOOKS": "tensorboard",
        **({"TRACKING_HOOKS_PREDICTIONS": limit} if limit else {}),
    }  # fmt: skip
    arguments = {
        "model": "yolo26n.yaml", "data": str(data), "epochs": epochs, "imgsz": 64, "batch": 16, "device": "cpu",
        "workers": 0, "amp": False, "plots": True, "seed": 0, "project": str(place / "runs"), "name": "train",
        "patience": 0, "lr0": 1e-6, "warmup_epochs": 0, "optimizer": "SGD",
    }  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.validated", json.dumps(arguments)]
    done = subprocess.run(
        command, cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name}: exit code {done.returncode}\n{done.stdout[-5000:]}")
    end_all(place, patience=120.0)  # the next training shall not feel what this one has started
    told = next(line for line in done.stdout.splitlines() if line.startswith('{"validations"'))
    shutil.rmtree(place)
    return json.loads(told)


def _images(folder: Path, count: int) -> Path:
    """Write so many JPEG files with their labels; return the data set's folder."""
    shapes = make_shapes(folder, train=16, val=count).parent
    for path in sorted(shapes.glob("images/*/*.png")):
        with Image.open(path) as picture:
            picture.resize(SIDES).save(path.with_suffix(".jpg"), quality=90)
        path.unlink()
    return shapes


def _data(folder: Path, images: Path, count: int) -> Path:
    """Make a data set of so many images to validate with; return its ``data.yaml``."""
    for kind in ("images", "labels"):
        shutil.copytree(images / kind / "train", folder / kind / "train")
        (folder / kind / "val").mkdir(parents=True)
        files = sorted((images / kind / "val").iterdir())
        for number in range(count):
            source = files[number % len(files)]
            os.link(source, folder / kind / "val" / f"{number:05}{source.suffix}")
    content = {"path": str(folder), "train": "images/train", "val": "images/val"}
    yaml = folder / "data.yaml"
    yaml.write_text(json.dumps({**content, "names": ["square", "circle", "triangle"]}))
    return yaml


if __name__ == "__main__":
    main("validation", __doc__, measure)
