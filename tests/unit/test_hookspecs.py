"""What a plugin may implement, and what it is given."""

import inspect

import pytest

from tracking_hooks import hookimpl
from tracking_hooks.events import SaveCheckpoint
from tracking_hooks.hookspecs import LifecycleSpecs
from tracking_hooks.run.journal import FORMAT, Call, Head, Journal, read, read_head
from tracking_hooks.testing import play, recorded_run, sample_run

EVENTS = [name for name in vars(LifecycleSpecs) if name.startswith("on_")]
COMMON = ["run", "time", "seq", "state", "destination"]

NOT_IN_A_RECORDED_RUN = {
    "on_epoch_restart": {"epoch": 2, "attempt": 1, "reason": "NaN or infinite loss"},
    "on_console": {"lines": ["Epoch 1/3", "", "null", "größer"]},
    "on_log": {"metrics": {"mine": 0.25}, "step": None},
    "on_action": {"action": SaveCheckpoint(name="good", reason="mAP"), "plugin": "control", "outcome": "done"},
}


@pytest.fixture
def samples(tmp_path):
    """Arguments of every event."""
    calls = recorded_run(tmp_path / "train", epochs=2)
    return {**{call.hook: call.args for call in calls}, **NOT_IN_A_RECORDED_RUN}


def parameters(hook):
    return [name for name in inspect.signature(getattr(LifecycleSpecs, hook)).parameters if name != "self"]


def test_every_event_has_a_sample(samples):
    assert sorted(samples) == sorted(EVENTS)


@pytest.mark.parametrize("hook", EVENTS)
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
