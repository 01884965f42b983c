"""What a relay hands to a plugin, for each way that a run can take: written down, with the files that belong to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

from msgspec import structs

from tracking_hooks.events import Checkpoint, Origin, Plan, Run, SaveCheckpoint, ScaleLearningRate, Status, Stop
from tracking_hooks.run.journal import Call
from tracking_hooks.testing.scribe import ENVIRONMENT, STARTED, Scribe, png, table

Kind: TypeAlias = Literal[
    "finished", "failed", "interrupted", "killed", "resumed", "restarted", "everything", "odd", "tuning", "trial"
]
"""The way that a recorded run takes.

``finished``, ``failed``, ``interrupted``, ``killed``: a detection training of three epochs, by how it ends;
``resumed``: killed in its third epoch, and trained on to the fifth; ``restarted``: its second epoch ran out of memory
and was started again; ``everything``: each hook that there is, with per-class metrics, console, actions, what a script
logs itself, and a resume; ``odd``: values and names that are allowed and rare; ``tuning``: a tuning of two trials, and
``trial``: the first of them.
"""

KINDS: tuple[Kind, ...] = get_args(Kind)
"""All of them."""


class Recorded(NamedTuple):
    """A run, and the calls that a relay makes of it."""

    run: Run
    calls: list[Call]


def sample_run(folder: Path) -> Run:
    """Return the run whose calls ``recorded_run`` returns, with ``folder`` as its ``save_dir``."""
    return Run(uid="20251009-085320-5eed5eed", name="train", project="shapes", task="detect", save_dir=folder)


def recorded_run(folder: Path, *, epochs: int = 3, status: Status = "finished") -> list[Call]:
    """Return the calls of a detection training, and write its files (weights, plots, tables).

    :param folder: used as ``save_dir``
    :param status: any status except "finished" ends the run in the last epoch, before it is settled
    """
    scribe = Scribe(folder)
    scribe.start(epochs)
    for epoch in range(1, epochs + 1):
        scribe.epoch(epoch, is_settled=epoch < epochs or status == "finished")
    scribe.end(epochs, status)
    return scribe.calls


def recorded(kind: Kind, folder: Path) -> Recorded:
    """Return a run that took this way, and write its files.

    :param folder: used as ``save_dir``
    """
    run = sample_run(folder)
    if kind in get_args(Status):
        return Recorded(run, recorded_run(folder, status=kind))  # type: ignore[arg-type]  # narrowed by the line above
    return _WAYS[kind](folder, run)


def _resumed(folder: Path, run: Run) -> Recorded:
    scribe = Scribe(folder)
    scribe.start(3)
    for epoch in (1, 2, 3):
        scribe.epoch(epoch, is_settled=epoch < 3)
    scribe.record("on_run_end", status="killed", error=None)
    scribe.start(5, resumed=True)
    for epoch in (3, 4, 5):
        scribe.epoch(epoch)
    scribe.end(5, "finished")
    return Recorded(run, scribe.calls)


def _restarted(folder: Path, run: Run) -> Recorded:
    scribe = Scribe(folder)
    scribe.start(3)
    scribe.epoch(1)
    scribe.train(2, is_discarded=True)
    scribe.record("on_epoch_restart", epoch=2, attempt=1, reason="CUDA out of memory: the batch is halved")
    scribe.epoch(2, attempt=2)
    scribe.epoch(3)
    scribe.end(3, "finished")
    return Recorded(run, scribe.calls)


def _everything(folder: Path, run: Run) -> Recorded:
    scribe = Scribe(folder)
    scribe.start(4, params={"patience": 100})
    scribe.console("Starting training for 4 epochs...", "Image sizes 640 train, 640 val")
    scribe.record("on_params", params={"fold": 3, "note": "second camera"})
    scribe.record("on_tags", tags={"reviewed": "yes"})
    scribe.epoch(1, per_class=True)
    scribe.record("on_log", metrics={"mine/score": 0.125}, step=1)
    scribe.record("on_image", artifact=scribe.added("sample-1.png", png(), "plot", "samples/first"), step=1)
    scribe.record("on_table", artifact=scribe.added("errors-1.json", table(1), "table", "errors"), step=1)
    scribe.seen(1)
    scribe.epoch(2, per_class=True)
    scribe.seen(2)
    scribe.record("on_log", metrics={"mine/score": 0.375}, step=2)
    scribe.record("on_log", metrics={"mine/total": 12.5}, step=None)
    scribe.record("on_image", artifact=scribe.added("sample-2.png", png(), "plot", "samples/first"), step=2)
    scribe.record("on_table", artifact=scribe.added("errors-2.json", table(2), "table", "errors"), step=2)
    scribe.record(
        "on_artifact", artifact=scribe.added("notes.txt", b"the second camera is darker\n", "file", "notes.txt")
    )
    for camera in ("first", "second"):
        name = f"{camera}/view.txt"
        scribe.record("on_artifact", artifact=scribe.added(name, f"the {camera} camera\n".encode(), "file", name))
    scribe.train(3)
    scribe.record("on_run_end", status="killed", error=None)
    scribe.start(4, resumed=True, params={"patience": 50})
    scale = ScaleLearningRate(factor=0.5, reason="no progress for 2 epochs")
    scribe.record("on_action", action=scale, plugin="plateau(patience=2)", outcome="done")
    keep = SaveCheckpoint(name="promising", reason="mAP above 0.6")
    scribe.epoch(3, per_class=True)
    scribe.record("on_checkpoint_saved", epoch=3, checkpoint=scribe.weights("promising", "action"))
    scribe.record("on_action", action=keep, plugin="keep(above=0.6)", outcome="done")
    scribe.record("on_checkpoint_saved", epoch=3, checkpoint=scribe.weights("epoch3", "periodic"))
    stop = Stop(reason="the budget is spent")
    scribe.record("on_action", action=stop, plugin="budget(hours=1)", outcome="refused: it is off")
    scribe.epoch(4, per_class=True)
    scribe.console("4 epochs completed in 0.001 hours.")
    scribe.end(4, "finished")
    origin = Origin(uid="20251008-070000-0123abcd", name="train", checkpoint="best.pt")
    return Recorded(structs.replace(run, group="5-fold", started_from=origin, tags={"team": "vision"}), scribe.calls)


def _odd(folder: Path, run: Run) -> Recorded:
    scribe = Scribe(folder)
    odd = {"none": None, "yes": True, "list": [1, [2.5, "three"]], "text": "long " * 2000, "empty": "", "größe": 1e-300}
    scribe.start(2, params=odd)
    infinite = {"val/box_loss": float("inf"), "val/cls_loss": float("-inf"), "metrics/mAP50(B)": float("nan")}
    named = {
        "a b": 1.5,
        "größe/ü": 2.5,
        "50%": 3.5,
        "x" * 300: 4.5,
        "../up": 5.5,
        "UPPER": 6.5,
        "upper": 7.5,
        "🐢": 8.5,
    }
    scribe.epoch(1, more=infinite)
    scribe.epoch(2, more=named)
    scribe.record("on_log", metrics={"mine": float("nan")}, step=None)
    scribe.record("on_artifact", artifact=scribe.added("ü 1.txt", b"odd", "file", "odd names/ü 1 (copy).txt"))
    scribe.record("on_artifact", artifact=scribe.added("nothing.txt", b"", "file", "nothing.txt"))
    scribe.end(2, "finished")
    return Recorded(structs.replace(run, name="größte Kiste (2)", project="kisten/süd"), scribe.calls)


def _tuning(folder: Path, run: Run) -> Recorded:
    scribe = Scribe(folder)
    scribe.record(
        "on_run_start", params={"space": {"lr0": [0.001, 0.1]}, "iterations": 2, "epochs": 2}, resumed=False,
        environment=ENVIRONMENT, plan=Plan(host="YOLO", files=["*.csv", "*.png"]),
    )  # fmt: skip
    for trial, (fitness, rate) in enumerate([(0.25, 0.01), (0.5, 0.02)], 1):
        values = {"tune/fitness": fitness, "tune/best_fitness": fitness, "tune/lr0": rate}
        scribe.record("on_log", metrics=values, step=trial)
    scribe.record("on_log", metrics={"best/trial": 2.0, "best/fitness": 0.5}, step=0)
    scribe.files(None)
    scribe.record("on_run_end", status="finished", error=None)
    return Recorded(structs.replace(run, uid=_TUNING, name="tune"), scribe.calls)


def _trial(folder: Path, run: Run) -> Recorded:
    return Recorded(structs.replace(run, parent=_TUNING), recorded_run(folder, epochs=2))


_TUNING = "20251009-085310-70e70e70"

_WAYS: dict[str, Callable[[Path, Run], Recorded]] = {
    "resumed": _resumed,
    "restarted": _restarted,
    "everything": _everything,
    "odd": _odd,
    "tuning": _tuning,
    "trial": _trial,
}


def sample_addendum(folder: Path) -> Run:
    """Return the run of ``sample_run`` as the calls of ``recorded_addendum`` tell of it."""
    return structs.replace(sample_run(folder), addendum="20251009-095320-addedadd")


def recorded_addendum(folder: Path) -> list[Call]:
    """Return the calls of an addendum, one of each kind, and write its files.

    :param folder: that of ``recorded_run``, which has written the weights
    """
    scribe = Scribe(folder, started=STARTED + 3600 + 1)
    best = Checkpoint(path=folder / "weights/best.pt", kind="best")
    record, added = scribe.record, scribe.added
    record("on_params", params={"fold": 3})
    record("on_tags", tags={"reviewed": "yes"})
    record("on_log", metrics={"mine/score": 0.75}, step=7)
    record("on_image", artifact=added("sample.png", png(), "plot", "samples/first"), step=7)
    record("on_table", artifact=added("errors.json", table(1), "table", "errors"), step=None)
    scribe.seen(None, "samples/boxes")
    record("on_artifact", artifact=added("notes.txt", b"notes", "file", "notes.txt"))
    record(
        "on_evaluation", split="test", metrics={"metrics/mAP50(B)": 0.81, "metrics/mAP50-95(B)": 0.61},
        per_class={"square": {"metrics/mAP50": 0.81}}, curves=[], confusion_matrix=None, checkpoint=best,
    )  # fmt: skip
    onnx = added("best.onnx", b"exported weights", "file", "best.onnx")
    record("on_export", artifact=onnx, format="onnx", checkpoint=best)
    return scribe.calls
