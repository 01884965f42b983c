"""For the tests of a plugin: a recorded run, and a function that plays it to the plugin.

::

    from tracking_hooks.testing import play, recorded_run, sample_run

    def test_every_epoch_is_there(tmp_path):
        play(MyTracker(), recorded_run(tmp_path), sample_run(tmp_path))
        ...
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pluggy
from msgspec import structs

from tracking_hooks.delivery.context import Context
from tracking_hooks.events import (
    Artifact,
    Checkpoint,
    ConfusionMatrix,
    Curve,
    Dataset,
    Destination,
    Environment,
    Error,
    Git,
    Missing,
    Model,
    Plan,
    Run,
    Split,
    State,
    Status,
)
from tracking_hooks.hookspecs import LifecycleSpecs
from tracking_hooks.markers import PROJECT
from tracking_hooks.run.encoding import plain
from tracking_hooks.run.journal import EVENTS, Call
from tracking_hooks.run.plain import check_state

STARTED = 1_760_000_000.0
"""When the recorded run started, in seconds since 1970. Its events are one second apart."""

BATCHES = 4
"""Number of batches in an epoch of the recorded run."""


def sample_run(folder: Path) -> Run:
    """Return the run whose calls ``recorded_run`` returns, with ``folder`` as its ``save_dir``."""
    return Run(uid="20251009-085320-5eed5eed", name="train", project="shapes", task="detect", save_dir=folder)


def recorded_run(folder: Path, *, epochs: int = 3, status: Status = "finished") -> list[Call]:
    """Return the calls of a detection training, and write its files (weights, plots, tables).

    :param folder: used as ``save_dir``
    :param status: any status except "finished" ends the run in the last epoch, before it is settled
    """
    files = _write_files(folder)
    calls: list[Call] = []

    def record(hook: str, **args: Any) -> None:
        calls.append(Call(len(calls) + 1, STARTED + len(calls), hook, args))

    record(
        "on_run_start",
        params={
            "task": "detect",
            "model": "yolo26n.yaml",
            "epochs": epochs,
            "lr0": 0.01,
            "data": "shapes.yaml",
        },
        environment=_ENVIRONMENT,
        resumed=False,
        plan=Plan(
            host="YOLO",
            epochs=epochs,
            checkpoints={"best": "weights/best.pt", "last": "weights/last.pt"},
            files=["*.csv", "*.yaml", "*.png"],
        ),
    )
    classes = {0: "square", 1: "circle"}
    counts = {"square": 40, "circle": 24}
    record(
        "on_train_start",
        model=Model(
            name="yolo26n", task="detect", parameters=2_500_000, gradients=2_500_000, layers=122, gflops=5.8,
            classes=classes,
        ),
        dataset=Dataset(
            name="shapes", yaml=folder / "shapes.yaml", classes=classes, digest="0" * 32,
            splits={
                "train": Split(path="images/train", images=32, instances=counts),
                "val": Split(path="images/val", images=8, instances=counts),
            },
        ),
    )  # fmt: skip
    best = Checkpoint(path=folder / "weights/best.pt", kind="best")
    for epoch in range(1, epochs + 1):
        record("on_epoch_start", epoch=epoch, attempt=1)
        train = {"train/box_loss": 2.0 / epoch, "train/cls_loss": 3.0 / epoch, "lr/pg0": 0.01 / epoch}
        record("on_batch_end", epoch=epoch, step=epoch * BATCHES, metrics={"batch/box_loss": 2.1 / epoch})
        record("on_train_epoch_end", epoch=epoch, attempt=1, metrics=train)
        if epoch == epochs and status != "finished":
            break
        validation = {
            "metrics/precision(B)": 1 - 0.5**epoch,
            "metrics/mAP50(B)": 0.9 - 0.5**epoch,
            "metrics/mAP50-95(B)": 0.7 - 0.5**epoch,
            "val/box_loss": float("nan") if epoch == 1 else 2.2 / epoch,
        }
        record("on_validation_end", epoch=epoch, attempt=1, metrics=validation, per_class=None)
        record("on_checkpoint_saved", epoch=epoch, checkpoint=best)
        record(
            "on_epoch_end", epoch=epoch, step=epoch * BATCHES, per_class=None,
            metrics={**train, **validation, "fitness": 0.7 - 0.5**epoch, "time/epoch": 1.5},
        )  # fmt: skip
        record("on_system_metrics", metrics={"system/cpu_percent": 90.0, "system/memory_rss_mb": 900.0})
    if status == "finished":
        record(
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
                labels=["square", "circle", "background"], matrix=[[38, 1, 3], [1, 20, 2], [1, 3, 0]]
            ),
            checkpoint=best,
        )  # fmt: skip
    for kind in ("best", "last"):
        path = folder / f"weights/{kind}.pt"
        size, digest = _measure(path)
        record(
            "on_checkpoint_saved",
            epoch=epochs,
            checkpoint=Checkpoint(path=path, kind=kind, size=size, digest=digest),
        )
    for path, kind in files.items():
        size, digest = _measure(path)
        name = path.relative_to(folder).as_posix()
        record(
            "on_artifact",
            artifact=Artifact(path=path, kind=kind, name=name, size=size, digest=digest, epoch=epochs),
        )
    error = Error(type="RuntimeError", message="boom", traceback="Traceback …\nRuntimeError: boom\n")
    record("on_run_end", status=status, error=error if status == "failed" else None)
    return calls


def sample_addendum(folder: Path) -> Run:
    """Return the run of ``sample_run`` as the calls of ``recorded_addendum`` tell of it."""
    return structs.replace(sample_run(folder), addendum="20251009-095320-addedadd")


def recorded_addendum(folder: Path) -> list[Call]:
    """Return the calls of an addendum, one of each kind, and write its files.

    :param folder: that of ``recorded_run``, which has written the weights
    """
    added = folder / "added"
    added.mkdir(parents=True, exist_ok=True)
    table = b'{"columns": ["image", "AP"], "data": [["a.jpg", 0.5], ["b.jpg", null]]}'
    contents = {"sample.png": _png(), "errors.json": table, "notes.txt": b"notes", "best.onnx": b"exported weights"}
    for name, content in contents.items():
        (added / name).write_bytes(content)

    def artifact(file: str, kind: Any, name: str) -> Artifact:
        size, digest = _measure(added / file)
        return Artifact(path=added / file, kind=kind, name=name, size=size, digest=digest)

    best = Checkpoint(path=folder / "weights/best.pt", kind="best")
    metrics = {"metrics/mAP50(B)": 0.81, "metrics/mAP50-95(B)": 0.61}
    evaluation: dict[str, Any] = {
        "per_class": {"square": {"metrics/mAP50": 0.81}},
        "curves": [],
        "confusion_matrix": None,
    }
    events: list[tuple[str, dict[str, Any]]] = [
        ("on_params", {"params": {"fold": 3}}),
        ("on_tags", {"tags": {"reviewed": "yes"}}),
        ("on_log", {"metrics": {"mine/score": 0.75}, "step": 7}),
        ("on_image", {"artifact": artifact("sample.png", "plot", "samples/first"), "step": 7}),
        ("on_table", {"artifact": artifact("errors.json", "table", "errors"), "step": None}),
        ("on_artifact", {"artifact": artifact("notes.txt", "file", "notes.txt")}),
        ("on_evaluation", {"split": "test", "metrics": metrics, **evaluation, "checkpoint": best}),
        ("on_export", {"artifact": artifact("best.onnx", "file", "best.onnx"), "format": "onnx", "checkpoint": best}),
    ]
    return [Call(n, STARTED + 3600 + n, hook, args) for n, (hook, args) in enumerate(events, 1)]


def play(
    plugin: object,
    calls: Iterable[Call],
    run: Run,
    *,
    destination: Destination | None = None,
    state: State | None = None,
    before: Iterable[Call] = (),
    flush: bool = True,
    missing: Sequence[Missing] | None = None,
) -> State:
    """Deliver calls to a plugin as a relay does, without catching exceptions.

    :param plugin: a fresh instance with ``@hookimpl`` methods: it is opened before the first call
    :param run: the run of these calls: ``sample_run(folder)`` for those of ``recorded_run(folder)``
    :param destination: what the plugin's ``capture`` would have returned
    :param state: what an earlier ``play`` returned, to continue after a restart
    :param before: the calls that an earlier instance was given, which ``open`` is told of
    :param flush: whether to flush at the end, as a relay does after each batch
    :param missing: what the plugin is told behind these calls, by ``report_missing``
    :returns: the plugin's state
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(LifecycleSpecs)
    manager.register(plugin)
    manager.check_pending()
    state = {} if state is None else state
    common = {"run": run, "state": state, "destination": destination or {}}
    context = Context()
    for call in before:
        context.coming(call)
        context.passed(call)
    is_open = False

    def open_once() -> None:
        nonlocal is_open
        if not is_open:
            manager.hook.open(**context.arguments(), **common)
            check_state(state)
            is_open = True

    for call in calls:
        context.coming(call)
        open_once()
        about = {**common, "time": call.time, "seq": call.seq}
        if call.hook in EVENTS:
            getattr(manager.hook, call.hook)(**call.args, **about)
        manager.hook.on_event(hook=call.hook, args=plain(call.args), **about)
        context.passed(call)
    if flush and is_open:
        manager.hook.flush(**common)
        check_state(state)
    if missing is not None:
        open_once()
        manager.hook.report_missing(missing=list(missing), time=STARTED + 1000, **common)
        manager.hook.flush(**common)
        check_state(state)
    return state


_ENVIRONMENT = Environment(
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
    (folder / "results.png").write_bytes(_png())
    return {folder / "results.csv": "table", folder / "args.yaml": "config", folder / "results.png": "plot"}


def _png() -> bytes:
    """Return the smallest picture: one grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")


def _measure(path: Path) -> tuple[int, str]:
    data = path.read_bytes()
    return len(data), hashlib.sha256(data).hexdigest()
