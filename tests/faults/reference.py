"""The run that is replayed: the journal of a real training, recorded once, with the files that it left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.support.runs import read_calls, write_journal
from tracking_hooks.cli.shapes import make_shapes
from tracking_hooks.run import files, journal, layout
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.testing import recorded_run, sample_run

EPOCHS = 6
_WEIGHTS = 200_000
"""Bytes kept of a file of weights: enough to be cut in the middle, and 500 sequences do not write 10 GB."""

_TRAINING = """
import tracking_hooks
from ultralytics import YOLO, settings

settings.update({{"mlflow": False}})  # Ultralytics' own integration is not what is recorded here

def log(trainer):
    tracking_hooks.log({{"mine/epoch": trainer.epoch, "mine/unhappy (%)": float("nan")}})

model = YOLO("yolo26n.yaml")
model.add_callback("on_train_epoch_end", log)
model.train(
    data={data!r}, epochs={epochs}, imgsz=32, batch=4, device="cpu", workers=0, amp=False, plots=True, seed=0,
    project={project!r}, name="train",
)
"""


@dataclass(frozen=True)
class Reference:
    """What a training recorded, in a folder of its own."""

    folder: Path
    recorded_in: Path
    """The training's ``save_dir``, below which the journal names files; others are copies in its run folder."""

    @property
    def journal(self) -> Path:
        """Return where its journal is."""
        return self.folder / "journal.jsonl"

    @property
    def save_dir(self) -> Path:
        """Return where the files are that the training left."""
        return self.folder / "train"

    @property
    def copies(self) -> Path:
        """Return where the copies are that the recorder had made, each under the name of its digest."""
        return self.folder / "files"

    def calls(self) -> list[Call]:
        """Return what was recorded."""
        return read_calls(self.journal)

    def copy_files(self, save_dir: Path, run: RunFolder) -> None:
        """Give a replay files of its own: whoever ends a killed run looks for them in its ``save_dir``."""
        shutil.copytree(self.save_dir, save_dir)
        shutil.copytree(self.copies, run.files)
        for log in run.files.glob("*.log"):
            log.rename(save_dir / log.name)  # among the copies, it would go as soon as every tracker has it

    def moved_to(self, save_dir: Path, run: RunFolder) -> list[Call]:
        """Return the calls with the paths of the files of a replay."""
        return [self._moved(call, save_dir, run) for call in self.calls()]

    def _moved(self, call: Call, save_dir: Path, run: RunFolder) -> Call:
        for name in ("artifact", "checkpoint"):
            if file := call.args.get(name):
                if file.path.is_relative_to(self.recorded_in):
                    path = save_dir / file.path.relative_to(self.recorded_in)
                else:
                    folder = save_dir if file.path.suffix == ".log" else run.files
                    path = folder / f"{file.digest}{file.path.suffix}"
                changes = {"path": path}
                if file.digest is not None:
                    changes["size"], changes["digest"] = files.digest(path)
                args = {**call.args, name: msgspec.structs.replace(file, **changes)}
                return msgspec.structs.replace(call, args=args)
        return call


def record_training(folder: Path, *, epochs: int = EPOCHS) -> Reference:
    """Train for real, in a process and a home folder of its own, and keep what was recorded."""
    data = make_shapes(folder / "shapes", train=32, val=8)
    work = folder / "work"
    work.mkdir()
    script = work / "train.py"
    script.write_text(_TRAINING.format(data=str(data), epochs=epochs, project=str(work / "runs")))
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TRACKING_HOOKS", "MLFLOW", "PYTEST"))}
    env = {
        **inherited,
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "YOLO_CONFIG_DIR": str(folder / "yolo"),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "OMP_NUM_THREADS": "1",
        "TRACKING_HOOKS": "tensorboard",
        "TRACKING_HOOKS_BATCH_EVERY": "1",
        "TRACKING_HOOKS_SYSTEM_EVERY": "0.2",
    }
    done = subprocess.run(
        [sys.executable, script], cwd=work, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the training to be replayed failed:\n{done.stdout}{done.stderr}")
    (run,) = layout.find_runs(work)
    save_dir = work / "runs" / "train"
    return keep(run, save_dir, folder / "reference")


def made_up(folder: Path, *, epochs: int) -> Reference:
    """Write a journal with the content of ``recorded_run``: short, and without a training."""
    save_dir = folder / "train"
    run = sample_run(save_dir)
    calls = recorded_run(save_dir, epochs=epochs)
    reference = Reference(folder, save_dir)
    reference.copies.mkdir()
    write_journal(reference.journal, journal.Head(format=journal.FORMAT, created=0.0, run=run, plugins={}), calls)
    return reference


def keep(run: RunFolder, save_dir: Path, folder: Path) -> Reference:
    """Keep what a training recorded, and the files that it left."""
    kept = Reference(folder, save_dir)
    shutil.copytree(save_dir, kept.save_dir, ignore=shutil.ignore_patterns("*tfevents*", layout.POINTER))
    for weights in kept.save_dir.rglob("*.pt"):
        os.truncate(weights, min(weights.stat().st_size, _WEIGHTS))
    kept.copies.mkdir()
    for path in run.files.iterdir():
        _, sha = files.digest(path)
        shutil.copy(path, kept.copies / f"{sha}{path.suffix}")  # console.log too: a replay writes one of its own
    shutil.copy(run.journal, kept.journal)
    return kept
