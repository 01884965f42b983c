"""What users write with the public names. ``# error: X`` says what mypy is to find in that line, and in no other."""

from __future__ import annotations

from pathlib import Path

import tracking_hooks
from tracking_hooks import Capture, Progress, Rejected, Run, RunHandle, Stop, hookimpl
from tracking_hooks.drawing import draw
from tracking_hooks.events import Metrics
from tracking_hooks.predictions import SeenImage
from tracking_hooks.testing import play, recorded
from tracking_hooks.testing.contract import Contract
from tracking_hooks_control.checkpoints import KeepBest
from tracking_hooks_control.learning_rate import ReduceOnPlateau
from tracking_hooks_control.stopping import Budget, EarlyStop, NanGuard, Threshold
from tracking_hooks_tensorboard.tracker import TensorBoardTracker

VERSION: str = tracking_hooks.__version__
RULES = [
    Budget(hours=2.5),
    EarlyStop("metrics/mAP50", patience=5),
    EarlyStop("metrics/mAP50", patience="5"),  # error: arg-type
    KeepBest("metrics/mAP50"),
    NanGuard(),
    ReduceOnPlateau("metrics/mAP50"),
    Threshold("metrics/mAP50", 0.9),
]
ENDS = Stop(because="of it")  # error: call-arg
MARK = tracking_hooks.hookimp  # error: attr-defined


class Tracker:
    """A plugin: its class, and its trainer side."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    @hookimpl
    def on_epoch_end(self, epoch: int, metrics: Metrics, run: Run) -> None:
        if not metrics:
            raise Rejected(f"{run.name} has nothing in epoch {epoch}")
        self.seen.update(metrics)
        print(run.nmae)  # error: attr-defined


@hookimpl
def capture(run: Run) -> Capture:
    return Capture(destination={"folder": str(run.save_dir)})


class Patient:
    """A rule."""

    @hookimpl
    def control_epoch(self, epoch: int, metrics: Metrics, progress: Progress) -> Stop | None:
        return Stop(reason=f"epoch {epoch} is enough") if progress.seconds > 3600 and metrics else None


def script(picture: Path) -> str:
    """A script that adds to its runs, and asks for one."""
    with tracking_hooks.group("folds"):
        tracking_hooks.log({"accuracy": 0.5}, step=1)
    tracking_hooks.log(["accuracy"])  # error: arg-type
    tracking_hooks.log_image("worst", picture, boxes=[{"xyxy": [0, 0, 8, 8], "label": "cat"}])
    tracking_hooks.set_tags({"team": "vision"})
    handle: RunHandle | None = tracking_hooks.current_run()
    print(handle.name)  # error: union-attr
    return handle.uid if handle else ""


def pictured(image: SeenImage, archive: Path) -> object:
    return draw(image, archive, {0: "cat"}, title="worst")


def test_my_plugin(tmp_path: Path) -> None:
    run, calls = recorded("finished", tmp_path)
    play(TensorBoardTracker(), calls, run)


class TestContract(Contract):
    plugin = "acme"
