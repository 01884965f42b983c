"""The relay dies once, at every step that it can die at; a fresh one finishes; nothing is lost or doubled."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.faults import content, dying
from tests.support.runs import read_calls
from tracking_hooks_mlflow.files import MLflowFiles
from tracking_hooks_mlflow.tracker import MLflowTracker
from tracking_hooks_tensorboard.tracker import TensorBoardTracker

pytestmark = pytest.mark.faults

_SHOWN = 12


def compare(clean, found, step):
    """Return what is wrong after a death at this step, as one line."""
    lost, doubled = content.difference(clean, found)
    wrong = [f"lost {content.describe(lost)}"] if lost else []
    wrong += [f"too much {content.describe(doubled)}"] if doubled else []
    return f"died {step}: {', '.join(wrong)}" if wrong else ""


def check(folder, tracker, steps, reports):
    before = {step.split()[2] for step in steps if step.startswith("before on_")}
    taken = {str(call.seq) for call in read_calls(folder.journal) if hasattr(tracker, call.hook)}
    assert before == taken, "not every line of the journal was died at"
    wrong = [report for report in reports if report]
    if wrong:
        pytest.fail("\n".join([f"wrong after {len(wrong)} of {len(steps)} deaths", *wrong[:_SHOWN]]), pytrace=False)


@pytest.mark.parametrize(("epochs", "batch"), [(1, 1), (2, 7)])
def test_tensorboard(ended_run, tmp_path, epochs, batch):
    logdir = tmp_path / "logdir"
    folder = ended_run(epochs, tensorboard={"logdir": str(logdir)})
    clean = content.clean_tensorboard(folder, tmp_path / "clean")
    steps = dying.steps(folder, "tensorboard", batch, tmp_path / "steps")
    reports = [compare(clean, content.of_tensorboard(logdir), "never")]

    for number, step in enumerate(steps):
        shutil.rmtree(logdir)
        shutil.rmtree(folder.relay("tensorboard").path)
        dying.die(folder, "tensorboard", batch, number)
        assert dying.finish(folder, "tensorboard") == 0, step
        reports.append(compare(clean, content.of_tensorboard(logdir), step))
        logdir.mkdir(exist_ok=True)

    check(folder, TensorBoardTracker, steps, reports)


@pytest.mark.parametrize(("part", "tracker"), [("mlflow", MLflowTracker), ("mlflow.files", MLflowFiles)])
def test_mlflow_on_sqlite(ended_run, store, tmp_path, part, tracker):
    batch = 5
    destination = {"tracking_uri": f"sqlite:///{store('store')}", "experiment": "shapes", "run_name": "train"}
    folder = ended_run(1, **{"mlflow": destination, "mlflow.files": destination})
    clean = content.clean_mlflow(folder, f"sqlite:///{store('clean')}")

    def found(name: object) -> content.Content:
        # A copy: MLflow keeps connections to a store that it has opened in this process.
        copy = Path(shutil.copy(tmp_path / "store" / "mlflow.db", tmp_path / f"{name}.db"))
        return content.of_mlflow(MlflowClient(f"sqlite:///{copy}"), folder.uid, "shapes")

    def begin() -> None:
        for path in changing:
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(tmp_path / "at first" / path.name, path)

    def finish(step: str) -> None:
        for name in ("mlflow", "mlflow.files"):
            assert dying.finish(folder, name) == 0, f"{name}, died {step}"

    changing = [tmp_path / "store", folder.path / "relays"]
    (folder.path / "relays").mkdir()
    if part != "mlflow":  # it finds the run that the other part has made
        assert dying.finish(folder, "mlflow") == 0
    for path in changing:
        shutil.copytree(path, tmp_path / "at first" / path.name)
    steps = dying.steps(folder, part, batch, tmp_path / "steps")
    finish("never")
    reports = [compare(clean, found("never"), "never")]
    for number, step in enumerate(steps):
        begin()
        dying.die(folder, part, batch, number)
        finish(step)
        reports.append(compare(clean, found(number), step))

    check(folder, tracker, steps, reports)
