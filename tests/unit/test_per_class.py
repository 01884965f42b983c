"""Where there are many classes, a tracker gets curves of some, always the same ones, and tables of all."""

import json
import logging
import math
import shutil

import pytest

from tests.support.classes import AP, begin, end, epoch, final, instances, names, validation
from tracking_hooks.delivery.spawn import DELIVERED
from tracking_hooks.events import Capture
from tracking_hooks.recording import addenda, resumption
from tracking_hooks.recording.chosen import PARAM
from tracking_hooks.recording.process import recorders
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import journal
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import POINTER, Pointer, read_json
from tracking_hooks.run.perclass import choose
from tracking_hooks.settings import ConfigurationError, Settings, read_settings
from tracking_hooks.testing import sample_run

QUIET = {"system_every": 0.0, "console": "off", "evaluations": "on"}


# -- which ones -------------------------------------------------------------------------------------------------


def test_half_of_them_have_the_most_instances_and_the_others_are_the_worst():
    largest, worst = {"class 3", "class 8"}, {"class 1", "class 9"}
    assert {*choose(validation(10, worst), instances(10, largest), 4)} == largest | worst


def test_a_class_that_is_large_and_bad_takes_one_place():
    found = choose(validation(10, {"class 3", "class 1"}), instances(10, {"class 3"}), 2)
    assert found == ["class 1", "class 3"]


def test_of_classes_that_are_equally_bad_those_with_more_instances_are_taken():
    largest, next_ones = {"class 3", "class 8"}, {"class 5", "class 6"}
    counts = instances(10, next_ones) | dict.fromkeys(largest, 900)
    assert {*choose(validation(10), counts, 4)} == largest | next_ones


def test_a_class_whose_metric_is_no_number_is_among_the_worst():
    found = validation(6, {"class 1"}) | {"class 5": {AP: math.nan}}
    assert choose(found, instances(6, {"class 0"}), 2) == ["class 0", "class 5"]


def test_of_boxes_and_masks_masks_say_which_are_the_worst():
    found = {name: {AP: 0.1 if name == "class 1" else 0.5, "metrics/mAP50-95(M)": 0.5} for name in names(4)}
    found["class 3"]["metrics/mAP50-95(M)"] = 0.2
    assert choose(found, instances(4, {"class 0"}), 2) == ["class 0", "class 3"]


@pytest.mark.parametrize(("most", "count"), [(0, 0), (1, 1), (2, 2), (5, 5), (10, 10), (99, 10)])
def test_there_are_as_many_as_are_wanted(most, count):
    assert len(choose(validation(10, {"class 1"}), instances(10), most)) == count


def test_the_first_of_an_odd_number_goes_to_the_large_ones():
    assert choose(validation(10, {"class 1"}), instances(10, {"class 8"}), 1) == ["class 8"]


# -- in a relay ---------------------------------------------------------------------------------------------------

LARGEST, WORST = {"class 11", "class 17"}, {"class 2", "class 19"}
CHOSEN = sorted(LARGEST | WORST, key=names(20).index)


@pytest.fixture
def seen(make_plugin):
    """A plugin that notes of which classes it is given metrics and curves."""
    return make_plugin(
        """
        import json

        class Plugin:
            @hookimpl
            def on_event(self, hook, args, destination):
                if args.get("per_class"):
                    about = {"hook": hook, "classes": [*args["per_class"]], "curves": args.get("curves")}
                    with Path(destination["file"]).open("a") as file:
                        file.write(json.dumps(about) + "\\n")
        """
    )


def events(save_dir, *, train=True):
    """A run with twenty classes, in which others are the worst after its first epoch."""
    counts = instances(20, LARGEST)
    yield from begin(save_dir, train=counts if train else {}, val={} if train else counts)
    yield from epoch(1, None)
    yield from epoch(2, validation(20, WORST))
    yield from epoch(3, validation(20, {"class 5", "class 6", "class 7"}, value=0.75))
    yield final(save_dir, validation(20, {"class 8"}))
    yield end()


def given(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def over_epochs(file):
    """The classes that a plugin was given metrics of, in each event of an epoch."""
    return [about["classes"] for about in given(file) if about["hook"] in {"on_validation_end", "on_epoch_end"}]


@pytest.fixture
def save_dir(tmp_path):
    return tmp_path / "project/train"


@pytest.mark.parametrize("train", [True, False], ids=["training set", "validation set, where no others are known"])
def test_the_classes_of_the_first_validation_get_curves_to_the_end_and_the_journal_has_all(
    record_run, seen, save_dir, train
):
    run = record_run(seen, calls=events(save_dir, train=train), per_class=4)
    assert run.relay(seen) == DELIVERED
    assert over_epochs(run.notes) == [CHOSEN] * 4
    recorded = [call.args["per_class"] for call in run.calls() if call.hook == "on_epoch_end"]
    assert [list(of or ()) for of in recorded] == [[], names(20), names(20)]


def test_the_table_of_the_final_validation_has_all_classes_and_its_curves_have_the_mean_of_all(
    record_run, seen, save_dir
):
    run = record_run(seen, calls=events(save_dir), per_class=4)
    run.relay(seen)
    *_, last = given(run.notes)
    assert last["classes"] == names(20)
    curve, *_ = last["curves"]
    assert curve["y"] == {name: [0.0, names(20).index(name) / 20] for name in CHOSEN}
    assert curve["mean"] == pytest.approx([0.0, 0.475])


@pytest.mark.parametrize("most", [None, 20, 1000], ids=["all", "as many as there are", "more than there are"])
def test_with_no_more_classes_than_are_wanted_nothing_changes(record_run, seen, save_dir, most):
    run = record_run(seen, calls=events(save_dir), per_class=most)
    run.relay(seen)
    assert over_epochs(run.notes) == [names(20)] * 4
    curve, *_ = given(run.notes)[-1]["curves"]
    assert (list(curve["y"]), "mean" in curve) == (names(20), False)


def test_if_no_class_is_wanted_there_is_the_mean_and_the_table(record_run, seen, save_dir):
    run = record_run(seen, calls=events(save_dir), per_class=0)
    run.relay(seen)
    assert over_epochs(run.notes) == [], "they are empty"
    *_, last = given(run.notes)
    assert last["classes"] == names(20)
    assert last["curves"][0]["y"] == {}
    assert last["curves"][0]["mean"] == pytest.approx([0.0, 0.475])


def test_relays_that_come_and_go_choose_what_one_relay_chooses(record_run, seen, save_dir):
    first, *rest = events(save_dir)
    run = record_run(seen, calls=[first], per_class=4)
    for one in rest:
        run.append([one])
        run.relay(seen, drain=True)
    assert over_epochs(run.notes) == [CHOSEN] * 4


def test_a_run_that_is_resumed_goes_on_with_the_classes_that_it_had(record_run, seen, save_dir):
    whole = [*events(save_dir)]
    run = record_run(seen, calls=whole, per_class=4)
    run.relay(seen)
    start, data = begin(save_dir, train=instances(20, {"class 3", "class 4"}))
    again = Call(0, 1e9, start.hook, {**start.args, "resumed": True})
    run.append([again, data, *epoch(4, validation(20, {"class 0"})), whole[-1]])
    assert run.relay(seen) == DELIVERED
    assert over_epochs(run.notes) == [CHOSEN] * 6


def test_a_replay_into_another_tracker_shows_the_same_classes(record_run, seen, save_dir, tmp_path):
    run = record_run(seen, calls=events(save_dir), per_class=4)
    there = tmp_path / "there"
    assert run.relay(run.folder.add_replay(seen, {"file": str(there)})) == DELIVERED
    assert over_epochs(there) == [CHOSEN] * 4


def test_classes_that_the_rules_for_metrics_drop_are_not_chosen(record_run, seen, save_dir):
    rules = "-per_class/class 11/*, -per_class/class 2/*"
    run = record_run(seen, calls=events(save_dir), per_class=4, metrics=rules)
    run.relay(seen)
    classes, *_ = over_epochs(run.notes)
    assert {"class 17", "class 19"} < {*classes}
    assert len(classes) == 4
    assert not {"class 11", "class 2"} & {*classes}


def test_if_the_rules_leave_no_more_classes_than_are_wanted_these_get_curves(record_run, seen, save_dir):
    run = record_run(seen, calls=events(save_dir), per_class=4, metrics="per_class/class 5/*, per_class/class 6/*")
    run.relay(seen)
    assert over_epochs(run.notes) == [["class 5", "class 6"]] * 4
    assert [*given(run.notes)[-1]["curves"][0]["y"]] == ["class 5", "class 6"]


def test_a_run_that_was_validated_only_at_its_end_shows_curves_of_some(record_run, seen, save_dir):
    calls = [*begin(save_dir, train=instances(20, LARGEST)), *epoch(1, None), final(save_dir, validation(20, WORST))]
    run = record_run(seen, calls=calls, per_class=4)
    run.relay(seen, drain=True)
    assert [*given(run.notes)[-1]["curves"][0]["y"]] == CHOSEN


# -- in the training process --------------------------------------------------------------------------------------


@pytest.fixture
def train(save_dir, environment, tmp_path, caplog):
    """Record a training of some epochs."""
    started = []

    def train(*validations, first=1, resumed=False, plugins=True, **settings):
        save_dir.mkdir(parents=True, exist_ok=True)
        earlier = resumption.find(sample_run(save_dir), [save_dir]) if resumed else None
        captures = {"notes": Capture(destination={"file": str(tmp_path / "notes")})} if plugins else {}
        caplog.set_level(logging.INFO, "host")
        one = Recorder.start(
            earlier.run if earlier else sample_run(save_dir), captures, Settings(mode="offline", **QUIET, **settings),
            logging.getLogger("host"), params={}, environment=environment, earlier=earlier,
        )  # fmt: skip
        started.append(one)
        one.begin(params={}, environment=environment)
        _, data = begin(tmp_path / "data", train=instances(30, {"class 29"}))
        one.record(data.hook, **data.args)
        for number, per_class in enumerate(validations, first):
            for call in epoch(number, per_class):
                one.record(call.hook, **call.args)
        one.end("interrupted")
        return one

    yield train
    for one in started:
        one.supervisor.stop()
    recorders.clear()


def recorded(one, hook):
    path = one.folder.journal
    return [entry.call.args for entry in journal.read(path, journal.read_head(path)[1]) if entry.call.hook == hook]


def test_the_user_and_the_tracker_are_told_once_what_was_chosen(train, caplog):
    one = train(None, validation(30, {"class 1"}), validation(30, {"class 2"}), per_class="2")
    assert recorded(one, "on_params") == [{"params": {PARAM: ["class 1", "class 29"]}}]
    assert caplog.text.count("the trackers get curves of 2 of 30 validated classes, and tables of all") == 1
    assert "TRACKING_HOOKS_PER_CLASS=all" in caplog.text


@pytest.mark.parametrize(
    "settings", [{"per_class": "all"}, {"per_class": "30"}, {"per_class": "none"}, {"plugins": False}],
    ids=["all are wanted", "there are no more", "none is wanted", "there is no tracker"],
)  # fmt: skip
def test_nothing_is_said_if(train, caplog, save_dir, settings):
    one = train(validation(30), **settings)
    assert not recorded(one, "on_params")
    assert "curves" not in caplog.text
    assert read_json(save_dir / POINTER, Pointer).classes == []


def test_the_journal_says_what_was_set_when_the_run_began(train):
    assert journal.read_head(train().folder.journal)[0].per_class == 20
    recorders.clear()


def test_a_resume_from_a_copy_of_the_trainings_folder_alone_goes_on_with_the_same_classes(train, save_dir, caplog):
    first = train(validation(30, {"class 1"}), per_class="2")
    pointer = read_json(save_dir / POINTER, Pointer)
    assert (pointer.epoch, pointer.classes) == (1, ["class 1", "class 29"])
    recorders.clear()
    shutil.rmtree(first.folder.path.parent)
    second = train(validation(30, {"class 7"}), first=2, resumed=True, per_class="2")
    assert journal.read_head(second.folder.journal)[0].classes == ["class 1", "class 29"]
    assert read_json(save_dir / POINTER, Pointer).classes == ["class 1", "class 29"]
    assert not recorded(second, "on_params")
    assert caplog.text.count("the trackers get curves of") == 1


def test_a_relay_of_a_run_that_was_copied_shows_the_classes_that_were_chosen_before(record_run, seen, save_dir):
    run = record_run(seen, calls=events(save_dir), per_class=4, classes=["class 0", "class 1"])
    run.relay(seen)
    assert over_epochs(run.notes) == [["class 0", "class 1"]] * 4


def test_a_resume_in_place_chooses_by_the_first_part(train, save_dir):
    train(validation(30, {"class 1"}), per_class="2")
    recorders.clear()
    second = train(validation(30, {"class 7"}), first=2, resumed=True, per_class="2")
    assert len(recorded(second, "on_params")) == 1
    assert read_json(save_dir / POINTER, Pointer).classes == ["class 1", "class 29"]


def test_a_validation_that_is_added_later_shows_the_classes_of_its_run(train):
    one = train(validation(30, {"class 1"}), per_class="2")
    addendum = addenda.open_for(one.folder, logging.getLogger("host"))
    assert journal.read_head(addendum.folder.journal)[0].classes == ["class 1", "class 29"]


@pytest.mark.parametrize(
    ("text", "most"), [("all", None), (" All ", None), ("none", 0), ("off", 0), ("0", 0), ("50", 50), ("", 20)]
)
def test_the_setting_takes_a_number_or_all_or_none(text, most):
    assert read_settings({"TRACKING_HOOKS_PER_CLASS": text}).class_limit() == most


@pytest.mark.parametrize("text", ["-1", "many", "1.5", "10,20", "1e3"])
def test_what_is_none_of_these_is_a_mistake_in_one_sentence(text):
    said = f"TRACKING_HOOKS_PER_CLASS={text!r} is neither a number nor all or none"
    with pytest.raises(ConfigurationError) as raised:
        read_settings({"TRACKING_HOOKS_PER_CLASS": text})
    assert str(raised.value).startswith(said)
