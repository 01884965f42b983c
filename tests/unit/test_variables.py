"""What is set and means nothing, or something else than was meant."""

import logging
import re
from pathlib import Path

import pluggy
import pytest

import tracking_hooks
from tracking_hooks import plugins, variables
from tracking_hooks.recording import configuration
from tracking_hooks.recording.tracking import Tracking
from tracking_hooks.settings import ConfigurationError, describe
from tracking_hooks.testing import sample_run

ROOT = Path(__file__).parents[2]
PLUGINS = ["mlflow", "my-notes", "tensorboard", "my_code.trackers:Sheet"]
DECLARED = {"tensorboard": ["TRACKING_HOOKS_TENSORBOARD_LOGDIR"]}


def said_of(name):
    return variables.in_words(variables.unknown([name], PLUGINS, DECLARED))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TRACKING_HOOKS_METIRCS", "TRACKING_HOOKS_METRICS"),
        ("TRACKING_HOOKS_HISTOGRAM", "TRACKING_HOOKS_HISTOGRAMS"),
        ("TRACKING_HOOKS_mode", "TRACKING_HOOKS_MODE"),
        ("TRACKING_HOOK", "TRACKING_HOOKS"),
        ("TRACKINGHOOKS", "TRACKING_HOOKS"),
        ("TRACKING_HOOK_METRICS", "TRACKING_HOOKS_METRICS"),
        ("TRACKING_HOOKS_TENSORBOARD_LOGDRI", "TRACKING_HOOKS_TENSORBOARD_LOGDIR"),
        ("TRACKING_HOOKS_TENSORBORD_LOGDIR", "TRACKING_HOOKS_TENSORBOARD_LOGDIR"),
    ],
)
def test_a_misspelt_variable_is_named_with_the_one_that_was_meant(name, meant):
    assert said_of(name) == f"{name} is not a setting. Did you mean {meant}?"


def test_one_that_is_like_none_is_named_alone():
    assert said_of("TRACKING_HOOKS_XYZZY") == "TRACKING_HOOKS_XYZZY is not a setting."


@pytest.mark.parametrize(
    "name",
    [
        *(variable for variable, _, _ in describe()),
        "TRACKING_HOOKS_TENSORBOARD_LOGDIR",
        "TRACKING_HOOKS_MLFLOW_WHATEVER",  # it does not say what it reads
        "TRACKING_HOOKS_MY_NOTES_FOLDER",
        "TRACKING_HOOKS_SHEET_NAME",
        "TRACKING",
        "MY_TRACKING_HOOKS",
    ],
)
def test_what_may_be_read_is_no_mistake(name):
    assert said_of(name) == ""


def test_the_variables_of_our_own_processes_are_no_mistake():
    sources = [path.read_text() for path in Path(tracking_hooks.__file__).parent.rglob("*.py")]
    constant = r'^[A-Z_]+ = "(TRACKING_HOOKS_[A-Z_]+)"'
    handed_on = {name for text in sources for name in re.findall(constant, text, re.MULTILINE)}
    assert handed_on
    assert [name for name in sorted(handed_on) if said_of(name)] == []


@pytest.mark.parametrize("name", ["mlflow", "tensorboard", "wandb"])
def test_each_plugin_declares_the_variables_that_it_reads(name):
    sides = plugins.load_trainer_sides([name])
    sources = (ROOT / f"plugins/tracking-hooks-{name}/src").rglob("*.py")
    read = {found for path in sources for found in re.findall(rf"TRACKING_HOOKS_{name.upper()}_\w+", path.read_text())}
    assert read == set(plugins.declared_settings(sides)[name])


def test_a_trainer_side_that_imports_something_called_settings_declares_none():
    class Side:
        settings = re

    manager = pluggy.PluginManager("tracking_hooks")
    manager.register(Side())
    assert plugins.declared_settings({"acme": manager}) == {}


def test_a_training_is_told_in_one_warning_each(monkeypatch, caplog, tmp_path, make_plugin):
    monkeypatch.setenv("TRACKING_HOOKS", make_plugin("class Plugin(Notes): pass"))
    monkeypatch.setenv("TRACKING_HOOKS_METIRCS", "-lr/*")
    monkeypatch.setenv("TRACKING_HOOKS_KEPP", "14d")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2hunter2\r")
    Tracking.of(sample_run(tmp_path / "train"), logging.getLogger("host"))
    unknown, windows = caplog.messages
    assert "TRACKING_HOOKS_METIRCS is not a setting. Did you mean TRACKING_HOOKS_METRICS?" in unknown
    assert "TRACKING_HOOKS_KEPP is not a setting. Did you mean TRACKING_HOOKS_KEEP?" in unknown
    assert "MLFLOW_TRACKING_PASSWORD ends with a carriage return" in windows
    assert "hunter2" not in caplog.text


def test_a_variable_of_a_plugin_that_is_not_selected_is_no_mistake(monkeypatch, make_plugin):
    monkeypatch.setenv("TRACKING_HOOKS", make_plugin("class Plugin(Notes): pass"))
    monkeypatch.setenv("TRACKING_HOOKS_WANDB_BESIDE", "off")
    monkeypatch.setenv("TRACKING_HOOKS_TENSORBOARD_LOGDIR", "logs")
    assert configuration.read().doubts == []


def test_a_long_list_of_carriage_returns_is_cut():
    environ = {f"NAME_{number}": "value\r" for number in range(5)}
    sentence = variables.carriage_returns({**environ, "GOOD": "value", "TWO_LINES": "a\r\nb"})
    assert sentence.startswith("NAME_0, NAME_1, NAME_2 and 2 more end with a carriage return")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("mlflow;wandb", "mlflow,wandb"),
        ("mlflow wandb", "mlflow,wandb"),
        ("mlflow, wandb notes", "mlflow,wandb,notes"),
        ("'mlflow','wandb'", "mlflow,wandb"),
        ('"mlflow"', "mlflow"),
        ("[mlflow, wandb]", "mlflow,wandb"),
        ("mlflow|wandb", "mlflow,wandb"),
    ],
)
def test_a_list_that_is_written_otherwise_is_shown_as_it_has_to_be(text, right):
    with pytest.raises(ConfigurationError) as caught:
        plugins.select(text, ["mlflow", "notes", "wandb"])
    assert str(caught.value) == (
        f"TRACKING_HOOKS={text!r}: names are separated by commas and nothing else: TRACKING_HOOKS={right}"
    )


@pytest.mark.parametrize("text", ["1", "true", "True", "yes", "on"])
def test_a_yes_names_no_tracker_and_is_told_which_there_are(text):
    with pytest.raises(ConfigurationError) as caught:
        plugins.select(text, ["mlflow", "mlflow.files", "wandb"])
    assert str(caught.value) == f"TRACKING_HOOKS={text!r} names no tracker. As in: TRACKING_HOOKS=mlflow,wandb"


@pytest.mark.parametrize("text", ["false", "no", "disabled"])
def test_a_no_is_told_how_nothing_is_tracked(text):
    with pytest.raises(ConfigurationError, match="To track nothing: TRACKING_HOOKS=off"):
        plugins.select(text, ["mlflow"])


def test_a_carriage_return_of_windows_does_not_change_a_selection():
    assert plugins.select("mlflow\r", ["mlflow"]) == ["mlflow"]
