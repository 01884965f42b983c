"""What a user does about runs after the fact, and what is done about runs that nobody looks after."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import msgspec
import pytest

from tests.support.systems import posix
from tracking_hooks.delivery.spawn import DELIVERED, PENDING, start_adopter, start_relay
from tracking_hooks.delivery.sync import Watcher, deliver
from tracking_hooks.plugins import capture, load_trainer_sides
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import index, layout, liveness, orphans, state
from tracking_hooks.run.journal import Call
from tracking_hooks.run.liveness import Lock
from tracking_hooks.run.story import reopen
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run, sample_run

OUTAGE = """
class Plugin(Notes):
    @hookimpl
    def flush(self, destination):
        if not Path(destination["file"]).with_name("up").exists():
            raise Unavailable("nobody answers")
"""


@pytest.fixture
def notes(installed):
    return "notes"


def unfinished(folder):
    return [call for call in recorded_run(folder) if call.hook != "on_run_end"][:-5]


# -- status ---------------------------------------------------------------------------------------------------


def test_status_says_what_each_tracker_has_got(record_run, notes, cli):
    run = record_run(notes, "gone")
    run.relay(notes)
    lines = cli("status", run.save_dir).output.splitlines()

    events = len(run.calls())
    assert lines[1].split()[:7] == [run.folder.uid, "train", "finished", "notes", str(events), "0", "0"]
    assert lines[2].split()[:4] == ["gone", "0", str(events), "0"]
    assert f"tracking-hooks sync {run.folder.path}" in lines[2]


def test_status_names_outages_and_killed_runs(record_run, make_plugin, tmp_path, cli):
    plugin = make_plugin(OUTAGE)
    run = record_run(plugin, calls=unfinished(tmp_path / "project/train"))
    run.relay(plugin, drain=False, linger=0.0)
    output = cli("status", tmp_path).output
    assert "killed" in output
    assert "waits: nobody answers" in output


def test_status_counts_what_is_set_aside_and_shows_the_reasons(record_run, make_plugin, cli):
    plugin = make_plugin(
        """
        class Plugin:
            @hookimpl
            def on_run_end(self):
                raise Rejected("not that")
        """
    )
    run = record_run(plugin)
    run.relay(plugin)
    output = cli("status", run.save_dir).output
    events = len(run.calls())
    assert output.splitlines()[1].split()[3:7] == [plugin, str(events - 1), "0", "1"]
    assert f"reasons: tracking-hooks status --set-aside {run.folder.path}" in output
    listed = cli("status", run.save_dir, "--set-aside").output
    assert f"{run.folder.uid}  {plugin}  event {events}, on_run_end: not that" in listed
    assert "not tried again by itself" in listed
    (lack,) = json.loads(cli("status", run.save_dir, "--set-aside", "--json").output)
    (event,) = lack["set_aside"]
    assert (lack["uid"], event["event"], event["reason"]) == (run.folder.uid, events, "not that")
    assert "1 event set aside. To try all of them again: tracking-hooks sync --retry" in listed


@pytest.mark.parametrize("arguments", [(), ("--retry",)])
def test_what_is_refused_for_now_is_tried_again_by_the_next_sync(
    record_run, make_plugin, cli, tmp_path, monkeypatch, arguments
):
    plugin = make_plugin(
        f"""
        import os
        class Plugin:
            @hookimpl
            def on_run_start(self):
                if not os.path.exists({str(tmp_path / "larger")!r}):
                    raise Rejected("too large", retry_after=3600)
        """
    )
    run = record_run(plugin)
    run.relay(plugin)
    (tmp_path / "larger").touch()
    monkeypatch.setenv("TRACKING_HOOKS", plugin)
    assert f"{plugin}: 1 event delivered" in cli("sync", run.save_dir, *arguments).output
    assert run.set_aside(plugin) == {}


def test_status_shows_a_run_that_goes_to_no_tracker(record_run, cli):
    run = record_run()
    (line,) = cli("status", run.save_dir).output.splitlines()[1:]
    uid, *words, _, _, epoch, metric, folder = line.split()
    assert [uid, *words] == [run.folder.uid, "train", "finished", "none"]
    assert (epoch, metric, folder) == ("3/3", "metrics/mAP50-95(B)=0.71", str(run.save_dir))


def test_status_of_nothing_is_a_sentence(cli, tmp_path):
    assert cli("status", tmp_path).output == f"No runs in {tmp_path}.\n"
    assert cli("status").output == "No runs of this user on this machine.\n"


# -- sync -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret", ["file=https://ada:hunter2@host/x", "file=postgresql://ada:hunter2@host/db", "api_key=hunter2"]
)
def test_a_password_for_a_destination_is_refused_and_not_kept(record_run, notes, cli, secret):
    run = record_run(notes)
    result = cli("sync", run.save_dir, "--to", "notes", "--set", secret)
    assert result.exit_code == 1
    assert "looks like a password or a key" in result.output
    assert "hunter2" not in result.output
    assert not run.folder.replays()


def test_sync_to_replays_a_whole_run_into_a_tracker_that_was_not_there(record_run, notes, cli, tmp_path):
    run = record_run()
    other = tmp_path / "other notes"
    result = cli("sync", run.save_dir, "--to", "notes", "--set", f"file={other}")

    assert result.exit_code == 0, result.output
    seqs = [int(line.split()[0]) for line in other.read_text().splitlines()]
    assert seqs == [call.seq for call in run.calls()]
    again = cli("sync", run.save_dir, "--to", "notes", "--set", f"file={other}")
    assert "Nothing is pending: 1 run" in again.output
    assert len(other.read_text().splitlines()) == len(seqs)


def test_sync_goes_on_with_a_replay_that_was_broken_off(record_run, make_plugin, cli, tmp_path, monkeypatch):
    plugin = make_plugin(OUTAGE)
    monkeypatch.setenv("TRACKING_HOOKS", plugin)
    monkeypatch.setattr("tracking_hooks.delivery.relay._DRAIN_PATIENCE", 0.0)
    run = record_run()
    assert cli("sync", run.save_dir, "--to", plugin, "--set", f"file={run.notes}").exit_code == 1
    run.notes.with_name("up").touch()
    assert cli("sync", run.save_dir).exit_code == 0
    assert set(run.noted()) == {call.seq for call in run.calls()}


def test_set_without_to_and_nonsense_are_refused(record_run, notes, cli):
    run = record_run(notes)
    assert "--set goes with --to" in cli("sync", "--set", "a=b").output
    assert "it takes KEY=VALUE" in cli("sync", run.save_dir, "--to", "notes", "--set", "file").output
    assert "Did you mean 'notes'?" in cli("sync", run.save_dir, "--to", "notse").output


def test_a_tracker_that_is_down_is_tried_for_one_run_only(record_run, make_plugin, monkeypatch, tmp_path):
    plugin = make_plugin(OUTAGE)
    monkeypatch.setenv("TRACKING_HOOKS", plugin)
    place = {"file": str(tmp_path / "notes")}
    folders = [record_run(plugin, name=name, destination=place).folder for name in ("a", "b", "c")]
    results = list(deliver(folders, Settings()))
    assert all("nobody answers" in result.note for result in results)
    assert [folder.relay(plugin).path.exists() for folder in folders] == [True, False, False]


def test_watch_follows_a_run_of_another_machine(record_run, notes, until):
    run = record_run(notes, calls=recorded_run_start())
    lock = Lock(run.folder.lock)
    assert lock.acquire()
    elsewhere = liveness.Holder(host="node7", boot="another", pid=1, started=1.0)
    layout.write_json(run.folder.lock.with_suffix(".json"), elsewhere)
    watcher = Watcher(Settings())
    try:
        list(watcher.look([run.folder]))
        until(lambda: len(run.noted()) == 1)
        run.append([Call(2, 2.0, "on_run_end", {"status": "finished", "error": None})])
        until(lambda: run.cursor(notes).ended)
        lock.release()
        until(lambda: any("complete, 2 events" in news for _, _, news in watcher.look([run.folder])))
    finally:
        watcher.close()


def recorded_run_start():
    return [Call(1, 1.0, "on_run_start", {"params": {}, "environment": None, "resumed": False})]


def test_two_syncs_at_once_deliver_each_event_once(record_run, notes):
    run = record_run(notes)
    command = [sys.executable, "-c", "from tracking_hooks.cli import main; main()", "sync", str(run.save_dir)]
    syncs = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    for sync in syncs:
        sync.communicate(timeout=60)
    assert run.noted() == [call.seq for call in run.calls()]


# -- prune ----------------------------------------------------------------------------------------------------


def test_prune_removes_what_is_delivered_everywhere_and_nothing_else(record_run, notes, cli, tmp_path):
    whole, pending = record_run(notes, name="whole"), record_run(notes, "gone", name="pending")
    for run in (whole, pending):
        index.enter(run.folder)
        run.relay(notes)
    assert "would be removed" in cli("prune", tmp_path / "project", "--dry-run").output
    assert whole.folder.path.exists()

    assert "Name the folders, or give --all" in cli("prune").output
    output = cli("prune", "--all").output
    assert not (whole.save_dir / layout.POINTER).exists()
    assert not whole.folder.path.exists()
    assert pending.folder.path.exists()
    assert f"{pending.folder.uid}  kept: gone has not received all of it" in output
    assert (whole.save_dir / "weights/best.pt").exists()
    assert [folder.uid for folder in index.all_runs()] == [pending.folder.uid]


@pytest.mark.parametrize("content", [b"", b'{"format":1,"crea'])
def test_prune_removes_a_run_that_died_before_anything_was_recorded(cli, tmp_path, content):
    folder = layout.RunFolder.beside(tmp_path / "project/train", "20251009-085320-early")
    folder.create()
    folder.journal.write_bytes(content)
    lock = Lock(folder.lock)
    assert lock.acquire()
    try:
        assert "kept: it is running" in cli("prune", tmp_path / "project").output
    finally:
        lock.release()
    assert "where nothing was recorded: its process died too early" in cli("prune", tmp_path / "project").output
    assert not folder.path.exists()


def test_prune_keeps_a_journal_that_cannot_be_read(cli, record_run, notes, tmp_path):
    run = record_run(notes)
    run.relay(notes)
    run.folder.journal.write_bytes(b"garbage\n" + run.folder.journal.read_bytes())
    assert "kept: " in cli("prune", tmp_path / "project").output
    assert run.folder.journal.exists()


# -- adoption -------------------------------------------------------------------------------------------------


def test_an_adopter_delivers_what_others_left_and_leaves_running_ones_alone(record_run, notes):
    left, running = record_run(notes, name="left"), record_run(notes, name="running")
    for run in (left, running):
        index.enter(run.folder)
    lock = Lock(running.folder.lock)
    assert lock.acquire()
    try:
        assert start_adopter(left.folder.path.parent).wait(60) == 0
    finally:
        lock.release()
    assert left.noted() == [call.seq for call in left.calls()]
    assert running.noted() == []


def test_of_many_relays_that_wait_for_a_tracker_only_the_last_runs_lingers(record_run, make_plugin, tmp_path):
    plugin = make_plugin(OUTAGE)
    there = {"file": str(tmp_path / "notes")}
    older, newer = (record_run(plugin, name=name, destination=there) for name in ("a", "b"))
    lock = Lock(newer.folder.lock)
    assert lock.acquire()
    try:
        assert older.relay(plugin, linger=3600.0) == PENDING  # at once: its successor adopts
    finally:
        lock.release()


def test_of_many_trials_against_a_dead_tracker_one_relay_is_left_and_one_sync_delivers_all(
    record_run, make_plugin, tmp_path, until, cli, monkeypatch
):
    plugin = make_plugin(OUTAGE)
    monkeypatch.setenv("TRACKING_HOOKS", plugin)
    there = {"file": str(tmp_path / "notes")}
    trials = [record_run(plugin, name=f"trial-{number}", destination=there) for number in range(8)]
    relays = [start_relay(trial.folder, plugin, Settings(linger=3600.0)) for trial in trials]
    until(lambda: sum(relay.poll() is None for relay in relays) == 1)
    assert relays[-1].poll() is None, "the last one lingers"
    (tmp_path / "up").touch()
    assert cli("sync", tmp_path / "project").exit_code == 0
    for trial in trials:
        assert trial.cursor(plugin).delivered == len(trial.calls())
    noted = [int(line.split()[0]) for line in (tmp_path / "notes").read_text().splitlines()]
    assert all(noted.count(call.seq) >= len(trials) for call in trials[0].calls())


def test_a_run_of_a_machine_that_went_down_is_killed(record_run, notes, tmp_path):
    run = record_run(notes, calls=unfinished(tmp_path / "project/train"))
    here = liveness.Holder.this()
    layout.write_json(run.folder.lock.with_suffix(".json"), msgspec.structs.replace(here, boot="the one before"))
    (result,) = deliver([run.folder], Settings())
    assert result.done
    assert run.calls()[-1].args["status"] == "killed"


# -- files ----------------------------------------------------------------------------------------------------


def test_a_project_that_was_moved_is_delivered_with_its_files(record_run, make_plugin, tmp_path):
    plugin = make_plugin(FILES)
    run = record_run(plugin)
    shutil.move(tmp_path / "project", tmp_path / "moved")
    folder = layout.RunFolder(tmp_path / "moved/.tracking-hooks" / run.folder.uid)
    moved = type(run)(folder, tmp_path / "moved/train", run.notes)
    assert moved.relay(plugin) == DELIVERED
    assert not moved.set_aside(plugin)
    assert "best weights" in run.notes.read_text()


def test_files_that_a_later_run_overwrites_are_saved_first(record_run, make_plugin):
    plugin = make_plugin(FILES)
    run = record_run(plugin)
    orphans.secure_files(run.folder)
    (run.save_dir / "weights/best.pt").write_bytes(b"those of the later run")
    (run.save_dir / "results.csv").unlink()
    assert run.relay(plugin) == DELIVERED
    assert not run.set_aside(plugin)
    assert "best weights" in run.notes.read_text()
    assert "those of the later run" not in run.notes.read_text()
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in run.folder.files.iterdir())


def test_nothing_is_copied_when_everything_is_delivered(record_run, notes):
    run = record_run(notes)
    run.relay(notes)
    orphans.secure_files(run.folder)
    assert not run.folder.files.exists()


def test_a_planted_path_is_not_followed(record_run, make_plugin, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("not for the tracker")
    from tracking_hooks.events import Artifact, Plan
    from tracking_hooks.run import files

    plan = Plan(files=["*.csv"])
    size, digest = files.digest(secret)
    plugin = make_plugin(FILES)
    artifacts = [Call(1, 1.0, "on_run_start", {"params": {}, "environment": None, "resumed": False, "plan": plan})]
    for path in (secret, tmp_path / "project/train/link.txt"):
        artifact = Artifact(path=path, kind="file", name=path.name, size=size, digest=digest)
        artifacts.append(Call(len(artifacts) + 1, 1.0, "on_artifact", {"artifact": artifact}))
    run = record_run(plugin, calls=artifacts)
    (run.save_dir / "link.txt").symlink_to(secret)
    run.relay(plugin)
    assert "not for the tracker" not in run.notes.read_text()
    reasons = list(run.set_aside(plugin).values())
    assert all("outside of the run's root folder" in reason for reason in reasons)
    assert len(reasons) == 2


FILES = """
class Plugin:
    @hookimpl
    def on_checkpoint_saved(self, checkpoint, destination):
        if checkpoint.digest:
            self.note(checkpoint.path, destination)

    @hookimpl
    def on_artifact(self, artifact, destination):
        self.note(artifact.path, destination)

    def note(self, path, destination):
        with Path(destination["file"]).open("a") as file:
            print(path.read_bytes(), file=file)
"""


# -- the recorder's side --------------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path, environment):
    """Start to record a run; it is ended when the test is over."""
    recorders = []

    def start(*names, uid="20261009-000000-00000000", **settings):
        save_dir = tmp_path / "project/train"
        save_dir.mkdir(parents=True, exist_ok=True)
        run = msgspec.structs.replace(sample_run(save_dir), uid=uid)
        settings = Settings(system_every=0, console="off", **settings)
        recorder = Recorder.start(
            run,
            capture(load_trainer_sides(names), run),
            settings,
            logging.getLogger("test"),
            params={"lr0": 0.1},
            environment=environment,
        )
        recorders.append(recorder)
        return recorder

    yield start
    for recorder in recorders:
        recorder.end("finished")


def test_offline_records_and_delivers_nothing_until_sync(start, notes, environment, cli):
    recorder = start(notes, mode="offline")
    recorder.check()
    recorder.begin(params={}, environment=environment)
    recorder.end("finished")

    assert not recorder.folder.relay(notes).cursor.exists()
    (line,) = recorder.supervisor.outcome()
    assert line.startswith("offline: 2 events recorded; to deliver them: tracking-hooks sync ")
    assert "2 events delivered" in cli("sync", recorder.folder.path).output


def test_a_project_folder_that_cannot_be_written_is_no_obstacle(start, tmp_path, environment, caplog, monkeypatch):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / layout.FOLDER).write_text("a file where the folder should be")
    recorder = start(mode="offline")
    recorder.begin(params={}, environment=environment)

    assert recorder.folder.path.parent == layout.fallback_home()
    assert "the run is recorded in" in caplog.text
    assert [folder.uid for folder in layout.find_runs(tmp_path / "project/train")] == [recorder.run.uid]


def test_a_run_that_was_taken_for_dead_goes_on(start, environment):
    recorder = start(mode="offline")
    recorder.begin(params={}, environment=environment)
    other = reopen(recorder.folder.journal)[0]  # another machine, which had heard nothing for long
    other.append("on_run_end", 1.0, {"status": "killed", "error": None})
    other.close()
    recorder.record("on_log", metrics={"x": 1.0}, step=1)
    recorder.end("finished")

    calls = read(recorder)
    assert [call.hook for call in calls] == ["on_run_start", "on_run_end", "on_run_start", "on_log", "on_run_end"]
    assert [call.seq for call in calls] == [1, 2, 3, 4, 5]
    assert calls[2].args["resumed"] is True
    assert calls[2].args["params"] == {}


def test_a_clock_that_is_set_back_does_not_turn_the_order_round(start, environment, monkeypatch):
    recorder = start(mode="offline")
    times = iter([100.0, 50.0, 101.0])
    monkeypatch.setattr("tracking_hooks.recording.writer.time", SimpleNamespace(time=lambda: next(times)))
    recorder.begin(params={}, environment=environment)
    recorder.record("on_log", metrics={}, step=1)
    recorder.record("on_log", metrics={}, step=2)
    monkeypatch.undo()
    assert [call.time for call in read(recorder)] == [100.0, 100.0, 101.0]


def read(recorder):
    from tracking_hooks.run import journal

    _, offset = journal.read_head(recorder.folder.journal)
    return [entry.call for entry in journal.read(recorder.folder.journal, offset)]


def test_a_new_run_has_what_an_older_one_left_adopted(start, record_run, notes, until):
    older = record_run(notes, name="older")
    index.enter(older.folder)
    recorder = start(notes)
    until(lambda: older.noted() == [call.seq for call in older.calls()])
    recorder.end("finished")


@posix("SIGKILL")
def test_a_sync_that_is_killed_leaves_nothing_locked(record_run, notes, until):
    run = record_run(notes, name="train")
    command = [sys.executable, "-c", "from tracking_hooks.cli import main; main()", "sync", str(run.save_dir)]
    sync = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until(run.folder.relay(notes).path.exists)
    os.kill(sync.pid, signal.SIGKILL)
    sync.wait()
    list(deliver([run.folder], Settings(), busy_wait=30.0))
    assert run.noted() == [call.seq for call in run.calls()]
    assert run.cursor(notes).ended


SLOW_FOR_A = """
class Plugin(Notes):
    @hookimpl
    def on_run_start(self, destination):
        file = Path(destination["file"])
        while file.name == "notes-a" and not file.with_name("go").exists():
            threading.Event().wait(0.01)
"""


def test_sync_comes_back_to_a_run_that_another_relay_is_at_work_on(
    record_run, make_plugin, until, tmp_path, monkeypatch
):
    plugin = make_plugin(SLOW_FOR_A)
    monkeypatch.setenv("TRACKING_HOOKS", plugin)
    a, b = (record_run(plugin, name=name) for name in ("a", "b"))
    other = start_relay(a.folder, plugin, Settings())
    until(lambda: state.has_relay(a.folder, plugin))
    results = deliver([a.folder, b.folder], Settings(), busy_wait=30.0)
    first = next(results)
    assert (first.folder, first.done) == (b.folder, True)
    (tmp_path / "go").touch()
    (second,) = results
    assert (second.folder, second.done, second.delivered) == (a.folder, True, len(a.calls()))
    assert other.wait() == DELIVERED


# -- what a reviewer broke ------------------------------------------------------------------------------------


def test_watch_imports_no_class_that_only_a_journal_names(record_run, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("open('imported', 'w').close()\nclass Evil: pass\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = record_run("evil:Evil")
    watcher = Watcher(Settings())
    assert list(watcher.look([run.folder])) == []
    assert not run.folder.relay("evil:Evil").path.exists()


def test_a_relay_that_is_told_to_end_is_nobodys_fault(record_run, make_plugin, until, tmp_path):
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            def before(self, seq, state):
                while not Path({str(tmp_path / "go")!r}).exists():
                    __import__("time").sleep(0.01)
        """
    )
    run = record_run(plugin)
    for _ in range(4):
        relay = start_relay(run.folder, plugin, Settings())
        until(run.folder.relay(plugin).inflight.exists)
        relay.terminate()
        assert relay.wait() == PENDING
    (tmp_path / "go").touch()
    assert start_relay(run.folder, plugin, Settings()).wait() == DELIVERED
    assert not run.set_aside(plugin)
    assert run.noted() == [call.seq for call in run.calls()]


def test_one_unreadable_journal_does_not_keep_others_from_being_adopted(start, record_run, notes, until):
    older = record_run(notes, name="older")
    broken = layout.RunFolder(older.folder.path.with_name("20000101-000000-broken"))
    broken.path.mkdir()
    broken.journal.write_bytes(b"garbage\n")
    for folder in (broken, older.folder):
        index.enter(folder)
    recorder = start(notes)
    until(lambda: older.noted() == [call.seq for call in older.calls()])
    recorder.end("finished")


@posix("signals between processes")
def test_log_in_a_signal_handler_does_not_block(start, environment, monkeypatch):
    recorder = start(mode="offline")
    recorder.begin(params={}, environment=environment)
    write = os.write

    def write_and_be_interrupted(fd, data):
        monkeypatch.setattr(os, "write", write)
        count = write(fd, data)
        signal.raise_signal(signal.SIGUSR1)  # while all locks of a record are held
        return count

    handler = signal.signal(signal.SIGUSR1, lambda *_: recorder.record("on_log", metrics={}, step=2))
    signal.alarm(60)  # a deadlock ends here
    try:
        monkeypatch.setattr(os, "write", write_and_be_interrupted)
        recorder.record("on_log", metrics={}, step=1)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGUSR1, handler)
    recorder.end("finished")
    assert [call.args.get("step") for call in read(recorder) if call.hook == "on_log"] == [1, 2]


def test_nothing_stands_behind_the_end(start, environment):
    recorder = start(mode="offline")
    recorder.begin(params={}, environment=environment)
    recorder.end("finished")
    recorder.record("on_log", metrics={}, step=1)
    assert [call.hook for call in read(recorder)] == ["on_run_start", "on_run_end"]


def test_the_end_says_what_a_full_disk_has_cost(start, notes, environment, caplog, monkeypatch):
    recorder = start(notes)
    recorder.check()
    recorder.begin(params={}, environment=environment)

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(recorder._writer._journal, "append", full)
    recorder.record("on_log", metrics={}, step=1)
    recorder.end("finished")
    assert "2 events could not be written" in caplog.text
    recorder.supervisor.processes[notes].wait()
    (line,) = recorder.supervisor.outcome()
    assert line == "notes: 2 of 3 events delivered; the others were not written"  # its relay wrote an end


def test_what_is_no_utf_8_does_not_cost_the_event(start, environment):
    recorder = start(mode="offline")
    recorder.begin(params={"data": "caf\udce9.yaml", "array": [1, {2}]}, environment=environment)
    (call,) = read(recorder)
    assert call.args["params"]["data"] == "caf?.yaml"


def test_a_moved_run_goes_on_in_its_new_place(record_run, make_plugin, tmp_path):
    plugin = make_plugin(
        """
        class Plugin:
            @hookimpl
            def on_run_end(self, run, destination):
                (run.save_dir / "here").touch()
                Path(destination["file"]).touch()
        """
    )
    run = record_run(plugin, destination={"file": str(tmp_path / "project/train/there")})
    shutil.move(tmp_path / "project", tmp_path / "moved")
    folder = layout.RunFolder(tmp_path / "moved/.tracking-hooks" / run.folder.uid)
    assert start_relay(folder, plugin, Settings()).wait() == DELIVERED
    assert (tmp_path / "moved/train/here").exists()
    assert (tmp_path / "moved/train/there").exists()
    assert not (tmp_path / "project").exists()


def test_where_a_file_system_has_no_record_locks_the_process_itself_answers(tmp_path, monkeypatch, python):
    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("tracking_hooks.run.recordlocks.fcntl.lockf", no_locks)
    monkeypatch.setattr("tracking_hooks.run.recordlocks.fcntl.fcntl", no_locks)
    path = tmp_path / "x.lock"
    lock = Lock(path)
    assert lock.acquire()
    note = layout.read_json(path.with_suffix(".json"), liveness.Holder)
    lock.release()
    layout.write_json(path.with_suffix(".json"), msgspec.structs.replace(note, started=1.0))
    assert liveness.is_alive(path, heartbeat=path, silence=0) is False  # that process id was another's
    assert Lock(path).acquire()


def test_an_ultralytics_that_we_do_not_know_is_no_reason_not_to_train(python):
    script = """
    import sys, types
    from tracking_hooks import autoload
    module = types.ModuleType("ultralytics.utils.callbacks")
    module.add_integration_callbacks = lambda instance: print("theirs")
    sys.modules[module.__name__] = module
    sys.modules["ultralytics"] = None  # as an import that fails
    autoload.attach("notes")
    module.add_integration_callbacks(object())
    """
    done = python(script)
    assert done.stdout == "theirs\n"
    assert "tracking-hooks: not active" in done.stderr


@pytest.mark.parametrize(
    ("delivered", "packed", "words"),
    [(1, 0, "1 event delivered"), (2, 0, "all 2 events delivered"), (1, 3, "1 event delivered, 3 packed")],
)
def test_what_was_delivered_is_told_in_the_number_that_it_has(delivered, packed, words):
    owed = state.Owed(delivered=delivered, pending=0, aside=[], is_over=True, packed=packed)
    assert owed.in_words() == words
