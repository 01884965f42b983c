"""Reads what W&B's client has written to disk, by a reader of its own: the plugin's is what is tested.

A ``.wandb`` file has a head of 7 bytes, then blocks of 32 KiB as LevelDB's log has them. A record is a protobuf.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768


def records(path: Path) -> Iterator[Record]:
    """Yield the records of a file.

    :raises ValueError: there is anything that is no whole record
    """
    data = path.read_bytes()
    if data[:7] != struct.pack("<4sHB", b":W&B", 0xBEE1, 0):
        raise ValueError(f"{path} is no W&B file")
    at, body = 7, b""
    while at < len(data):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        crc, length, kind = struct.unpack("<IHB", data[at : at + 7])
        chunk = data[at + 7 : at + 7 + length]
        if len(chunk) != length or zlib.crc32(bytes([kind]) + chunk) != crc:
            raise ValueError(f"{path} is torn at {at} of {len(data)} bytes")
        at += 7 + length
        body = chunk if kind in (1, 2) else body + chunk
        if kind in (1, 4):
            yield Record.FromString(body)


class WandbFiles:
    """What all the files of one run below a folder tell together."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.rglob("run-*.wandb"))
        self.history: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.x_axes: dict[str, str] = {}
        self.artifacts: list[Any] = []
        self.alerts: list[tuple[str, str, str]] = []
        self.output: list[str] = []
        self.files: list[str] = []
        self.exits: list[int] = []
        self.runs: list[Any] = []
        self.kinds: list[str] = []
        for path in self.paths:
            for record in records(path):
                self.kinds.append(record.WhichOneof("record_type"))
                getattr(self, f"_{self.kinds[-1]}", lambda _: None)(getattr(record, self.kinds[-1]))

    def points(self, key: str, x: str = "_step") -> list[tuple[Any, Any]]:
        """Return a curve: every value of a metric with that of its x axis."""
        return [(row.get(x), row[key]) for row in self.history if key in row]

    def _run(self, run: Any) -> None:
        self.runs.append(run)
        self._config(run.config)

    def _history(self, history: Any) -> None:
        row: dict[str, Any] = {}
        for item in history.item:
            _put(row, list(item.nested_key) or [item.key], item.value_json)
        assert row["_step"] == history.step.num
        self.history.append(row)

    def _config(self, config: Any) -> None:
        for item in config.update:
            _put(self.config, list(item.nested_key) or [item.key], item.value_json)

    def _summary(self, summary: Any) -> None:
        for item in summary.update:
            _put(self.summary, list(item.nested_key) or [item.key], item.value_json)
        for item in summary.remove:
            self.summary.pop(item.key, None)

    def _metric(self, metric: Any) -> None:
        if metric.step_metric:
            self.x_axes[metric.name or metric.glob_name] = metric.step_metric

    def _artifact(self, artifact: Any) -> None:
        self.artifacts.append(artifact)

    def _alert(self, alert: Any) -> None:
        self.alerts.append((alert.title, alert.text, alert.level))

    def _output_logger(self, output: Any) -> None:
        self.output += output.line.splitlines()

    def _files(self, files: Any) -> None:
        self.files += [item.path for item in files.files]

    def _exit(self, exit_: Any) -> None:
        self.exits.append(exit_.exit_code)


def _put(into: dict[str, Any], keys: list[str], value_json: str) -> None:
    """Put a value in as W&B's client does when it sends it: of a dict, what is not named stays."""
    for key in keys[:-1]:
        into = into.setdefault(key, {})
    _merge(into, {keys[-1]: json.loads(value_json)})


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
