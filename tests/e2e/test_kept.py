"""What stands at the end of a training arrives, whatever becomes of its folder."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

OFFLINE = {"TRACKING_HOOKS_MODE": "offline"}
WEIGHTS = {"weights/best.pt", "weights/last.pt"}


def deliver(home):
    """Deliver what was recorded; return what MLflow has of each run, the oldest first."""
    home.run(["tracking-hooks", "sync"])
    reader = home.reader()
    return reader, sorted(reader.runs(), key=lambda run: run.info.start_time)


def content(reader, run, name):
    return Path(reader.client.download_artifacts(run.info.run_id, name)).read_bytes()


def test_a_script_that_deletes_the_folder_behind_its_training_loses_nothing(home):
    command = home.script(plots=True)
    with (home.work / "train.py").open("a") as script:
        script.write("import shutil; shutil.rmtree(model.trainer.save_dir)\n")
    home.run(command, "mlflow", **OFFLINE)
    reader, (run,) = deliver(home)
    files = reader.artifacts(run)
    assert WEIGHTS | {"results.csv", "args.yaml", "console.log", "results.png", "confusion_matrix.png"} <= files
    assert run.info.status == "FINISHED"
    assert "set aside" not in home.run(["tracking-hooks", "status", "--set-aside"]).replace("Nothing is set aside", "")
    kept = [path.suffix for path in home.run_folder().files.iterdir()]
    assert not {".pt", ".png", ".jpg"} & set(kept), "what was delivered is let go"


def test_a_callback_that_moves_everything_but_the_weights_away_loses_nothing(home):
    text = """
from pathlib import Path
def tidy_up(trainer):
    elsewhere = Path("elsewhere")
    elsewhere.mkdir()
    for path in trainer.save_dir.iterdir():
        if path.name != "weights":
            path.rename(elsewhere / path.name)
model.add_callback("on_train_end", tidy_up)
"""
    home.run(home.script(text, plots=True), "mlflow")
    reader = home.reader()
    run = reader.only_run()
    assert WEIGHTS | {"results.csv", "args.yaml", "console.log", "results.png"} <= reader.artifacts(run)
    assert run.info.status == "FINISHED"
    assert (home.work / "elsewhere/results.csv").exists()


def test_a_training_into_the_same_folder_takes_nothing_from_the_one_before(home):
    copy = "import shutil; shutil.copy(model.trainer.best, 'first.pt')\n"
    draw = "model.add_callback('on_train_end', lambda trainer: (trainer.save_dir / 'mine.png').write_bytes(b'drawn'))"
    command = home.script(draw, exist_ok=True)
    with (home.work / "train.py").open("a") as script:
        script.write(copy)
    home.run(command, "mlflow", **OFFLINE)
    home.run(home.script(name="again.py", exist_ok=True, seed=1), "mlflow", **OFFLINE)
    reader, (first, second) = deliver(home)
    assert content(reader, first, "weights/best.pt") == (home.work / "first.pt").read_bytes()
    assert content(reader, second, "weights/best.pt") == (home.work / "runs/train/weights/best.pt").read_bytes()
    assert content(reader, first, "weights/best.pt") != content(reader, second, "weights/best.pt")
    assert reader.artifacts(first) - reader.artifacts(second) == {"mine.png"}
