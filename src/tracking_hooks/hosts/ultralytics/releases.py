"""What releases of Ultralytics name otherwise, or lack: told by what is there, never by a version.

What all of them have is used where it is needed. Where one lacks something else, only the feature that needs it is
missing.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any


def only_launches_workers(trainer: Any) -> bool:
    """Whether the training takes place in other processes, which this one starts.

    Older trainers find that out when they begin to train, by what they were given as the device.
    """
    if hasattr(trainer, "ddp"):
        return bool(trainer.ddp)
    device = trainer.args.device
    devices = device.split(",") if isinstance(device, str) else device
    return isinstance(devices, (list, tuple)) and len(devices) > 1 and "LOCAL_RANK" not in os.environ


def resumed_from(trainer: Any) -> Path:
    """Return the checkpoint that a resumed training goes on with; older trainers name it as their model only."""
    given = trainer.args.resume
    return Path(given if isinstance(given, (str, Path)) else trainer.args.model)


def checkpoint_content(path: Path) -> dict[str, Any]:
    """Read a checkpoint that Ultralytics has read in this process; its own function for that has had two names."""
    read: dict[str, Any] = sys.modules["torch"].load(path, map_location="cpu", weights_only=False)
    return read


def gpu(index: int) -> str:
    """Name a GPU as Ultralytics prints it."""
    found = sys.modules["torch"].cuda.get_device_properties(index)
    return f"{found.name}, {found.total_memory / (1 << 20):.0f}MiB"


def table_of_trials(tuner: Any) -> Path:
    """Return the file that a tuner adds a row to for each trial."""
    return Path(tuner.tune_file if hasattr(tuner, "tune_file") else tuner.tune_csv)


def trials(table: Path) -> list[dict[str, Any]]:
    """Return the rows of that file: lines of JSON or, of older tuners, a table without the metrics of the data sets.

    :raises ValueError: if it cannot be read
    """
    if table.suffix != ".csv":
        return [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines() if line.strip()]
    with table.open(encoding="utf-8", newline="") as lines:
        rows = [{name.strip(): float(value) for name, value in row.items()} for row in csv.DictReader(lines)]
    return [
        {"iteration": number, "fitness": row.pop("fitness"), "hyperparameters": row, "datasets": {}}
        for number, row in enumerate(rows, 1)
    ]


def file_of_bar(bar: Any) -> Any:
    """Return where a progress bar is drawn at this moment, or None; those of older releases are tqdm's."""
    if bar.disable or getattr(bar, "closed", False) or getattr(bar, "noninteractive", False):
        return None  # the last kind draws nothing before its end; tqdm disables a bar that is closed
    return bar.file if hasattr(bar, "file") else bar.fp
