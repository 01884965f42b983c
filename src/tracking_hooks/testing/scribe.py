"""Writes down the events of a run, and the files that they name."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import structs

from tracking_hooks.events import (
    Artifact,
    Checkpoint,
    ConfusionMatrix,
    Curve,
    Dataset,
    Environment,
    Error,
    Git,
    Model,
    Plan,
    Split,
    Status,
)
from tracking_hooks.predictions import Box, SeenImage, write_archive
from tracking_hooks.run.journal import Call

STARTED = 1_760_000_000.0
"""When the recorded run started, in seconds since 1970. Its events are one second apart."""

BATCHES = 4
"""Number of batches in an epoch of the recorded run."""


class Scribe:
    """Writes down a run, event by event."""

    def __init__(self, folder: Path, started: float = STARTED) -> None:
        self.calls: list[Call] = []
        self._folder = folder
        self._started = started

    def record(self, hook: str, **args: Any) -> None:
        """Write down an event."""
        self.calls.append(Call(len(self.calls) + 1, self._started + len(self.calls), hook, args))

    def start(self, epochs: int, *, resumed: bool = False, params: Mapping[str, Any] | None = None) -> None:
        """Begin, or go on if ``resumed``."""
        own = {"task": "detect", "model": "yolo26n.yaml", "epochs": epochs, "lr0": 0.01, "data": "shapes.yaml"}
        plan = Plan(
            host="YOLO", epochs=epochs, checkpoints={"best": "weights/best.pt", "last": "weights/last.pt"},
            files=["*.csv", "*.yaml", "*.png"],
        )  # fmt: skip
        _write_files(self._folder)
        self.record(
            "on_run_start", params={**own, **(params or {})}, environment=ENVIRONMENT, resumed=resumed, plan=plan
        )
        classes = {0: "square", 1: "circle"}
        counts = {"square": 40, "circle": 24}
        self.record(
            "on_train_start",
            model=Model(
                name="yolo26n", task="detect", parameters=2_500_000, gradients=2_500_000, layers=122, gflops=5.8,
                classes=classes, gflops_640=5.8,
            ),
            dataset=Dataset(
                name="shapes", yaml=self._folder / "shapes.yaml", classes=classes, digest="0" * 32,
                splits={
                    "train": Split(path="images/train", images=32, instances=counts),
                    "val": Split(path="images/val", images=8, instances=counts),
                },
            ),
        )  # fmt: skip

    def train(self, epoch: int, attempt: int = 1, *, is_discarded: bool = False) -> dict[str, float]:
        """Train an epoch up to its validation, and return its losses: others than in the end if it is discarded."""
        self.record("on_epoch_start", epoch=epoch, attempt=attempt)
        factor = 1.37 if is_discarded else 1.0
        losses = {"train/box_loss": factor * 2 / epoch, "train/cls_loss": factor * 3 / epoch, "lr/pg0": 0.01 / epoch}
        self.record("on_batch_end", epoch=epoch, step=epoch * BATCHES, metrics={"batch/box_loss": 2.1 / epoch})
        self.record("on_train_epoch_end", epoch=epoch, attempt=attempt, metrics=losses)
        return losses

    def epoch(
        self,
        epoch: int,
        *,
        attempt: int = 1,
        is_settled: bool = True,
        per_class: bool = False,
        more: Mapping[str, float] | None = None,
    ) -> None:
        """Train an epoch, and settle it.

        :param more: metrics of its validation
        """
        losses = self.train(epoch, attempt)
        if not is_settled:
            return
        validation = {
            "metrics/precision(B)": 1 - 0.5**epoch, "metrics/mAP50(B)": 0.9 - 0.5**epoch,
            "metrics/mAP50-95(B)": 0.7 - 0.5**epoch, "val/box_loss": float("nan") if epoch == 1 else 2.2 / epoch,
            **(more or {}),
        }  # fmt: skip
        classes = {name: {"metrics/mAP50": 0.95 - 0.5**epoch} for name in ("square", "circle")} if per_class else None
        self.record("on_validation_end", epoch=epoch, attempt=attempt, metrics=validation, per_class=classes)
        self.record(
            "on_checkpoint_saved",
            epoch=epoch,
            checkpoint=Checkpoint(path=self._folder / "weights/best.pt", kind="best"),
        )
        self.record(
            "on_epoch_end", epoch=epoch, step=epoch * BATCHES, per_class=classes,
            metrics={**losses, **validation, "fitness": 0.7 - 0.5**epoch, "time/epoch": 1.5},
        )  # fmt: skip
        self.record("on_system_metrics", metrics={"system/cpu_percent": 90.0, "system/memory_rss_mb": 900.0})

    def console(self, *lines: str) -> None:
        """Print lines."""
        self.record("on_console", lines=list(lines))

    def added(self, file: str, content: bytes, kind: Any, name: str) -> Artifact:
        """Write a file that the user's script has given."""
        path = self._folder / "added" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        size, digest = _measure(path)
        return Artifact(path=path, kind=kind, name=name, size=size, digest=digest)

    def seen(self, step: int | None, name: str = "predictions") -> None:
        """Show two images with labels and predictions; that of the second epoch finds one more object."""
        square = Box(label="square", box=(4.0, 4.0, 20.0, 20.0), match=0, iou=0.9)
        circle = Box(label="circle", box=(30.0, 10.0, 50.0, 30.0))
        found = structs.replace(square, box=(4.5, 4.0, 20.0, 21.0), confidence=0.8)
        more = structs.replace(circle, match=1, iou=0.75)
        is_better = step is not None and step > 1
        labels, predictions = [square, circle], [found]
        if is_better:
            labels, predictions = [square, more], [found, structs.replace(more, confidence=0.5)]
        images = [
            SeenImage(
                path="images/val/a.jpg", width=64, height=48, picture="a.png", labels=labels, predictions=predictions,
                score=0.0 if is_better else 1 / 3, reason="" if is_better else "1 missed",
            ),
            SeenImage(path="images/val/b.jpg", width=64, height=48, picture="b.png", score=0.0),
        ]  # fmt: skip
        archive = write_archive({image.picture: png(64, 48) for image in images})
        artifact = self.added("seen.zip", archive, "file", name)
        self.record("on_predictions", artifact=artifact, images=images, step=step, classes={0: "square", 1: "circle"})

    def weights(self, name: str, kind: Any) -> Checkpoint:
        """Write a checkpoint that is final."""
        path = self._folder / f"weights/{name}.pt"
        path.write_bytes(f"{name} weights".encode())
        size, digest = _measure(path)
        return Checkpoint(path=path, kind=kind, size=size, digest=digest)

    def files(self, epoch: int | None) -> None:
        """Record plots, tables and configurations."""
        for path, kind in _write_files(self._folder).items():
            size, digest = _measure(path)
            name = path.relative_to(self._folder).as_posix()
            artifact = Artifact(path=path, kind=kind, name=name, size=size, digest=digest, epoch=epoch)
            self.record("on_artifact", artifact=artifact)

    def end(self, epochs: int, status: Status) -> None:
        """Validate the best checkpoint, unless the run fails, record the final files, and end."""
        if status == "finished":
            self._final_validation()
        for kind in ("best", "last"):
            self.record("on_checkpoint_saved", epoch=epochs, checkpoint=self.weights(kind, kind))
        self.files(epochs)
        error = Error(type="RuntimeError", message="boom", traceback="Traceback …\nRuntimeError: boom\n")
        self.record("on_run_end", status=status, error=error if status == "failed" else None)

    def _final_validation(self) -> None:
        self.record(
            "on_final_validation",
            metrics={"metrics/mAP50(B)": 0.91, "metrics/mAP50-95(B)": 0.71},
            per_class={"square": {"metrics/mAP50": 0.95}, "circle": {"metrics/mAP50": 0.87}},
            curves=[
                Curve(
                    name="PR", x_label="recall", y_label="precision", x=[0.0, 0.5, 1.0],
                    y={"square": [1.0, 0.9, 0.2], "circle": [1.0, 0.8, 0.1]},
                )
            ],
            confusion_matrix=ConfusionMatrix(
                labels=["square", "circle", "background"], matrix=[[38.0, 1.0, 3.0], [1.0, 20.0, 2.0], [1.0, 3.0, 0.0]]
            ),
            checkpoint=Checkpoint(path=self._folder / "weights/best.pt", kind="best"),
        )  # fmt: skip


ENVIRONMENT = Environment(
    host="laptop", user="ada", cwd=Path("/home/ada/shapes"), argv=["yolo", "train", "model=yolo26n.yaml"],
    python="3.11.7", platform="Linux", versions={"ultralytics": "8.4.190", "torch": "2.14.1"}, devices=["cpu"],
    git=Git(commit="c0ffee" * 6 + "c0ff", branch="main", dirty=True),
)  # fmt: skip


def _write_files(folder: Path) -> dict[Path, Any]:
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    (folder / "weights/best.pt").write_bytes(b"best weights")
    (folder / "weights/last.pt").write_bytes(b"last weights")
    (folder / "results.csv").write_text("epoch,time,train/box_loss\n1,1.5,2\n")
    (folder / "args.yaml").write_text("task: detect\n")
    (folder / "results.png").write_bytes(png())
    return {folder / "results.csv": "table", folder / "args.yaml": "config", folder / "results.png": "plot"}


def table(step: int) -> bytes:
    """Return a table that differs by step."""
    return b'{"columns": ["image", "AP"], "data": [["a.jpg", 0.%d], ["b.jpg", null]]}' % (4 + step)


def png(width: int = 1, height: int = 1) -> bytes:
    """Return a grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = zlib.compress((b"\0" + b"\x80" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _measure(path: Path) -> tuple[int, str]:
    data = path.read_bytes()
    return len(data), hashlib.sha256(data).hexdigest()
