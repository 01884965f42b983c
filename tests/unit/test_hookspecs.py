"""What a plugin may implement, and what it is given."""

import inspect
import json
import math

import pytest

from tracking_hooks import Rejected, Unavailable, hookimpl, plugins
from tracking_hooks.events import SaveCheckpoint
from tracking_hooks.hookspecs import LifecycleSpecs
from tracking_hooks.run.journal import EVENTS as RECORDED
from tracking_hooks.run.journal import FORMAT, Call, Head, Journal, read, read_head
from tracking_hooks.testing import STARTED, play, recorded_addendum, recorded_run, sample_run

EVENTS = [name for name in dir(LifecycleSpecs) if name.startswith("on_") and name != "on_event"]
COMMON = ["run", "time", "seq", "state", "destination"]

NOT_IN_A_RECORDED_RUN = {
    "on_epoch_restart": {"epoch": 2, "attempt": 1, "reason": "NaN or infinite loss"},
    "on_console": {"lines": ["Epoch 1/3", "", "null", "größer"]},
    "on_action": {"action": SaveCheckpoint(name="good", reason="mAP"), "plugin": "control", "outcome": "done"},
}


@pytest.fixture
def samples(tmp_path):
    """Arguments of every event."""
    calls = recorded_run(tmp_path / "train", epochs=2)
    calls += recorded_addendum(tmp_path / "train")
    return {**{call.hook: call.args for call in calls}, **NOT_IN_A_RECORDED_RUN}


def parameters(hook):
    return [name for name in inspect.signature(getattr(LifecycleSpecs, hook)).parameters if name != "self"]


def test_every_event_has_a_sample(samples):
    assert sorted(samples) == sorted(EVENTS)


def test_every_event_is_recorded():
    assert sorted(RECORDED) == sorted(EVENTS)


@pytest.mark.parametrize("hook", [*EVENTS, "on_event"])
def test_every_event_offers_run_time_seq_state_and_destination(hook):
    assert parameters(hook)[-len(COMMON) :] == COMMON


@pytest.mark.parametrize("hook", EVENTS)
def test_every_event_comes_out_of_the_journal_as_it_went_in(hook, samples, tmp_path):
    head = Head(format=FORMAT, created=1.0, run=sample_run(tmp_path), plugins={"notes": {"file": "x"}})
    log = Journal.create(tmp_path / "journal.jsonl", head)
    log.append(hook, 12.5, samples[hook])
    log.close()
    found, offset = read_head(tmp_path / "journal.jsonl")
    assert found == head
    (entry,) = read(tmp_path / "journal.jsonl", offset)
    assert entry.call == Call(1, 12.5, hook, samples[hook])


@pytest.mark.parametrize("hook", EVENTS)
def test_a_plugin_names_the_parameters_that_it_needs_in_any_order(hook, samples, tmp_path):
    run, destination = sample_run(tmp_path), {"folder": "x"}
    call = Call(7, 12.5, hook, samples[hook])
    offered = {**call.args, "run": run, "time": 12.5, "seq": 7, "state": {"id": 1}, "destination": destination}
    names = parameters(hook)
    assert sorted(offered) == sorted(names)
    for subset in ([], *([name] for name in names), names, names[::-1]):
        given = {}
        play(_plugin(hook, subset, given), [call], run, destination=destination, state={"id": 1})
        assert given == {name: offered[name] for name in subset}


def _plugin(hook, names, given):
    """A plugin with one method, which takes the parameters ``names`` and puts them into ``given``."""
    scope = {"given": given}
    exec(f"def {hook}(self, {', '.join(names)}): given.update({', '.join(f'{name}={name}' for name in names)})", scope)
    return type("Plugin", (), {hook: hookimpl(scope[hook])})()


def test_what_a_plugin_puts_into_state_is_there_at_the_next_event(tmp_path):
    class Counter:
        @hookimpl
        def on_epoch_end(self, state):
            state["epochs"] = state.get("epochs", 0) + 1

    assert play(Counter(), recorded_run(tmp_path, epochs=3), sample_run(tmp_path)) == {"epochs": 3}


# -- open -----------------------------------------------------------------------------------------------------


class Opened:
    """Keeps what it is told when it is opened, and the numbers of the events that follow."""

    def __init__(self):
        self.told, self.events = [], []

    @hookimpl
    def open(self, params, environment, resumed, epoch, status, run, time, state, destination):
        given = locals()
        self.told.append({name: given[name] for name in parameters("open")})

    @hookimpl
    def on_event(self, seq):
        assert self.told, "an event before it is open"
        self.events.append(seq)

    @hookimpl
    def flush(self):
        assert self.told, "a flush before it is open"


def test_a_fresh_instance_is_opened_once_just_before_its_first_event(tmp_path):
    calls, plugin = recorded_run(tmp_path), Opened()
    start = calls[0].args
    play(plugin, calls, sample_run(tmp_path), destination={"folder": "x"}, state={"id": 1})
    assert plugin.told == [
        {
            "params": start["params"], "environment": start["environment"], "resumed": False, "epoch": 0,
            "status": None, "run": sample_run(tmp_path), "time": STARTED, "state": {"id": 1},
            "destination": {"folder": "x"},
        }
    ]  # fmt: skip
    assert plugin.events == [call.seq for call in calls]


@pytest.mark.parametrize("names", [[], ["epoch"], ["state", "run"], ["status", "time", "params"]])
def test_open_names_the_parameters_that_it_needs(names, tmp_path):
    given = {}
    play(_plugin("open", names, given), recorded_run(tmp_path), sample_run(tmp_path))
    assert list(given) == names


def test_where_there_is_no_event_nothing_is_opened(tmp_path):
    plugin = Opened()
    play(plugin, [], sample_run(tmp_path), before=recorded_run(tmp_path))
    assert plugin.told == []


def place(calls, hook, nth=1):
    """Where the nth event of a hook stands."""
    return [index for index, call in enumerate(calls) if call.hook == hook][nth - 1]


@pytest.mark.parametrize(
    ("hook", "nth", "epoch", "status"),
    [
        ("on_train_start", 1, 0, None),
        ("on_epoch_end", 1, 0, None),  # the event that comes is not settled before
        ("on_system_metrics", 1, 1, None),
        ("on_epoch_end", 3, 2, None),
        ("on_run_end", 1, 3, None),
    ],
)
def test_a_later_instance_is_told_where_the_run_stands_before_its_first_event(hook, nth, epoch, status, tmp_path):
    calls, plugin = recorded_run(tmp_path), Opened()
    at = place(calls, hook, nth)
    play(plugin, calls[at:], sample_run(tmp_path), before=calls[:at])
    (told,) = plugin.told
    assert (told["epoch"], told["status"], told["time"]) == (epoch, status, STARTED)
    assert told["params"] == calls[0].args["params"]


def test_open_is_told_how_the_run_ended_and_that_it_goes_on(tmp_path):
    calls = recorded_run(tmp_path, epochs=2, status="killed")
    late = Call(98, STARTED + 98, "on_log", {"metrics": {"mine": 1.0}, "step": None})
    plugin = Opened()
    play(plugin, [late], sample_run(tmp_path), before=calls)
    (told,) = plugin.told
    assert (told["status"], told["resumed"], told["epoch"]) == ("killed", False, 1)

    changed = {**calls[0].args, "params": {"epochs": 9}, "resumed": True}
    again, plugin = Call(99, STARTED + 99, "on_run_start", changed), Opened()
    play(plugin, [again], sample_run(tmp_path), before=[*calls, late])
    (told,) = plugin.told
    assert (told["status"], told["resumed"], told["epoch"]) == (None, True, 1)
    assert (told["params"], told["time"]) == ({"epochs": 9}, STARTED)


def test_what_open_puts_into_state_is_there_at_the_first_event(tmp_path):
    class Tracker:
        @hookimpl
        def open(self, run, state):
            state.setdefault("id", f"id of {run.uid}")

        @hookimpl
        def on_run_start(self, state):
            assert state["id"].startswith("id of ")

    run = sample_run(tmp_path)
    state = play(Tracker(), recorded_run(tmp_path), run)
    assert state == {"id": f"id of {run.uid}"}
    assert play(Tracker(), recorded_run(tmp_path), run, state={"id": "id of an earlier one"})["id"].endswith("one")


def test_a_state_of_open_that_would_not_come_back_equal_is_refused_before_any_event(tmp_path):
    class Tracker(Opened):
        @hookimpl
        def open(self, state):
            state["at"] = {"rates": (0.1, 0.2)}

    plugin = Tracker()
    with pytest.raises(TypeError, match=r"state\['at'\]\['rates'\] is \(0.1, 0.2\)"):
        play(plugin, recorded_run(tmp_path), sample_run(tmp_path))
    assert plugin.events == []


def test_where_open_fails_no_event_is_given(tmp_path):
    class Tracker(Opened):
        @hookimpl
        def open(self):
            raise Unavailable("the experiment is deleted")

    plugin = Tracker()
    with pytest.raises(Unavailable, match="the experiment is deleted"):
        play(plugin, recorded_run(tmp_path), sample_run(tmp_path))
    assert plugin.events == []


# -- on_event and flush ---------------------------------------------------------------------------------------


def test_each_event_also_comes_as_on_event_after_its_own_hook(tmp_path):
    class Both:
        def __init__(self):
            self.seen = []

        @hookimpl
        def on_epoch_end(self, epoch):
            self.seen.append(("on_epoch_end", epoch))

        @hookimpl
        def on_event(self, hook, args, seq, time):
            self.seen.append((hook, args.get("epoch"), seq, time))

    plugin, calls = Both(), recorded_run(tmp_path, epochs=2)
    play(plugin, calls, sample_run(tmp_path))
    assert [seen for seen in plugin.seen if len(seen) > 2] == [
        (call.hook, call.args.get("epoch"), call.seq, call.time) for call in calls
    ]
    at = plugin.seen.index(("on_epoch_end", 1))
    assert plugin.seen[at + 1][:2] == ("on_epoch_end", 1)
    assert len(plugin.seen) == len(calls) + 2


@pytest.mark.parametrize("hook", EVENTS)
def test_on_event_is_given_plain_json(hook, samples, tmp_path):
    given = {}
    args = {**samples[hook], "metrics": {"nan": math.nan, "inf": -math.inf}} if "metrics" in samples[hook] else {}
    call = Call(7, 12.5, hook, samples[hook] | args)
    play(_plugin("on_event", ["hook", "args"], given), [call], sample_run(tmp_path))
    assert (given["hook"], sorted(given["args"])) == (hook, sorted(call.args))
    assert json.loads(json.dumps(given["args"], allow_nan=False)) == given["args"]
    if args:
        assert given["args"]["metrics"] == {"nan": "NaN", "inf": "-Infinity"}


def test_an_event_of_a_newer_release_comes_as_on_event_alone(tmp_path):
    given = {}
    play(
        _plugin("on_event", ["hook", "args"], given),
        [Call(1, 1.0, "on_hyperspace", {"speed": 9})],
        sample_run(tmp_path),
    )
    assert given == {"hook": "on_hyperspace", "args": {"speed": 9}}


@pytest.mark.parametrize("answer", [None, 41])
def test_flush_may_say_how_far_the_tracker_has_confirmed(answer, tmp_path):
    class Tracker:
        @hookimpl
        def flush(self):
            return answer

    manager = plugins.check("tracker", Tracker(), LifecycleSpecs)
    assert manager.hook.flush(run=sample_run(tmp_path), state={}, destination={}) is answer


def test_an_event_that_was_refused_may_say_when_it_is_tried_again():
    assert Rejected("too large").retry_after is None
    assert str(Rejected("too large", retry_after=60)) == "too large"
    assert Rejected("too many requests", retry_after=60).retry_after == 60


# -- the recorded run -----------------------------------------------------------------------------------------


def test_a_recorded_run_tells_the_events_in_their_order(tmp_path):
    hooks = [call.hook for call in recorded_run(tmp_path, epochs=1)]
    assert hooks == [
        "on_run_start",
        "on_train_start",
        "on_epoch_start",
        "on_batch_end",
        "on_train_epoch_end",
        "on_validation_end",
        "on_checkpoint_saved",
        "on_epoch_end",
        "on_system_metrics",
        "on_final_validation",
        "on_checkpoint_saved",
        "on_checkpoint_saved",
        "on_artifact",
        "on_artifact",
        "on_artifact",
        "on_run_end",
    ]
