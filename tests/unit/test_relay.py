"""A relay: whatever dies, in the end the tracker holds every event that it takes, and the rest is accounted for."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE
from tests.support.systems import posix
from tracking_hooks.delivery.spawn import BUSY, DELIVERED, HANGING, PENDING, REFUSED, start_relay
from tracking_hooks.events import Plan
from tracking_hooks.run import orphans
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import Health, read_json
from tracking_hooks.run.liveness import Lock
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run


def logs(count, first=1):
    return [
        Call(seq, float(seq), "on_log", {"metrics": {"x": 1.0}, "step": seq}) for seq in range(first, first + count)
    ]


def whole(count):
    """``count`` events, the last of which ends the run."""
    return [*logs(count - 1), Call(count, 9.0, "on_run_end", {"status": "finished", "error": None})]


PLAN = Plan(checkpoints={"best": "weights/best.pt", "last": "weights/last.pt"}, files=["*.csv", "*.yaml", "*.png"])


def killed():
    """The events of a run whose process was killed."""
    start = Call(1, 1.0, "on_run_start", {"params": {}, "environment": None, "resumed": False, "plan": PLAN})
    return [start, *logs(10, first=2)]


@pytest.fixture
def notes(installed):
    return "notes"


# -- the good day ---------------------------------------------------------------------------------------------


def test_every_event_is_delivered_once_and_in_order(record_run, notes):
    run = record_run(notes)
    assert run.relay(notes) == DELIVERED
    assert run.noted() == [call.seq for call in run.calls()]
    cursor = run.cursor(notes)
    assert cursor.offset == run.folder.journal.stat().st_size
    assert (cursor.delivered, cursor.damaged, cursor.ended) == (len(run.calls()), 0, True)


def test_a_relay_process_delivers_and_ends_with_0(record_run, notes):
    run = record_run(notes)
    assert start_relay(run.folder, notes, Settings()).wait() == DELIVERED == 0
    assert run.noted() == [call.seq for call in run.calls()]


def test_what_is_delivered_is_not_delivered_again(record_run, notes):
    run = record_run(notes)
    run.relay(notes)
    assert run.relay(notes) == DELIVERED
    assert run.noted() == [call.seq for call in run.calls()]


def test_a_plugin_receives_what_was_recorded(record_run, make_plugin):
    plugin = make_plugin(
        """
        class Plugin:
            @hookimpl
            def on_epoch_end(self, run, time, seq, epoch, metrics, destination):
                with Path(destination["file"]).open("a") as file:
                    print(seq, run.name, epoch, time, metrics["fitness"], file=file)
        """
    )
    run = record_run(plugin)
    assert run.relay(plugin) == DELIVERED
    assert run.notes.read_text().splitlines() == [
        f"{call.seq} train {call.args['epoch']} {call.time} {call.args['metrics']['fitness']}"
        for call in run.calls()
        if call.hook == "on_epoch_end"
    ]


def test_state_is_kept_from_one_relay_to_the_next(record_run, make_plugin):
    plugin = make_plugin(
        """
        class Plugin(Notes):
            def before(self, seq, state):
                state["seen"] = state.get("seen", 0) + 1
        """
    )
    run = record_run(plugin, calls=logs(10))
    training = Lock(run.folder.lock)
    assert training.acquire()
    run.relay(plugin, drain=True)
    run.append(logs(10, first=11))
    run.relay(plugin, drain=True)
    training.release()
    assert run.cursor(plugin).state == {"seen": 20}


def test_damaged_lines_are_passed_over_and_counted(record_run, notes):
    run = record_run(notes, calls=whole(10))
    lines = run.folder.journal.read_bytes().splitlines(keepends=True)
    lines[4] = b"\0" * 40 + b"\n"
    run.folder.journal.write_bytes(b"".join(lines))
    assert run.relay(notes) == DELIVERED
    assert run.noted() == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert run.cursor(notes).damaged == 1


def test_files_are_for_their_owner_only(record_run, notes):
    before = os.umask(0)
    try:
        run = record_run(notes)
        start_relay(run.folder, notes, Settings()).wait()
    finally:
        os.umask(before)
    open_to_others = [path for path in run.folder.path.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert not open_to_others


# -- events that are not taken --------------------------------------------------------------------------------


def test_a_rejected_event_is_set_aside_with_the_reason_and_the_others_arrive(record_run, make_plugin):
    plugin = make_plugin(
        """
        class Plugin(Notes):
            def before(self, seq, state):
                if seq == 9:
                    raise Rejected("the name is too long")
        """
    )
    run = record_run(plugin)
    assert run.relay(plugin) == DELIVERED
    assert set(run.noted()) == {call.seq for call in run.calls()} - {9}
    assert run.set_aside(plugin) == {9: "the name is too long"}
    assert len(run.set_aside(plugin)) == 1


def test_the_one_event_of_200_that_fails_is_found(record_run, make_plugin, tmp_path):
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            def before(self, seq, state):
                if seq == 137:
                    with Path({str(tmp_path / "tries")!r}).open("a") as file:
                        file.write(".")
                    raise ZeroDivisionError("step is 0")
        """
    )
    run = record_run(plugin, calls=whole(200))
    assert run.relay(plugin) == DELIVERED
    assert set(run.noted()) == set(range(1, 201)) - {137}
    assert run.set_aside(plugin) == {137: "ZeroDivisionError: step is 0"}
    assert run.cursor(plugin).delivered == 199
    assert len((tmp_path / "tries").read_text()) >= 3


def test_a_failure_that_passes_costs_nothing(record_run, make_plugin, tmp_path):
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            def before(self, seq, state):
                marker = Path({str(tmp_path / "failed")!r})
                if seq == 5 and not marker.exists():
                    marker.touch()
                    raise RuntimeError("once")
        """
    )
    run = record_run(plugin, calls=whole(10))
    assert run.relay(plugin) == DELIVERED
    assert set(run.noted()) == set(range(1, 11))
    assert not run.set_aside(plugin)


def test_after_a_failure_the_plugin_is_made_anew_from_its_saved_state(record_run, make_plugin):
    plugin = make_plugin(
        """
        class Plugin(Notes):
            def __init__(self):
                self.poisoned = False

            def before(self, seq, state):
                assert not self.poisoned, "the instance that failed was used again"
                if seq == 5:
                    self.poisoned = True
                    state["poisoned"] = True
                    raise RuntimeError("no")
                state["seen"] = state.get("seen", 0) + 1
        """
    )
    run = record_run(plugin, calls=whole(10))
    assert run.relay(plugin) == DELIVERED
    assert list(run.set_aside(plugin)) == [5]
    assert run.cursor(plugin).state == {"seen": 9}


@pytest.mark.parametrize(
    ("left", "sentence"),
    [
        ("float('nan')", "state['best']['loss'] is nan"),
        ("float('inf')", "state['best']['loss'] is inf"),
        ("(1, 2)", "state['best']['loss'] is (1, 2)"),
        ("Path('/a')", "state['best']['loss'] is PosixPath('/a')"),
        ("{1: 'a'}", "state['best']['loss'] has the key 1"),
        ("[0, {2}]", "state['best']['loss'][1] is {2}"),
        ("'\\udc80'", "state['best']['loss'] is '\\udc80'"),
    ],
)
def test_state_that_would_not_come_back_equal_is_refused_at_the_event_that_leaves_it(
    record_run, make_plugin, left, sentence
):
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            def before(self, seq, state):
                state["seen"] = state.get("seen", 0) + 1
                if seq == 5:
                    state["best"] = {{"fitness": 0.5, "loss": {left}}}
        """
    )
    run = record_run(plugin, calls=whole(10))
    assert run.relay(plugin) == DELIVERED
    assert run.set_aside(plugin) == {5: f"TypeError: {sentence}: state takes JSON values, which come back equal"}
    assert run.cursor(plugin).state == {"seen": 9}


def test_state_of_any_json_is_taken(record_run, make_plugin):
    plugin = make_plugin(
        """
        class Plugin(Notes):
            def before(self, seq, state):
                state["all"] = {"": [None, True, 0.1, -7, "NaN", "größer", {}, [], 10**18, 1e300]}
        """
    )
    run = record_run(plugin, calls=whole(10))
    assert run.relay(plugin) == DELIVERED
    assert not run.set_aside(plugin)
    assert run.cursor(plugin).state == {"all": {"": [None, True, 0.1, -7, "NaN", "größer", {}, [], 10**18, 1e300]}}


def test_a_plugin_that_takes_nothing_ends_with_everything_accounted_for(record_run, make_plugin):
    plugin = make_plugin(
        """
        class Plugin(Notes):
            def before(self, seq, state):
                raise RuntimeError("never")
        """
    )
    run = record_run(plugin, calls=whole(20))
    assert run.relay(plugin) == DELIVERED
    assert run.set_aside(plugin) == dict.fromkeys(range(1, 21), "RuntimeError: never")
    assert run.cursor(plugin).ended


def test_what_a_plugin_buffers_counts_only_when_it_is_flushed(record_run, make_plugin):
    plugin = make_plugin(
        """
        class Plugin:
            def __init__(self):
                self.buffer = []

            @hookimpl
            def on_log(self, seq):
                self.buffer.append(seq)

            @hookimpl
            def flush(self, destination):
                if 5 in self.buffer:
                    raise Rejected("unlucky number")
                with Path(destination["file"]).open("a") as file:
                    file.writelines(f"{seq}\\n" for seq in self.buffer)
                self.buffer.clear()
        """
    )
    run = record_run(plugin, calls=whole(10))
    assert run.relay(plugin) == DELIVERED
    assert sorted(run.noted()) == [1, 2, 3, 4, 6, 7, 8, 9]
    assert list(run.set_aside(plugin)) == [5]


@pytest.mark.parametrize("change", ["overwritten", "gone", "its folder is gone", "a folder now"])
def test_a_final_file_that_is_not_what_was_recorded_is_not_uploaded(record_run, notes, change):
    run = record_run(notes)
    (artifact,) = [
        call
        for call in run.calls()
        if call.hook == "on_artifact" and call.args["artifact"].name == "results.csv"
    ]  # fmt: skip
    path = artifact.args["artifact"].path
    if change == "overwritten":
        path.write_text("another run's\n")
    elif change == "its folder is gone":
        run.save_dir.rename(run.save_dir.with_name("moved"))
        run.save_dir.write_text("a file where the folder was")
    else:
        path.unlink()
        if change == "a folder now":
            path.mkdir()
    assert run.relay(notes, linger=0.0) == DELIVERED
    assert artifact.seq not in run.noted()
    assert str(path) in run.set_aside(notes)[artifact.seq]
    kept = {call.seq for call in run.calls()} - set(run.set_aside(notes))
    assert set(run.noted()) == kept
    assert len(run.set_aside(notes)) == (5 if change == "its folder is gone" else 1)


# -- a tracker that is down -----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["Unavailable", "ConnectionRefusedError", "TimeoutError"])
def test_an_outage_delays_but_loses_nothing(record_run, make_plugin, until, tmp_path, error):
    door = tmp_path / "door"
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            def before(self, seq, state):
                if seq == 5 and not Path({str(door)!r}).exists():
                    raise {error}("the door is shut")
        """
    )
    run = record_run(plugin, calls=whole(10))
    relay = start_relay(run.folder, plugin, Settings())

    def health():
        return read_json(run.folder.relay(plugin).health, Health)

    down = until(lambda: (now := health()) and now.state == "down" and now)
    assert "the door is shut" in down.error
    assert relay.poll() is None
    door.touch()
    assert relay.wait() == DELIVERED
    assert health().state == "ready"
    assert set(run.noted()) == set(range(1, 11))
    assert not run.set_aside(plugin)


SHUT = """
    class Plugin(Notes):
        def before(self, seq, state):
            if seq >= 5:
                raise Unavailable("the door is shut")
    """


def test_sync_leaves_an_outage_pending(record_run, make_plugin, monkeypatch):
    monkeypatch.setattr("tracking_hooks.delivery.relay._DRAIN_PATIENCE", 0.0)
    plugin = make_plugin(SHUT)
    run = record_run(plugin, calls=whole(10))
    assert run.relay(plugin, drain=True) == PENDING
    assert not run.set_aside(plugin)
    assert run.cursor(plugin).offset < run.folder.journal.stat().st_size


def test_a_relay_leaves_an_outage_pending_when_it_has_lingered(record_run, make_plugin):
    plugin = make_plugin(SHUT)
    run = record_run(plugin, calls=whole(10))
    assert run.relay(plugin, linger=0.0) == PENDING
    assert not run.set_aside(plugin)


# -- deaths ---------------------------------------------------------------------------------------------------


@posix("SIGKILL")
def test_killed_between_delivery_and_noting_it_down_a_relay_leaves_no_hole(record_run, make_plugin, tmp_path):
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            @hookimpl
            def flush(self):
                marker = Path({str(tmp_path / "killed")!r})
                if not marker.exists():
                    marker.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    run = record_run(plugin)
    assert start_relay(run.folder, plugin, Settings()).wait() == -signal.SIGKILL
    assert run.noted(), "it was killed behind the calls"
    assert run.cursor(plugin).seq == 0
    assert start_relay(run.folder, plugin, Settings()).wait() == DELIVERED
    assert set(run.noted()) == {call.seq for call in run.calls()}
    assert not run.set_aside(plugin)


def test_a_working_directory_that_is_deleted_keeps_nothing_back(record_run, make_plugin, tmp_path, monkeypatch):
    plugin = make_plugin(
        """
        class Plugin:
            @hookimpl
            def on_log(self):
                Path.cwd()
        """
    )
    run = record_run(plugin, calls=whole(6))
    (tmp_path / "deleted").mkdir()
    monkeypatch.chdir(tmp_path / "deleted")
    (tmp_path / "deleted").rmdir()
    assert run.relay(plugin) == DELIVERED
    assert run.set_aside(plugin) == {}


def test_an_event_at_which_the_process_dies_is_quarantined(record_run, make_plugin):
    plugin = make_plugin(
        """
        class Plugin(Notes):
            def before(self, seq, state):
                if seq == 60:
                    os._exit(11)
        """
    )
    run = record_run(plugin, calls=whole(100))
    codes = [start_relay(run.folder, plugin, Settings()).wait() for _ in range(4)]
    assert codes == [11, 11, 11, DELIVERED]
    assert set(run.noted()) == set(range(1, 101)) - {60}
    assert "died 3 times" in run.set_aside(plugin)[60]
    assert len(run.set_aside(plugin)) == 1


def test_a_plugin_that_hangs_ends_its_relay(record_run, make_plugin):
    plugin = make_plugin(
        """
        class Plugin(Notes):
            def before(self, seq, state):
                if seq == 5:
                    threading.Event().wait()
        """
    )
    run = record_run(plugin, calls=whole(10))
    assert start_relay(run.folder, plugin, Settings(call_timeout=1.0)).wait() == HANGING
    assert "on_log has not returned" in run.folder.relay(plugin).log.read_text()


@pytest.mark.parametrize("where", ["imported", "made anew"])
def test_a_plugin_that_hangs_outside_of_its_hooks_ends_its_relay_too(record_run, make_plugin, where):
    condition = "True" if where == "imported" else "Plugin.made"
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            made = False

            def __init__(self):
                if {condition}:
                    threading.Event().wait()
                Plugin.made = True

            def before(self, seq, state):
                raise ValueError
        """
    )
    run = record_run(plugin, calls=whole(10))
    relay = start_relay(run.folder, plugin, Settings(call_timeout=0.5))
    try:
        assert relay.wait(timeout=PATIENCE) == HANGING
    finally:
        relay.kill()
        relay.wait()


# -- runs whose process is gone -------------------------------------------------------------------------------


def test_a_run_whose_process_is_gone_gets_its_end_once_for_all_plugins(record_run, make_plugin):
    plugins = [make_plugin("class Plugin(Notes): pass") for _ in range(3)]
    run = record_run(*plugins, calls=killed())
    relays = [start_relay(run.folder, plugin, Settings()) for plugin in plugins]
    assert [relay.wait() for relay in relays] == [DELIVERED] * 3
    ends = [call for call in run.calls() if call.hook == "on_run_end"]
    assert [end.args for end in ends] == [{"status": "killed", "error": None}]
    assert sorted(run.noted()) == sorted([call.seq for call in run.calls()] * 3)
    assert all(run.cursor(plugin).ended for plugin in plugins)


def test_an_end_that_another_relay_wrote_just_now_is_delivered_too(record_run, notes, monkeypatch):
    end_orphan = orphans.end_orphan

    def after_another(folder):
        end_orphan(folder)
        return end_orphan(folder)

    run = record_run(notes, calls=killed())
    with monkeypatch.context() as patch:
        patch.setattr(orphans, "end_orphan", after_another)
        assert run.relay(notes) == DELIVERED
    assert run.noted() == [call.seq for call in run.calls()]
    assert run.cursor(notes).ended


def test_the_files_of_a_killed_run_are_recorded_as_they_were_left(record_run, notes):
    run = record_run(notes, calls=killed())
    assert run.relay(notes) == DELIVERED
    left = {call.args["checkpoint"].path.name for call in run.calls() if call.hook == "on_checkpoint_saved"}
    left |= {call.args["artifact"].name for call in run.calls() if call.hook == "on_artifact"}
    assert left == {"best.pt", "last.pt", "args.yaml", "results.csv", "results.png"}


def test_files_that_belong_to_another_run_by_now_are_left_alone(record_run, notes):
    run = record_run(notes, calls=killed())
    pointer = run.save_dir / "tracking.json"
    pointer.write_text(pointer.read_text().replace(run.folder.uid, "20990101-000000-another"))
    assert run.relay(notes) == DELIVERED
    assert {call.hook for call in run.calls()} == {"on_run_start", "on_log", "on_run_end"}


def test_a_run_that_has_ended_is_not_ended_again(record_run, notes):
    run = record_run(notes, calls=recorded_run(Path("train"), status="failed"))
    before = run.calls()
    assert run.relay(notes) == DELIVERED
    assert repr(run.calls()) == repr(before)


def test_a_run_whose_process_lives_is_followed_and_not_ended(record_run, notes, until):
    run = record_run(notes, calls=killed())
    training = Lock(run.folder.lock)
    assert training.acquire()
    relay = start_relay(run.folder, notes, Settings())
    until(lambda: run.cursor(notes).delivered == 11)
    run.append(logs(5, first=12))
    until(lambda: run.cursor(notes).delivered == 16)
    assert relay.poll() is None
    run.append([Call(17, 9.0, "on_run_end", {"status": "finished", "error": None})])
    training.release()
    assert relay.wait() == DELIVERED
    assert run.noted() == list(range(1, 18))


# -- set-up ---------------------------------------------------------------------------------------------------


def test_a_second_relay_of_a_plugin_is_busy(record_run, notes):
    run = record_run(notes)
    first = run.folder.relay(notes)
    first.path.mkdir(parents=True)
    lock = Lock(first.lock)
    assert lock.acquire()
    assert start_relay(run.folder, notes, Settings()).wait() == BUSY
    assert run.noted() == []
    lock.release()
    assert run.relay(notes) == DELIVERED


def test_a_relay_that_finds_another_at_work_leaves_what_that_says_of_itself(record_run, notes):
    run = record_run(notes)
    first = run.folder.relay(notes)
    first.path.mkdir(parents=True)
    lock = Lock(first.lock)
    assert lock.acquire()
    first.health.write_text('{"state":"down","pid":1,"error":"no route to host"}')
    assert start_relay(run.folder, notes, Settings()).wait() == BUSY
    lock.release()
    assert read_json(first.health, Health) == Health(state="down", pid=1, error="no route to host")


@pytest.mark.parametrize("plugin", ["broken", "unknown-parameter", "not-installed"])
def test_a_plugin_that_cannot_be_used_is_refused_in_a_sentence(record_run, installed, plugin):
    run = record_run(plugin)
    assert run.relay(plugin) == REFUSED
    health = read_json(run.folder.relay(plugin).health, Health)
    assert health.state == "refused"
    assert repr(plugin) in health.error


def test_secrets_do_not_get_into_the_log(record_run, make_plugin):
    plugin = make_plugin(
        """
        class Plugin(Notes):
            def before(self, seq, state):
                raise Rejected("403 for https://ada:hunter2@mlflow.example/api")
        """
    )
    run = record_run(plugin, calls=whole(2))
    assert start_relay(run.folder, plugin, Settings()).wait() == DELIVERED
    written = b"".join(path.read_bytes() for path in run.folder.path.rglob("*") if path.is_file())
    assert b"mlflow.example" in written
    assert b"hunter2" not in written


def test_the_value_of_a_secret_variable_gets_into_no_reason_and_no_log(record_run, make_plugin, monkeypatch):
    monkeypatch.setenv("SERVICE_PASSWORD", "correct-horse")
    plugin = make_plugin(
        """
        class Plugin(Notes):
            def before(self, seq, state):
                raise Rejected(f"{os.environ['SERVICE_PASSWORD']} is refused")
        """
    )
    run = record_run(plugin, calls=whole(2))
    assert start_relay(run.folder, plugin, Settings()).wait() == DELIVERED
    written = b"".join(path.read_bytes() for path in run.folder.path.rglob("*") if path.is_file())
    assert b"[redacted] is refused" in written
    assert b"correct-horse" not in written


def test_files_of_the_user_named_like_modules_that_we_need_break_no_relay(record_run, installed, monkeypatch, tmp_path):
    script = tmp_path / "script" / "train.py"
    script.parent.mkdir()
    (script.parent / "my_tracker.py").write_text("from demo_trackers import Notes as Plugin\n")
    for folder in (Path.cwd(), script.parent):
        for name in ("queue", "types", "json", "logging", "pluggy"):
            (folder / f"{name}.py").write_text("raise RuntimeError('shadowed')\n")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    monkeypatch.setattr(sys, "path", ["", str(script.parent), *sys.path])
    run = record_run("my_tracker:Plugin")
    assert start_relay(run.folder, "my_tracker:Plugin", Settings()).wait() == DELIVERED
    assert run.noted() == [call.seq for call in run.calls()]


def test_ctrl_c_in_the_terminal_does_not_reach_a_relay(record_run, notes):
    run = record_run(notes)
    relay = start_relay(run.folder, notes, Settings())
    assert os.getsid(relay.pid) == relay.pid  # also of one that has just ended: it is not waited for yet
    relay.wait()
