"""The longer a run gets, the fewer of its points a tracker receives, by a rule that goes by the journal alone."""

import logging

import msgspec
import pytest

from tests.support import runs
from tracking_hooks.delivery import thinning
from tracking_hooks.delivery.spawn import DELIVERED
from tracking_hooks.recording.process import recorders
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import journal, state
from tracking_hooks.run.journal import Call
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run, sample_run

WEEK = 7 * 24 * 3600


def given(hook, events):
    """How many events of a hook are given."""
    return sum(thinning.keeps(hook, nth) for nth in range(1, events + 1))


def test_a_run_of_less_than_ten_thousand_points_gets_all_of_them():
    assert given("on_batch_end", 9_999) == 9_999


def test_a_tracker_gets_some_ten_thousand_points_of_a_metric_however_long_the_run_is():
    assert given("on_batch_end", 1_000_000) == 42_812
    assert given("on_batch_end", WEEK // 5) == 27_560
    assert given("on_system_metrics", WEEK // 10) == given("on_batch_end", WEEK // 10) < 27_560


@pytest.mark.parametrize("hook", ["on_epoch_end", "on_log", "on_artifact", "on_console"])
def test_epochs_and_what_the_user_logs_are_always_given(hook):
    assert given(hook, 30_000) == 30_000


# -- in a relay, where a run is long that has ten batches ---------------------------------------------------------


@pytest.fixture
def notes(make_plugin, monkeypatch):
    """A plugin that notes what it is given. All of the first nine batches, then every second one, every fourth, …"""
    monkeypatch.setattr(thinning, "_WHOLE", 10)
    return make_plugin("class Plugin(Notes): pass")


def call(hook, **args):
    return Call(0, 1e9, hook, args)


def events(save_dir, batches, *, resumed=False):
    """A run with so many batches, with an epoch, a line of the user's and system metrics after each fifth of them."""
    start = recorded_run(save_dir)[0]
    yield Call(start.seq, start.time, start.hook, {**start.args, "resumed": resumed})
    for step in range(1, batches + 1):
        yield call("on_batch_end", epoch=1, step=step, metrics={"batch/loss": 1.0})
        if step % 5 == 0:
            yield call("on_epoch_end", epoch=step, step=step, metrics={"loss": 1.0})
            yield call("on_log", metrics={"mine": 1.0}, step=step)
            yield call("on_system_metrics", metrics={"system/cpu": 1.0})
    yield call("on_run_end", status="finished")


def expected(run):
    """The numbers of the events that the rule leaves, told by the journal."""
    found, counts = [], {}
    for one in run.calls():
        counts[one.hook] = nth = counts.get(one.hook, 0) + 1
        many = one.hook in {"on_batch_end", "on_system_metrics"}
        step = next(step for step, end in ((1, 10), (2, 20), (4, 40), (8, 80), (16, 160)) if nth < end) if many else 1
        if nth % step == 0:
            found.append(one.seq)
    return found


def test_the_tracker_gets_fewer_points_and_the_journal_has_all(record_run, notes, tmp_path):
    run = record_run(notes, calls=events(tmp_path / "project/train", 100))
    assert run.relay(notes) == DELIVERED
    assert run.noted() == expected(run)
    given = [one.hook for one in run.calls() if one.seq in run.noted()]
    assert {hook: given.count(hook) for hook in ("on_epoch_end", "on_log")} == {"on_epoch_end": 20, "on_log": 20}
    assert given.count("on_batch_end") == 9 + 5 + 5 + 5 + 2


def test_what_was_left_out_is_neither_pending_nor_set_aside(record_run, notes, cli, tmp_path):
    run = record_run(notes, calls=events(tmp_path / "project/train", 100))
    run.relay(notes)
    owed = state.owed(run.folder, notes)
    assert (owed.delivered, owed.pending, owed.aside) == (len(run.calls()), 0, [])
    assert run.relay(notes) == DELIVERED
    assert run.noted() == expected(run), "and nothing is given again"
    assert "1 of 1 run " in cli("prune", tmp_path / "project").output


def test_a_sink_gets_the_same_points(record_run, notes, make_plugin, tmp_path):
    sink = make_plugin(
        """
        class Plugin:
            @hookimpl
            def on_event(self, hook, seq, destination):
                with Path(destination["file"]).open("a") as file:
                    file.write(f"{seq} {hook}\\n")
        """
    )
    run = record_run(sink, calls=events(tmp_path / "project/train", 100))
    assert run.relay(sink) == DELIVERED
    assert run.noted() == expected(run)


@pytest.mark.parametrize("size", [1, 7, 60])
def test_relays_that_come_and_go_give_the_points_that_one_relay_gives(record_run, notes, size, tmp_path):
    whole = list(events(tmp_path / "project/train", 100))
    run = record_run(notes, calls=whole[:1])
    for start in range(1, len(whole), size):
        run.append(whole[start : start + size])
        run.relay(notes, drain=True)
    assert run.noted() == expected(run)


def test_a_resumed_run_goes_on_where_it_was(record_run, notes, tmp_path):
    save_dir = tmp_path / "project/train"
    run = record_run(notes, calls=events(save_dir, 50))
    run.relay(notes)
    run.append(events(save_dir, 50, resumed=True))
    assert run.relay(notes) == DELIVERED
    assert run.noted() == expected(run)


def test_a_replay_into_another_tracker_gives_the_same_points(record_run, notes, tmp_path):
    run = record_run(notes, calls=events(tmp_path / "project/train", 100))
    run.relay(notes)
    there = tmp_path / "there"
    assert run.relay(run.folder.add_replay(notes, {"file": str(there)})) == DELIVERED
    assert [int(line.split()[0]) for line in there.read_text().splitlines()] == run.noted()


def test_a_plugin_that_fails_and_is_given_the_rest_again_gets_the_same_points(record_run, notes, make_plugin, tmp_path):
    failing = make_plugin(
        """
        class Plugin(Notes):
            failed = set()

            def before(self, seq, state):
                if seq % 20 == 0 and seq not in self.failed:
                    self.failed.add(seq)
                    raise RuntimeError("once in a while")
        """
    )
    run = record_run(failing, calls=events(tmp_path / "project/train", 100))
    assert run.relay(failing) == DELIVERED
    assert sorted(set(run.noted())) == expected(run)
    assert not run.set_aside(failing)


def test_whoever_wants_all_points_of_a_run_says_so_when_it_is_recorded(record_run, notes, environment, tmp_path):
    run = record_run(notes, calls=[])
    head, _ = journal.read_head(run.folder.journal)
    run.folder.journal.unlink()
    calls = events(tmp_path / "project/train", 100)
    runs.write_journal(run.folder.journal, msgspec.structs.replace(head, thin=False), calls)
    assert run.relay(notes) == DELIVERED
    assert run.noted() == [one.seq for one in run.calls()]


@pytest.mark.parametrize(("setting", "thin"), [({}, True), ({"thin": "on"}, True), ({"thin": "off"}, False)])
def test_the_journal_says_what_was_set_when_the_run_began(setting, thin, environment, tmp_path):
    run = sample_run(tmp_path / "project/train")
    run.save_dir.mkdir(parents=True)
    settings = Settings(console="off", mode="offline", **setting)
    recorder = Recorder.start(run, {}, settings, logging.getLogger("host"), params={}, environment=environment)
    recorder.end("finished")
    recorders.clear()
    assert journal.read_head(recorder.folder.journal)[0].thin is thin
