"""A long training takes no more memory than a short one, neither in its own process nor in a relay's."""

import gc
import logging

import psutil

from tracking_hooks.delivery.spawn import DELIVERED, start_relay
from tracking_hooks.events import Capture
from tracking_hooks.recording.process import recorders
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.settings import Settings
from tracking_hooks.testing import sample_run

SHORT, LONG = 20_000, 200_000
ALLOWED = 8e6
"""Bytes by which 180,000 events more may be felt: 44 for each."""

PLUGIN = """
import psutil

class Plugin:
    @hookimpl
    def on_event(self, hook, seq, state, destination):
        state["events"] = state.get("events", 0) + 1
        if state["events"] == 20_000 or hook == "on_run_end":
            with Path(destination["file"]).open("a") as file:
                file.write(f"{state['events']} {psutil.Process().memory_info().rss}\\n")
"""


def used() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


def test_two_hundred_thousand_events_are_recorded_and_delivered_in_the_memory_of_a_few(
    make_plugin, environment, tmp_path
):
    plugin, notes = make_plugin(PLUGIN), tmp_path / "notes"
    run = sample_run(tmp_path / "project/train")
    run.save_dir.mkdir(parents=True)
    settings = Settings(mode="offline", system_every=0.0, console="off", thin="off")
    captures = {plugin: Capture(destination={"file": str(notes)})}
    recorder = Recorder.start(run, captures, settings, logging.getLogger("host"), params={}, environment=environment)
    recorder.check()
    recorder.begin(params={}, environment=environment)
    before = 0
    for step in range(2, LONG):
        recorder.record("on_batch_end", epoch=1, step=step, metrics={"batch/loss": 1 / step})
        before = before or (used() if step == SHORT else 0)
    assert used() - before < ALLOWED, "the trainer's"
    recorder.end("finished")
    recorders.clear()

    assert start_relay(recorder.folder, plugin, settings, drain=True).wait(300) == DELIVERED
    (few, then), (all_, finally_) = [map(int, line.split()) for line in notes.read_text().splitlines()]
    assert (few, all_) == (SHORT, LONG)
    assert finally_ - then < ALLOWED, "the relay's"


def test_the_training_process_takes_at_most_ten_megabytes_more(python, tmp_path):
    """The trackers are imported by the relays alone. What any training library imports is there before."""
    done = python(
        """
        import gc, importlib.metadata, inspect, logging, logging.handlers, multiprocessing, subprocess, sys
        from pathlib import Path
        import psutil

        def used():
            gc.collect()
            return psutil.Process().memory_full_info().uss

        before = used()
        from tracking_hooks.events import Plan
        from tracking_hooks.recording.tracking import Tracking
        from tracking_hooks.testing import sample_run
        run = sample_run(Path(sys.argv[1]) / "project/train")
        run.save_dir.mkdir(parents=True)
        tracking = Tracking.of(run, logging.getLogger("host"))
        recorder = tracking.start({}, Plan())
        recorder.begin(params={}, environment=tracking.environment)
        for step in range(1000):
            recorder.record("on_batch_end", epoch=1, step=step, metrics={"batch/loss": 1.0})
        print(used() - before)
        recorder.end("finished")
        """,
        tmp_path, TRACKING_HOOKS="mlflow,tensorboard,wandb", TRACKING_HOOKS_MODE="offline",
        MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db", WANDB_MODE="offline",
    )  # fmt: skip
    assert int(done.stdout.split()[-1]) < 10e6
