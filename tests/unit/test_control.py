"""Rules act on a training, and no mistake of one harms it."""

import json
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from tracking_hooks import hookimpl, plugins
from tracking_hooks.cli import main
from tracking_hooks.control.control import Control, describe
from tracking_hooks.events import Progress, SaveCheckpoint, ScaleLearningRate, Stop
from tracking_hooks.run.commands import Command
from tracking_hooks.testing import recorded_run, sample_run
from tracking_hooks.trainerspecs import TrainerSpecs

STOP = Stop(reason="enough")
SAVE = SaveCheckpoint(name="good", reason="it is good")
HALF = ScaleLearningRate(factor=0.5, reason="a plateau")
PROGRESS = Progress(epochs=10, seconds=60.0)


class Answer:
    """Always says the same."""

    def __init__(self, answer):
        self.answer = answer

    @hookimpl
    def control_epoch(self, epoch, metrics, progress):
        return self.answer


class Fails:
    @hookimpl
    def control_epoch(self, metrics):
        return 1 / metrics["val/box_loss"]


@pytest.fixture
def said():
    return []


@pytest.fixture
def control(said):
    def make(**named):
        rules = [(name, plugins.check(name, rule, TrainerSpecs)) for name, rule in named.items()]
        return Control(rules, said.append)

    return make


def ask(control, epoch=1, **metrics):
    return control.epoch(sample_run, epoch, metrics, PROGRESS)


def test_several_rules_are_all_heard_checkpoints_first_and_a_stop_last(control):
    several = control(a=Answer(STOP), b=Answer([HALF, SAVE]), c=Answer(None), d=Answer(HALF))
    assert ask(several) == [
        Command(plugin="b", action=SAVE),
        Command(plugin="b", action=HALF),
        Command(plugin="d", action=HALF),
        Command(plugin="a", action=STOP),
    ]


def test_a_rule_that_raises_is_off_for_the_run_with_one_message_and_the_others_go_on(control, said):
    two = control(bad=Fails(), good=Answer(HALF))
    for epoch in (3, 4):
        assert ask(two, epoch) == [Command(plugin="good", action=HALF)]
    assert said == [
        "bad is off for the rest of this run: control_epoch failed at epoch 3 with KeyError: 'val/box_loss'"
    ]


def test_a_rule_that_returns_something_else_is_off_too(control, said):
    assert ask(control(odd=Answer("stop"))) == []
    assert "odd is off" in said[0]
    assert "'stop', which is not an action (Stop, SaveCheckpoint, ScaleLearningRate)" in said[0]


@pytest.mark.parametrize(
    "action", [Stop(reason=None), ScaleLearningRate(factor=float("nan"), reason=""), SaveCheckpoint(name=3, reason="")]
)
def test_a_rule_whose_action_could_not_be_recorded_is_off_too(control, said, action):
    assert ask(control(odd=Answer(action))) == []
    assert "odd is off" in said[0]


def test_a_rule_cannot_change_what_the_next_one_sees(control):
    class Clears:
        @hookimpl
        def control_epoch(self, metrics):
            metrics.clear()

    class Counts:
        @hookimpl
        def control_epoch(self, metrics):
            return Stop(reason=str(len(metrics)))

    assert ask(control(first=Clears(), second=Counts()), loss=1.0)[0].action.reason == "1"


def test_a_slow_rule_is_reported_once_with_its_time(control, said, monkeypatch):
    clock = iter([0.0, 2.5, 10.0, 13.0])
    monkeypatch.setattr("tracking_hooks.control.control.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    slow = control(slow=Answer(None))
    ask(slow), ask(slow)
    assert said == ["slow is slow: the training waited 2.5 s for control_epoch at epoch 1"]


def test_a_metric_that_is_not_there_is_reported_once_with_those_that_are(control, said):
    class Watches(Answer):
        @hookimpl
        def watched_metrics(self):
            return ["metrics/mAP50"]

    watching = control(mine=Watches(None))
    for epoch in (1, 2):
        ask(watching, epoch, **{"metrics/mAP50(B)": 0.1, "fitness": 0.2})
    (sentence,) = said
    assert sentence.startswith("mine: epoch 1 has no metric 'metrics/mAP50'. Did you mean 'metrics/mAP50(B)'?")
    assert sentence.endswith("It has: fitness, metrics/mAP50(B)")


def test_a_tracker_without_control_hooks_is_not_asked(control):
    class Tracker:
        @hookimpl
        def capture(self, run):
            """Where it delivers."""

    assert not control(tracker=Tracker())
    assert control(tracker=Tracker(), rule=Answer(None)).names == ["rule"]


def test_the_past_of_a_run_is_shown_to_rules_with_what_was_known_then(control, tmp_path):
    seen = []

    class Notes:
        @hookimpl
        def control_epoch(self, epoch, metrics, progress):
            seen.append((epoch, metrics["fitness"], progress.epochs, progress.seconds))

        @hookimpl
        def control_batch(self, epoch, step):
            seen.append((epoch, step))

    calls = recorded_run(tmp_path, epochs=2)
    began = next(call.time for call in calls if call.hook == "on_train_start")
    for index, call in enumerate(calls):
        if call.hook == "on_epoch_end":
            calls[index] = replace(call, time=began + 10.0 * call.args["epoch"])
    start = next(call for call in calls if call.hook == "on_run_start")
    end = next(call for call in reversed(calls) if call.hook == "on_epoch_end")
    resumed = replace(end, time=start.time + 7.0, args={**end.args, "epoch": 3})
    noting = control(notes=Notes())
    for _ in noting.past(sample_run(tmp_path), [*calls, start, resumed], 9):
        pass
    assert seen == [(1, 4), (1, 0.7 - 0.5, 2, 10.0), (2, 8), (2, 0.7 - 0.25, 2, 20.0), (3, 0.7 - 0.25, 2, 27.0)]
    assert noting.seconds_before == 27.0


def test_of_a_past_training_of_so_many_hours_a_rule_is_told_how_many_epochs_it_has(control, tmp_path):
    """Its plan names none, and a rule may divide by them."""
    shares = []

    class Shares:
        @hookimpl
        def control_epoch(self, epoch, progress):
            shares.append(epoch / progress.epochs)

    calls = recorded_run(tmp_path, epochs=2)
    for index, call in enumerate(calls):
        if call.hook == "on_run_start":
            plan = replace(call.args["plan"], epochs=None)
            calls[index] = replace(call, args={**call.args, "plan": plan})
    asked = control(shares=Shares())
    assert len(list(asked.past(sample_run(tmp_path), calls, 2))) == 4
    assert shares == [0.5, 1.0]
    assert not asked.is_at_fault


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (STOP, "stop the training"),
        (SAVE, "save weights/good.pt"),
        (SaveCheckpoint(name="b", reason="", replaces="a"), "save weights/b.pt instead of a.pt"),
        (HALF, "multiply the learning rate by 0.5"),
    ],
)
def test_an_action_is_told_in_words(action, words):
    assert describe(action) == words


# -- tracking-hooks simulate ------------------------------------------------------------------------------------


@pytest.fixture
def replay(record_run, tmp_path, importable):
    from click.testing import CliRunner

    (tmp_path / "my_replayed_rules.py").write_text(
        "from tracking_hooks import hookimpl\n"
        "from tracking_hooks.events import Stop\n"
        "class After:\n"
        "    def __init__(self, epochs): self.epochs = epochs\n"
        "    @hookimpl\n"
        "    def control_epoch(self, epoch):\n"
        "        if epoch >= self.epochs: return Stop(reason='enough')\n"
    )
    importable(tmp_path)
    recorded = record_run()
    return lambda text: CliRunner().invoke(main, ["simulate", "--control", text, str(recorded.save_dir)])


def test_replay_says_at_which_epoch_of_an_old_run_a_rule_would_have_acted(replay):
    result = replay("my_replayed_rules.After(2)")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "20251009-085320-train  epoch 2 of 3: my_replayed_rules.After(2): stop the training: enough"
    ]


def test_replay_says_that_nothing_would_have_been_done(replay):
    assert "no rule would have acted in 3 epochs" in replay("my_replayed_rules.After(9)").output


def test_replay_answers_a_misspelt_rule(replay):
    result = replay("my_replayed_rules.After(epoch=2)")
    assert result.exit_code == 1
    assert "Did you mean 'epochs'?" in result.output


def test_replay_reads_the_rules_where_there_is_no_run(cli, importable, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    wrong = cli("simulate", "--control", "no_such_rule()", empty)
    assert (wrong.exit_code, "no rule 'no_such_rule' is installed" in wrong.output) == (1, True)
    pytest.importorskip("tracking_hooks_control")
    right = cli("simulate", "--control", "budget(hours=1)", empty)
    assert (right.exit_code, right.output) == (0, f"No runs in {empty}. The rules can be read.\n")


@pytest.mark.parametrize("text", ["off", " OFF ", "none", ""])
def test_replay_understands_that_there_is_no_rule(replay, text):
    result = replay(text)
    assert (result.exit_code, "asks for no rule" in result.output) == (0, True), result.output


def test_replay_ends_with_1_if_a_run_has_not_the_metric_that_a_rule_watches(replay):
    pytest.importorskip("tracking_hooks_control")
    result = replay("early_stop('metrics/mAP50-95')")
    assert result.exit_code == 1
    assert "Did you mean 'metrics/mAP50-95(B)'?" in result.output
    assert replay("early_stop('metrics/mAP50-95(B)')").exit_code == 0


def test_replay_as_data(replay, cli, tmp_path):
    rule = "my_replayed_rules.After(2)"
    (found,) = json.loads(cli("simulate", "--control", rule, "--json", tmp_path / "project").output)
    told = {"epoch": 2, "rule": rule, "action": "stop the training", "reason": "enough"}
    assert (found["epochs"], found["actions"]) == (3, [told])
