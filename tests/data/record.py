"""Records a run in the present format of the journal, beside what it means: ``python -m tests.data.record FOLDER``.

A folder that was released is never written again: ``tests/unit/test_golden.py`` reads it for ever. What is added to the
format gets a folder more.
"""

from __future__ import annotations

import hashlib
import math
import sys
from pathlib import Path

import msgspec
import yaml

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
    Origin,
    Plan,
    Run,
    SaveCheckpoint,
    ScaleLearningRate,
    Split,
    Stop,
)
from tracking_hooks.predictions import Box, SeenImage
from tracking_hooks.run import commands
from tracking_hooks.run.commands import Command
from tracking_hooks.run.journal import FORMAT, Head, Journal
from tracking_hooks.run.layout import POINTER, Cursor, Pointer, RunFolder, write_json
from tracking_hooks.run.story import reopen

HOME = Path("/home/ada/shapes/runs")
UID = "20260102-030405-90a0b0c0"
SAVE_DIR = HOME / "train"
FILES = HOME / ".tracking-hooks" / UID / "files"
STARTED = 1767323045.25

RUN = Run(
    uid=UID, name="train", project="runs", task="detect", save_dir=SAVE_DIR, parent="20260102-030000-11112222",
    tags={"team": "größer & größer"}, group="5-fold", addendum=None,
    started_from=Origin(uid="20260101-030000-33334444", name="first", checkpoint="best.pt"),
)  # fmt: skip
HEAD = Head(
    format=FORMAT, created=STARTED, run=RUN,
    plugins={"notes": {"file": str(HOME / "notes"), "depth": {"levels": [1, 2.5, None]}}},
    metrics="-lr/*", checkpoints="best,last,every:2", home=HOME / ".tracking-hooks",
)  # fmt: skip
ENVIRONMENT = Environment(
    host="laptop", user="ada", cwd=Path("/home/ada/shapes"), argv=["yolo", "train", "token=[redacted]"],
    python="3.11.7", platform="Linux-6.8", versions={"torch": "2.9.1", "ultralytics": "8.3.240"},
    devices=["cuda:0 (NVIDIA A100)"],
    git=Git(commit="0123456789abcdef" * 2, branch="main", dirty=True, remote="https://example.org/shapes.git"),
)  # fmt: skip
PLAN = Plan(
    host="Ultralytics", epochs=2, checkpoints={"best": "weights/best.pt", "last": "weights/last.pt"}, files=["*.csv"]
)
PARAMS = {"model": "yolo26n.yaml", "lr0": 0.01, "epochs": 2, "classes": None, "nested": {"list": [True, "NaN"]}}
CLASSES = {0: "square", 1: "circle"}
COUNTS = {"square": 40, "circle": 24}
MODEL = Model(
    name="yolo26n", task="detect", parameters=2_500_000, gradients=2_400_000, layers=122, gflops=5.8, classes=CLASSES
)
DATASET = Dataset(
    name="shapes", yaml=Path("/home/ada/shapes/shapes.yaml"), classes=CLASSES, digest="d" * 32,
    splits={
        "train": Split(path="images/train", images=32, instances=COUNTS),
        "val": Split(path="images/val", images=8, instances={}),
    },
)  # fmt: skip
PER_CLASS = {"square": {"metrics/mAP50": 0.5, "metrics/mAP50-95": math.nan}, "circle": {}}
CURVE = Curve(
    name="PR", x_label="recall", y_label="precision", x=[0.0, 0.5, 1.0],
    y={"square": [1.0, 0.75, math.nan], "circle": [1.0, 0.5, 0.0]},
)  # fmt: skip
MATRIX = ConfusionMatrix(
    labels=["square", "circle", "background"], matrix=[[38.0, 1.0, 3.0], [1.0, 20.0, 2.0], [1.0, 3.0, 0.0]]
)
SEEN = [
    SeenImage(
        path="images/val/größer.jpg", width=1280, height=720, picture="0.jpg", score=0.5, reason="1 missed", left_out=2,
        labels=[
            Box(label="square", box=(1.5, 2.0, 30.0, 40.25), match=0, iou=0.75, polygon=[(1.5, 2.0), (30.0, 40.25)]),
            Box(label="circle", box=(50.0, 60.0, 70.0, 80.0), keypoints=[(55.0, 65.0, 2.0)]),
        ],
        predictions=[Box(label="square", box=(1.0, 2.0, 30.0, 40.0), confidence=0.875, match=0, iou=0.75)],
    ),
    SeenImage(
        path="whole.jpg", width=32, height=32, picture="1.jpg", label="square",
        probabilities={"circle": 0.75, "square": 0.25},
    ),
    SeenImage(
        path="depth.jpg", width=32, height=32, picture="2.jpg", label_map="2-label.png", predicted_map="2.png",
        depths=(0.5, 80.0),
    ),
]  # fmt: skip
SAVE = SaveCheckpoint(name="keep", reason="best of all", replaces="older")
ERROR = Error(type="RuntimeError", message="boom", traceback="Traceback …\n")
EARLY = Checkpoint(path=SAVE_DIR / "weights/best.pt", kind="best")
FINAL = {"per_class": PER_CLASS, "curves": [CURVE], "confusion_matrix": MATRIX, "checkpoint": EARLY}
CONTENT = {
    SAVE_DIR / "weights/best.pt": "best weights\n",
    SAVE_DIR / "weights/last.pt": "last weights\n",
    SAVE_DIR / "weights/epoch1.pt": "weights of epoch 2\n",
    SAVE_DIR / "weights/keep.pt": "weights that an action has kept\n",
    SAVE_DIR / "results.png": "a picture\n",
    SAVE_DIR / "args.yaml": "task: detect\n",
    SAVE_DIR / "results.csv": None,  # overwritten by a later run: the run's own copy is left
    FILES / "console.log": "Starting training\n",
    FILES / "first.png": "a picture of the user's\n",
    FILES / "errors.json": '{"columns": ["image", "AP"], "data": [["a.jpg", null]]}\n',
    FILES / "best.onnx": "exported weights\n",
    FILES / "seen.zip": "an archive of pictures\n",
}
"""The files of the run, of which a journal has size and digest."""
TABLE = "epoch,time\n1,1.5\n"

KILLED = "the process was killed while it wrote the next line"


def checkpoint(kind: str, name: str) -> Checkpoint:
    """A file of weights that is final."""
    path = SAVE_DIR / f"weights/{name}.pt"
    return Checkpoint(path=path, kind=kind, **_measured(CONTENT[path]))


def artifact(kind: str, path: Path, content: str) -> Artifact:
    """A file that is final."""
    return Artifact(path=path, kind=kind, name=path.name, epoch=2, **_measured(content))


def own(kind: str, name: str) -> Artifact:
    """A file that the user's script has given, or made of a checkpoint."""
    return Artifact(path=FILES / name, kind=kind, name=name, **_measured(CONTENT[FILES / name]))


def _measured(content: str) -> dict[str, object]:
    return {"size": len(content), "digest": hashlib.sha256(content.encode()).hexdigest()}


def begins(*, resumed: bool) -> tuple[str, dict[str, object]]:
    """The first event of each part of the run."""
    return "on_run_start", {"params": PARAMS, "environment": ENVIRONMENT, "resumed": resumed, "plan": PLAN}


EVENTS = [
    begins(resumed=False),
    ("on_train_start", {"model": MODEL, "dataset": DATASET}),
    ("on_epoch_start", {"epoch": 1, "attempt": 1}),
    ("on_batch_end", {"epoch": 1, "step": 1, "metrics": {"batch/box_loss": math.inf, "batch/lr/pg0": 1e-300}}),
    ("on_epoch_restart", {"epoch": 1, "attempt": 1, "reason": "out of memory"}),
    ("on_epoch_start", {"epoch": 1, "attempt": 2}),
    ("on_system_metrics", {"metrics": {"system/cpu_percent": 97.5}}),
    ("on_train_epoch_end", {"epoch": 1, "attempt": 2, "metrics": {"train/box_loss": -math.inf}}),
    ("on_validation_end", {"epoch": 1, "attempt": 2, "metrics": {"val/box_loss": math.nan}, "per_class": PER_CLASS}),
    ("on_checkpoint_saved", {"epoch": 1, "checkpoint": EARLY}),
    ("on_epoch_end", {"epoch": 1, "step": 4, "metrics": {"a": 0.1 + 0.2, "b": math.nan}, "per_class": PER_CLASS}),
    ("on_log", {"metrics": {"mine": 1.0}, "step": None}),
    ("on_log", {"metrics": {"mine/größer\n": 7.0}, "step": 10**12}),
    ("on_console", {"lines": ["Starting training", "  \"quoted\" \\ größer \u2028 \U0001f680", ""]}),
    KILLED,
    ("on_run_end", {"status": "killed", "error": None}),
    begins(resumed=True),
    ("on_action", {"action": SAVE, "plugin": "keep_best()", "outcome": "done"}),
    ("on_action", {"action": ScaleLearningRate(factor=0.5, reason="plateau"), "plugin": "notes", "outcome": "done"}),
    ("on_run_end", {"status": "failed", "error": ERROR}),
    begins(resumed=True),
    ("on_action", {"action": Stop(reason="enough"), "plugin": "tracking-hooks stop", "outcome": "it is over"}),
    ("on_run_end", {"status": "interrupted", "error": None}),
    begins(resumed=True),
    ("on_epoch_end", {"epoch": 2, "step": 8, "metrics": {"fitness": 0.5}, "per_class": None}),
    ("on_params", {"params": {"fold": 3, "nested": {"list": [True, "NaN"]}}}),
    ("on_tags", {"tags": {"reviewed": "größer"}}),
    ("on_image", {"artifact": own("plot", "first.png"), "step": 7}),
    ("on_predictions", {"artifact": own("file", "seen.zip"), "images": SEEN, "step": 2, "classes": CLASSES}),
    ("on_table", {"artifact": own("table", "errors.json"), "step": None}),
    ("on_evaluation", {"split": "test", "metrics": {"fitness": math.nan}, **FINAL}),
    ("on_export", {"artifact": own("file", "best.onnx"), "format": "onnx", "checkpoint": EARLY}),
    ("on_final_validation", {"metrics": {"fitness": math.nan}, **FINAL}),
    ("on_final_validation", {"metrics": {}, **dict.fromkeys(FINAL), "curves": [], "checkpoint": EARLY}),
    ("on_checkpoint_saved", {"epoch": 2, "checkpoint": checkpoint("best", "best")}),
    ("on_checkpoint_saved", {"epoch": 2, "checkpoint": checkpoint("last", "last")}),
    ("on_checkpoint_saved", {"epoch": 2, "checkpoint": checkpoint("periodic", "epoch1")}),
    ("on_checkpoint_saved", {"epoch": 2, "checkpoint": checkpoint("action", "keep")}),
    ("on_artifact", {"artifact": artifact("plot", SAVE_DIR / "results.png", "a picture\n")}),
    ("on_artifact", {"artifact": artifact("config", SAVE_DIR / "args.yaml", "task: detect\n")}),
    ("on_artifact", {"artifact": artifact("table", SAVE_DIR / "results.csv", TABLE)}),
    ("on_artifact", {"artifact": artifact("file", FILES / "console.log", "Starting training\n")}),
    ("on_run_end", {"status": "finished", "error": None}),
]  # fmt: skip

COMMANDS = [
    Command(plugin="notes", action=Stop(reason="stopped in a UI")),
    Command(plugin="tracking-hooks stop", action=SaveCheckpoint(name="now", reason="before lunch")),
    Command(plugin="rules", action=ScaleLearningRate(factor=0.1, reason="plateau")),
]

CURSOR = Cursor(seq=10, delivered=9, damaged=0, state={"url": "https://example.org/1", "seen": [1, None, 0.5]})
"""How far the plugin has got, but for the offset."""


def record(folder: Path) -> None:
    """Write the files of the run, and what they mean."""
    folder.mkdir(parents=True)
    run = RunFolder(folder / "run")
    for path in (run.files, folder / "train/weights", run.relay("notes").path):
        path.mkdir(parents=True)
    log = Journal.create(run.journal, HEAD)
    meaning = []
    cursor = CURSOR
    for number, event in enumerate(EVENTS):
        if event == KILLED:
            log.close()
            with run.journal.open("ab") as file:
                file.write(b'{"seq":15,"time":17673')
            log, _ = reopen(run.journal)
            continue
        hook, args = event
        time = STARTED + number
        seq = log.append(hook, time, args)
        meaning.append({"seq": seq, "time": time, "hook": hook, "args": plain(args)})
        if seq == CURSOR.seq:
            cursor = msgspec.structs.replace(CURSOR, offset=run.journal.stat().st_size)
    log.close()
    for command in COMMANDS:
        commands.send(run.commands, command)
    write_json(run.relay("notes").cursor, cursor)
    write_json(
        folder / "train" / POINTER,
        Pointer(uid=UID, folder=FILES.parent, epoch=2, links={"notes": "https://example.org/1"}),
    )
    for path, content in CONTENT.items():
        here = folder / "train" / path.relative_to(SAVE_DIR) if path.is_relative_to(SAVE_DIR) else run.files / path.name
        here.write_text(content or "another run's\n", encoding="utf-8")
    (run.files / f"{_measured(TABLE)['digest']}.csv").write_text(TABLE)
    told = {"head": plain(HEAD), "calls": meaning, "damaged": 1, "commands": plain(COMMANDS), "cursor": plain(cursor)}
    text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=120)
    (folder / "meaning.yaml").write_text(text, encoding="utf-8")


def plain(value: object) -> object:
    """Return what is recorded as plain data: as JSON has it, but with NaN, infinity and integers as keys."""
    return msgspec.to_builtins(value, enc_hook=str)


if __name__ == "__main__":
    record(Path(sys.argv[1]))
