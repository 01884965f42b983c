"""Nothing that we do around a tuning ends it: whatever release of Ultralytics it is, whatever it leaves."""

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("ultralytics")

from tracking_hooks.hosts.ultralytics import tuning
from tracking_hooks.recording.process import recorders


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


@pytest.mark.parametrize("text", ["", "no JSON\n", json.dumps({"iteration": 1}) + "\n"])
def test_rows_that_cannot_be_read_do_not_end_a_tuning(tuner, text):
    def original(tuner, iterations):
        tuner.tune_file.write_text(text)
        return iterations

    assert tuning.tune(original, tuner, 3) == 3


def test_a_tuner_that_we_do_not_know_tunes_on(tuner):
    del tuner.space
    assert tuning.tune(lambda tuner: "tuned", tuner) == "tuned"


def test_what_the_tuner_raises_is_raised(tuner):
    def original(tuner):
        raise RuntimeError("no more trials")

    with pytest.raises(RuntimeError, match="no more trials"):
        tuning.tune(original, tuner)
