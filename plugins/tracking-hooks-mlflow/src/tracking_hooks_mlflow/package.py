"""The files of an MLflow model, written without loading it: MLflow's own function needs pandas and Torch."""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import zlib
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import mlflow
import yaml  # type: ignore[import-untyped]
from msgspec import Struct

CODE = "yolo_model.py"
"""The module that is packed with the weights, and runs where the model is served."""

REQUIREMENTS = ("ultralytics", "torch", "torchvision", "opencv-python", "opencv-python-headless", "numpy")
"""Packages to pin to the versions of the training, as far as they are known."""

_LONGS = {"type": "array", "items": {"type": "long"}}
_NUMBERS = {"type": "array", "items": {"type": "double"}}
_POINTS = {"type": "array", "items": _NUMBERS}
_CLASS: dict[str, dict[str, Any]] = {"class": {"type": "string"}, "class_id": {"type": "long"}}
_FOUND: dict[str, dict[str, Any]] = {**_CLASS, "confidence": {"type": "double"}}
_BOX = {**_FOUND, **{name: {"type": "double"} for name in ("x1", "y1", "x2", "y2")}}

TASKS: dict[str, dict[str, dict[str, Any]]] = {
    "detect": _BOX,
    "segment": {**_BOX, "mask": _POINTS},
    "pose": {**_BOX, "keypoints": _POINTS},
    "obb": {**_BOX, "xywhr": _NUMBERS, "corners": _POINTS},
    "classify": _FOUND,
    "semantic": {**_CLASS, "share": {"type": "double"}, "size": _LONGS, "counts": _LONGS},
    "depth": {"min": {"type": "double"}, "max": {"type": "double"}, "depth": _POINTS},
}
"""The columns of a prediction beside the number of the image, by task, with their types in MLflow's spelling."""


class Contents(Struct, frozen=True, kw_only=True):
    """What a package is built from."""

    weights: Path
    task: str
    imgsz: int
    model_id: str
    run_id: str
    created: float
    """In seconds since the epoch."""
    python: str
    versions: Mapping[str, str]
    """Distribution name to its version in the training."""


def write(folder: Path, contents: Contents) -> None:
    """Write all files of a model to an empty folder.

    :raises OSError: if a file cannot be written
    """
    (folder / "artifacts").mkdir()
    _link(contents.weights, folder / "artifacts/best.pt")
    shutil.copyfile(Path(__file__).with_name(CODE), folder / CODE)

    requirements = _requirements(contents.versions)
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements))
    environment = [f"python={contents.python}", "pip", {"pip": requirements}]
    _dump(folder / "conda.yaml", {"channels": ["conda-forge"], "dependencies": environment, "name": "mlflow-env"})
    _dump(
        folder / "python_env.yaml",
        {
            "python": contents.python,
            "build_dependencies": ["pip", "setuptools", "wheel"],
            "dependencies": ["-r requirements.txt"],
        },
    )
    example = {"columns": ["image"], "data": [[base64.b64encode(_picture()).decode()]]}
    (folder / "input_example.json").write_text(json.dumps(example))
    (folder / "serving_input_example.json").write_text(json.dumps({"dataframe_split": example}, indent=2))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    _dump(folder / "MLmodel", _mlmodel(contents, size))


def _mlmodel(contents: Contents, size: int) -> dict[str, Any]:
    created = datetime.fromtimestamp(contents.created, timezone.utc)
    return {
        "flavors": {
            "python_function": {
                "artifacts": {"weights": {"path": "artifacts/best.pt", "uri": "weights/best.pt"}},
                "code": None,
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                "loader_module": "mlflow.pyfunc.loaders.code_model",
                "model_code_path": CODE,
                "python_version": contents.python,
                "streamable": False,
            }
        },
        "is_signature_from_type_hint": False,
        "mlflow_version": mlflow.__version__,
        "model_id": contents.model_id,
        "model_size_bytes": size,
        "run_id": contents.run_id,
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "pandas_orient": "split",
            "serving_input_path": "serving_input_example.json",
            "type": "dataframe",
        },
        "signature": _signature(contents),
        "utc_time_created": created.strftime("%Y-%m-%d %H:%M:%S.%f"),
    }


def _signature(contents: Contents) -> dict[str, str | None]:
    columns = {"image": {"type": "long"}, **TASKS[contents.task]}
    params = {
        "conf": ("double", 0.25),
        "iou": ("double", 0.7),
        "imgsz": ("long", contents.imgsz),
        "max_det": ("long", 300),
    }
    return {
        # Any input: else MLflow would convert inputs to a table before our code sees them, and refuse arrays.
        "inputs": None,
        "outputs": json.dumps([{**kind, "name": name, "required": True} for name, kind in columns.items()]),
        "params": json.dumps(
            [
                {"name": name, "default": default, "shape": None, "type": kind}
                for name, (kind, default) in params.items()
            ]
        ),
    }


def _requirements(versions: Mapping[str, str]) -> list[str]:
    # A local version (2.14.1+cpu) comes from an index that pip does not use by default.
    pinned = [f"{name}=={versions[name].partition('+')[0]}" for name in REQUIREMENTS if name in versions]
    if "ultralytics" not in versions:
        pinned.insert(0, "ultralytics")
    return [f"mlflow=={mlflow.__version__}", *pinned]


def _picture() -> bytes:
    """Return an image for the example: a grey square of 32 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 32, 32, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x80" * 32) * 32)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(path, to)


def _dump(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
