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
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_num_gradients, get_num_params

from tracking_hooks.events import Dataset, Metrics, Model, PerClass, Split
from tracking_hooks.hosts.ultralytics import classes, labels, summary
from tracking_hooks.hosts.ultralytics.guard import guard
from tracking_hooks.hosts.ultralytics.releases import checkpoint_content, gpu
from tracking_hooks.recording.complaints import describe
from tracking_hooks.recording.tracking import Launch

_DIGEST = 32  # characters


def devices(trainer: BaseTrainer) -> list[str]:
    """Name what the training runs on."""
    device = trainer.device
    if device.type != "cuda":
        return [str(device)]
    indices = str(trainer.args.device or device.index or 0).split(",")
    return [f"cuda:{index} ({gpu(int(index))})" for index in indices if index.isdigit()]


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
    """Describe the network. It is looked at, never run or traced."""
    network = summary.network(trainer.model)
    launch = Launch.read()  # Ultralytics prints nothing of a worker's network: the launcher may have the same
    gflops = summary.gflops_640(trainer.model) or (launch.gflops_640 if launch else None)
    return Model(
        name=Path(str(trainer.args.model)).stem,
        task=str(trainer.args.task),
        parameters=get_num_params(network),
        gradients=get_num_gradients(network),
        layers=sum(1 for layer in network.modules() if not list(layer.children())),
        gflops=gflops if summary.is_size(trainer.args.imgsz) else None,
        classes=classes.named(trainer.data.get("names")),
        gflops_640=gflops,
    )


def dataset(trainer: BaseTrainer) -> Dataset:
    """Describe the data set; its digest covers image names, labels and class names of the splits in use.

    A data set of the user's own may be of any class: what cannot be told of it is left out, and nothing else.
    """
    described = trainer.data if isinstance(trainer.data, dict) else {}
    yaml = described.get("yaml_file")
    names: dict[int, str] = {}
    with guard("naming the classes of the data set"):
        names = classes.named(described.get("names"))
    sha, splits = hashlib.sha256(), {}
    for name, loader in (("train", "train_loader"), ("val", "test_loader")):
        images, size, instances = getattr(getattr(trainer, loader, None), "dataset", None), 0, {}
        if images is None:
            continue
        with guard(f"counting the images of {name!r}"):
            size = len(images)
        with guard(f"counting the labels of {name!r}"):
            instances = labels.count(images, names)
        try:
            digest = labels.digest(images, names)
        except Exception as error:  # noqa: BLE001 a class of the user's own
            LOGGER.warning(f"tracking-hooks: the data set is taken for another one each time: {describe(error)}")
            digest = os.urandom(32)
        sha.update(digest)
        splits[name] = Split(
            path=_place(described.get(name)), images=size, instances=instances, digest=digest.hex()[:_DIGEST]
        )
    return Dataset(
        name=name_of_dataset(trainer),
        yaml=Path(yaml) if yaml else None,
        splits=splits,
        classes=names,
        digest=sha.hexdigest()[:_DIGEST],
    )


def per_class(validator: Any) -> PerClass | None:
    """Return the last validation's metrics of each class that it had instances of, named as those of all classes."""
    metrics = validator.metrics
    result = getattr(metrics, "class_result", None)
    if result is None:  # of a classifier or of depths
        return None
    names = classes.named(metrics.names)
    return {
        names[int(index)]: dict(zip(metrics.keys, map(float, result(position))))
        for position, index in enumerate(metrics.ap_class_index)
    }


def past_epochs(table: Path, checkpoint: Path, epoch: int) -> dict[int, Metrics]:
    """Return the metrics of epochs that were trained before a resume, by epoch.

    They are those of ``results.csv``, which has six digits; for the checkpoint's own epoch, the validation's are in
    the checkpoint as they were.

    :param epoch: the checkpoint's
    """
    past = table_epochs(table)
    past.setdefault(epoch, {}).update(checkpoint_content(checkpoint).get("train_metrics") or {})
    return past


def table_epochs(table: Path) -> dict[int, Metrics]:
    """Return the rows of ``results.csv``, by epoch; none if it cannot be read."""
    found: dict[int, Metrics] = {}
    with suppress(OSError), table.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = {name.strip(): float(value) for name, value in row.items() if name and value}
            if "time" in values:
                values["time/total"] = values.pop("time")
            found[int(values.pop("epoch"))] = values
    return found


def name_of_dataset(trainer: BaseTrainer) -> str:
    """Name the data set, by its YAML or its folder."""
    described = trainer.data if isinstance(trainer.data, dict) else {}
    data = described.get("yaml_file") or trainer.args.data
    if isinstance(data, (str, Path)):
        return Path(data).stem
    return Path(str(described.get("path") or "")).name or "data"  # given as a dict


def _place(path: Any) -> str:
    if isinstance(path, (list, tuple)):
        return ", ".join(map(_place, path))
    if isinstance(path, dict):  # images with a file of phrases
        return str(path.get("json_file") or path)
    return str(path or "")
