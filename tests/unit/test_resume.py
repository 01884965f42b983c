"""A run that goes on: one journal, one end for each start, every epoch settled once."""

import logging
import shutil
import subprocess
import sys
import threading

import msgspec
import pytest

from tracking_hooks.events import Capture, Plan
from tracking_hooks.plugins import capture, load_trainer_sides
from tracking_hooks.recording import folders, opening, parents, resumption
from tracking_hooks.recording.folders import new_uid
from tracking_hooks.recording.process import recorders
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import files, journal, layout, state
from tracking_hooks.run.layout import POINTER, Pointer, read_json
from tracking_hooks.run.liveness import Lock
from tracking_hooks.settings import ConfigurationError, Settings
from tracking_hooks.testing import sample_run

QUIET = Settings(system_every=0.0, console="off")


@pytest.fixture
def save_dir(tmp_path):
    folder = tmp_path / "project" / "train"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def train(save_dir, environment):
    """Record the training of some epochs, each time in a recorder of its own; it ends unless told otherwise."""
    started = []

    def train(*names, epochs=(), resumed=False, end="finished", captures=None, begin=True, place=save_dir):
        run = msgspec.structs.replace(sample_run(place), uid=new_uid())
        earlier = resumption.find(run, [place]) if resumed else None
        run = earlier.run if earlier else run
        one = Recorder.start(
            run, captures or capture(load_trainer_sides(names), run), QUIET, logging.getLogger("host"),
            params={}, environment=environment, earlier=earlier,
        )  # fmt: skip
        started.append(one)
        if begin:
            one.begin(params={}, environment=environment)
            for epoch in epochs:
                one.record("on_epoch_end", epoch=epoch, step=epoch, metrics={"loss": 1.0 / epoch}, per_class=None)
        if end:
            one.end(end)
        return one

    yield train
    for one in started:
        one.end("finished")
        one.supervisor.stop()
    recorders.clear()


def calls(one):
    path = one.folder.journal
    return [entry.call for entry in journal.read(path, journal.read_head(path)[1])]


def told(one):
    """Return what a run has come to, in short."""
    words = {"on_run_start": "resumed", "on_epoch_end": "epoch", "on_run_end": "status"}
    return [call.args[words[call.hook]] for call in calls(one) if call.hook in words]


def die(one):
    """Leave a recorder as a killed process leaves it."""
    one._writer.close()


def test_a_resumed_run_is_told_in_the_same_journal(train):
    first = train(epochs=[1, 2], end="interrupted")
    second = train(epochs=[3], resumed=True)
    assert second.run.uid == first.run.uid
    assert told(second) == [False, 1, 2, "interrupted", True, 3, "finished"]
    assert [call.seq for call in calls(second)] == list(range(1, 8))


def test_the_part_that_was_killed_gets_its_end_before_the_run_goes_on(train):
    die(train(epochs=[1], end=None))
    assert told(train(epochs=[2], resumed=True)) == [False, 1, "killed", True, 2, "finished"]


def test_an_epoch_is_delivered_once(train, caplog):
    train(epochs=[1, 2, 3])
    again = train(epochs=[2, 3, 4], resumed=True)
    assert [call.args["epoch"] for call in calls(again) if call.hook == "on_epoch_end"] == [1, 2, 3, 4]
    assert caplog.text.count("epochs up to 3 were settled before the resume") == 1


def test_where_only_save_dir_was_copied_to_the_run_keeps_its_uid_and_its_epochs(train, save_dir):
    first = train(epochs=[1, 2])
    shutil.rmtree(first.folder.path.parent)
    second = train(epochs=[2, 3], resumed=True)
    assert second.run.uid == first.run.uid
    assert told(second) == [True, 3, "finished"]
    assert read_json(save_dir / POINTER, Pointer).epoch == 3


def test_a_run_that_another_process_is_recording_is_not_gone_on_with(train, save_dir, monkeypatch):
    monkeypatch.setattr(state, "_PATIENCE", 0.1)
    one = train(epochs=[1], end=None)
    assert resumption.find(one.run, [save_dir]) is None


def test_a_resume_waits_for_the_relay_that_is_writing_the_end_of_the_killed_part(train, save_dir):
    one = train(epochs=[1], end=None)
    die(one)
    relay = Lock(one.folder.lock)  # what a relay holds meanwhile
    assert relay.acquire()
    ended = threading.Timer(0.3, relay.release)
    ended.start()
    assert resumption.find(one.run, [save_dir]).run.uid == one.run.uid
    ended.join()


def test_a_resume_that_comes_to_nothing_leaves_the_run_as_it_was(train, save_dir):
    first = train(epochs=[1])
    before = first.folder.journal.read_bytes()
    train(resumed=True, begin=False, end="failed")
    assert first.folder.journal.read_bytes() == before
    assert read_json(save_dir / POINTER, Pointer).uid == first.run.uid


def test_a_resume_with_a_plugin_that_is_at_fault_leaves_the_run_as_it_was(train, make_plugin):
    first = train(epochs=[1])
    before = first.folder.journal.read_bytes()
    plugin = make_plugin("class Plugin:\n    pass\n")
    broken = train(plugin, resumed=True, begin=False, end=None)
    with pytest.raises(ConfigurationError, match="no hook"):
        broken.check()
    assert first.folder.journal.read_bytes() == before
    assert not first.folder.replays()


def test_a_tracker_that_is_new_gets_the_whole_run(train, installed, save_dir):
    train(epochs=[1])
    second = train("notes", epochs=[2], resumed=True)
    for process in second.supervisor.processes.values():
        assert process.wait() == 0
    noted = [int(line.split()[0]) for line in (save_dir / "notes").read_text().splitlines()]
    assert noted == [call.seq for call in calls(second)]


def test_a_run_goes_on_where_it_was_begun_and_says_so_if_that_is_elsewhere_now(train, caplog):
    here, there = Capture(destination={"uri": "here"}), Capture(destination={"uri": "there"})
    train(captures={"notes": here}, epochs=[1])
    second = train(captures={"notes": there}, epochs=[2], resumed=True)
    assert journal.read_head(second.folder.journal)[0].plugins == {"notes": {"uri": "here"}}
    assert "goes on where this run was begun" in caplog.text


def test_a_tracker_that_was_moved_with_its_runs_is_where_the_run_was_begun(train, save_dir, tmp_path, caplog):
    def beside(folder):
        return {"notes": Capture(destination={"file": str(folder / "notes"), "uri": f"sqlite:///{folder}/notes.db"})}

    first = train(captures=beside(save_dir), epochs=[1], end="interrupted")
    first.supervisor.stop()
    moved = save_dir.parent.rename(tmp_path / "moved") / save_dir.name
    second = train(captures=beside(moved), epochs=[2], resumed=True, place=moved)
    assert second.run.uid == first.run.uid
    assert told(second) == [False, 1, "interrupted", True, 2, "finished"]
    assert "goes on where this run was begun" not in caplog.text


def test_a_run_whose_destination_was_forgotten_goes_on_where_a_new_one_would_go(train, installed, save_dir):
    here, there = (Capture(destination={"file": str(save_dir / name)}) for name in ("here", "there"))
    first = train(captures={"notes": here}, epochs=[1], end="interrupted")
    first.supervisor.stop()
    state.forget(first.folder, "notes")
    (save_dir / "here").unlink(missing_ok=True)
    second = train(captures={"notes": there}, epochs=[2], resumed=True)
    for process in second.supervisor.processes.values():
        assert process.wait() == 0
    noted = [int(line.split()[0]) for line in (save_dir / "there").read_text().splitlines()]
    assert noted == [call.seq for call in calls(second)]
    assert not (save_dir / "here").exists()


def test_the_relay_of_the_earlier_part_makes_way(train, make_plugin, until):
    plugin = make_plugin(
        """
        class Plugin:
            @hookimpl
            def on_run_start(self):
                raise Unavailable("down")
        """
    )
    first = train(plugin, epochs=[1])
    relay = first.supervisor.processes[plugin]
    until(first.folder.relay(plugin).health.exists)
    second = train(plugin, epochs=[2], resumed=True, end=None)
    assert relay.wait() != 0
    assert second.supervisor.processes[plugin].poll() is None


def test_a_trial_is_recorded_beside_its_tuning_wherever_it_saves_to(train, environment, tmp_path):
    tuning = train(end=None)
    elsewhere = tmp_path / "elsewhere" / "trial"
    elsewhere.mkdir(parents=True)
    with parents.handed_on(tuning.folder):
        parent = parents.current()
    assert parents.current() is None
    assert parent.run.uid == tuning.run.uid
    run = msgspec.structs.replace(sample_run(elsewhere), uid=new_uid(), parent=parent.run.uid)
    trial = Recorder.start(
        run, {}, QUIET, logging.getLogger("host"), params={}, environment=environment,
        plan=Plan(files=["*.csv"]), home=parent.folder.path.parent,
    )  # fmt: skip
    trial.begin(params={}, environment=environment)
    (elsewhere / "results.csv").write_text("epoch\n1\n")
    trial.record_final_files()
    trial.end("finished")
    assert trial.folder.path.parent == tuning.folder.path.parent
    (artifact,) = [call.args["artifact"] for call in calls(trial) if call.hook == "on_artifact"]
    shutil.rmtree(elsewhere)
    assert files.locate(trial.folder, trial.folder.path.parent.parent, artifact).read_text() == "epoch\n1\n"


@pytest.mark.parametrize("stays", [True, False], ids=["a folder that stays", "a temporary one"])
def test_the_tuning_that_keeps_its_results_in_a_folder_is_found_by_it(train, save_dir, monkeypatch, stays):
    monkeypatch.setattr(folders, "_is_removed_soon", lambda path: path == save_dir and not stays)
    tuning = train()
    assert (tuning.folder.path.parent == layout.fallback_home()) != stays
    assert parents.saved_to(save_dir).run.uid == tuning.run.uid
    assert parents.saved_to(save_dir.parent / "other") is None


def test_a_run_that_another_process_has_taken_meanwhile_is_not_recorded_twice(
    train, save_dir, environment, monkeypatch
):
    monkeypatch.setattr(opening, "_PATIENCE", 0.1)
    first = train(epochs=[1], end="interrupted")
    earlier = resumption.find(first.run, [save_dir])
    with subprocess.Popen(
        [sys.executable, "-c", TAKE, str(first.folder.lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"taken\n"
        with pytest.raises(ConfigurationError, match=r"process [0-9]+ on .+ is recording this run"):
            Recorder.start(
                earlier.run, {}, QUIET, logging.getLogger("host"), params={}, environment=environment, earlier=earlier
            )
        other.stdin.close()
    assert told(first) == [False, 1, "interrupted"]


def test_a_resume_that_fails_gives_the_run_back(train, save_dir, environment, monkeypatch, python):
    first = train(epochs=[1], end="interrupted")
    earlier = resumption.find(first.run, [save_dir])
    monkeypatch.setattr(opening.story, "reopen", refuse)
    with pytest.raises(ConfigurationError, match="read-only"):
        Recorder.start(
            earlier.run, {"new": Capture(destination={})}, QUIET, logging.getLogger("host"),
            params={}, environment=environment, earlier=earlier,
        )  # fmt: skip
    python(
        """
        import sys
        from pathlib import Path
        from tracking_hooks.run.liveness import Lock
        assert Lock(Path(sys.argv[1])).acquire()
        """,
        first.folder.lock,
    )
    assert not first.folder.replays()


def refuse(*_):
    raise OSError("read-only file system")


def test_two_resumes_at_once_leave_the_first_ones_relays_and_crashes_alone(train, save_dir, environment, monkeypatch):
    monkeypatch.setattr(opening, "_PATIENCE", 0.1)
    first = train(epochs=[1], end="interrupted")
    earlier = resumption.find(first.run, [save_dir])
    crash = first.folder.crash(1)
    with subprocess.Popen(
        [sys.executable, "-c", TAKE, str(first.folder.lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"taken\n"
        crash.write_text("what has ended a rank of the other one")
        with pytest.raises(ConfigurationError):
            Recorder.start(
                earlier.run, {}, QUIET, logging.getLogger("host"), params={}, environment=environment, earlier=earlier
            )
        other.stdin.close()
    assert crash.exists()


def test_a_resume_takes_over_from_a_machine_whose_lock_nobody_sees_held(train, save_dir, elsewhere):
    die(train(epochs=[1], end=None))
    (folder,) = layout.find_runs(save_dir)
    elsewhere(folder.lock, folder.heartbeat)
    assert state.is_running(folder)
    assert told(train(epochs=[2], resumed=True)) == [False, 1, "killed", True, 2, "finished"]


TAKE = """
import sys
from pathlib import Path
from tracking_hooks.run.liveness import Lock
assert Lock(Path(sys.argv[1])).acquire()
print("taken", flush=True)
sys.stdin.read()
"""


def test_a_resume_that_comes_to_nothing_leaves_a_replay_that_was_added_before(train, installed, save_dir):
    first = train(epochs=[1])
    label = first.folder.add_replay("notes", {"file": str(save_dir / "there")})
    there = Capture(destination={"file": str(save_dir / "there")})
    train(captures={"notes": there}, resumed=True, begin=False, end="failed")
    assert list(first.folder.replays()) == [label]
