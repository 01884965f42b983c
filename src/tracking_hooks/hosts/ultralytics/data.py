"""What an Ultralytics trainer knows of its model, data set and final validation, as plain data."""

from __future__ import annotations

import csv
import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils.torch_utils import get_flops, get_gpu_info, get_num_gradients, get_num_params

from tracking_hooks.events import ConfusionMatrix, Curve, Dataset, Metrics, Model, PerClass, Split

_CURVE_POINTS = 101


def devices(trainer: BaseTrainer) -> list[str]:
    """Name what the training runs on."""
    device = trainer.device
    if device.type != "cuda":
        return [str(device)]
    indices = str(trainer.args.device or device.index or 0).split(",")
    return [f"cuda:{index} ({get_gpu_info(int(index))})" for index in indices if index.isdigit()]


def gpus(trainer: BaseTrainer) -> list[str]:
    """Name the GPU that this process trains on, as ``recording.gpus`` takes it; by its index where PyTorch is old."""
    device = trainer.device
    if device.type != "cuda":
        return []
    with suppress(Exception):
        found = sys.modules["torch"].cuda.get_device_properties(device)
        bus = f"{found.pci_domain_id:08x}:{found.pci_bus_id:02x}:{found.pci_device_id:02x}.0"
        return [f"GPU-{found.uuid}", bus]  # of a part of a device (MIG), only the second one is known to the driver
    index = device.index or 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return [visible[index].strip() if index < len(visible) and visible[0] else str(index)]


def model(trainer: BaseTrainer) -> Model:
    """Describe the network."""
    network = getattr(trainer.model, "module", trainer.model)  # DDP wraps it
    return Model(
        name=Path(str(trainer.args.model)).stem,
        task=str(trainer.args.task),
        parameters=get_num_params(network),
        gradients=get_num_gradients(network),
        layers=sum(1 for layer in network.modules() if not list(layer.children())),
        gflops=float(get_flops(network, trainer.args.imgsz)) or None,
        classes=_classes(trainer.data),
    )


def dataset(trainer: BaseTrainer) -> Dataset:
    """Describe the data set; its digest covers image names and labels of the splits in use."""
    described = trainer.data
    classes = _classes(described)
    yaml = described.get("yaml_file")
    root = Path(str(described.get("path") or "."))
    sha = hashlib.sha256()
    splits = {}
    for name, loader in (("train", trainer.train_loader), ("val", trainer.test_loader)):
        images = loader.dataset
        splits[name] = Split(path=str(described.get(name) or ""), images=len(images), instances=_count(images, classes))
        _update(sha, images, root)
    return Dataset(
        name=Path(str(yaml or trainer.args.data)).stem,
        yaml=Path(yaml) if yaml else None,
        splits=splits,
        classes=classes,
        digest=sha.hexdigest()[:32],
    )


def curves(validator: Any) -> list[Curve]:
    """Return the curves of the last validation, thinned out to about a hundred points."""
    metrics = validator.metrics
    found = []
    for name, result in zip(getattr(metrics, "curves", ()), getattr(metrics, "curves_results", ())):
        x, ys, x_label, y_label = result
        every = max((len(x) - 1) // (_CURVE_POINTS - 1), 1)
        series = ys if getattr(ys, "ndim", 1) > 1 else [ys]
        labels = _labels(metrics, len(series))
        found.append(
            Curve(
                name=str(name),
                x_label=str(x_label),
                y_label=str(y_label),
                x=[float(value) for value in x[::every]],
                y={label: [float(value) for value in row[::every]] for label, row in zip(labels, series)},
            )
        )
    return found


def confusion_matrix(validator: Any) -> ConfusionMatrix | None:
    """Return the confusion matrix of the last validation, if it made one."""
    matrix = getattr(getattr(validator, "confusion_matrix", None), "matrix", None)
    if matrix is None or not matrix.sum():
        return None
    names = [
        str(name)
        for name in dict(enumerate(validator.names) if isinstance(validator.names, list) else validator.names).values()
    ]
    labels = names + ["background"] * (len(matrix) - len(names))
    return ConfusionMatrix(labels=labels, matrix=[[float(value) for value in row] for row in matrix])


def per_class(validator: Any) -> PerClass | None:
    """Return the last validation's metrics of each class that it had instances of, named as those of all classes."""
    metrics = validator.metrics
    result = getattr(metrics, "class_result", None)
    if result is None:  # a classifier
        return None
    return {
        str(metrics.names[int(index)]): dict(zip(metrics.keys, map(float, result(position))))
        for position, index in enumerate(metrics.ap_class_index)
    }


def past_epochs(table: Path, checkpoint: Path, epoch: int) -> dict[int, Metrics]:
    """Return the metrics of epochs that were trained before a resume, by epoch.

    They are those of ``results.csv``, which has six digits; for the checkpoint's own epoch, the validation's are in
    the checkpoint as they were.

    :param epoch: the checkpoint's
    """
    past: dict[int, Metrics] = {}
    with suppress(OSError), table.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = {name.strip(): float(value) for name, value in row.items() if name and value}
            if "time" in values:
                values["time/total"] = values.pop("time")
            past[int(values.pop("epoch"))] = values
    _, saved = load_checkpoint(checkpoint)
    past.setdefault(epoch, {}).update(saved.get("train_metrics") or {})
    return past


def _classes(described: dict[str, Any]) -> dict[int, str]:
    names = described.get("names") or {}
    pairs = names.items() if isinstance(names, dict) else enumerate(names)
    return {int(index): str(name) for index, name in pairs}


def _labels(metrics: Any, count: int) -> list[str]:
    """Return the names of the classes that a curve has a row for."""
    names = getattr(metrics, "names", {})
    indices = [int(index) for index in getattr(metrics, "ap_class_index", ())]
    if len(indices) != count:
        indices = list(range(count))
    return [str(names.get(index, index)) for index in indices]


def _count(images: Any, classes: dict[int, str]) -> dict[str, int]:
    labelled = [label["cls"].ravel() for label in getattr(images, "labels", ())]
    labelled.append([int(sample[1]) for sample in getattr(images, "samples", ())])  # classification: (file, class, …)
    indices, counts = np.unique(np.concatenate(labelled).astype(int), return_counts=True)
    return {classes.get(index, str(index)): count for index, count in zip(indices.tolist(), counts.tolist())}


def _update(sha: Any, images: Any, root: Path) -> None:
    for label in getattr(images, "labels", ()):
        sha.update(_relative(label["im_file"], root))
        sha.update(label["cls"].tobytes())
        sha.update(label["bboxes"].tobytes())
    for sample in getattr(images, "samples", ()):
        sha.update(_relative(sample[0], root))
        sha.update(str(sample[1]).encode())


def _relative(path: object, root: Path) -> bytes:
    # The same data set in another place is the same data set.
    text = str(path)
    return text.removeprefix(str(root)).encode(errors="surrogateescape")
