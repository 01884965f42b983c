"""Trainings of a loop of the user's own are a group: below one run, with their mean and spread."""

import json
import re
import signal
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

DOCUMENT = Path(__file__).parents[2] / "docs/groups.md"

OFFLINE = {"TRACKING_HOOKS_MODE": "offline"}

SEED = """
import logging, os, signal, sys, time
from pathlib import Path
from tracking_hooks import Run
from tracking_hooks.events import Plan
from tracking_hooks.recording.folders import new_uid
from tracking_hooks.recording.tracking import Tracking
number = int(sys.argv[1])
save_dir = Path("runs", f"seed-{number}").absolute()
save_dir.mkdir(parents=True)
run = Run(uid=new_uid(), name=save_dir.name, project="seeds", task="regression", save_dir=save_dir)
tracking = Tracking.of(run, logging.getLogger("seeds"))
recorder = tracking.start({}, Plan())
recorder.check()
recorder.begin(params={"seed": number}, environment=tracking.environment)
recorder.record("on_epoch_end", epoch=1, step=1, metrics={"metrics/score": number / 10}, per_class=None)
if number == 3:
    os.kill(os.getpid(), signal.SIGKILL)
recorder.end()
"""


def table(path):
    found = json.loads(path.read_text())
    return [dict(zip(found["columns"], row)) for row in found["data"]]


def test_five_processes_that_share_a_variable_are_a_group_and_the_one_that_was_killed_is_left_out(home, scalars):
    (home.work / "seed.py").write_text(SEED)
    variable = {"TRACKING_HOOKS_GROUP": "5-seed"}
    for number in range(1, 6):
        code = -signal.SIGKILL if number == 3 else 0
        home.run([home.python, "seed.py", str(number)], "mlflow,tensorboard", code=code, **variable, **OFFLINE)
    home.run(["tracking-hooks", "sync"])

    shown = home.run(["tracking-hooks", "group", "5-seed"])
    assert "5-seed: 5 runs, 4 in mean and std\nleft out: seed-3 (killed)\n" in shown
    assert re.search(r"^mean +0\.3$", shown, re.MULTILINE)
    assert re.search(r"^std +0\.18257$", shown, re.MULTILINE)
    assert {run.info.run_name for run in home.reader().runs()} == {f"seed-{n}" for n in range(1, 6)}

    home.run(["tracking-hooks", "group", "5-seed", "--deliver"])
    reader = home.reader()
    runs = {run.info.run_name: run for run in reader.runs()}
    group = runs.pop("5-seed")
    assert {run.data.tags["tracking_hooks.group"] for run in runs.values()} == {"5-seed"}
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {group.info.run_id}
    assert {name for name, run in runs.items() if run.info.status == "KILLED"} == {"seed-3"}
    assert group.info.status == "FINISHED"
    assert group.data.metrics["mean/metrics/score"] == pytest.approx(0.3)
    assert reader.history(group, "metrics/score") == [(n, pytest.approx(n / 10)) for n in (1, 2, 4, 5)]
    assert scalars(home.work / "runs/5-seed")["std/metrics/score"] == [(0, pytest.approx(0.18257, rel=1e-3))]
    assert [row["status"] for row in table(home.work / "runs/5-seed/group.json")][2] == "killed"
    assert "group.json" in {Path(name).name for name in reader.artifacts(group)}


def test_the_loop_in_the_documents_is_a_run_with_its_trainings_below_it(home, scalars):
    (loop,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    arguments = {k: str(v) if isinstance(v, Path) else v for k, v in home.arguments(epochs=1).items()}
    for name in ("model", "data", "name", "epochs"):
        del arguments[name]
    for fold in (1, 2):
        (home.work / f"fold-{fold}.yaml").write_text(home.data.read_text())
    # The second starts from the first one's weights, as stages do.
    loop = loop.replace("epochs=100", f"epochs=1, pretrained=STAGES[fold], **{arguments!r}")
    stages = f"STAGES = {{1: True, 2: {str(home.work / 'runs/fold-1/weights/best.pt')!r}}}\n"
    (home.work / "folds.py").write_text(stages + loop)
    output = home.run([home.python, "folds.py"], "mlflow,tensorboard")

    reader = home.reader()
    runs = {run.info.run_name: run for run in reader.runs()}
    assert set(runs) == {"2-fold", "fold-1", "fold-2"}
    group = runs.pop("2-fold")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {group.info.run_id}
    assert {run.info.status for run in (group, *runs.values())} == {"FINISHED"}
    first, second = runs["fold-1"], runs["fold-2"]
    key = "metrics/mAP50-95B"
    assert [step for step, _ in reader.history(group, key)] == [1, 2]
    assert {f"mean/{key}", f"std/{key}"} <= set(group.data.metrics)
    rows = table(home.work / "runs/groups/2-fold/group.json")
    assert [(row["run"], row["status"]) for row in rows[:2]] == [("fold-1", "finished"), ("fold-2", "finished")]
    (mean, std) = re.findall(r"^([\d.e-]+) ([\d.e-]+)$", output, re.MULTILINE)[0]
    assert (float(mean), float(std)) == (rows[2]["metrics/mAP50-95(B)"], rows[3]["metrics/mAP50-95(B)"])
    assert "tracking_hooks.started_from" not in first.data.tags
    assert second.data.tags["tracking_hooks.started_from"] == first.data.tags["tracking_hooks.run_uid"]
    assert scalars(home.work / "runs/groups/2-fold/fold-1")["train/box_loss"]
    assert scalars(home.work / "runs/groups/2-fold")["mean/metrics/mAP50-95(B)"]
