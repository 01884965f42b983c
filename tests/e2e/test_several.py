"""Several trainings at the same time, or one after the other, are as many runs."""

import pytest

pytestmark = pytest.mark.e2e

IN_ONE_PROCESS = """
import threading
from pathlib import Path
from ultralytics import YOLO

def train(name, seed):
    model = YOLO("yolo26n.yaml")
    model.add_callback("on_train_epoch_end", lambda _: Path("closed").unlink(missing_ok=True))
    model.train(**{arguments!r}, name=name, seed=seed)

threads = [threading.Thread(target=train, args=(name, seed)) for seed, name in enumerate(["left", "right"])]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
train("first", 0)
Path("closed").touch()
train("second", 1)
"""

GATED = """
import time
from pathlib import Path
from tracking_hooks import hookimpl

while Path("closed").exists():
    time.sleep(0.01)

class Tracker:
    @hookimpl
    def on_run_start(self, run):
        Path(f"has {run.name}").touch()
"""


def assert_each_is_whole(home, scalars, names):
    reader = home.reader()
    runs = {run.info.run_name: run for run in reader.runs()}
    assert set(runs) == set(names)
    for name, run in runs.items():
        assert run.info.status == "FINISHED"
        expected = [
            (epoch, pytest.approx(row["train/box_loss"], rel=1e-4)) for epoch, row in home.results(name).items()
        ]
        assert reader.history(run, "train/box_loss") == expected
        assert scalars(home.work / "runs" / name)["train/box_loss"] == expected


def test_trainings_in_threads_and_one_after_the_other_in_one_process(home, scalars):
    arguments = {name: str(v) if name in {"data", "project"} else v for name, v in home.arguments().items()}
    for name in ("model", "name", "seed"):
        del arguments[name]
    (home.work / "many.py").write_text(IN_ONE_PROCESS.format(arguments=arguments))
    (home.work / "gated.py").write_text(GATED)
    output = home.run([home.python, "many.py"], "mlflow,tensorboard,gated:Tracker")
    names = ["left", "right", "first", "second"]
    assert_each_is_whole(home, scalars, names)
    # The plugin of the second one can be loaded only when its first epoch is over.
    assert "is not ready" not in output
    assert sorted(home.work.glob("has *")) == sorted(home.work / f"has {name}" for name in names)


def test_trainings_in_processes_at_the_same_time_on_a_database_that_is_not_there_yet(home, scalars):
    (home.work / "mlflow.db").unlink()
    names = ["one", "two", "three"]
    processes = [home.start(home.yolo(name=name), "mlflow,tensorboard") for name in names]
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0, output
    assert_each_is_whole(home, scalars, names)
