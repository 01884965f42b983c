"""``train()`` returns when the run is in the trackers, where the script goes on with it; nobody else waits."""

import logging
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from tracking_hooks import autoload
from tracking_hooks.events import Capture
from tracking_hooks.recording import process, returning, waiting
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.supervisor import Supervisor
from tracking_hooks.run.layout import Cursor, Health, write_json
from tracking_hooks.settings import Settings
from tracking_hooks.testing import sample_run


class Clock:
    """A clock that goes on when somebody sleeps; something may happen at a time of it."""

    def __init__(self):
        self.now = 0.0
        self.then = {}

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        for moment in [moment for moment in self.then if moment <= self.now]:
            self.then.pop(moment)()


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(waiting, "time", found)
    return found


@pytest.fixture
def told(monkeypatch):
    """The run folders whose plugins were told that the script goes on."""
    found = []
    monkeypatch.setattr(process, "may_go_on_for_days", lambda: False)
    monkeypatch.setattr(returning, "_listeners", lambda *_: {})
    monkeypatch.setattr(returning, "_tell", lambda _, folder, __: found.append(folder))
    return found


class Recorded:
    """A run that was recorded, and whose trackers have it at a time of the clock."""

    def __init__(self, clock, arrivals, awaited=None, exit_wait=60.0, *, parent=None, group=None, uid="one"):
        self.clock, self.arrivals, self.folder = clock, arrivals, uid
        self.is_recording, self.pid = False, os.getpid()
        self.run = msgspec.structs.replace(sample_run(Path()), uid=uid, parent=parent, group=group)
        self.settings = Settings(exit_wait=exit_wait)
        self.complain = Complaints(logging.getLogger("host"))
        self.outcomes = 0
        names = list(arrivals) if awaited is None else awaited
        self.supervisor = SimpleNamespace(
            awaited=names, pending=lambda _: self.pending(), progress=lambda: (0, 1),
            are_done=lambda names: not set(names) & set(self.pending()),
        )  # fmt: skip

    def pending(self):
        return [name for name, moment in self.arrivals.items() if self.clock.now < moment]

    def look_after_relays(self):
        pass

    def tell_outcome(self):
        self.outcomes += 1


def test_train_returns_when_the_run_is_delivered(clock, told):
    one = Recorded(clock, {"mlflow": 2.0, "mlflow.files": 5.0})
    returning.before_return(one)
    assert clock.now == pytest.approx(5.0, abs=0.1)
    assert told == ["one"]
    assert not one.outcomes, "what is as it should be is told once, at the end of the process"


def test_only_the_tracker_where_the_script_holds_a_run_is_waited_for(clock, told):
    returning.before_return(Recorded(clock, {"mlflow": 2.0, "wandb": 50.0}, ["mlflow"]))
    assert clock.now == pytest.approx(2.0, abs=0.1)


def test_nobody_waits_for_a_run_that_the_script_does_not_hold(clock, told):
    returning.before_return(Recorded(clock, {"mlflow": 50.0}, []))
    assert clock.now == 0.0
    assert told == ["one"]


def test_a_slow_tracker_is_waited_for_no_longer_than_the_exit_wait_and_train_says_what_is_lacking(clock, told):
    one = Recorded(clock, {"mlflow": 500.0}, exit_wait=3.0)
    returning.before_return(one)
    assert clock.now == pytest.approx(3.0, abs=0.1)
    assert one.outcomes == 1
    assert told == ["one"]


def test_in_a_notebook_what_was_delivered_is_told_when_it_is(clock, told, monkeypatch):
    monkeypatch.setattr(process, "may_go_on_for_days", lambda: True)
    one = Recorded(clock, {"mlflow": 2.0})
    returning.before_return(one)
    assert one.outcomes == 1


def test_ctrl_c_ends_the_wait_and_is_raised_behind_it(clock, told):
    def interrupt():
        raise KeyboardInterrupt

    clock.then[1.0] = interrupt
    with pytest.raises(KeyboardInterrupt):
        returning.before_return(Recorded(clock, {"mlflow": 50.0}))
    assert clock.now == pytest.approx(1.0, abs=0.1)
    assert told == ["one"]


def test_a_trial_is_not_waited_for_and_its_tuning_is_with_all_trials_of_this_process(clock, told, monkeypatch):
    trial = Recorded(clock, {"mlflow": 4.0}, parent="tuning", uid="trial")
    monkeypatch.setattr(process, "recorders", [trial])
    returning.before_return(trial)
    assert clock.now == 0.0
    assert told == []
    returning.before_return(Recorded(clock, {"mlflow": 1.0}, uid="tuning"))
    assert clock.now == pytest.approx(4.0, abs=0.1)
    assert told == ["tuning"]


def test_a_run_whose_end_was_not_recorded_is_not_waited_for(clock, told):
    one = Recorded(clock, {"mlflow": 50.0})
    one.is_recording = True
    returning.before_return(one)
    assert clock.now == 0.0


@pytest.mark.parametrize(
    ("wait", "awaited"),
    [("", ["mlflow", "mlflow.files"]), ("train", ["mlflow", "mlflow.files", "wandb"]), ("exit", [])],
)
def test_which_trackers_are_waited_for(record_run, wait, awaited):
    captures = {"mlflow": Capture(is_held=True), "mlflow.files": Capture(), "wandb": Capture()}
    firsts = {"mlflow": "mlflow", "mlflow.files": "mlflow", "wandb": "wandb"}
    assert Supervisor(record_run("mlflow").folder, captures, firsts, Settings(wait=wait)).awaited == awaited


SHELF = """
from tracking_hooks import hookimpl

told = []

@hookimpl
def train_is_over(run):
    told.append((run.uid, "over"))
    if run.name == "13":
        raise LookupError("no shelf")

@hookimpl
def train_returns(run, state):
    told.append((run.uid, state))
    if state["number"] == 13:
        raise LookupError("no shelf")
"""


@pytest.fixture
def shelf(install, tmp_path):
    install("[tracking_hooks.trainer]\nshelf = shelf\n")
    (tmp_path / "site/shelf.py").write_text(SHELF)
    import shelf

    return shelf


def tell(folder, caplog, number=None):
    if number is not None:
        write_json(folder.relay("shelf").cursor, Cursor(state={"number": number}))
    returning.tell_plugins(folder, Complaints(logging.getLogger("host")))
    return [record.getMessage() for record in caplog.records]


def test_a_plugin_whose_tracker_has_the_run_is_told_that_the_script_goes_on(record_run, shelf, caplog):
    one = record_run("shelf")
    one.folder.relay("shelf").path.mkdir(parents=True)
    assert tell(one.folder, caplog) == []
    assert shelf.told == []
    assert tell(one.folder, caplog, 7) == []
    assert shelf.told == [(one.folder.uid, {"number": 7})]


def test_a_tracker_that_was_added_by_a_resume_is_told_too(record_run, shelf):
    folder = record_run().folder
    label = folder.add_replay("shelf", {})
    write_json(folder.relay(label).cursor, Cursor(state={"number": 7}))
    returning.tell_plugins(folder, Complaints(logging.getLogger("host")))
    assert shelf.told == [(folder.uid, {"number": 7})]


def test_a_plugin_whose_library_is_imported_behind_the_training_is_told_then(
    record_run, shelf, caplog, monkeypatch, tmp_path
):
    """Once, of the last training; as it stands in the tracker then."""
    monkeypatch.setattr(shelf, "library", "a_library_of_shelves", raising=False)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    (tmp_path / "site/a_library_of_shelves.py").touch()
    autoload.install()
    one, another = (record_run("shelf", name=name).folder for name in ("one", "another"))
    for folder in (one, another):
        folder.relay("shelf").path.mkdir(parents=True)
    assert tell(one, caplog, 6) == []
    assert tell(another, caplog, 7) == []
    assert shelf.told == []
    write_json(another.relay("shelf").cursor, Cursor(state={"number": 8}))
    import_module("a_library_of_shelves")
    assert shelf.told == [(another.uid, {"number": 8})]
    assert tell(another, caplog) == []
    assert len(shelf.told) == 2, "from then on at once"


def test_two_plugins_of_the_same_library_are_both_told(monkeypatch, tmp_path, importable):
    told = []
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    (tmp_path / "shared_by_two.py").touch()
    importable(tmp_path)
    autoload.install()
    monkeypatch.setattr(returning, "_listeners", lambda *_: {"mlflow": "a side", "audit": "another"})
    monkeypatch.setattr(returning, "_library", lambda _: "shared_by_two")
    monkeypatch.setattr(returning, "_tell", lambda sides, *_: told.extend(sides))
    returning.tell_plugins(tmp_path, Complaints(logging.getLogger("host")))
    assert told == []
    import_module("shared_by_two")
    assert told == ["mlflow", "audit"]


def test_nobody_waits_for_a_run_that_the_script_cannot_ask_for(clock, told, monkeypatch):
    waited = []
    monkeypatch.setattr(returning, "_wait_for_the_run", lambda _, labels: waited.append([*labels]))
    monkeypatch.setattr(returning, "_listeners", lambda *_: {"mlflow": "a side", "shelf": "another"})
    monkeypatch.setattr(returning, "_library", {"a side": "no_such_library", "another": None}.get)
    returning.before_return(Recorded(clock, {"mlflow": 2.0, "shelf": 2.0}, []))
    assert waited == [["shelf"]]


def test_a_plugin_that_fails_then_is_named_and_harms_nobody(record_run, shelf, caplog):
    one = record_run("shelf")
    one.folder.relay("shelf").path.mkdir(parents=True)
    assert tell(one.folder, caplog, 13) == ["tracking-hooks: train_returns of shelf failed: LookupError: no shelf"]


@pytest.mark.parametrize("label", ["shelf", "shelf@1a2b3c4d"])
def test_every_plugin_that_was_asked_is_told_that_the_training_is_over(shelf, tmp_path, label):
    run = sample_run(tmp_path)
    returning.tell_it_is_over(run, [label, "shelf.files"], Complaints(logging.getLogger("host")))
    assert shelf.told == [(run.uid, "over")]


def test_a_plugin_that_fails_when_it_is_told_so_is_named_and_harms_nobody(shelf, tmp_path, caplog):
    run = msgspec.structs.replace(sample_run(tmp_path), name="13")
    returning.tell_it_is_over(run, ["shelf"], Complaints(logging.getLogger("host")))
    assert [record.getMessage() for record in caplog.records] == [
        "tracking-hooks: train_is_over of shelf failed: LookupError: no shelf"
    ]


def test_a_tracker_that_is_down_is_not_waited_for_to_make_the_run(record_run, shelf):
    folder = record_run("shelf").folder
    folder.relay("shelf").path.mkdir(parents=True)
    write_json(folder.relay("shelf").health, Health(state="down", pid=1, error="no shelf"))
    supervisor = Supervisor(folder, {"shelf": Capture()}, {"shelf": "shelf"}, Settings())
    relay = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    supervisor.processes = {"shelf": relay}
    try:
        assert supervisor.pending() == ["shelf"]
        began = time.monotonic()
        returning._wait_for_the_run(SimpleNamespace(supervisor=supervisor, folder=folder), ["shelf"])
        assert time.monotonic() - began < returning._PATIENCE / 2
    finally:
        relay.kill()
        relay.wait()


def test_trials_are_found_by_their_tuning(monkeypatch, tmp_path):
    run = sample_run(tmp_path)
    trial = Recorded(None, {}, parent=run.uid)
    monkeypatch.setattr(process, "recorders", [trial, Recorded(None, {}, parent="another")])
    assert process.below(run) == [trial]
    assert process.below(msgspec.structs.replace(run, uid="a third")) == []
