"""Nothing that we do around a tuning ends it: whatever release of Ultralytics it is, whatever it leaves."""

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("ultralytics")

from ultralytics.utils import LOGGER

from tests.support.runs import read_calls
from tracking_hooks.hosts.ultralytics import tuning
from tracking_hooks.recording import parents
from tracking_hooks.recording.process import recorders
from tracking_hooks.run import layout


@pytest.fixture
def tuner(tmp_path, monkeypatch, installed):
    monkeypatch.setenv("TRACKING_HOOKS", "notes")
    monkeypatch.setenv("TRACKING_HOOKS_MODE", "offline")
    args = SimpleNamespace(project=str(tmp_path), task="detect", device="cpu", data="a.yaml", name=None)
    yield SimpleNamespace(
        args=args,
        tune_dir=tmp_path / "tune",
        tune_file=tmp_path / "tune" / "tune_results.ndjson",
        space={"lr0": (0, 1)},
    )
    recorders.clear()


def recorded(folder):
    """Return what the tuning's run has come to: its hooks, and its end."""
    (run,) = layout.find_runs(folder)
    calls = read_calls(run.journal)
    return [call.hook for call in calls], calls[-1].args


@pytest.mark.parametrize("text", ["", "no JSON\n", json.dumps({"iteration": 1}) + "\n"])
def test_rows_that_cannot_be_read_do_not_end_a_tuning_or_its_run(tuner, tmp_path, text):
    def original(tuner, iterations):
        tuner.tune_file.write_text(text)
        return iterations

    assert tuning.tune(original, tuner, 3) == 3
    hooks, end = recorded(tmp_path)
    assert hooks[0] == "on_run_start"
    assert end["status"] == "finished"
    assert "on_artifact" in hooks, "the table as it is"


def test_a_tuner_that_we_do_not_know_tunes_on_and_is_said_to_be_unrecorded(tuner, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(LOGGER, "propagate", True)
    del tuner.space
    assert tuning.tune(lambda tuner: "tuned", tuner) == "tuned"
    assert layout.find_runs(tmp_path) == []
    assert "the tuning itself is not recorded (AttributeError" in caplog.text


def test_the_trials_of_an_older_tuner_are_rows_of_its_run(tuner, tmp_path):
    tuner.tune_csv = tuner.tune_file.with_suffix(".csv")
    del tuner.tune_file

    def original(tuner):
        tuner.tune_csv.write_text("fitness,lr0\n0.25,0.01\n0.5,0.02\n0.125,0.03\n")

    tuning.tune(original, tuner)
    (run,) = layout.find_runs(tmp_path)
    rows = {call.args["step"]: call.args["metrics"] for call in read_calls(run.journal) if call.hook == "on_log"}
    assert [rows[trial]["tune/fitness"] for trial in (1, 2, 3)] == [0.25, 0.5, 0.125]
    assert [rows[trial]["tune/lr0"] for trial in (1, 2, 3)] == [0.01, 0.02, 0.03]
    assert (rows[0]["best/trial"], rows[0]["best/lr0"]) == (2, 0.02)


def test_what_the_tuner_raises_is_raised_and_is_why_its_run_failed(tuner, tmp_path, monkeypatch):
    over = []
    monkeypatch.setattr(parents, "tell_it_is_over", lambda run, labels, _: over.append((run.name, list(labels))))

    def original(tuner):
        raise RuntimeError("no more trials")

    with pytest.raises(RuntimeError, match="no more trials"):
        tuning.tune(original, tuner)
    _, end = recorded(tmp_path)
    assert (end["status"], end["error"].message) == ("failed", "no more trials")
    assert over == [("tune", ["notes"])], "the plugins know that it is over"
