"""What an Ultralytics trainer knows of its model, data set and final validation, as plain data."""

from __future__ import annotations

import csv
import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_flops, get_gpu_info, get_num_gradients, get_num_params

from tracking_hooks.events import ConfusionMatrix, Curve, Dataset, Metrics, Model, PerClass, Split
from tracking_hooks.hosts.ultralytics import labels
from tracking_hooks.hosts.ultralytics.guard import guard
from tracking_hooks.recording.complaints import describe

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
    """Describe the data set; its digest covers image names and labels of the splits in use.

    A data set of the user's own may be of any class: what cannot be told of it is left out, and nothing else.
    """
    described = trainer.data if isinstance(trainer.data, dict) else {}
    yaml = described.get("yaml_file")
    classes: dict[int, str] = {}
    with guard("naming the classes of the data set"):
        classes = _classes(described)
    sha, splits = hashlib.sha256(), {}
    for name, loader in (("train", "train_loader"), ("val", "test_loader")):
        images, size, instances = getattr(getattr(trainer, loader, None), "dataset", None), 0, {}
        if images is None:
            continue
        with guard(f"counting the images of {name!r}"):
            size = len(images)
        with guard(f"counting the labels of {name!r}"):
            instances = labels.count(images, classes)
        splits[name] = Split(path=_place(described.get(name)), images=size, instances=instances)
        try:
            sha.update(labels.digest(images))
        except Exception as error:  # noqa: BLE001 a class of the user's own
            LOGGER.warning(f"tracking-hooks: the data set is taken for another one each time: {describe(error)}")
            sha.update(os.urandom(32))
    return Dataset(
        name=_name(yaml or trainer.args.data, described),
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
        names = _labels(metrics, len(series))
        found.append(
            Curve(
                name=str(name),
                x_label=str(x_label),
                y_label=str(y_label),
                x=[float(value) for value in x[::every]],
                y={label: [float(value) for value in row[::every]] for label, row in zip(names, series)},
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
    names += ["background"] * (len(matrix) - len(names))
    return ConfusionMatrix(labels=names, matrix=[[float(value) for value in row] for row in matrix])


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


def _name(data: Any, described: dict[str, Any]) -> str:
    if isinstance(data, (str, Path)):
        return Path(data).stem
    return Path(str(described.get("path") or "")).name or "data"  # given as a dict


def _place(path: Any) -> str:
    return ", ".join(map(str, path)) if isinstance(path, (list, tuple)) else str(path or "")
