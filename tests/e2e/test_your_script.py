"""What becomes of scripts that do something of their own with a tracker, with Ultralytics' own integration and ours.

Each row of the table in docs/your-script.md is a situation of this module, and each of its two cells what was seen.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import Struct

from tests.support.home import Home
from tests.support.processes import PATIENCE
from tests.support.wandb_files import WandbFiles

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).parents[2] / "docs/your-script.md"

PREAMBLE = """
from ultralytics import YOLO
A = {arguments!r}
def train(on_epoch=None, **more):
    model = YOLO("yolo26n.yaml")
    if on_epoch:
        model.add_callback("on_fit_epoch_end", on_epoch)
    model.train(**A | more)
    return model
"""


class Seen(Struct, frozen=True):
    """What one side left."""

    home: Home
    code: int
    output: str

    @property
    def runs(self) -> list:
        return [*self.home.reader().runs()]

    def run(self, name: str):
        (run,) = [run for run in self.runs if run.info.run_name == name]
        return run

    @property
    def wandb(self) -> list[WandbFiles]:
        folders = sorted(self.home.work.rglob("offline-run-*"))
        return [WandbFiles(folder) for folder in folders]


class Situation(Struct, frozen=True, kw_only=True):
    """A row of the table."""

    does: str
    tracker: str
    script: str
    theirs: str
    check_theirs: Callable[[Seen], bool]
    ours: str
    check_ours: Callable[[Seen], bool]
    arrives: bool = True
    """Whether our delivery comes to an end by itself."""

    @property
    def row(self) -> str:
        return f"| {self.does} | {self.theirs} | {self.ours} |"


def is_whole(run) -> bool:
    return run.info.status == "FINISHED" and "metrics/mAP50B" in run.data.metrics


def each_step_once(seen: Seen, run) -> bool:
    steps = Counter(step for step, _ in seen.home.reader().history(run, "train/box_loss"))
    return set(steps.values()) == {1}


SITUATIONS = [
    Situation(
        does="reads the numbers and the weights of the run that it has opened, in the line after `train()`",
        tracker="mlflow",
        script="""
import mlflow
with mlflow.start_run(run_name="mine") as run:
    train()
    assert "metrics/mAP50B" in mlflow.get_run(run.info.run_id).data.metrics
    mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/weights/best.pt")
""",
        theirs="they are there",
        check_theirs=lambda seen: seen.code == 0,
        ours="they are there: `train()` returns when they are",
        check_ours=lambda seen: seen.code == 0 and is_whole(seen.run("mine")),
    ),
    Situation(
        does="asks for `mlflow.last_active_run()` after `train()`",
        tracker="mlflow",
        script="""
import mlflow
train()
print("last:", mlflow.last_active_run().info.run_name)
""",
        theirs="the run of the training",
        check_theirs=lambda seen: "last: train" in seen.output,
        ours="the run of the training",
        check_ours=lambda seen: "last: train" in seen.output,
    ),
    Situation(
        does="calls `mlflow.log_metric()` in a callback, without a run of its own, in two trainings",
        tracker="mlflow",
        script="""
import mlflow
for name in ("a", "b"):
    train(lambda trainer: mlflow.log_metric("mine", 1.0, step=trainer.epoch), name=name)
""",
        theirs="it is in the run of each training",
        check_theirs=lambda seen: all("mine" in seen.run(name).data.metrics for name in "ab"),
        ours="each is whole; the number is in a run that MLflow opens for it (`tracking_hooks.log()` puts it there)",
        check_ours=lambda seen: all(is_whole(seen.run(name)) and each_step_once(seen, seen.run(name)) for name in "ab"),
    ),
    Situation(
        does="trains several times within one run that it has opened",
        tracker="mlflow",
        script="""
import mlflow
with mlflow.start_run(run_name="mine"):
    for seed in (1, 2):
        train(seed=seed, name=f"fold{seed}")
""",
        theirs="the run has the first training; each other one ends in a warning and is not there",
        check_theirs=lambda seen: len(seen.runs) == 1 and each_step_once(seen, seen.run("mine")),
        ours="the first is that run, the others are nested below it, each whole",
        check_ours=lambda seen: (
            len(seen.runs) == 2
            and all("metrics/mAP50B" in run.data.metrics and each_step_once(seen, run) for run in seen.runs)
        ),
    ),
    Situation(
        does="calls `mlflow.set_experiment()` before `mlflow.set_tracking_uri()`, so that MLflow has the number of an "
        "experiment in another store",
        tracker="mlflow",
        script="""
import mlflow
mlflow.set_tracking_uri("sqlite:///first.db")
mlflow.set_experiment("yolo1")
mlflow.set_tracking_uri("sqlite:///mlflow.db")
train()
""",
        theirs="recorded",
        check_theirs=lambda seen: is_whole(seen.run("train")),
        ours="kept in the journal; a sentence says how to have it delivered",
        check_ours=lambda seen: seen.code == 0 and "has no experiment 1" in seen.output,
        arrives=False,
    ),
    Situation(
        does="deletes the folder of the training after `train()`",
        tracker="mlflow",
        script="""
import shutil
shutil.rmtree(train().trainer.save_dir)
""",
        theirs="all of it was sent before",
        check_theirs=lambda seen: "weights/best.pt" in seen.home.reader().artifacts(seen.run("train")),
        ours="all of it arrives: it was kept beside that folder",
        check_ours=lambda seen: "weights/best.pt" in seen.home.reader().artifacts(seen.run("train")),
    ),
    Situation(
        does="calls `wandb.init()` itself, as each function of a sweep does",
        tracker="wandb",
        script="""
import wandb
run = wandb.init(project="mine", config={"lr0": 0.02})
train(lr0=run.config.lr0)
run.finish()
""",
        theirs="its run gets the numbers",
        check_theirs=lambda seen: any("metrics/mAP50(B)" in row for files in seen.wandb for row in files.history),
        ours="the same, by Ultralytics' own integration, which stays on for that (if it is on: "
        "`yolo settings wandb=True`); our run stands beside it",
        check_ours=lambda seen: (
            sum(any("metrics/mAP50(B)" in row for row in files.history) for files in seen.wandb) == 2
        ),
    ),
    Situation(
        does="calls `wandb.log()` in a callback and relies on the integration's run",
        tracker="wandb",
        script="""
import wandb
train(lambda trainer: wandb.log({"mine": 0.5}))
""",
        theirs="its run gets the number",
        check_theirs=lambda seen: seen.code == 0 and any("mine" in row for run in seen.wandb for row in run.history),
        ours="our run gets the number",
        check_ours=lambda seen: seen.code == 0 and any("mine" in row for run in seen.wandb for row in run.history),
    ),
    Situation(
        does="validates the weights on another split after `train()`",
        tracker="mlflow",
        script="""
train().val(data=A["data"], split="train", imgsz=32, device="cpu", workers=0, plots=False)
""",
        theirs="the run does not have it",
        check_theirs=lambda seen: not any("train/metrics" in key for key in seen.run("train").data.metrics),
        ours="the run has it",
        check_ours=lambda seen: any("mAP50" in key and "train/" in key for key in seen.run("train").data.metrics),
    ),
]


@pytest.mark.parametrize("side", ["theirs", "ours"])
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.does[:40])
def test_what_becomes_of_it(situation, side, tmp_path, shapes, database):
    if situation.tracker == "wandb":
        pytest.importorskip("wandb")
    home = Home(tmp_path / "home", shapes)
    shutil.copy(database, home.work)
    switched = [f"{name}={name == situation.tracker}" for name in ("mlflow", "wandb", "clearml")]
    home.run([home.yolo()[0], "settings", f"runs_dir={home.work / 'runs'}", "raytune=False", *switched])
    arguments = {key: str(value) if isinstance(value, Path) else value for key, value in home.arguments().items()}
    del arguments["model"]
    (home.work / "script.py").write_text(PREAMBLE.format(arguments=arguments | {"epochs": 1}) + situation.script)
    environment = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "WANDB_MODE": "offline"}
    process = home.start([sys.executable, "script.py"], situation.tracker if side == "ours" else None, **environment)
    output, _ = process.communicate(timeout=PATIENCE)
    if side == "ours" and situation.arrives:
        home.wait_for_delivery()
    seen = Seen(home, process.returncode, output)
    check = situation.check_ours if side == "ours" else situation.check_theirs
    assert check(seen), output
    home.close()


def test_the_script_of_the_page_adds_to_its_run_after_the_training(home):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (script,) = [block for block in blocks if "epochs=3" in block and "run.wait(" in block]
    arguments = home.arguments()
    del arguments["model"]
    call = 'data="shapes.yaml", epochs=3'
    assert call in script
    literal = {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}
    (home.work / "script.py").write_text(script.replace(call, f"**{literal!r}"))
    output = home.run([sys.executable, "script.py"], "mlflow")
    home.wait_for_delivery()
    (run,) = home.reader().runs()
    assert f"mlflow {run.info.run_id} 0" in output
    assert run.info.status == "FINISHED"
    assert run.data.params["fold"] == "3"
    assert run.data.tags["reviewed"] == "yes"
    assert "errors.json" in home.reader().artifacts(run)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.does[:40])
def test_the_documents_say_so(situation):
    assert situation.row in PAGE.read_text("utf-8").splitlines()
