"""A training is tracked, however it is started, and the trackers hold its numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support import mistakes
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.e2e

OUR_MODULES = """
import atexit, json, sys
atexit.register(lambda: open("modules.json", "w").write(json.dumps(sorted(sys.modules))))
"""


def columns(rows):
    """The columns of results.csv that are metrics: `time` is the trainer's own clock."""
    return {key for row in rows.values() for key in row} - {"time"}


def check_values(rows, history_of, rel=1e-5):
    for column in columns(rows):
        expected = [(epoch, row[column]) for epoch, row in rows.items()]
        assert [step for step, _ in history_of(column)] == [epoch for epoch, _ in expected], column
        assert [value for _, value in history_of(column)] == pytest.approx(
            [value for _, value in expected], rel=rel, abs=1e-6, nan_ok=True
        ), column


def test_a_plain_yolo_command_is_tracked_in_mlflow_and_tensorboard(fresh_home, scalars):
    home = fresh_home
    output = home.run(home.yolo(epochs=3, plots=True), "mlflow,tensorboard")

    rows = home.results()
    reader = home.reader()
    run = reader.only_run()
    check_values(rows, lambda column: reader.history(run, column.replace("(", "").replace(")", "")))
    curves = scalars(home.work / "runs/train")
    check_values(rows, curves.__getitem__)

    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train"
    assert run.data.params["epochs"] == "3"
    assert len(run.data.params) >= 110
    artifacts = reader.artifacts(run)
    assert {"weights/best.pt", "weights/last.pt", "results.csv", "args.yaml", "results.png"} <= artifacts
    assert {"labels.jpg", "confusion_matrix.png", "BoxPR_curve.png", "train_batch0.jpg"} <= artifacts
    assert [step for step, _ in reader.history(run, "best/metrics/mAP50B")] == [0]

    start, *end = (line for line in output.splitlines() if line.startswith("tracking-hooks:"))
    assert "mlflow" in start and "tensorboard" in start
    assert "Ultralytics integrations disabled for this run: mlflow" in start
    assert [line.split(" events")[0].rpartition(" ")[0] for line in end] == [
        "tracking-hooks: mlflow: all", "tracking-hooks: tensorboard: all",
    ]  # fmt: skip
    calls = home.calls()
    assert mistakes.by_pair(calls) == mistakes.of_matrix(calls)
    assert {path.name for path in mistakes.paths(mistakes.listed(calls))} == {
        path.name for path in (home.data.parent / "images/val").glob("*.png")
    }, "it has learned nothing"
    hooks = [call.hook for call in calls]
    assert hooks.index("on_final_validation") < hooks.index("on_table") < hooks.index("on_run_end")
    (settings,) = (home.folder / "yolo").rglob("settings.json")
    assert json.loads(settings.read_text())["mlflow"] is True  # the user's, left alone


def test_without_the_variable_nothing_of_ours_happens(home):
    home.forks = False  # also nothing while Python starts
    home.run(home.script(OUR_MODULES))

    assert home.runs() == []
    assert not list(home.folder.rglob("tracking.json"))
    assert not (home.folder / "state").exists()
    modules = set(json.loads((home.work / "modules.json").read_text()))
    assert not modules & {"pluggy", "msgspec", "mlflow", "wandb", "tensorboard"}
    assert {name for name in modules if name.startswith("tracking_hooks")} == {
        "tracking_hooks", "tracking_hooks.autoload",
    }  # fmt: skip


def test_the_training_process_imports_no_tracker_neither_ours_nor_ultralytics_own(home):
    home.forks = False  # so that all its imports are its own
    trackers = [name for name in ("mlflow", "tensorboard", "wandb") if find_spec(f"tracking_hooks_{name}")]
    (settings,) = (home.folder / "yolo").rglob("settings.json")
    settings.write_text(json.dumps(json.loads(settings.read_text()) | dict.fromkeys(trackers, True)))
    before = settings.read_text()
    output = home.run(home.script(OUR_MODULES), ",".join(trackers), WANDB_MODE="offline")

    modules = set(json.loads((home.work / "modules.json").read_text()))
    assert not modules & {"mlflow", "wandb", "tensorboard", "torch.utils.tensorboard", "tensorflow"}
    assert not modules & {f"ultralytics.utils.callbacks.{name}" for name in ("mlflow", "wb", "tensorboard")}
    assert settings.read_text() == before
    assert "Ultralytics integrations disabled for this run: mlflow, tensorboard" in output


def test_tracking_does_not_change_the_training(home):
    home.run(home.yolo(name="bare", plots=True))
    home.run(home.yolo(name="tracked", plots=True), "tensorboard", TRACKING_HOOKS_BATCH_EVERY="1")

    weights = [
        "import torch, hashlib, sys",
        "state = torch.load(sys.argv[1], weights_only=False)['model'].state_dict()",
        "print(hashlib.sha256(b''.join(v.float().numpy().tobytes() for v in state.values())).hexdigest())",
    ]
    hashes = [
        home.run([sys.executable, "-c", "\n".join(weights), str(home.work / f"runs/{name}/weights/last.pt")])
        for name in ("bare", "tracked")
    ]
    assert hashes[0] == hashes[1]
    bare, tracked = ([{**row, "time": 0} for row in home.results(name).values()] for name in ("bare", "tracked"))
    assert bare == tracked
    seen = [
        call.args for call in home.calls() if call.hook == "on_predictions" and call.args["artifact"].name != "worst"
    ]
    assert [args["step"] for args in seen] == [1, 2]
    assert len({args["artifact"].digest for args in seen}) == 1, "the pictures are the same"
    assert {image.path for args in seen for image in args["images"]} == {f"images/val/{n:04}.png" for n in range(8)}
    assert all(image.labels and image.score == 1 for image in seen[0]["images"]), "nothing is found so early"


def story(home):
    """What a run's journal tells, without the times."""
    calls = [call for call in home.calls() if call.hook not in ("on_system_metrics", "on_batch_end", "on_artifact")]
    return [
        (call.hook, {k: v for k, v in call.args["metrics"].items() if not k.startswith("time/")})
        if call.hook == "on_epoch_end"
        else (call.hook, call.args.get("epoch"))
        for call in calls
    ]


def run_notebook(home):
    import nbformat
    from nbclient import NotebookClient

    arguments = {key: str(value) if key in ("data", "project") else value for key, value in home.arguments().items()}
    weights = arguments.pop("model")
    cells = [
        "%env TRACKING_HOOKS=tensorboard",
        f"from ultralytics import YOLO\nmodel = YOLO({weights!r})\nmodel.train(**{arguments!r})",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(
        notebook, timeout=int(PATIENCE), kernel_name="python3", resources={"metadata": {"path": home.work}}
    )
    client.execute(env=home.env)
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "tensorboard: " in text, "a notebook is told where its run went"


def test_every_way_to_start_gives_the_same_run(home, tmp_path, shapes, settings):
    no_autoload = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    ways = {
        "command line": lambda home: home.run(home.yolo(), "tensorboard"),
        "script": lambda home: home.run(home.script(), "tensorboard"),
        "notebook": run_notebook,
        "tracking-hooks run": lambda home: home.run(
            ["tracking-hooks", "run", "--", *home.yolo()], "tensorboard", **no_autoload
        ),
        "attach()": lambda home: home.run(
            home.script('import tracking_hooks; tracking_hooks.attach("tensorboard")'), **no_autoload
        ),
    }
    stories = {}
    for way, start in ways.items():
        there = type(home)(tmp_path / way, shapes)
        there.forks = False  # it is about starting
        there.env["YOLO_CONFIG_DIR"] = home.env["YOLO_CONFIG_DIR"]
        start(there)
        stories[way] = story(there)
        there.close()
    for way, told in stories.items():
        assert told == stories["command line"], way


def test_without_autoload_the_variable_alone_does_nothing(home):
    home.run(home.script(), "tensorboard", TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    assert home.runs() == []


def test_a_folder_with_spaces_and_a_users_own_modules_are_no_trouble(tmp_path, shapes, settings, home, scalars):
    there = type(home)(tmp_path / "Übung 1 – größer", shapes)
    there.forks = False  # so that each import could meet the user's modules
    there.env["YOLO_CONFIG_DIR"] = home.env["YOLO_CONFIG_DIR"]
    for name in ("queue", "types", "json", "logging", "pluggy", "msgspec"):
        (there.work / f"{name}.py").write_text("raise RuntimeError('the user means something else by this name')")
    there.run(there.yolo(), "tensorboard,mlflow")

    assert len(scalars(there.work / "runs/train")["train/box_loss"]) == 2
    for plugin in ("tensorboard", "mlflow"):
        cursor = there.run_folder().relay(plugin).read_cursor()
        assert cursor.ended
    there.close()


def test_a_class_of_ones_own_is_a_tracker(home):
    (home.work / "mine.py").write_text(
        "from tracking_hooks import hookimpl\n"
        "class Mine:\n"
        "    @hookimpl\n"
        "    def on_epoch_end(self, run, epoch, metrics):\n"
        "        with open(run.save_dir / 'mine.txt', 'a') as file:\n"
        "            print(epoch, metrics['train/box_loss'], file=file)\n"
    )
    home.run(home.script(), "mine:Mine")

    lines = [line.split() for line in (home.work / "runs/train/mine.txt").read_text().splitlines()]
    assert {int(e): float(v) for e, v in lines} == pytest.approx(
        {epoch: row["train/box_loss"] for epoch, row in home.results().items()}, rel=1e-5
    )


def test_log_adds_a_metric_of_ones_own(home, scalars):
    callback = (
        "import tracking_hooks\n"
        "model.add_callback('on_train_epoch_end', lambda t: tracking_hooks.log({'mine/x': t.epoch * 2.0}, t.epoch + 1))"
    )
    home.run(home.script(callback), "tensorboard")
    assert scalars(home.work / "runs/train")["mine/x"] == [(1, 0.0), (2, 2.0)]


def test_wheels_work_like_editable_installs(home, tmp_path, scalars):
    home.forks = False  # what is imported when Python starts is that of the wheels
    root = next(parent for parent in Path(__file__).parents if (parent / "LICENSE").is_file())
    site = tmp_path / "site"
    packages = [root, root / "plugins/tracking-hooks-tensorboard"]
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, *packages]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    text = "import tracking_hooks; print('from', tracking_hooks.__file__)"
    output = home.run(home.script(text), "tensorboard", PYTHONPATH=str(site))

    assert f"from {site}" in output
    assert len(scalars(home.work / "runs/train")["train/box_loss"]) == 2
