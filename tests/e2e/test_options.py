"""Whatever a training is told to leave out or to do otherwise, the trackers show what its own table shows."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.e2e

BEFORE = """
model.train(**{arguments!r})
model = YOLO("yolo26n.yaml")
"""


@pytest.fixture(autouse=True)
def _runs_dir(home):
    """Where Ultralytics puts trainings that name no project."""
    (settings,) = (home.folder / "yolo").rglob("settings.json")
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"runs_dir": str(home.work / "runs")}))


def check_epochs(home, scalars, run, logdir, name):
    """Compare each value of results.csv with what MLflow and TensorBoard show."""
    rows, curves, reader = home.results(name), scalars(logdir), home.reader()
    for column in next(iter(rows.values())).keys() - {"time"}:
        values = [(epoch, pytest.approx(row[column], rel=1e-4)) for epoch, row in rows.items()]
        assert reader.history(run, column.replace("(B)", "B")) == values, column
        assert curves[column] == values, column


def test_less_data_one_class_frozen_layers_and_a_name_as_people_give_them(home, scalars):
    name = "Zug 🚆/erste Probe"
    less = {"single_cls": True, "fraction": 0.5, "freeze": 1, "multi_scale": 0.5, "rect": True, "cache": "ram"}
    home.run(home.yolo(project=None, name=name, **less), "mlflow,tensorboard")

    reader = home.reader()
    run = reader.only_run()
    check_epochs(home, scalars, run, home.work / "runs/detect" / name, f"detect/{name}")
    assert run.info.run_name == "erste Probe"
    assert reader.client.get_experiment(run.info.experiment_id).name == "/Shared/Ultralytics"
    assert "(16 train, 8 val images, 1 class)" in run.data.tags["mlflow.note.content"]
    (start,) = [call.args for call in home.calls() if call.hook == "on_train_start"]
    assert start["dataset"].classes == start["model"].classes == {0: "item"}
    assert {name: list(split.instances) for name, split in start["dataset"].splits.items()} == {
        "train": ["item"], "val": ["item"],
    }  # fmt: skip
    assert start["model"].gradients < start["model"].parameters


def test_two_trainings_in_one_folder_one_for_so_many_seconds_and_one_that_saves_little(home, scalars):
    shared = {name: str(value) for name, value in home.arguments().items() if name in {"data", "project"}}
    before = home.arguments(**shared, exist_ok=True, time=0.0005)
    del before["model"]
    text = BEFORE.format(arguments=before)
    output = home.run(home.script(text, exist_ok=True, save=False, epochs=3), "mlflow,tensorboard")

    reader, save_dir = home.reader(), home.work / "runs/train"
    first, second = sorted(reader.runs(), key=lambda run: run.info.start_time)
    uids = [run.data.tags["tracking_hooks.run_uid"] for run in (first, second)]
    check_epochs(home, scalars, second, save_dir / uids[1], "train")
    curve = reader.history(first, "train/box_loss")
    assert [epoch for epoch, _ in curve] == list(range(1, len(curve) + 1))
    assert scalars(save_dir)["train/box_loss"] == [(epoch, pytest.approx(value)) for epoch, value in curve]
    lines = [line for line in output.splitlines() if "events delivered" in line]
    assert [next(uid for uid in uids if uid in line) for line in lines] == [uids[0]] * 2 + [uids[1]] * 2
