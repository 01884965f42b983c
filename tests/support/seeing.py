"""Validations by Ultralytics in which a made-up network answers, so that what it sees is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from ultralytics import RTDETR, YOLO
from ultralytics.utils import ops

from tests.support import tasks
from tracking_hooks.hosts.ultralytics import looking

NAMES = {0: "square", 1: "circle", 2: "triangle"}

Image = tuple[tuple[int, ...], Any, list[list[float]] | None]
"""Shape, type of the pixels, and lines of the label file; None: there is no file."""


def write(folder: Path, images: dict[str, Image]) -> Path:
    """Write a data set whose only split these images are; return its YAML."""
    rng = np.random.default_rng(0)
    for name, (shape, kind, lines) in images.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, np.iinfo(kind).max, shape).astype(kind))
        if lines is not None:
            label = (folder / "labels" / name).with_suffix(".txt")
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("".join(" ".join(map(str, line)) + "\n" for line in lines))
    yaml = folder / "data.yaml"
    content = {"path": str(folder), "train": "images", "val": "images", "names": NAMES, "kpt_shape": [2, 3]}
    yaml.write_text(json.dumps(content))
    return yaml


def validate(
    kind: str, data: Path, folder: Path, guess: Callable[[Any, dict[str, Any]], list[dict[str, Any]]], **args: Any
) -> tuple[Any, looking.Reader | None]:
    """Validate with answers of ``guess``, which gets the validator and a batch; look at all images.

    :returns: the validator, and what has read it; None if it was not to be read (``look=False``)
    """
    network = tasks.network(folder, kind)
    network.write_text(network.read_text().replace("nc: 80", f"nc: {len(NAMES)}"))
    model = RTDETR(str(network)) if kind == "rtdetr" else YOLO(str(network), task=kind)
    model.model.names = NAMES
    is_looked_at = args.pop("look", True)
    arguments = {"data": str(data), "imgsz": 64, "batch": 4, "device": "cpu", "workers": 0, "plots": False, **args}
    loader = model.task_map[model.task]["validator"]
    validator = loader(save_dir=folder / "val", args={**arguments, "mode": "val"})
    batches = []
    prepare = validator.preprocess

    def preprocess(batch: dict[str, Any]) -> Any:
        batches.append(prepare(batch))
        return batches[-1]

    validator.preprocess = preprocess
    validator.postprocess = lambda _: guess(validator, batches[-1])
    reader = looking.reader_for(validator) if is_looked_at else None
    if reader:
        reader.attach(validator, lambda _: True)
    try:
        validator(model=model.model)
    finally:
        if reader:
            reader.watch.end()
    return validator, reader


def near(validator: Any, batch: dict[str, Any], seed: int = 0) -> list[dict[str, Any]]:
    """Answer with what is labelled, a bit beside it, some of it with other classes, and with what is not there."""
    rng = np.random.default_rng(seed)
    height, width = batch["img"].shape[2:]
    size = torch.tensor([width, height, width, height])
    answers = []
    for number in range(len(batch["img"])):
        rows = batch["batch_idx"] == number
        boxes = batch["bboxes"][rows].clone()
        boxes[:, :4] *= size
        found = boxes[: max(len(boxes) - 1, 0)]  # the last one is missed
        more = torch.tensor([[width * 0.7, height * 0.4, width * 0.2, height * 0.3] + [0.3] * (boxes.shape[1] == 5)])
        found = torch.cat([found, more.to(found.dtype).expand(2, -1)])
        found[:, :4] += torch.from_numpy(rng.normal(0, 0.5, (len(found), 4))).float()
        found[:, 2:4].clamp_(min=1)
        conf = torch.from_numpy(rng.uniform(0.05, 1, len(found))).float().sort(descending=True).values
        cls = torch.cat([batch["cls"][rows].flatten()[: len(found) - 2], torch.zeros(2)])
        wrong = torch.from_numpy(rng.random(len(found)) < 0.2)
        cls[wrong] = (cls[wrong] + 1) % len(validator.names)
        answer = {"bboxes": found if found.shape[1] == 5 else ops.xywh2xyxy(found), "conf": conf, "cls": cls}
        if "keypoints" in batch:
            points = torch.from_numpy(rng.uniform(0, 1, (len(found), 2, 3))).float()
            answer["keypoints"] = points * torch.tensor([width, height, 1])
        if "masks" in batch:
            by = 1 if validator.process is ops.process_mask_native else 4
            answer["masks"] = _filled(answer["bboxes"] / by, height // by, width // by)
        answers.append(answer)
    return answers


def _filled(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    masks = torch.zeros((len(boxes), height, width), dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.round().int().clamp(min=0).tolist()):
        mask[top:bottom, left:right] = 1
    return masks
