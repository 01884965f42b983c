"""What happens to single events: the stories that the model of the deliverer has found (``tests/faults/model.py``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.simulated import ALWAYS, Crash, Plugin, Poison, Process, Traits, World
from tracking_hooks.delivery.current import Down
from tracking_hooks.delivery.ledger import Ledger
from tracking_hooks.events import Artifact, Unavailable
from tracking_hooks.run.journal import Call, Entry
from tracking_hooks.run.layout import Cursor
from tracking_hooks.run.state import settled


@pytest.fixture
def world():
    """Record ten numbers, for a plugin whose tracker confirms late, and answers with a number while it can."""
    return make_world()


def make_world(sends="late", lag=2, events=10, *, names=False):
    traits = Traits(
        needs_open=True, unwanted=frozenset({"on_system_metrics"}), sends=sends, lag=lag, is_atomic=True, counts=True,
        names=names,
    )  # fmt: skip
    world = World(traits)
    world.append("on_run_start", {"params": {}, "environment": None, "resumed": False})
    for epoch in range(1, events):
        world.append("on_epoch_end", {"epoch": epoch, "metrics": {"loss": 1.0}})
    return world


def record_file(world, name, digest):
    artifact = Artifact(path=Path(name), kind="plot", name=name, size=1, digest=digest)
    return world.append("on_artifact", {"artifact": artifact})


def poison(world, seq, what, where="give", times=ALWAYS, retry_after=None):
    world.poison[seq] = [(Poison(what, where, retry_after), times)]


def deliver(world, process=None, *, retry=False, passes=300):
    """Deliver until there is nothing left to do, with as many processes as that takes."""
    process = process or Process(world, retry=retry)
    for _ in range(passes):
        try:
            if process.deliverer.step(world.now):
                continue
            world.now += 3
            process.deliverer.confirm()
        except Crash:
            process = Process(world)
        except (Down, OSError):
            world.now += 3
        else:
            if not process.deliverer.is_unconfirmed and process.deliverer.offset == world.end:
                return process
    raise AssertionError("it goes on and on")


def aside(world):
    return {event.seq: event.reason for event in world.read_aside()}


def delivered(world):
    behind = [entry for entry in world.entries if entry.start >= world.read_cursor().offset]
    return settled(world.read_cursor(), world.read_aside(), len(behind))[0]


def test_what_a_hook_itself_rejects_is_set_aside_though_nothing_before_it_is_confirmed():
    """As where lines of a log are confirmed by a row that comes behind them."""
    world = make_world(lag=10_000)
    seq = record_file(world, "best.pt", "1")
    poison(world, seq, "reject", retry_after=3600)
    process = Process(world)
    for _ in range(20):
        process.deliverer.step(world.now)
        process.deliverer.confirm()
    assert list(aside(world)) == [seq]
    assert process.deliverer.offset == world.end


def test_of_ten_events_in_a_buffer_the_one_is_set_aside_that_its_flush_fails_at(world):
    poison(world, 4, "fail", "flush")
    deliver(world)
    assert list(aside(world)) == [4]
    assert sorted(world.has) == [1, 2, 3, *range(5, 11)]


def test_a_flush_that_names_the_files_it_rejects_sends_no_other_one_twice():
    world = make_world(sends="at flush", events=1, names=True)
    files = [record_file(world, f"{number}.png", "1") for number in range(6)]
    for seq in files[1], files[4]:
        poison(world, seq, "reject", "flush")
    process = deliver(world)
    assert list(aside(world)) == [files[1], files[4]]
    assert dict(world.has) == {seq: 1 for seq in (1, *files) if seq not in aside(world)}
    assert len(process.instances) == 1


def test_a_tracker_that_takes_only_so_many_requests_at_a_time_has_all_files_in_the_end(monkeypatch):
    flush = Plugin.flush

    def limited(self, state):
        if len(self._buffer) > 3:
            raise Unavailable("429: too many requests")
        return flush(self, state)

    monkeypatch.setattr(Plugin, "flush", limited)
    world = make_world(sends="at flush", events=1, names=True)
    files = [record_file(world, f"{number}.png", "1") for number in range(6)]
    deliver(world)
    assert dict(world.has) == dict.fromkeys((1, *files), 1)


def test_a_file_that_is_rejected_by_its_number_does_not_overwrite_the_newer_one_that_was_given_with_it():
    world = make_world(sends="at flush", events=1, names=True)
    old = record_file(world, "results.png", "1")
    new = record_file(world, "results.png", "2")
    poison(world, old, "reject", "flush", times=1, retry_after=0.0)
    deliver(world, deliver(world))
    assert aside(world) == {}
    assert world.content["on_artifact", "results.png"] == new


def test_what_is_noted_as_sent_stays_on_the_disk_while_nothing_is_confirmed(world):
    """Of two receivers one is down: by its state the next process knows what the other one has."""
    world = make_world(sends="at once")
    poison(world, 4, "outage", times=2)
    process = Process(world)
    with pytest.raises(Down):
        process.deliverer.step(world.now)
    saved = world.read_cursor()
    assert (saved.seq, saved.state["sent"], saved.state.get("last")) == (0, [1, 2, 3], None)
    with pytest.raises(Down):
        Process(world).deliverer.step(world.now)
    assert world.read_cursor().state["sent"] == [1, 2, 3, 1, 2, 3]


def test_a_flush_that_confirms_nothing_new_saves_what_is_noted_as_sent_and_no_more():
    ledger = Ledger(Cursor(), keeps=lambda *_: True)
    ledger.dealt_with(Entry(0, 10, Call(1, 1e9, "on_epoch_end", {}), ""), is_given=True)
    ledger.given.state.update(sent=["first receiver"], last=1)
    assert ledger.flushed(0)
    assert (ledger.safe.seq, ledger.safe.state) == (0, {"sent": ["first receiver"]})
    assert not ledger.flushed(0)  # there is nothing new to write down


@pytest.mark.parametrize("where", ["give", "flush"])
def test_a_file_whose_name_the_tracker_cannot_have_holds_up_nothing_else(world, where):
    seq = record_file(world, "a/b", "1")
    world.append("on_epoch_end", {"epoch": 10, "metrics": {}})
    poison(world, seq, "name", where)
    deliver(world)
    assert aside(world) == {seq: f"[Errno 20] Not a directory: 'file of event {seq}'"}
    assert sorted(world.has) == [*range(1, seq), seq + 1]


def test_an_event_that_comes_before_the_failure_of_an_earlier_one_is_known_is_not_blamed(world):
    process = Process(world)
    process.deliverer.step(world.now)
    poison(world, 4, "reject", "flush")
    for epoch in range(10, 14):
        world.append("on_epoch_end", {"epoch": epoch, "metrics": {}})
        process.deliverer.step(world.now)
    deliver(world, process)
    assert list(aside(world)) == [4]


def test_of_ten_events_in_a_buffer_the_one_is_set_aside_over_which_the_process_dies(world):
    poison(world, 4, "kill", "flush")
    deliver(world)
    assert aside(world) == {4: "the relay process died 3 times at this event"}


def test_an_event_that_the_plugin_was_never_given_is_not_waited_for(world):
    seq = record_file(world, "results.png", "1")
    poison(world, seq, "gone")
    deliver(world)
    assert (world.read_cursor().seq, aside(world)) == (seq, {seq: "the file is gone"})


def test_an_event_that_was_set_aside_is_tried_again_and_its_failure_is_nobody_elses(world):
    poison(world, 4, "reject", "flush")
    deliver(world)
    process = Process(world, retry=True)
    process.deliverer.step(world.now)  # it is on its way
    world.append("on_epoch_end", {"epoch": 10, "metrics": {}})
    deliver(world, process)
    assert list(aside(world)) == [4]
    assert world.has[11] == 1
    world.poison.clear()
    deliver(world, retry=True)
    assert (aside(world), world.has[4]) == ({}, 1)


def test_an_event_that_is_tried_again_is_confirmed_by_its_number_too(world):
    poison(world, 10, "reject")
    deliver(world)
    assert list(aside(world)) == [10]
    world.poison.clear()
    deliver(world, retry=True)  # nothing tells the plugin that it comes late
    assert (aside(world), world.has[10]) == ({}, 1)


def test_an_event_that_is_refused_for_a_second_again_and_again_keeps_no_other_waiting(world):
    poison(world, 4, "reject", retry_after=0.0)
    poison(world, 6, "reject", retry_after=5.0, times=1)
    process = deliver(world)
    for _ in range(20):
        world.now += 1
        deliver(world, process)
    assert (list(aside(world)), world.has[6]) == ([4], 1)


def test_an_event_that_kills_the_process_when_it_is_tried_again_is_not_tried_for_ever():
    world = make_world(sends="at once")
    poison(world, 4, "reject", retry_after=0.0)
    deliver(world)
    poison(world, 4, "kill")
    world.now += 10
    deliver(world)
    (event,) = world.read_aside()
    assert (event.seq, event.retry_at) == (4, None)
    assert event.reason == "the relay process died 3 times at this event"


def test_what_is_set_aside_is_on_the_list_before_the_cursor_passes_it():
    world = make_world(sends="at once", events=3)
    poison(world, 3, "reject")
    process = Process(world)
    process.deliverer.shelf._write = fail_once(process.deliverer.shelf._write, at=1)
    deliver(world, process)  # the model's disk sees at each write that nothing would be lost
    assert list(aside(world)) == [3]


def test_a_cursor_that_could_not_be_written_is_written_later():
    world = make_world(sends="at once", events=3)
    process = Process(world)
    process.deliverer._disk.save_cursor = fail_once(process.deliverer._disk.save_cursor, at=2)  # the first: `open`
    with pytest.raises(Down, match="no space"):
        process.deliverer.step(world.now)
    assert not process.deliverer.step(world.now)
    assert world.read_cursor().offset == world.end
    assert set(world.has.values()) == {1}


def fail_once(call, at):
    calls = []

    def fail(*args):
        calls.append(args)
        if len(calls) == at:
            raise OSError("no space left on device")
        call(*args)

    return fail


def test_an_old_file_that_was_refused_overwrites_no_newer_one_and_counts_as_dealt_with():
    world = make_world(sends="at once")
    old = record_file(world, "results.png", "1")
    poison(world, old, "reject")
    deliver(world)
    assert list(aside(world)) == [old]
    new = record_file(world, "results.png", "2")
    world.poison.clear()
    deliver(world, retry=True)
    assert (world.content["on_artifact", "results.png"], world.has[old]) == (new, 0)
    assert (aside(world), delivered(world)) == ({}, len(world.calls))


def test_an_event_of_a_newer_release_with_a_file_is_plain_data():
    world = make_world(sends="at once")
    seq = world.append("on_future", {"artifact": {"name": "results.png", "digest": "1"}})
    deliver(world)
    assert world.has[seq] == 1


def test_a_plugin_is_not_opened_for_a_file_that_is_gone():
    world = make_world(sends="at once")
    deliver(world)
    seq = record_file(world, "results.png", "1")
    poison(world, seq, "gone")
    process = deliver(world)
    assert aside(world) == {seq: "the file is gone"}
    assert not any(plugin.is_open for plugin in process.instances)


def test_behind_a_death_a_tracker_that_confirms_at_the_end_only_keeps_nothing_back_for_ever():
    world = make_world(lag=10**6)
    poison(world, 4, "kill", times=1)
    with pytest.raises(Crash):
        Process(world).deliverer.step(world.now)
    process = Process(world)
    for _ in range(1000):
        if process.deliverer.offset == world.end:
            break
        if not process.deliverer.step(world.now):
            world.now += 3
            process.deliverer.confirm()
    assert process.deliverer.offset == world.end
    assert not aside(world)


def test_an_event_that_is_tried_again_and_not_confirmed_keeps_no_new_one_back():
    world = make_world(lag=1)
    poison(world, 4, "reject")
    deliver(world)
    world.poison.clear()
    world.traits = world.traits._replace(lag=10**6)
    process = Process(world, retry=True)
    process.deliverer.step(world.now)
    last = world.append("on_epoch_end", {"epoch": 10, "metrics": {}})
    for _ in range(50):
        process.deliverer.step(world.now)
        world.now += 3
    assert process.deliverer.cursor.seq <= last
    assert process.deliverer.offset == world.end


def test_the_time_for_which_a_tracker_is_down_is_none_that_it_has_had_to_confirm():
    """The first event meets an outage for longer than a confirmation is waited for; the second is at fault."""
    world = make_world(lag=3, events=1)
    poison(world, 1, "outage", "flush", times=4)
    seq = world.append("on_epoch_end", {"epoch": 1, "metrics": {"loss": 1.0}})
    poison(world, seq, "state")
    deliver(world)
    assert list(aside(world)) == [seq]
