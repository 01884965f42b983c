"""Which plugins are used, and what is said when one cannot be."""

import sys

import pytest

from tracking_hooks import plugins
from tracking_hooks.events import Capture
from tracking_hooks.settings import ConfigurationError
from tracking_hooks.testing import sample_run

MISSING = "ModuleNotFoundError: No module named 'a_tracker_that_is_not_installed'"
INSTALLED = ["mlflow", "notes", "wandb"]


# -- the grammar of TRACKING_HOOKS ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", []),
        ("  ", []),
        ("none", []),
        ("None", []),
        ("off", []),
        ("OFF", []),
        ("0", []),
        ("mlflow", ["mlflow"]),
        ("wandb,mlflow", ["wandb", "mlflow"]),
        (" wandb , mlflow ,", ["wandb", "mlflow"]),
        ("mlflow,mlflow", ["mlflow"]),
        ("all", INSTALLED),
        ("ALL", INSTALLED),
        ("all,-wandb", ["mlflow", "notes"]),
        ("-wandb,all", ["mlflow", "notes"]),
        ("all,-wandb,-mlflow,-notes", []),
        ("wandb,all", ["wandb", "mlflow", "notes"]),
        ("my_package.my_module:Tracker", ["my_package.my_module:Tracker"]),
        ("mlflow,my_module:Tracker", ["mlflow", "my_module:Tracker"]),
        ("all,my_module:Tracker", [*INSTALLED, "my_module:Tracker"]),
    ],
)
def test_what_is_chosen(text, chosen):
    assert plugins.select(text, INSTALLED) == chosen


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("mlfow", ["'mlfow'", "Did you mean 'mlflow'?", "Installed: mlflow, notes, wandb"]),
        ("note", ["'note'", "Did you mean 'notes'?"]),
        ("tensorbord", ["'tensorbord'", "Did you mean 'tensorboard'?", "pip install tracking-hooks-tensorboard"]),
        ("trakio", ["'trakio'", "Did you mean 'trackio'?", "pip install tracking-hooks-trackio"]),
        ("tensorboard", ["'tensorboard'", "pip install tracking-hooks-tensorboard", "Installed: mlflow"]),
        ("zzz", ["'zzz'", "Installed: mlflow, notes, wandb"]),
        ("mlflow,zzz", ["'zzz'"]),
        ("all,-zzz", ["'zzz'", "Installed:"]),
        ("none,mlflow", ["TRACKING_HOOKS='none,mlflow'", "stand alone"]),
        ("mlflow,off", ["TRACKING_HOOKS='mlflow,off'", "stand alone"]),
        ("all,0", ["TRACKING_HOOKS='all,0'", "stand alone"]),
        ("-wandb", ["TRACKING_HOOKS='-wandb'", "all,-wandb"]),
        ("mlflow,-wandb", ["TRACKING_HOOKS='mlflow,-wandb'", "all"]),
        ("module:", ["'module:'", "package.module:Class"]),
        (":Class", ["':Class'", "package.module:Class"]),
        ("a/b.py:Class", ["'a/b.py:Class'", "package.module:Class"]),
        ("a:b:c", ["'a:b:c'", "package.module:Class"]),
    ],
)
def test_what_is_said_of_a_mistake(text, parts):
    with pytest.raises(ConfigurationError) as caught:
        plugins.select(text, INSTALLED)
    for part in parts:
        assert part in str(caught.value)


def test_no_tracker_is_suggested_twice():
    with pytest.raises(ConfigurationError) as caught:
        plugins.select("mlflow", ["notes"])
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("text", ["all", "anything"])
def test_where_nothing_is_installed_it_says_what_to_install(text):
    with pytest.raises(ConfigurationError) as caught:
        plugins.select(text, [])
    for name in plugins.COMMON:
        assert f"pip install tracking-hooks-{name}" in str(caught.value)


# -- parts of a plugin ----------------------------------------------------------------------------------------

WITH_PARTS = [*INSTALLED, "mlflow.files", "mlflow.models"]


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("mlflow", ["mlflow"]), ("all", INSTALLED), ("all,-mlflow", ["notes", "wandb"]), ("a.b:C", ["a.b:C"])],
)
def test_a_plugin_is_selected_as_a_whole(text, chosen):
    assert plugins.select(text, WITH_PARTS) == chosen


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mlflow", ["mlflow", "mlflow.files", "mlflow.models"]),
        ("wandb", ["wandb"]),
        ("mlflow.tracking:Mine", ["mlflow.tracking:Mine"]),
    ],
)
def test_each_part_is_delivered_to_and_a_class_has_no_further_ones(name, parts):
    assert plugins.parts(name, WITH_PARTS) == parts
    assert [plugins.first_part(part) for part in parts] == [name] * len(parts)


@pytest.mark.parametrize("text", ["mlflow.files", "wandb,mlflow.files", "all,-mlflow.files"])
def test_a_part_alone_cannot_be_selected(text):
    sentence = "'mlflow.files' is a part of 'mlflow' and is selected with it: name 'mlflow'."
    with pytest.raises(ConfigurationError, match=sentence):
        plugins.select(text, WITH_PARTS)


def test_parts_are_not_suggested(installed, install):
    with pytest.raises(ConfigurationError) as caught:
        plugins.select("mlflow.fils", WITH_PARTS)
    assert str(caught.value).endswith("Installed: mlflow, notes, wandb")
    install("[tracking_hooks]\nalbum = demo_trackers:Notes\nalbum.files = demo_trackers:Notes\n")
    with pytest.raises(ConfigurationError, match="Installed: ") as caught:
        plugins.load("album.fils")
    assert "album.files" not in str(caught.value)


def test_each_part_is_loaded_and_checked_by_its_name(installed, install):
    install("[tracking_hooks]\nalbum = demo_trackers:Notes\nalbum.files = demo_trackers:UnknownHook\n")
    assert plugins.load("album").hook.on_epoch_end.get_hookimpls()
    with pytest.raises(ConfigurationError, match=r"plugin 'album\.files': unknown hook 'on_epoch_ended'"):
        plugins.load("album.files")


# -- installed plugins ----------------------------------------------------------------------------------------


def test_installed_plugins_are_found_without_importing_them(installed):
    assert plugins.installed()["notes"].value == "demo_trackers:Notes"
    assert {"notes", "broken", "unknown-hook", "unknown-parameter", "default-value"} <= plugins.installed().keys()
    assert plugins.describe_installed()["notes"] == ("demo-trackers 1.0", "demo_trackers:Notes")
    assert not {"demo_trackers", "demo_trackers_broken"} & sys.modules.keys()


def test_a_good_plugin_is_loaded_as_an_instance_of_its_own(installed):
    first, second = (plugins.load("notes").get_plugin("notes") for _ in range(2))
    assert type(first) is type(second) is sys.modules["demo_trackers"].Notes
    assert first is not second


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("broken", ["'broken'", "demo-trackers", "cannot be imported", "a_tracker_that_is_not_installed"]),
        ("unmakeable", ["'unmakeable'", "KeyError", "NOTES_TOKEN"]),
        ("unknown-hook", ["'unknown-hook'", "'on_epoch_ended'", "Did you mean 'on_epoch_end'?"]),
        (
            "unknown-parameter",
            ["'unknown-parameter'", "'on_epoch_end'", "'metric'", "Did you mean 'metrics'?", "It offers: epoch, step"],
        ),
        ("default-value", ["'default-value'", "'on_epoch_end'", "'metrics'", "default value"]),
        ("nots", ["'nots'", "Did you mean 'notes'?"]),
    ],
)
def test_a_faulty_plugin_is_named_with_its_fault(installed, name, parts):
    with pytest.raises(ConfigurationError) as caught:
        plugins.load(name)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("selection", "way"),
    [
        ("", "Repair it."),
        ("notes", "Repair it."),
        ("all,-broken", "Repair it."),
        ("notes,broken", "Repair it, or remove 'broken' from TRACKING_HOOKS."),
        ("all", "Repair it, or leave it out: TRACKING_HOOKS=all,-broken"),
    ],
)
def test_only_who_has_selected_a_broken_plugin_is_told_to_remove_it(installed, monkeypatch, selection, way):
    monkeypatch.setenv("TRACKING_HOOKS", selection)
    with pytest.raises(ConfigurationError) as caught:
        plugins.load("broken")
    assert str(caught.value).endswith(f"cannot be imported: {MISSING}. {way}")


def test_a_plugin_whose_tracker_is_too_old_says_what_to_install(installed, install, tmp_path):
    install("[tracking_hooks]\nalbum = demo_trackers_broken:Tracker\n")
    metadata = tmp_path / "site/other_trackers-2.0.dist-info/METADATA"
    needs = "Requires-Dist: demo-trackers>=3\nRequires-Dist: pluggy\nRequires-Dist: absent-here; extra == 'more'\n"
    metadata.write_text(metadata.read_text() + needs)
    with pytest.raises(ConfigurationError) as caught:
        plugins.load("album")
    assert str(caught.value).endswith("It needs demo-trackers>=3, and 1.0 is installed: pip install 'demo-trackers>=3'")


def test_a_faulty_plugin_harms_no_other(installed):
    for name in ("broken", "unknown-hook"):
        with pytest.raises(ConfigurationError):
            plugins.load(name)
    plugins.load("notes")


def test_two_distributions_with_a_plugin_of_one_name(installed, install):
    install("[tracking_hooks]\nnotes = other_trackers:Notes\n")
    with pytest.raises(ConfigurationError) as caught:
        plugins.installed()
    for part in ("'notes'", "demo-trackers", "other-trackers", "Uninstall one"):
        assert part in str(caught.value)


# -- classes of the user's own --------------------------------------------------------------------------------


def test_a_class_of_the_users_own(make_plugin):
    name = make_plugin("class Plugin(Notes): pass")
    assert isinstance(plugins.load(name).get_plugin(name), sys.modules["demo_trackers"].Notes)


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ("raise RuntimeError('no GPU')", ["cannot be imported", "RuntimeError: no GPU", "PYTHONPATH"]),
        ("raise SystemExit('no licence')", ["cannot be imported", "SystemExit: no licence"]),
        ("", ["cannot be imported", "Plugin"]),
        ("class Plugin:\n  def __init__(self, uri): pass", ["could not be created", "uri"]),
        ("class Plugin:\n  @hookimpl\n  def on_run_started(self): pass", ["'on_run_started'", "'on_run_start'"]),
        ("class Plugin:\n  @hookimpl\n  def on_run_end(self, **kwargs): pass", ["'on_run_end'", "'kwargs'"]),
        ("class Plugin:\n  @hookimpl\n  def capture(self, run): pass", ["unknown hook 'capture'"]),
        ("class Plugin:\n  def on_run_end(self, run): pass", ["no hook", "@hookimpl"]),
        ("class Plugin:\n  @hookimpl\n  async def on_run_end(self): pass", ["'on_run_end'", "async def", "Write def"]),
        ("class Plugin:\n  @hookimpl\n  async def open(self):\n    yield", ["'open'", "async def"]),
        ("class Plugin:\n  @hookimpl\n  def on_run_end(self):\n    yield", ["'on_run_end'", "it has a yield"]),
    ],
)
def test_a_faulty_class_is_named_with_its_fault(make_plugin, body, parts):
    name = make_plugin(body)
    with pytest.raises(ConfigurationError) as caught:
        plugins.load(name)
    for part in [name, *parts]:
        assert part in str(caught.value)


def test_an_optional_hook_of_another_release_is_passed_over(make_plugin):
    name = make_plugin(
        """
        class Plugin:
            @hookimpl(optionalhook=True)
            def on_hyperspace(self, speed): pass

            @hookimpl
            def on_run_end(self, run): pass
        """
    )
    assert plugins.load(name).hook.on_run_end.get_hookimpls()


def test_an_optional_hook_that_exists_is_checked_like_any_other(make_plugin):
    name = make_plugin("class Plugin:\n  @hookimpl(optionalhook=True)\n  def on_run_end(self, rnu): pass")
    with pytest.raises(ConfigurationError, match="Did you mean 'run'"):
        plugins.load(name)


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(ConfigurationError, match="'not_there:Tracker' cannot be imported"):
        plugins.load("not_there:Tracker")


# -- the trainer side -----------------------------------------------------------------------------------------


def test_the_trainer_side_says_where_to_deliver(installed, tmp_path):
    captures = plugins.capture(plugins.load_trainer_sides(["notes", "a_module:Class"]), sample_run(tmp_path))
    assert captures["notes"].destination == {"file": str(tmp_path / "notes")}
    assert captures["notes"].disables == "notebook"
    assert captures["a_module:Class"] == Capture()


def test_a_trainer_side_that_fails_is_named(installed, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        plugins.capture(plugins.load_trainer_sides(["broken"]), sample_run(tmp_path))
    for part in ("'broken'", "capture", "no experiment is set"):
        assert part in str(caught.value)
