"""What a plugin may rely on, with real relays: ``open``, files, hangs, what is set aside, parts."""

import importlib
import json
import signal
import threading
import time
from contextlib import contextmanager

import msgspec
import pytest

from tests.support.systems import posix
from tracking_hooks.delivery import inquiry, patience
from tracking_hooks.delivery import relay as relay_module
from tracking_hooks.delivery.condition import Condition
from tracking_hooks.delivery.spawn import DELIVERED, HANGING, IDLE, PENDING, start_relay
from tracking_hooks.events import Artifact, Checkpoint
from tracking_hooks.run import files, state
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import Health, read_json
from tracking_hooks.run.liveness import Lock
from tracking_hooks.settings import Settings
from tracking_hooks.testing import STARTED, recorded_run

DOWN = """
class Plugin(Notes):
    @hookimpl
    def open(self):
        if not Path({up!r}).exists():
            raise Unavailable("nobody answers")
"""


def logs(count, first=1):
    return [
        Call(seq, float(seq), "on_log", {"metrics": {"x": 1.0}, "step": seq}) for seq in range(first, first + count)
    ]


def end(seq):
    return Call(seq, 9.0, "on_run_end", {"status": "finished", "error": None})


def artifact(seq, path, content, name=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    size, digest = files.digest(path)
    return Call(
        seq, 9.0, "on_artifact",
        {"artifact": Artifact(path=path, kind="file", name=name or path.name, size=size, digest=digest)},
    )  # fmt: skip


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


# -- open -----------------------------------------------------------------------------------------------------


def test_an_instance_is_opened_once_just_before_its_first_event_and_told_of_the_run(record_run, make_plugin, tmp_path):
    plugin = make_plugin(
        f"""
        import json
        class Plugin(Notes):
            @hookimpl
            def open(self, run, params, environment, resumed, epoch, status, time, state, destination):
                with Path({str(tmp_path / "opened")!r}).open("a") as file:
                    told = [run.name, params["epochs"], environment.host, resumed, epoch, status, time, dict(state)]
                    print(json.dumps(told), file=file)
                state["opened"] = state.get("opened", 0) + 1

            def before(self, seq, state):
                if seq == 15 and state["opened"] < 2:
                    raise Unavailable("a moment")
        """
    )
    run = record_run(plugin)
    assert run.relay(plugin) == DELIVERED
    first, second = map(json.loads, lines(tmp_path / "opened"))
    assert first == ["train", 3, "laptop", False, 0, None, STARTED, {}]
    assert second == ["train", 3, "laptop", False, 0, None, STARTED, {"opened": 1}], "its state counts at once"
    assert run.cursor(plugin).state == {"opened": 2}


def test_who_goes_on_behind_the_end_is_told_how_the_run_has_ended(record_run, make_plugin, tmp_path):
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            @hookimpl
            def open(self, epoch, status):
                with Path({str(tmp_path / "opened")!r}).open("a") as file:
                    print(epoch, status, file=file)

            def before(self, seq, state):
                if seq == 8 and not Path({str(tmp_path / "mended")!r}).exists():
                    raise Rejected("too large")
        """
    )
    run = record_run(plugin)
    assert run.relay(plugin) == DELIVERED
    assert run.set_aside(plugin) == {8: "too large"}
    (tmp_path / "mended").touch()
    assert start_relay(run.folder, plugin, Settings(), drain=True, retry=True).wait() == DELIVERED
    assert lines(tmp_path / "opened")[-1] == "3 finished"
    assert run.noted()[-1] == 8
    assert not run.set_aside(plugin)


def test_a_plugin_is_not_opened_for_events_that_it_has_no_hook_for(record_run, make_plugin, tmp_path):
    plugin = make_plugin(
        f"""
        class Plugin:
            @hookimpl
            def open(self):
                Path({str(tmp_path / "opened")!r}).touch()

            @hookimpl
            def on_action(self):
                pass
        """
    )
    run = record_run(plugin)
    assert run.relay(plugin) == DELIVERED
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    "fault", ["Unavailable('no such project')", "Rejected('no such project')", "KeyError('no such project')"]
)
def test_whatever_open_raises_the_relay_waits_and_nothing_is_set_aside(record_run, make_plugin, tmp_path, fault):
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            @hookimpl
            def open(self):
                if not Path({str(tmp_path / "mended")!r}).exists():
                    raise {fault}
        """
    )
    run = record_run(plugin)
    assert run.relay(plugin, linger=0.0) == PENDING
    health = read_json(run.folder.relay(plugin).health, Health)
    assert health.state == "down"
    assert "no such project" in health.error
    assert not run.set_aside(plugin)
    assert run.cursor(plugin).delivered == 0
    (tmp_path / "mended").touch()
    assert run.relay(plugin) == DELIVERED
    assert run.noted() == [call.seq for call in run.calls()]


def test_to_die_in_open_is_no_events_fault(record_run, make_plugin, tmp_path):
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            @hookimpl
            def open(self):
                path = Path({str(tmp_path / "deaths")!r})
                if not path.exists() or len(path.read_text()) < 5:
                    path.open("a").write("x")
                    os._exit(11)
        """
    )
    run = record_run(plugin)
    codes = [start_relay(run.folder, plugin, Settings()).wait() for _ in range(6)]
    assert codes == [11] * 5 + [DELIVERED]
    assert run.noted() == [call.seq for call in run.calls()]


# -- files ----------------------------------------------------------------------------------------------------


def test_a_call_with_a_file_may_take_as_long_as_the_file_is_large(record_run, make_plugin, tmp_path):
    plugin = make_plugin(
        """
        import time
        class Plugin(Notes):
            def before(self, seq, state):
                if seq == 4:
                    time.sleep(1.5)
        """
    )
    upload = artifact(4, tmp_path / "project/train/large.bin", bytes(400_000))
    run = record_run(plugin, calls=[*logs(3), upload, end(5)])
    assert start_relay(run.folder, plugin, Settings(call_timeout=0.5)).wait() == DELIVERED
    assert run.noted() == [1, 2, 3, 4, 5]


def test_a_hang_is_no_death_at_an_event_however_often_it_happens(record_run, make_plugin, tmp_path):
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            def before(self, seq, state):
                path = Path({str(tmp_path / "hangs")!r})
                if seq == 5 and (not path.exists() or len(path.read_text()) < 4):
                    path.open("a").write("x")
                    threading.Event().wait()
        """
    )
    run = record_run(plugin, calls=[*logs(9), end(10)])
    codes = [start_relay(run.folder, plugin, Settings(call_timeout=0.5)).wait() for _ in range(5)]
    assert codes == [HANGING] * 4 + [DELIVERED]
    assert not run.set_aside(plugin)
    assert set(run.noted()) == set(range(1, 11))


def test_a_file_is_uploaded_once_whatever_happens_to_the_other_events(record_run, make_plugin, tmp_path):
    """Numbers that are refused, a table that is, and a flush that fails."""
    plugin = make_plugin(
        """
        class Plugin(Notes):
            has_failed = False

            def before(self, seq, state):
                self.last = seq
                if seq in (2, 8):
                    raise Rejected("not that")

            @hookimpl
            def flush(self):
                if self.last == 7 and not Plugin.has_failed:
                    Plugin.has_failed = True
                    raise Unavailable("a moment")
        """
    )
    folder = tmp_path / "project/train"
    uploads = [artifact(seq, folder / f"{seq}.bin", b"x") for seq in (5, 6)]
    run = record_run(plugin, calls=[*logs(4), *uploads, *logs(3, first=7), end(10)])
    assert run.relay(plugin) == DELIVERED
    assert set(run.set_aside(plugin)) == {2, 8}
    assert set(run.noted()) == {1, 3, 4, 5, 6, 7, 9, 10}
    noted = run.noted()
    assert (noted.count(5), noted.count(6)) == (1, 1)


def test_a_file_that_is_refused_for_now_is_tried_again_after_a_while_and_by_any_sync(
    record_run, make_plugin, tmp_path, cli, monkeypatch
):
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            def before(self, seq, state):
                if seq == 4 and not Path({str(tmp_path / "mended")!r}).exists():
                    raise Rejected("413: too large", retry_after=3600)
        """
    )
    monkeypatch.setenv("TRACKING_HOOKS", plugin)
    upload = artifact(4, tmp_path / "project/train/best.bin", b"weights")
    run = record_run(plugin, calls=[*logs(3), upload, end(5)])
    assert run.relay(plugin) == DELIVERED, "the rest is complete, with its end"
    assert run.noted() == [1, 2, 3, 5]
    (event,) = run.folder.relay(plugin).read_aside()
    assert (event.hook, event.name, event.reason) == ("on_artifact", "best.bin", "413: too large")
    assert event.retry_at == pytest.approx(time.time() + 3600, abs=600)
    assert "tried again after" in cli("status", tmp_path, "--set-aside").output
    assert run.relay(plugin) == DELIVERED, "too early"
    assert run.set_aside(plugin)
    (tmp_path / "mended").touch()
    assert cli("sync", tmp_path).exit_code == 0
    assert run.noted() == [1, 2, 3, 5, 4]
    assert not run.set_aside(plugin)
    assert run.cursor(plugin).delivered == 5


def test_what_is_set_aside_for_good_is_tried_again_by_retry_alone(record_run, make_plugin, tmp_path, cli, monkeypatch):
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            def before(self, seq, state):
                if seq == 3 and not Path({str(tmp_path / "mended")!r}).exists():
                    raise KeyError("x")
        """
    )
    monkeypatch.setenv("TRACKING_HOOKS", plugin)
    run = record_run(plugin, calls=[*logs(4), end(5)])
    run.relay(plugin)
    assert run.set_aside(plugin) == {3: "KeyError: 'x'"}
    (tmp_path / "mended").touch()
    assert "Nothing is pending" in cli("sync", tmp_path).output
    assert run.set_aside(plugin)
    result = cli("sync", tmp_path, "--retry")
    assert "1 event delivered" in result.output
    assert not run.set_aside(plugin)
    assert run.noted()[-1] == 3


def test_an_old_file_never_replaces_a_newer_one_of_its_name(record_run, make_plugin, tmp_path):
    plugin = make_plugin(
        """
        class Plugin(Notes):
            def before(self, seq, state):
                if seq in (2, 3):
                    raise Rejected("not now", retry_after=0)
        """
    )
    folder = tmp_path / "project/train"
    weights = artifact(3, folder / "best.pt", b"old").args["artifact"]
    checkpoint = Checkpoint(path=weights.path, kind="best", size=weights.size, digest=weights.digest)
    old = [artifact(2, folder / "1/plot.png", b"old", "plot.png"), Call(3, 3.0, "on_checkpoint_saved",
           {"epoch": 1, "checkpoint": checkpoint})]  # fmt: skip
    new = artifact(4, folder / "2/plot.png", b"new", "plot.png")
    run = record_run(plugin, calls=[*logs(1), *old, new, end(5)])
    run.relay(plugin)
    assert list(run.set_aside(plugin)) == [3], "of the plot there is a newer one; the weights have none"
    assert 2 not in run.noted()


# -- what is safe ---------------------------------------------------------------------------------------------


@posix("SIGKILL")
def test_what_the_tracker_has_not_confirmed_is_given_again_after_a_death(record_run, make_plugin, tmp_path):
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            last = 0

            def before(self, seq, state):
                self.last = seq
                state["last"] = seq
                if seq == 8 and not Path({str(tmp_path / "died")!r}).exists():
                    Path({str(tmp_path / "died")!r}).touch()
                    os.kill(os.getpid(), signal.SIGKILL)

            @hookimpl
            def flush(self):
                return None if Path({str(tmp_path / "died")!r}).exists() else min(self.last, 4)
        """
    )
    path = tmp_path / "project/train/file.bin"
    calls = [*logs(4), artifact(5, path, b"x"), *logs(4, first=6), end(10)]
    run = record_run(plugin, calls=calls)
    assert start_relay(run.folder, plugin, Settings()).wait() == -signal.SIGKILL
    cursor = run.cursor(plugin)
    assert (cursor.seq, cursor.delivered, cursor.state) == (4, 4, {"last": 4}), "the state of that very point"
    owed = state.owed(run.folder, plugin)
    assert (owed.delivered, owed.pending) == (4, 6)
    assert start_relay(run.folder, plugin, Settings()).wait() == DELIVERED
    noted = run.noted()
    assert noted == [1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8, 9, 10]


def test_a_flush_whose_answer_means_nothing_is_an_error(record_run, make_plugin):
    plugin = make_plugin(
        """
        class Plugin(Notes):
            @hookimpl
            def flush(self):
                return True
        """
    )
    run = record_run(plugin, calls=[*logs(1), end(2)])
    run.relay(plugin)
    sentence = "TypeError: flush returned True, which is neither the number of an event nor None"
    assert set(run.set_aside(plugin).values()) == {sentence}


# -- on_event -------------------------------------------------------------------------------------------------


def test_on_event_is_given_everything_as_json_behind_the_metric_rules_and_after_the_hook(
    record_run, make_plugin, tmp_path
):
    plugin = make_plugin(
        """
        import json
        class Plugin(Notes):
            @hookimpl
            def on_event(self, hook, args, run, time, seq, state, destination):
                with Path(destination["file"]).open("a") as file:
                    file.write(f"{seq} {json.dumps([hook, args], allow_nan=False)}\\n")
        """
    )
    run = record_run(plugin)
    assert run.relay(plugin) == DELIVERED
    noted = lines(run.notes)
    assert len(noted) == 2 * len(run.calls())
    for call, own, event in zip(run.calls(), noted[::2], noted[1::2]):
        assert own == f"{call.seq} {call.hook}"
        assert event.startswith(f'{call.seq} ["{call.hook}", {{')
    assert any('"val/box_loss": "NaN"' in line for line in noted)


# -- parts ----------------------------------------------------------------------------------------------------

PARTS = """
class First(Notes):
    @hookimpl
    def open(self, destination):
        if Path(destination["file"] + "-down").exists():
            raise Unavailable("nobody answers")

class Files(_Misbehaviour):
    @hookimpl
    def open(self, destination):
        assert Path(destination["file"]).exists(), "the first part makes the run"

    @hookimpl
    def on_artifact(self, artifact, destination):
        if Path(destination["file"] + "-store-is-down").exists():
            raise Unavailable("the store does not answer")
        with Path(destination["file"] + "-files").open("a") as file:
            print(artifact.name, file=file)
"""


@pytest.fixture
def two_parts(install, make_plugin):
    """A plugin ``shelf`` with a part ``shelf.files``."""
    module, _, _ = make_plugin("from demo_trackers import _Misbehaviour\n" + PARTS).partition(":")
    install(f"[tracking_hooks]\nshelf = {module}:First\nshelf.files = {module}:Files\n")
    return "shelf", "shelf.files"


def test_numbers_and_the_status_never_wait_for_a_file(record_run, two_parts):
    first, further = two_parts
    run = record_run(first, further)
    store = run.notes.with_name(f"{run.notes.name}-store-is-down")
    store.touch()
    assert run.relay(first) == DELIVERED
    assert run.noted() == [call.seq for call in run.calls()]
    assert run.relay(further, linger=0.0) == PENDING
    assert not state.owed(run.folder, first).is_pending
    assert state.owed(run.folder, further).is_pending
    store.unlink()
    assert run.relay(further) == DELIVERED
    assert lines(run.notes.with_name(f"{run.notes.name}-files")) == ["results.csv", "args.yaml", "results.png"]


def test_a_further_part_waits_for_the_first_without_a_word_of_its_own(record_run, two_parts, until):
    first, further = two_parts
    run = record_run(first, further)
    training = Lock(run.folder.lock)
    assert training.acquire()
    try:
        waiting = start_relay(run.folder, further, Settings())
        until(lambda: read_json(run.folder.relay(further).health, Health))
        assert read_json(run.folder.relay(further).health, Health).state == "ready"
        assert waiting.poll() is None
        relay = start_relay(run.folder, first, Settings())
        until(lambda: run.cursor(further).seq)
    finally:
        training.release()
    assert (relay.wait(), waiting.wait()) == (DELIVERED, DELIVERED)


def test_a_further_part_ends_when_it_is_idle_and_costs_nothing_then(record_run, two_parts, monkeypatch):
    monkeypatch.setattr(relay_module, "_IDLE", 0.5)
    first, further = two_parts
    run = record_run(first, further, calls=logs(20))
    training = Lock(run.folder.lock)
    assert training.acquire()
    try:
        assert run.relay(first, drain=True) == DELIVERED
        assert run.relay(further) == IDLE
    finally:
        training.release()


def test_sync_delivers_the_first_part_first_also_in_a_replay(record_run, two_parts, cli, monkeypatch, tmp_path):
    first, further = two_parts
    run = record_run()
    for label in (further, first):
        run.folder.add_replay(label, {"file": str(run.notes)})
    result = cli("sync", tmp_path)
    assert result.exit_code == 0, result.output
    names = [line.split()[1].partition("@")[0] for line in result.stdout.splitlines()]
    assert names == [first, further]
    assert lines(run.notes.with_name(f"{run.notes.name}-files"))


def test_who_ends_a_dead_run_has_its_files_delivered_too(record_run, two_parts, until, tmp_path):
    first, further = two_parts
    calls = recorded_run(tmp_path / "project" / "train")[:8]
    run = record_run(first, further, calls=calls)
    assert start_relay(run.folder, first, Settings()).wait() == DELIVERED
    until(lambda: not list(state.pending([run.folder])))
    assert "results.csv" in lines(run.notes.with_name(f"{run.notes.name}-files"))


def test_a_class_that_somebody_names_has_no_parts(record_run, make_plugin):
    plugin = make_plugin("class Plugin(Notes): pass")
    run = record_run()
    label = run.folder.add_replay(plugin, {"file": str(run.notes)})
    assert start_relay(run.folder, label, Settings()).wait() == DELIVERED
    assert run.noted() == [call.seq for call in run.calls()]


# -- the rest -------------------------------------------------------------------------------------------------


def test_poll_is_asked_between_the_events_of_a_batch(record_run, make_plugin, monkeypatch, until):
    monkeypatch.setattr(inquiry, "_EVERY", 0.0)
    plugin = make_plugin(
        """
        class Plugin(Notes):
            @hookimpl
            def poll(self, destination):
                with Path(destination["file"]).open("a") as file:
                    print("0 poll", file=file)
        """
    )
    run = record_run(plugin, calls=[*logs(4), end(5)])
    training = Lock(run.folder.lock)
    assert training.acquire()
    with _later(lambda: (until(lambda: run.cursor(plugin).ended), training.release())):
        assert run.relay(plugin) == DELIVERED
    between = [line.split()[1] for line in lines(run.notes)[: 2 * 5]]
    assert between == ["poll", "on_log"] * 4 + ["poll", "on_run_end"]


def test_a_signal_while_a_tracker_is_waited_for_makes_it_try_once_more(record_run, make_plugin, tmp_path, until):
    plugin = make_plugin(DOWN.format(up=str(tmp_path / "up")))
    run = record_run(plugin)
    relay = start_relay(run.folder, plugin, Settings())
    health = run.folder.relay(plugin).health
    until(lambda: (found := read_json(health, Health)) and found.state == "down")
    (tmp_path / "up").touch()
    relay.terminate()
    relay.wait()
    assert run.noted() == [call.seq for call in run.calls()]


def test_a_signal_as_soon_as_anybody_can_read_that_the_tracker_is_down_makes_it_try_once_more(
    record_run, make_plugin, tmp_path, monkeypatch
):
    plugin = make_plugin(DOWN.format(up=str(tmp_path / "up")))
    run = record_run(plugin)
    relay = relay_module.Relay(run.folder, plugin, Settings())
    said = Condition.say

    def say_and_be_asked_to_leave(condition, word, *args, **kwargs):
        said(condition, word, *args, **kwargs)
        if word == "down":
            (tmp_path / "up").touch()
            relay.leave()

    monkeypatch.setattr(Condition, "say", say_and_be_asked_to_leave)
    monkeypatch.setattr(relay_module.os, "_exit", lambda code: pytest.fail(f"it has left with {code}"))
    assert relay.run() == DELIVERED
    assert run.noted() == [call.seq for call in run.calls()]


def test_the_end_of_the_run_ends_the_wait_for_a_tracker(record_run, make_plugin, tmp_path, until, monkeypatch):
    monkeypatch.setattr(patience, "_FIRST", 3600.0)
    monkeypatch.setattr(patience, "_LONGEST", 3600.0)
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            @hookimpl
            def open(self, run):
                if not Path({str(tmp_path / "tried")!r}).exists():
                    Path({str(tmp_path / "tried")!r}).touch()
                    raise Unavailable("nobody answers")
        """
    )
    run = record_run(plugin)
    training = Lock(run.folder.lock)
    assert training.acquire()
    with _later(lambda: (until((tmp_path / "tried").exists), training.release())):
        assert run.relay(plugin) == DELIVERED


def test_the_end_of_the_run_while_a_tracker_is_tried_ends_the_wait_for_it(record_run, make_plugin, monkeypatch):
    monkeypatch.setattr(patience, "_FIRST", 3600.0)
    monkeypatch.setattr(patience, "_LONGEST", 3600.0)
    plugin = make_plugin(
        """
        tried, ended = threading.Event(), threading.Event()

        class Plugin(Notes):
            @hookimpl
            def open(self, run):
                if not tried.is_set():
                    tried.set()
                    ended.wait()
                    raise Unavailable("nobody answers")
        """
    )
    module = importlib.import_module(plugin.partition(":")[0])
    run = record_run(plugin)
    training = Lock(run.folder.lock)
    assert training.acquire()
    with _later(lambda: (module.tried.wait(), training.release(), module.ended.set())):
        assert run.relay(plugin) == DELIVERED


@contextmanager
def _later(what):
    """Do something in another thread, meanwhile."""
    thread = threading.Thread(target=what)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_the_places_of_trackers_are_noted_down(record_run):
    run = record_run()
    assert msgspec.json.decode(run.folder.journal.read_bytes().splitlines()[0])["places"] == {}


def test_a_file_that_is_replaced_while_it_is_delivered_is_given_again(record_run, make_plugin, tmp_path):
    plugin = make_plugin(
        f"""
        class Plugin(Notes):
            @hookimpl
            def on_checkpoint_saved(self, checkpoint, seq):
                tries = Path({str(tmp_path / "tries")!r})
                is_first = checkpoint.digest and not tries.exists()
                if checkpoint.digest:
                    with tries.open("a") as file:
                        print(seq, file=file)
                if is_first:
                    draft = checkpoint.path.with_name("draft")
                    draft.write_bytes(checkpoint.path.read_bytes())
                    draft.replace(checkpoint.path)  # as a later training has links turned into copies
        """
    )
    run = record_run(plugin)
    final = [call.seq for call in run.calls() if call.hook == "on_checkpoint_saved" and call.args["checkpoint"].digest]
    assert run.relay(plugin) == DELIVERED
    assert [int(seq) for seq in lines(tmp_path / "tries")] == [final[0], *final]
    assert not run.set_aside(plugin)


def test_words_about_what_is_missing_that_hang_cost_nothing_else(record_run, make_plugin):
    plugin = make_plugin(
        """
        class Plugin(Notes):
            @hookimpl
            def on_epoch_end(self, epoch):
                if epoch == 2:
                    raise Rejected("no room for it")

            @hookimpl
            def report_missing(self):
                threading.Event().wait()
        """
    )
    run = record_run(plugin)
    assert start_relay(run.folder, plugin, Settings(call_timeout=1.0)).wait(60) == DELIVERED
    assert read_json(run.folder.relay(plugin).health, Health).state == "ready"
