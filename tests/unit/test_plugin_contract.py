"""The contract suite: a plugin that is right passes it, and each rule catches a plugin that breaks it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from tests.support import json_tracker
from tracking_hooks import Capture, hookimpl, plugins
from tracking_hooks.cli import main
from tracking_hooks.events import Stop
from tracking_hooks.run.journal import EVENTS, Call
from tracking_hooks.settings import ConfigurationError
from tracking_hooks.testing import KINDS, as_read, poll, recorded, recorded_addendum, sample_run, unseen, write_run
from tracking_hooks.testing.contract import Contract
from tracking_hooks.trainerspecs import TrainerSpecs

MODULE = "tests.support.json_tracker"


class TestContract(Contract):
    """A plugin that is right."""

    plugin = f"{MODULE}:JsonTracker"

    @pytest.fixture(autouse=True)
    def store(self, monkeypatch, tmp_path):
        self.environment = monkeypatch
        monkeypatch.setenv(json_tracker.STORE, str(tmp_path / "nowhere.json"))

    def destination(self, folder):
        self.environment.setenv(json_tracker.STORE, str(folder / "runs.json"))
        return {"path": str(folder / "runs.json")}

    def observe(self, destination):
        return list(json_tracker.read(Path(destination["path"])).values())


class TestChats(TestContract):
    """A plugin that is right, for receivers that cannot be asked what they have."""

    plugin = f"{MODULE}:Chats"
    keeps_values = "none"
    at_least_once = True
    stride = 6  # they are given every event

    def observe(self, destination):
        runs = super().observe(destination)
        return [{chat: sorted(messages) for chat, messages in run.items()} for run in runs]

    @contextmanager
    def half_down(self, destination):
        (mark := Path(destination["path"]).with_name("down")).touch()
        yield
        mark.unlink()


BROKEN = [
    ("MakesARunEachTime", "test_a_run_is_one_run_and_twice_is_once", ("finished",)),
    ("AppendsPoints", "test_a_run_is_one_run_and_twice_is_once", ("finished",)),
    ("AppendsPoints", "test_restarted_and_killed_at_every_event", ()),
    ("TakesParamsWhenItOpens", "test_restarted_and_killed_at_every_event", ()),
    ("CountsEpochsItself", "test_restarted_and_killed_at_every_event", ()),
    ("ForgetsWhatItHasNotSent", "test_restarted_and_killed_at_every_event", ()),
    ("KnowsNoNan", "test_a_run_is_one_run_and_twice_is_once", ("odd",)),
    ("SaysNothingOfTheEnd", "test_the_endings_can_be_told_apart", ()),
    ("ForgetsWhoHasWhat", "test_an_outage_doubles_nothing", ()),
    ("ForgetsWhoHasWhat", "test_half_down", ()),
    ("AsksTheStartForAName", "test_the_start_may_be_set_aside", ()),
    ("TakesALateStartForANewOne", "test_the_start_may_be_set_aside", ()),
    ("DropsLateFiles", "test_a_file_may_come_late", ()),
    ("WritesPartsOfFlushes", "test_batches_make_no_difference", (1,)),
    ("KeepsASet", "test_a_run_is_one_run_and_twice_is_once", ("finished",)),
    ("LosesTheFirstEpochs", "test_every_epoch_is_there", ("finished",)),
    ("NamesFilesByTheirPaths", "test_a_file_may_come_late", ()),
    ("DrawsEarlyViews", "test_a_discarded_attempt_leaves_no_values", ()),
    ("LosesWhatCannotBeWritten", "test_what_fails_is_not_lost", ()),
    ("MakesARunOfAnAddendum", "test_an_addendum_makes_no_run", ()),
    ("MakesTheRunForAnAddendum", "test_an_addendum_makes_no_run", ()),
    ("TakesAnAddendumForACrash", "test_an_addendum_changes_no_ending", ()),
    ("CannotSayWhatIsMissing", "test_what_is_missing_is_said_beside_the_ending", ()),
    ("TakesWhatIsMissingForAFailure", "test_what_is_missing_is_said_beside_the_ending", ()),
    ("RepeatsWhatIsMissing", "test_what_is_missing_is_said_beside_the_ending", ()),
    ("NeverSaysThatNothingIsMissing", "test_what_is_missing_is_said_beside_the_ending", ()),
    ("ShowsAResumedRunAsEnded", "test_a_resumed_run_is_shown_as_running", ()),
    ("TakesAResumedRunForANewOne", "test_a_run_is_one_run_and_twice_is_once", ("resumed",)),
    ("MakesTwoRunsIfItDiesInOpen", "test_killed_while_it_opens", ()),
    ("HasAHookThatThereIsNot", "test_it_is_a_plugin", ()),
    ("tests.support.network_tracker:NetworkTracker", "test_importing_it_needs_neither_the_network_nor_a_trainer", ()),
    ("tests.support.trainer_tracker:TrainerTracker", "test_importing_it_needs_neither_the_network_nor_a_trainer", ()),
]


FAILURES = (AssertionError, pytest.fail.Exception, ConfigurationError, AttributeError, TypeError, ValueError)


@pytest.mark.parametrize(("plugin", "rule", "arguments"), BROKEN)
def test_a_plugin_that_breaks_a_rule_is_caught_by_it(plugin, rule, arguments, monkeypatch, tmp_path):
    contract = TestChats() if plugin == "ForgetsWhoHasWhat" else TestContract()
    contract.environment = monkeypatch
    monkeypatch.setenv(json_tracker.STORE, str(tmp_path / "nowhere.json"))
    contract.plugin = plugin if ":" in plugin else f"{MODULE}:{plugin}"
    needs_folder = [tmp_path] if rule != "test_it_is_a_plugin" else []
    with pytest.raises(FAILURES) as caught:
        getattr(contract, rule)(*arguments, *needs_folder)
    assert str(caught.value)


@pytest.mark.parametrize(
    ("keeps", "plugin"),
    [("all", "JsonTracker"), ("latest", "LosesTheFirstEpochs"), ("none", "SaysTheEndingOnly")],
)
def test_a_reader_says_which_values_its_tracker_shows(keeps, plugin, monkeypatch, tmp_path):
    contract = TestContract()
    contract.environment = monkeypatch
    contract.plugin = f"{MODULE}:{plugin}"
    for number, value in enumerate(kept := ["none", "latest", "all"]):
        monkeypatch.setattr(contract, "_reader", lambda v=value: SimpleNamespace(keeps_values=v), raising=False)
        if kept.index(value) <= kept.index(keeps):
            contract.test_every_epoch_is_there("finished", tmp_path / str(number))
        else:
            with pytest.raises(AssertionError, match="no value of"):
                contract.test_every_epoch_is_there("finished", tmp_path / str(number))
    contract.keeps_values = "none"  # the test knows better than the reader
    contract.test_every_epoch_is_there("finished", tmp_path / "test")


def test_where_a_relay_dies_a_message_may_come_twice_only_if_the_test_says_so(monkeypatch, tmp_path):
    contract = TestChats()
    contract.environment = monkeypatch
    monkeypatch.setenv(json_tracker.STORE, str(tmp_path / "nowhere.json"))
    contract.at_least_once = False
    with pytest.raises(pytest.fail.Exception, match="sees something else"):
        contract.test_restarted_and_killed_at_every_event(tmp_path)


class _Mistaken:
    @hookimpl
    def capture(self):
        return Capture({"folder": "runs"})


class _NotConfigured:
    @hookimpl
    def capture(self):
        raise ValueError("ACME_SERVER is not set")


class _NotJson:
    @hookimpl
    def capture(self):
        return Capture(destination={"folder": ("runs",)})


@pytest.mark.parametrize(("side", "says"), [(_Mistaken, "no mistake in a configuration"), (_NotJson, "from JSON")])
def test_a_capture_that_cannot_work_is_caught(side, says, monkeypatch):
    _give_trainer_side(side, monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception), match=says):
        TestContract().test_it_is_a_plugin()


def test_a_capture_may_say_that_something_is_not_configured(monkeypatch):
    _give_trainer_side(_NotConfigured, monkeypatch)
    TestContract().test_it_is_a_plugin()


class _InTheWorkingDirectory:
    @hookimpl
    def capture(self):
        here = Path.cwd()
        return Capture(destination={"folder": str(here / "runs"), "uri": here.as_uri(), "project": "a/b", "port": 80})


class _WhereTheUserTracks:
    @hookimpl
    def capture(self):
        return Capture(destination={"stores": [{"at": os.environ["ACME"]}]})


def test_a_folder_below_that_of_the_test_may_be_captured(monkeypatch, tmp_path):
    folder = tmp_path / "acme 3"
    folder.mkdir()
    _give_trainer_side(_InTheWorkingDirectory, monkeypatch)
    contract = Contract()
    contract.plugin = TestContract.plugin
    assert contract.destination(folder)["folder"] == str(folder / "runs")


@pytest.mark.parametrize("place", ["/home/me/runs", "~/runs", "https://acme.example.com", "sqlite:////home/me/acme.db"])
def test_the_sample_runs_do_not_go_to_the_tracker_that_the_author_uses(place, monkeypatch, tmp_path):
    monkeypatch.setenv("ACME", place)
    _give_trainer_side(_WhereTheUserTracks, monkeypatch)
    contract = Contract()
    contract.plugin = TestContract.plugin
    with pytest.raises(pytest.fail.Exception, match=f"{place}.*may be a tracker that you use"):
        contract.destination(tmp_path)


def _give_trainer_side(side, monkeypatch):
    sides = {TestContract.plugin: plugins.check("acme", side(), TrainerSpecs)}
    monkeypatch.setattr(plugins, "load_trainer_sides", lambda names: sides)
    monkeypatch.setenv(json_tracker.STORE, "nowhere.json")


def test_each_rule_is_broken_by_a_plugin():
    rules = {name for name in dir(Contract) if name.startswith("test_")}
    assert {rule for _, rule, _ in BROKEN} == rules


@pytest.mark.parametrize(
    ("plugin", "hooks"), [("JsonTracker", []), ("DoesNothingWithImages", ["on_export", "on_image"])]
)
def test_hooks_that_change_nothing_a_reader_sees_are_named(plugin, hooks, monkeypatch, tmp_path):
    contract = TestContract()
    contract.environment = monkeypatch
    contract.plugin = f"{MODULE}:{plugin}"
    monkeypatch.setenv(json_tracker.STORE, str(tmp_path / "nowhere.json"))
    assert list(unseen.unseen(contract, tmp_path)) == hooks


def test_they_are_printed_behind_a_suite_that_has_passed(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(unseen, "unseen", lambda *_: ["on_export", "on_image"])
    unseen.main()
    assert "shows nothing of on_export, on_image" in capsys.readouterr().out
    ran = []
    for failed in (0, 1):
        monkeypatch.setattr(
            "subprocess.run",
            lambda command, code=failed, **_: ran.append(command[2]) or SimpleNamespace(returncode=code),
        )
        CliRunner().invoke(main, ["plugins", "--check", "tensorboard"])
    assert ran == ["pytest", "tracking_hooks.testing.unseen", "pytest"]


def test_a_recorded_run_has_every_hook(tmp_path):
    told = {call.hook for kind in KINDS for call in recorded(kind, tmp_path / kind).calls}
    told |= {call.hook for call in recorded_addendum(tmp_path)}
    assert told == EVENTS


@pytest.mark.parametrize("kind", KINDS)
def test_a_recorded_run_comes_back_from_a_journal_as_it_is(kind, tmp_path):
    for call in recorded(kind, tmp_path).calls:
        assert repr(as_read(call).args) == repr({**as_read(call).args, **call.args}), call


def test_a_call_that_no_journal_gives_back_is_refused(tmp_path):
    call = recorded("finished", tmp_path).calls[-1]
    with pytest.raises(ValueError, match="on_run_end 30"):
        as_read(Call(call.seq, call.time, call.hook, {"status": "done", "error": None}))


def test_a_run_that_is_written_to_disk_is_delivered_by_a_relay(tmp_path, monkeypatch):
    run, calls = recorded("everything", tmp_path / "train")
    destination = {"logdir": str(tmp_path / "train")}
    folder = write_run(run, calls, {"tensorboard": destination})
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    result = CliRunner().invoke(main, ["sync", str(folder)])
    assert result.exit_code == 0, result.output
    assert list((tmp_path / "train").glob("*tfevents*"))


class _Asks:
    @hookimpl
    def poll(self, destination, state):
        state["asked"] = True
        return destination["answer"]


@pytest.mark.parametrize("answer", [None, Stop(reason="the budget is spent")])
def test_a_plugin_is_asked_as_a_relay_asks_it(answer, tmp_path):
    state = {}
    assert poll(_Asks(), sample_run(tmp_path), destination={"answer": answer}, state=state) == answer
    assert state == {}  # a relay does not keep what is put there


def test_an_answer_that_is_no_action_is_refused(tmp_path):
    with pytest.raises(TypeError, match="poll returned 'stop', which is neither an action nor None"):
        poll(_Asks(), sample_run(tmp_path), destination={"answer": "stop"})


def test_a_run_is_not_written_for_a_part_that_no_plugin_has(tmp_path):
    run, calls = recorded("finished", tmp_path / "train")
    with pytest.raises(ValueError, match=r"no plugin has a part 'mlflow\.fils'\. Did you mean 'mlflow\.files'\?"):
        write_run(run, calls, {"mlflow": {}, "mlflow.fils": {}})
    assert not (tmp_path / ".tracking-hooks").exists()
    assert write_run(run, calls, {"my_tracker:Mine": {}}).exists()
