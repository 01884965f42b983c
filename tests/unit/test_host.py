"""What is put on a trainer, and what becomes of its events when something in them fails."""

import inspect
import logging
import os
import pickle
import shutil
import sys
import threading
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from textwrap import dedent, indent
from types import SimpleNamespace

import cloudpickle
import pytest

from tracking_hooks.events import SaveCheckpoint, ScaleLearningRate, Stop
from tracking_hooks.recording import process, recorder
from tracking_hooks.recording.process import recorders
from tracking_hooks.run import commands, copies, files, journal, layout
from tracking_hooks.run.commands import Command
from tracking_hooks.settings import ConfigurationError
from tracking_hooks.testing import recorded_run

host = pytest.importorskip("tracking_hooks.hosts.ultralytics.callbacks", reason="ultralytics is not installed")

import torch  # noqa: E402 Ultralytics has it
from ultralytics.engine.trainer import BaseTrainer  # noqa: E402
from ultralytics.utils import LOGGER  # noqa: E402
from ultralytics.utils.callbacks import base  # noqa: E402

from tracking_hooks.hosts.ultralytics import (  # noqa: E402
    actions,
    afterwards,
    data,
    ddp,
    early,
    integrations,
    training,
    wandbrun,
    weights,
)
from tracking_hooks.hosts.ultralytics import session as sessions  # noqa: E402

STOP = Stop(reason="enough")
SAVE = SaveCheckpoint(name="good", reason="it is good")
LOWER = ScaleLearningRate(factor=0.5, reason="too fast")


class Trainer(BaseTrainer):
    """A trainer that trains nothing and fires the events of Ultralytics' own in their order."""

    def __init__(self, save_dir, save_period=-1):
        self.args = SimpleNamespace(model="tiny.yaml", task="detect", project="", name="train", resume=False, epochs=9)
        self.resume, self.ddp, self.device = False, False, torch.device("cpu")
        self.save_dir, self.wdir, self.csv = save_dir, save_dir / "weights", save_dir / "results.csv"
        self.last, self.best = self.wdir / "last.pt", self.wdir / "best.pt"
        self.wdir.mkdir(parents=True, exist_ok=True)
        self.callbacks = defaultdict(list)
        self.epochs, self.start_epoch, self.epoch, self.stop = 9, 0, -1, False
        self.save_period, self.batch_size, self.train_loader = save_period, 4, [1, 2]
        self.train_time_start, self.epoch_time = 0.0, None
        self.lr, self.tloss, self.loss = {"lr/pg0": 0.1}, {"box_loss": 2.0}, torch.tensor(1.0)
        self.optimizer = SimpleNamespace(param_groups=[{"lr": 0.1, "initial_lr": 0.1}])
        self.scheduler = SimpleNamespace(base_lrs=[0.1])
        self.model = torch.nn.Linear(2, 2)
        self.metrics, self.fitness, self.best_fitness, self.plots = {}, 0.0, 0.0, {}
        self.validator = SimpleNamespace(training=True, plots={}, metrics=SimpleNamespace(results_dict={}))

    def label_loss_items(self, loss_items, prefix="train"):
        return {f"{prefix}/{name}": value for name, value in loss_items.items()}

    def begin(self):
        self.run_callbacks("on_pretrain_routine_end")
        self.run_callbacks("on_train_start")

    def train_epoch(self, **metrics):
        self.epoch += 1
        self.run_callbacks("on_train_epoch_start")
        for _ in self.train_loader:
            self.run_callbacks("on_train_batch_end")
        self.run_callbacks("on_train_epoch_end")
        for callback in self.callbacks["on_val_end"]:
            callback(self.validator)
        self.metrics, self.fitness = {"val/box_loss": 1.0, **metrics}, 0.5
        with self.csv.open("a") as table:
            table.write(f"{self.epoch + 1},...\n")
        for path in (self.last, *([self.wdir / f"epoch{self.epoch}.pt"] if self._is_period() else [])):
            path.write_text(f"weights of epoch {self.epoch + 1}")
        self.run_callbacks("on_model_save")
        self.epoch_time = 1.0
        self.run_callbacks("on_fit_epoch_end")

    def _is_period(self):
        return self.save_period > 0 and self.epoch % self.save_period == 0

    @property
    def run_folder(self):
        (folder,) = layout.find_runs(self.save_dir)
        return folder

    def recorded(self, hook=None):
        """What the journal has: the arguments of one hook's calls."""
        _, offset = journal.read_head(self.run_folder.journal)
        calls = [entry.call for entry in journal.read(self.run_folder.journal, offset)]
        return [call.args for call in calls if call.hook == hook] if hook else [call.hook for call in calls]

    def ask(self, *actions):
        for action in actions:
            commands.send(self.run_folder.commands, Command(plugin="a shell", action=action))

    @property
    def outcomes(self):
        return {type(args["action"]): args["outcome"] for args in self.recorded("on_action")}


@pytest.fixture
def make_trainer(tmp_path, monkeypatch, installed):
    """Make trainers as Ultralytics has them when integrations are added; each is torn down at the end."""
    for name, value in {"": "notes", "_MODE": "offline", "_SYSTEM_EVERY": "0", "_BATCH_EVERY": "1"}.items():
        monkeypatch.setenv(f"TRACKING_HOOKS{name}", value)
    (start,) = [call.args for call in recorded_run(tmp_path) if call.hook == "on_train_start"]
    monkeypatch.setattr(data, "model", lambda _: start["model"])
    monkeypatch.setattr(data, "dataset", lambda _: start["dataset"])
    made = []

    def make(save_dir=None, **options):
        made.append(Trainer(save_dir or tmp_path / f"project{len(made)}/train", **options))
        return made[-1]

    yield make
    for trainer in made:
        host.teardown(trainer)
    recorders.clear()  # the end of this process has nothing to say of them


@pytest.fixture
def trainer(make_trainer):
    return make_trainer()


@pytest.fixture
def tracked(make_trainer, monkeypatch):
    """Make trainers that are tracked, and whose training has begun."""

    def make(save_period=-1, **settings):
        for name, value in settings.items():
            monkeypatch.setenv(f"TRACKING_HOOKS_{name.upper()}", value)
        trainer = make_trainer(save_period=save_period)
        attach_to(trainer)
        trainer.begin()
        return trainer

    return make


@pytest.fixture
def rule(tmp_path, importable):
    """Write a rule; return the setting that asks it."""

    def write(body):
        text = "from tracking_hooks import hookimpl\nfrom tracking_hooks.events import *\nclass Rule:\n"
        (tmp_path / "a_rule_for_this_test.py").write_text(text + indent(dedent(body), "    "))
        importable(tmp_path)
        return {"control": "a_rule_for_this_test.Rule()"}

    return write


@pytest.fixture
def warnings():
    """The warnings that the user reads."""
    with lines_of(logging.WARNING) as told:
        yield told


@contextmanager
def lines_of(level):
    """What the user reads."""
    told = []
    handler = logging.Handler(level)
    handler.emit = lambda record: told.append(record.getMessage().partition("tracking-hooks: ")[2])
    LOGGER.addHandler(handler)
    yield told
    LOGGER.removeHandler(handler)


@pytest.fixture
def without_links(monkeypatch):
    """A file system that has neither links nor shared blocks."""

    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(copies, "_share", lambda *_: False)


def attach_to(trainer):
    """What a trainer's constructor does, where Ultralytics has no integration."""
    host.add_integration_callbacks(lambda _: None, trainer)


def fail(*_, **__):
    raise RuntimeError("could not be foreseen")


# -- around the training ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, RuntimeError("CUDA out of memory"), KeyboardInterrupt()], ids=repr)
def test_the_plugins_are_told_that_a_training_is_over_however_it_has_ended(tracked, monkeypatch, error):
    over = []
    monkeypatch.setattr(training, "tell_it_is_over", lambda run, labels, _: over.append((run.uid, list(labels))))
    trainer = tracked()
    uid = host.recorder_of(trainer).run.uid

    def train(trainer):
        host.teardown(trainer)
        if error:
            raise error

    with pytest.raises(type(error)) if error else nullcontext():
        training.train(train, trainer)
    assert over == [(uid, ["notes"])]


def test_a_training_that_fails_ends_its_run_where_ultralytics_calls_no_teardown_then(tracked):
    """As its releases up to 8.4.0."""
    trainer = tracked()

    def train(trainer):
        trainer.train_epoch()
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        training.train(train, trainer)
    (end,) = trainer.recorded("on_run_end")
    assert (end["status"], end["error"].message) == ("failed", "CUDA out of memory")
    assert host.recorder_of(trainer) is None


def test_a_validation_is_recorded_where_the_validator_has_none_of_the_trainers_callbacks(tracked):
    """As in 8.0; where it has them, it is recorded once."""
    trainer = tracked()
    trainer.validator = type("Validator", (SimpleNamespace,), {})(**vars(trainer.validator))  # it can be remembered
    trainer.epoch = 0
    trainer.run_callbacks("on_train_epoch_start")
    for _ in range(2):
        afterwards.validate(lambda validator, trainer: {}, trainer.validator, trainer)
    assert [args["epoch"] for args in trainer.recorded("on_validation_end")] == [1]


def test_what_a_callback_validates_on_other_images_is_no_validation_of_the_epoch(tracked):
    trainer = tracked()
    trainer.epoch = 0
    trainer.run_callbacks("on_train_epoch_start")
    other = type("Validator", (SimpleNamespace,), {})(training=True)
    afterwards.validate(lambda validator, trainer: {}, other, trainer)
    assert trainer.recorded("on_validation_end") == []


def test_the_launcher_of_workers_tells_the_plugins_that_it_has_asked(make_trainer, monkeypatch):
    over = []
    monkeypatch.setattr(training, "tell_it_is_over", lambda run, labels, _: over.append(list(labels)))
    trainer = make_trainer()

    def train(trainer):
        ddp.generate_ddp_command(lambda _: ([], ""), trainer)
        ddp.ddp_cleanup(lambda *_: None, trainer, "")
        raise RuntimeError("a worker failed")

    with pytest.raises(RuntimeError, match="a worker failed"):
        training.train(train, trainer)
    assert over == [["notes"]]
    assert not ddp.launched


@pytest.mark.parametrize(("asked_for", "times"), [("notes", 1), ("off", 0)])
def test_the_launcher_of_workers_runs_no_plugin_where_tracking_is_off(make_trainer, monkeypatch, asked_for, times):
    """Also where the training that goes on was tracked when it began."""
    told = []
    monkeypatch.setattr(training, "tell_plugins", lambda folder, _: told.append(folder))
    monkeypatch.setattr(training, "tell_it_is_over", lambda *_: None)
    monkeypatch.setattr(process, "launched", None)
    trainer = make_trainer()
    trainer.ddp = True
    earlier = layout.RunFolder(trainer.save_dir / "of the part before")
    monkeypatch.setattr(ddp, "run_folder", lambda _: earlier)
    monkeypatch.setenv("TRACKING_HOOKS", asked_for)

    def train(trainer):
        ddp.generate_ddp_command(lambda _: ([], ""), trainer)
        ddp.ddp_cleanup(lambda *_: None, trainer, "")

    training.train(train, trainer)
    assert told == [earlier] * times
    assert (process.launched is not None) == (times == 1)


# -- on which trainer, and where ------------------------------------------------------------------------------


def test_callbacks_come_back_from_a_pickle_as_the_same_functions():
    for callback in host._CALLBACKS.values():
        assert pickle.loads(cloudpickle.dumps(callback)) is callback


@pytest.mark.parametrize("rank", [1, 2, 7])
def test_only_rank_0_records(trainer, monkeypatch, rank, tmp_path):
    monkeypatch.setattr(host, "RANK", rank)
    attach_to(trainer)
    assert not trainer.callbacks
    assert layout.find_runs(tmp_path) == []


def test_the_process_that_only_launches_workers_does_not_record(trainer, tmp_path):
    trainer.ddp = True
    attach_to(trainer)
    assert not trainer.callbacks
    assert layout.find_runs(tmp_path) == []


def test_what_is_no_trainer_is_left_alone(trainer, tmp_path, warnings):
    predictor = SimpleNamespace(args=trainer.args, save_dir=trainer.save_dir, callbacks=defaultdict(list))
    attach_to(predictor)
    assert not predictor.callbacks
    assert layout.find_runs(tmp_path) == []
    assert not warnings


def test_a_trainer_of_the_users_own_is_tracked_whatever_its_class_is_called(trainer):
    trainer.__class__ = type("Loop", (Trainer,), {})  # Ultralytics goes by the name: none of its integrations
    with lines_of(logging.INFO) as told:
        host.add_integration_callbacks(inspect.unwrap(base.add_integration_callbacks), trainer)
    assert host.recorder_of(trainer)
    modules = {listener.__module__ for listeners in trainer.callbacks.values() for listener in listeners}
    assert not [name for name in modules if name.startswith("ultralytics.utils.callbacks")]
    assert len([line for line in told if line.startswith("Loop is tracked, but has none of Ultralytics' own")]) == 1


def test_nothing_of_ours_that_fails_keeps_a_trainer_from_being_made(trainer, warnings):
    del trainer.args  # which we could not foresee
    attach_to(trainer)
    assert not trainer.callbacks
    (told,) = warnings
    assert told.startswith("not active (AttributeError")


def test_a_mistake_in_the_configuration_keeps_a_trainer_from_being_made(trainer, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS", "note")
    with pytest.raises(ConfigurationError, match="notes"):
        attach_to(trainer)


def test_a_mistake_in_the_configuration_is_found_before_the_trainer_has_made_anything(trainer, monkeypatch):
    made = []
    monkeypatch.setenv("TRACKING_HOOKS", "note")
    with pytest.raises(ConfigurationError, match="notes"):
        early.construct(lambda _: made.append("folder"), trainer)
    assert made == []


def test_a_plugin_that_turns_out_to_be_unusable_before_the_first_batch_ends_the_training(
    make_trainer, make_plugin, monkeypatch, tmp_path, until
):
    closed, broken = tmp_path / "closed", tmp_path / "broken"
    plugin = make_plugin(
        f"""
        import time
        while Path({str(closed)!r}).exists():
            time.sleep(0.01)
        assert not Path({str(broken)!r}).exists(), "no licence"

        class Plugin(Notes):
            pass
        """
    )
    monkeypatch.setenv("TRACKING_HOOKS", plugin)
    first, second = make_trainer(), make_trainer()
    attach_to(first)
    first.begin()
    until(lambda: list(tmp_path.glob("cache/tracking-hooks/verdicts/*.json")), "the plugin to be known as usable")
    closed.touch()
    broken.touch()
    attach_to(second)
    second.run_callbacks("on_pretrain_routine_end")
    (relay,) = host.recorder_of(second).supervisor.processes.values()
    closed.unlink()
    assert relay.wait(60)

    def start():
        try:
            second.run_callbacks("on_train_start")
        finally:
            second.run_callbacks("teardown")

    with pytest.raises(ConfigurationError, match="no licence"):
        start()
    (end,) = second.recorded("on_run_end")
    assert end["status"] == "failed"
    assert "no licence" in end["error"].message
    assert not list(tmp_path.glob("cache/tracking-hooks/verdicts/*.json")), "the next training waits"


def test_what_goes_wrong_there_otherwise_keeps_no_trainer_from_being_made(trainer, monkeypatch):
    made = []
    monkeypatch.setattr(early.configuration, "read", fail)
    early.construct(lambda one, name: made.append((one, name)), trainer, name="x")
    assert made == [(trainer, "x")]


def test_nor_does_a_trainer_of_the_users_that_cannot_be_looked_up_before_it_is_made(trainer, monkeypatch):
    class Trainer(type(trainer)):
        def __hash__(self):
            return hash(self.fold)

    def init(trainer):
        trainer.fold = 3

    monkeypatch.setenv("TRACKING_HOOKS", "notes")
    made = Trainer.__new__(Trainer)
    early.construct(init, made)
    assert made.fold == 3


def test_ranks_above_0_leave_the_configuration_to_rank_0(trainer, monkeypatch):
    monkeypatch.setattr(early, "RANK", 1)
    monkeypatch.setenv("TRACKING_HOOKS", "note")
    early.construct(lambda _: None, trainer)


def test_a_rule_of_the_users_is_made_once_for_a_training(trainer, rule, monkeypatch):
    text = rule(
        """
        made = []
        def __init__(self): self.made.append(self)
        @hookimpl
        def control_epoch(self): pass
        """
    )
    monkeypatch.setenv("TRACKING_HOOKS_CONTROL", text["control"])
    early.construct(lambda _: None, trainer)
    attach_to(trainer)
    assert len(sys.modules["a_rule_for_this_test"].Rule.made) == 1
    assert host._sessions[trainer].control


def test_a_callback_that_fails_ends_no_training_and_is_named(trainer, warnings):
    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("could not be foreseen")

    host._sessions[trainer] = Broken()
    for event in ("on_train_start", "on_fit_epoch_end", "teardown"):
        host._CALLBACKS[event](trainer)
    assert trainer not in host._sessions
    assert [told.split()[0] for told in warnings] == ["on_train_start", "on_fit_epoch_end", "_tear_down"]


def test_ours_come_behind_the_users_and_before_those_of_ultralytics(trainer):
    def theirs(_): ...

    theirs.__module__ = "ultralytics.utils.callbacks.raytune"
    for event in host._CALLBACKS:
        trainer.callbacks[event] = [fail, theirs]
    attach_to(trainer)
    trainer.add_callback("on_fit_epoch_end", print)
    assert trainer.callbacks["on_fit_epoch_end"] == [fail, host.on_fit_epoch_end, theirs, print]
    assert trainer.callbacks["on_model_save"] == [host.on_model_save, fail, theirs]
    assert trainer.callbacks["teardown"] == [host.teardown, fail, theirs]


# -- Ultralytics' own integration, which the plugin stands in for -----------------------------------------------

INTEGRATION = """
import a_tracker_for_this_test

def on_train_end(trainer): ...

callbacks = {"on_train_end": on_train_end}
"""


@pytest.fixture
def integration(tmp_path, monkeypatch, importable):
    """An integration of Ultralytics that imports its tracker, and the function that adds it to a trainer."""
    name = "ultralytics.utils.callbacks.notebook"
    package = sys.modules["ultralytics.utils.callbacks"]
    (tmp_path / "notebook.py").write_text(INTEGRATION)
    (tmp_path / "a_tracker_for_this_test.py").touch()
    importable(tmp_path)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])

    def add(trainer):
        for event, callback in import_module(name).callbacks.items():
            if callback not in trainer.callbacks[event]:
                trainer.callbacks[event].append(callback)

    yield SimpleNamespace(name=name, add=add)
    vars(package).pop("notebook", None)


def is_on(trainer, integration):
    listeners = [listener for listeners in trainer.callbacks.values() for listener in listeners]
    return any(listener.__module__ == integration.name for listener in listeners)


def test_neither_an_integration_nor_its_tracker_is_imported_where_a_plugin_stands_in_for_it(trainer, integration):
    host.add_integration_callbacks(integration.add, trainer)
    with lines_of(logging.INFO) as told:
        trainer.begin()
    assert "integrations disabled for this run: notebook" in "".join(told)
    assert "a_tracker_for_this_test" not in sys.modules
    assert not is_on(trainer, integration)


def test_a_training_behind_it_that_is_not_tracked_has_its_own_integration(make_trainer, integration, monkeypatch):
    host.add_integration_callbacks(integration.add, make_trainer())
    monkeypatch.setenv("TRACKING_HOOKS", "off")
    trainer = make_trainer()
    host.add_integration_callbacks(integration.add, trainer)
    assert is_on(trainer, integration)


def test_an_integration_that_the_script_has_imported_stays_and_is_taken_off_the_training(trainer, integration):
    imported = import_module(integration.name)
    host.add_integration_callbacks(integration.add, trainer)
    trainer.begin()
    assert sys.modules[integration.name] is imported
    assert imported.callbacks
    assert not is_on(trainer, integration)
    assert host._sessions[trainer].disabled == ["notebook"]


def test_an_integration_that_is_off_is_not_said_to_be_disabled(trainer, integration, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.SETTINGS", {"notebook": False})
    host.add_integration_callbacks(integration.add, trainer)  # as an older release, which imports it all the same
    assert host._sessions[trainer].disabled == []


def test_an_error_where_ultralytics_adds_its_integrations_leaves_no_stand_in_behind(trainer, integration, tmp_path):
    def add(trainer):
        integration.add(trainer)
        fail()

    with pytest.raises(RuntimeError, match="could not be foreseen"):
        host.add_integration_callbacks(add, trainer)
    assert integration.name not in sys.modules
    assert not hasattr(sys.modules["ultralytics.utils.callbacks"], "notebook")
    assert layout.find_runs(tmp_path) == [], "no run was begun"


def test_what_keeps_ours_from_a_training_leaves_ultralytics_own_on_it(trainer, integration, monkeypatch, warnings):
    monkeypatch.setattr(host, "Session", fail)
    host.add_integration_callbacks(integration.add, trainer)
    assert is_on(trainer, integration)
    assert warnings == ["not active (RuntimeError: could not be foreseen)"]


def test_two_trainers_in_two_threads_do_not_see_each_others_stand_ins(make_trainer, integration, monkeypatch):
    """The second waits until the first has its integrations: else that one's stand-in would be the real one for it."""
    seen, waits = [], threading.Event()
    first, second = make_trainer(), make_trainer()

    lock = integrations._standing_in

    class Lock:
        def __enter__(self):
            if threading.current_thread() is other:
                waits.set()
            lock.acquire()

        def __exit__(self, *_):
            lock.release()

    def add(trainer):
        seen.append(trainer)
        if trainer is first:
            other.start()
            assert waits.wait(60)
        integration.add(trainer)
        seen.append(trainer)

    other = threading.Thread(target=host.add_integration_callbacks, args=(add, second))
    monkeypatch.setattr(integrations, "_standing_in", Lock())
    host.add_integration_callbacks(add, first)
    other.join()
    assert seen == [first, first, second, second]
    assert "a_tracker_for_this_test" not in sys.modules


def test_a_callback_that_imports_wandb_itself_finds_a_stand_in_for_its_run(tracked, tmp_path, monkeypatch, importable):
    (tmp_path / "wandb.py").write_text("run = None\ndef log(data): raise RuntimeError('call wandb.init() first')\n")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    importable(tmp_path)
    trainer = tracked()
    assert wandbrun.put_in(host.recorder_of(trainer).run, {})
    import_module("wandb").log({"mine": 0.5})
    wandbrun.take_back()
    assert [args["metrics"] for args in trainer.recorded("on_log")] == [{"mine": 0.5}]
    assert sys.modules["wandb"].run is None
    with pytest.raises(RuntimeError, match="first"):
        sys.modules["wandb"].log({"mine": 0.5})


def test_who_imports_wandb_behind_the_training_finds_it_as_it_is(tracked, tmp_path, monkeypatch, importable):
    (tmp_path / "wandb.py").write_text("run = None\n")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    importable(tmp_path)
    assert wandbrun.put_in(host.recorder_of(tracked()).run, {})
    wandbrun.take_back()
    assert import_module("wandb").run is None


# -- a user's callback that raises ----------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["on_fit_epoch_end", "on_model_save"])
def test_an_epoch_that_results_csv_has_is_recorded_if_a_users_callback_raises_behind_it(make_trainer, event):
    trainer = make_trainer()
    trainer.add_callback(event, lambda trainer: trainer.epoch == 1 and fail())
    attach_to(trainer)
    trainer.begin()
    trainer.train_epoch()
    with pytest.raises(RuntimeError):
        trainer.train_epoch(**{"val/box_loss": 0.25})
    host.teardown(trainer)
    first, second = trainer.recorded("on_epoch_end")
    assert (second["epoch"], second["step"], second["metrics"]["val/box_loss"]) == (2, 4, 0.25)
    assert (first["metrics"].keys() - {"time/epoch"}) <= second["metrics"].keys()
    assert trainer.recorded("on_checkpoint_saved")[1]["epoch"] == 2


def test_an_epoch_that_results_csv_has_not_is_not_recorded(make_trainer):
    trainer = make_trainer()
    trainer.add_callback("on_val_end", fail)
    attach_to(trainer)
    trainer.begin()
    trainer.csv.write_text("1,a row of a training before this one\n")
    with pytest.raises(RuntimeError):
        trainer.train_epoch()
    host.teardown(trainer)
    assert "on_epoch_end" not in trainer.recorded()
    assert trainer.recorded()[-1] == "on_run_end"


# -- before a resume -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("val", [True, False])
def test_an_epoch_before_a_resume_has_no_metrics_of_a_validation_that_was_left_out(make_trainer, monkeypatch, val):
    row = {"train/box_loss": 2.0, "val/box_loss": 0.0, "metrics/mAP50(B)": 0.0, "fitness": 0.5 if val else None}
    monkeypatch.setattr(data, "past_epochs", lambda *_: {1: row})
    trainer = make_trainer()
    trainer.metrics = {"metrics/mAP50(B)": 0.0}  # the losses of a validation are not known before the first batch
    trainer.args.val, trainer.args.resume, trainer.start_epoch = val, "last.pt", 1
    attach_to(trainer)
    trainer.resume = True
    trainer.begin()
    (epoch,) = trainer.recorded("on_epoch_end")
    assert epoch["metrics"].keys() == (row.keys() if val else {"train/box_loss"})


# -- one job that fails ---------------------------------------------------------------------------------------

JOBS = {
    "reading the metrics by class of epoch 1": (data, "per_class"),
    "recording the plot ": (files, "artifact"),
    "recording the histograms of epoch 1": (weights, "histograms"),
}


@pytest.mark.parametrize("broken", JOBS)
def test_a_job_that_fails_at_an_epochs_end_leaves_out_nothing_but_itself(
    tracked, rule, warnings, monkeypatch, broken, tmp_path
):
    asked = tmp_path / "asked"
    settings = rule(f"""
        @hookimpl
        def control_epoch(self, epoch):
            open({str(asked)!r}, "a").write(str(epoch))
    """)
    trainer = tracked(histograms="on", **settings)
    plot = trainer.save_dir / "plot.png"
    plot.write_bytes(b"a plot")
    trainer.plots = {plot: {}}
    looked_after = []
    monkeypatch.setattr(recorder.Recorder, "look_after_relays", lambda *_, **__: looked_after.append(True))
    with monkeypatch.context() as for_this_epoch:
        for_this_epoch.setattr(*JOBS[broken], fail)
        trainer.ask(LOWER)
        trainer.train_epoch()

    (end,) = trainer.recorded("on_epoch_end")
    assert end["metrics"]["train/box_loss"] == 2.0
    assert asked.read_text() == "1"
    assert trainer.outcomes == {ScaleLearningRate: "done"}
    assert looked_after
    recorded = {args["artifact"].kind for args in trainer.recorded("on_artifact")}
    without = {"recording the plot ": "plot", "recording the histograms of epoch 1": "table"}
    assert recorded == {"plot", "table"} - {without.get(broken)}
    assert warnings
    for told in warnings:
        assert told.startswith(broken)
        assert told.endswith("failed and is left out: RuntimeError: could not be foreseen")


def test_an_epoch_may_take_hours_so_relays_are_looked_after_within_it(tracked, monkeypatch):
    trainer = tracked()
    monkeypatch.setattr(actions, "_LOOK_EVERY", 0.0)
    monkeypatch.setattr(sessions, "_RELAYS_EVERY", 0.0)
    looked_after = []
    monkeypatch.setattr(recorder.Recorder, "look_after_relays", lambda *_, **__: looked_after.append(trainer.epoch))
    trainer.train_epoch()
    assert len(looked_after) == len(trainer.train_loader) + 1


def test_in_an_epoch_of_a_few_seconds_relays_are_looked_after_once_and_what_is_asked_more_often(tracked, monkeypatch):
    trainer = tracked()
    monkeypatch.setattr(actions, "_LOOK_EVERY", 0.0)
    monkeypatch.setattr(sessions, "_RELAYS_EVERY", 60.0)  # a busy machine's few seconds
    looked_after, read = [], []
    monkeypatch.setattr(recorder.Recorder, "look_after_relays", lambda *_, **__: looked_after.append(trainer.epoch))
    monkeypatch.setattr(recorder.Recorder, "take_commands", lambda _: read.append(trainer.epoch) or [])
    trainer.train_epoch()
    assert len(looked_after) == 1
    assert len(read) == len(trainer.train_loader) + 1


def test_one_odd_metric_keeps_neither_rules_nor_actions_from_their_work(tracked, rule, warnings):
    stop_at_quarter = """
        @hookimpl
        def control_epoch(self, metrics):
            if metrics["val/box_loss"] == 0.25:
                return Stop(reason="a quarter")
    """
    trainer = tracked(**rule(stop_at_quarter))
    trainer.ask(LOWER)
    trainer.train_epoch(**{"val/box_loss": 0.25, "odd": torch.ones(2), "huge": 10**400, "text": "0.5", "none": None})
    assert trainer.stop
    assert trainer.outcomes == {ScaleLearningRate: "done", Stop: "done"}
    (end,) = trainer.recorded("on_epoch_end")
    assert end["metrics"]["val/box_loss"] == 0.25
    assert not [name for name in ("odd", "huge", "text", "none") if name in end["metrics"]]
    assert sum("'odd' is left out" in told for told in warnings) == 1


def test_each_job_at_the_start_fails_for_itself(make_trainer, warnings, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS_GRAPH", "on")
    monkeypatch.setattr(data, "dataset", fail)
    artifact = files.Artifact(path=Path("graph.json"), kind="table", name="graph.json", size=1, digest="00")
    monkeypatch.setattr(weights, "graph", lambda *_: artifact)
    trainer = make_trainer()
    attach_to(trainer)
    monkeypatch.setattr(copies, "keep", lambda *_: True)
    trainer.begin()
    assert [args["artifact"].name for args in trainer.recorded("on_artifact")] == ["graph.json"]
    assert "on_train_start" not in trainer.recorded()
    (told,) = warnings
    assert "recording model and data set failed" in told


# -- actions --------------------------------------------------------------------------------------------------


def test_an_action_that_fails_says_so_and_the_others_are_carried_out(tracked):
    trainer = tracked()
    trainer.ask(STOP, SaveCheckpoint(name="a\0b", reason="why not"), LOWER)
    trainer.train_epoch()
    outcomes = trainer.outcomes
    assert outcomes.pop(SaveCheckpoint) == "failed: ValueError: embedded null byte"
    assert outcomes == {ScaleLearningRate: "done", Stop: "done"}
    assert trainer.stop


def test_a_full_disk_costs_the_checkpoint_and_not_the_stop(tracked, monkeypatch):
    trainer = tracked()
    trainer.ask(SAVE, STOP)

    def copy_a_part(_, target):
        Path(target).write_text("weig")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", copy_a_part)
    trainer.train_epoch()
    assert trainer.outcomes == {SaveCheckpoint: "failed: OSError: [Errno 28] No space left on device", Stop: "done"}
    assert trainer.stop
    assert [path.name for path in trainer.wdir.iterdir()] == ["last.pt"], "no part of a file is left"
    assert not [args for args in trainer.recorded("on_checkpoint_saved") if args["checkpoint"].kind == "action"]


def test_what_was_asked_for_is_not_lost_when_an_interrupt_comes_in_between(tracked, monkeypatch):
    trainer = tracked()
    session = host._sessions[trainer]

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    trainer.ask(SAVE, STOP)
    with monkeypatch.context() as once:
        once.setattr("shutil.copyfile", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trainer.train_epoch()
    session.agenda.carry_out(trainer, session.epoch)
    assert trainer.outcomes == {Stop: "done"}
    assert trainer.stop


def test_the_first_stop_is_the_reason(tracked):
    trainer = tracked()
    trainer.ask(STOP, Stop(reason="another"))
    trainer.train_epoch()
    assert [args["action"].reason for args in trainer.recorded("on_action")] == ["enough"]


# -- weights of an epoch --------------------------------------------------------------------------------------


def periodic(trainer):
    """Epoch to the path and digest of its weights; each once."""
    found = [args for args in trainer.recorded("on_checkpoint_saved") if args["checkpoint"].kind == "periodic"]
    by_epoch = {args["epoch"]: args["checkpoint"] for args in found}
    assert len(by_epoch) == len(found)
    return by_epoch


@pytest.mark.parametrize(
    ("rule", "save_period", "uploaded", "own"),
    [
        ("every:2", -1, {2, 4}, set()),
        ("every:2", 1, {2, 4}, {1, 2, 3, 4}),
        ("every:2", 2, {2, 4}, {1, 3}),
        ("every:2", 3, {2, 4}, {1, 4}),
        ("all", 2, {1, 3}, {1, 3}),
        ("all,every:2", 3, {1, 2, 4}, {1, 4}),
        ("best", 1, set(), {1, 2, 3, 4}),
        ("none", -1, set(), set()),
    ],
)
def test_every_n_gets_the_weights_of_these_epochs_beside_whatever_save_period(
    tracked, rule, save_period, uploaded, own
):
    trainer = tracked(checkpoints=rule, save_period=save_period)
    for _ in range(4):
        trainer.train_epoch()
    found = periodic(trainer)
    assert {epoch for epoch, checkpoint in found.items() if checkpoint.digest} == uploaded
    for epoch, checkpoint in found.items():
        is_own = checkpoint.path == trainer.wdir / f"epoch{epoch - 1}.pt"
        assert is_own == (epoch in own), "no second copy of a file that Ultralytics keeps"
        assert checkpoint.path.read_text() == f"weights of epoch {epoch}"


@pytest.mark.parametrize(
    ("rule", "save_period", "save", "is_told"),
    [
        ("every:2", -1, False, True),
        ("all", 1, False, True),
        ("all", -1, False, False),
        ("best,last", 1, False, False),
        ("every:2", -1, True, False),
    ],
)
def test_who_wants_weights_that_are_not_saved_is_told(
    make_trainer, warnings, monkeypatch, rule, save_period, save, is_told
):
    monkeypatch.setenv("TRACKING_HOOKS_CHECKPOINTS", rule)
    trainer = make_trainer(save_period=save_period)
    trainer.args.save = save
    attach_to(trainer)
    trainer.begin()
    assert any("save=False" in told and f"CHECKPOINTS={rule} " in told for told in warnings) == is_told


def test_a_checkpoint_that_cannot_be_copied_keeps_no_other_from_being_recorded(tracked, warnings, monkeypatch):
    trainer = tracked(checkpoints="every:1")
    monkeypatch.setattr(files, "checkpoint_copy", fail)
    trainer.best_fitness = 0.5
    trainer.train_epoch()
    assert [args["checkpoint"].kind for args in trainer.recorded("on_checkpoint_saved")] == ["last", "best"]
    assert warnings == ["recording the weights of epoch 1 failed and is left out: RuntimeError: could not be foreseen"]


# -- a training of so many hours ------------------------------------------------------------------------------


def test_with_time_nobody_knows_how_many_epochs_there_will_be_and_one_may_end_in_its_first_batch(make_trainer):
    trainer = make_trainer()
    trainer.args.time, trainer.train_loader = 0.5, []
    attach_to(trainer)
    trainer.begin()
    trainer.train_epoch()
    (start,), (epoch,) = trainer.recorded("on_run_start"), trainer.recorded("on_epoch_end")
    assert start["plan"].epochs is None
    assert epoch["metrics"]["time/epoch"] == 1.0
    assert "time/images_per_s" not in epoch["metrics"]


# -- what stands at the end of the training -------------------------------------------------------------------


def test_of_a_folder_that_is_used_again_only_the_files_of_this_training_are_collected(make_trainer, tmp_path):
    save_dir = tmp_path / "again/train"
    save_dir.mkdir(parents=True)
    old = save_dir / "PR_curve.png"
    old.write_bytes(b"of a training that nobody has tracked")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    trainer = make_trainer(save_dir)
    trainer.args.exist_ok = True
    (save_dir / "args.yaml").write_text("epochs: 9\n")
    attach_to(trainer)
    trainer.begin()
    trainer.train_epoch()
    (save_dir / "results.png").write_bytes(b"drawn just now")
    trainer.run_callbacks("on_train_end")
    host.teardown(trainer)
    names = {args["artifact"].name for args in trainer.recorded("on_artifact")}
    assert {"args.yaml", "results.csv", "results.png"} <= names
    assert "PR_curve.png" not in names


def finish(trainer):
    """Come to the end of a training that has left weights, a plot, tables and a configuration."""
    trainer.train_epoch()
    for name, content in LEFT.items():
        (trainer.save_dir / name).write_bytes(content)
    try:
        trainer.run_callbacks("on_train_end")
    finally:
        trainer.run_callbacks("teardown")


LEFT = {
    "weights/best.pt": b"the best weights",
    "weights/last.pt": b"the last weights",
    "results.png": b"a plot",
    "args.yaml": b"epochs: 1\n",
}


def found(folder):
    """Name to content of what a tracker is given now: of each name, the last one counts."""
    recorded = {}
    for call in journal.calls(folder.journal, {"on_artifact", "on_checkpoint_saved"}):
        file = call.args.get("artifact") or call.args["checkpoint"]
        if file.digest:
            recorded[file.name(call.args["epoch"]) if "checkpoint" in call.args else file.name] = file
    root = folder.path.parent.parent
    return {name: files.locate(folder, root, file).read_bytes() for name, file in recorded.items()}


def all_that_was_left(folder):
    given = found(folder)
    return all(given[Path(name).name] == content for name, content in LEFT.items())


def test_what_stands_at_the_end_is_delivered_though_the_folder_is_deleted_right_behind_it(tracked):
    trainer = tracked()
    folder = trainer.run_folder
    finish(trainer)
    shutil.rmtree(trainer.save_dir)
    assert all_that_was_left(folder)
    assert "results.csv" in found(folder)


def test_what_stands_at_the_end_is_delivered_though_a_callback_of_the_users_deletes_it(make_trainer, warnings):
    trainer = make_trainer()
    trainer.add_callback("on_train_end", lambda trainer: shutil.rmtree(trainer.save_dir))
    attach_to(trainer)
    trainer.begin()
    folder = trainer.run_folder
    finish(trainer)
    assert all_that_was_left(folder)
    assert "console.log" in found(folder)
    assert not warnings


def test_what_a_callback_of_the_users_moves_away_is_delivered_and_what_it_writes_too(make_trainer, tmp_path):
    elsewhere = tmp_path / "elsewhere too"
    elsewhere.mkdir()

    def tidy_up(trainer):
        for path in trainer.save_dir.iterdir():
            if path.name != "weights":
                path.rename(elsewhere / path.name)
        trainer.best.write_bytes(b"better weights")
        (trainer.save_dir / "summary.csv").write_text("mine\n")

    trainer = make_trainer()
    trainer.add_callback("on_train_end", tidy_up)
    attach_to(trainer)
    trainer.begin()
    finish(trainer)
    given = found(trainer.run_folder)
    assert given["summary.csv"] == b"mine\n"
    assert given["best.pt"] == b"better weights"
    assert given["results.png"] == b"a plot"
    last = [args for args in trainer.recorded("on_checkpoint_saved") if args["checkpoint"].kind == "last"]
    assert sum(args["checkpoint"].digest is not None for args in last) == 1, "what has not changed is recorded once"


def test_a_callback_that_raises_at_the_end_makes_a_run_that_failed_also_where_an_error_is_being_handled(make_trainer):
    trainer = make_trainer()
    trainer.add_callback("on_train_end", fail)
    attach_to(trainer)
    trainer.begin()
    try:
        raise ValueError("an earlier one")
    except ValueError:
        with pytest.raises(RuntimeError):
            finish(trainer)
    (end,) = trainer.recorded("on_run_end")
    assert (end["status"], end["error"].type) == ("failed", "RuntimeError")


def test_a_training_that_goes_well_while_an_error_is_being_handled_has_finished(tracked):
    trainer = tracked()
    try:
        raise ValueError("an earlier one")
    except ValueError:
        finish(trainer)
    (end,) = trainer.recorded("on_run_end")
    assert (end["status"], end["error"]) == ("finished", None)


def test_a_later_training_in_the_same_folder_changes_nothing_of_what_is_still_owed(tracked, make_trainer):
    trainer = tracked()
    first = trainer.run_folder
    finish(trainer)
    again = make_trainer(save_dir=trainer.save_dir)
    attach_to(again)
    for path in again.save_dir.rglob("*.p*"):
        path.write_bytes(b"of the later run")  # in place, as Ultralytics does
    assert all_that_was_left(first)


def test_no_weights_are_copied_where_there_are_links(tracked, monkeypatch):
    trainer = tracked()
    monkeypatch.setattr("shutil.copyfile", fail)
    finish(trainer)
    best, last = trainer.save_dir / "weights/best.pt", trainer.save_dir / "weights/last.pt"
    assert best.stat().st_nlink == last.stat().st_nlink == 2


def test_where_no_link_can_be_made_files_are_copied_before_the_users_callbacks_come(make_trainer, without_links):
    trainer = make_trainer()
    trainer.add_callback("on_train_end", lambda trainer: shutil.rmtree(trainer.save_dir))
    attach_to(trainer)
    trainer.begin()
    folder = trainer.run_folder
    with lines_of(logging.INFO) as lines:
        finish(trainer)
    assert all_that_was_left(folder)
    assert [line for line in lines if "3 files of" in line and "since no links can be made here" in line]


def test_a_copy_that_takes_longer_than_the_exit_may_wait_is_named(tracked, without_links, warnings):
    trainer = tracked(exit_wait="0")
    finish(trainer)
    assert [line for line in warnings if "still being copied" in line and "do not move or delete" in line]


def test_a_large_text_is_not_read_unless_a_setting_says_so(tracked, warnings):
    trainer = tracked()
    (trainer.save_dir / "predictions.json").write_bytes(b" " * 1_200_000)
    finish(trainer)
    assert "predictions.json" not in found(trainer.run_folder)
    (line,) = warnings
    for part in ("predictions.json", "1.2 MB", "TRACKING_HOOKS_LARGE_TEXTS=on"):
        assert part in line


def test_a_large_text_is_delivered_as_it_is_if_a_setting_says_so(tracked, warnings):
    trainer = tracked(large_texts="on")
    text = b'{"token": "hf_abcdefghijklmnopqrstuvwx"}' + b" " * 1_200_000
    (trainer.save_dir / "predictions.json").write_bytes(text)
    finish(trainer)
    assert found(trainer.run_folder)["predictions.json"] == text
    assert not warnings


def test_the_weights_of_every_nth_epoch_are_read_once_and_kept(tracked, monkeypatch):
    trainer = tracked(checkpoints="every:1")
    read = []
    digest = files.digest
    monkeypatch.setattr(files, "digest", lambda path: read.append(path) or digest(path))
    trainer.train_epoch()
    assert len(read) == 1
    trainer.train_epoch()
    given = found(trainer.run_folder)
    assert (given["epoch1.pt"], given["epoch2.pt"]) == (b"weights of epoch 1", b"weights of epoch 2")


def test_a_checkpoint_of_an_action_keeps_its_name(tracked):
    trainer = tracked()
    folder = trainer.run_folder
    trainer.ask(SAVE)
    finish(trainer)
    shutil.rmtree(trainer.save_dir)
    assert found(folder)["good.pt"] == b"weights of epoch 1"
    kept = [call.args["checkpoint"] for call in journal.calls(folder.journal, {"on_checkpoint_saved"})]
    (good,) = [checkpoint for checkpoint in kept if checkpoint.kind == "action" and checkpoint.digest]
    assert files.locate(folder, folder.path.parent.parent, good).name == "good.pt"
