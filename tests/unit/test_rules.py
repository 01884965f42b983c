"""The grammar of ``TRACKING_HOOKS_CONTROL``, and what its mistakes are answered with."""

import re
from importlib.util import find_spec

import pytest

from tracking_hooks import projectfile
from tracking_hooks.control import rules
from tracking_hooks.settings import ConfigurationError, read_settings

RULE = """
from tracking_hooks import hookimpl
from tracking_hooks.events import Stop

class StopAfter:
    def __init__(self, epochs, why="enough"):
        if epochs < 1:
            raise ValueError("epochs: at least 1")
        self.epochs, self.why = epochs, why

    @hookimpl
    def control_epoch(self, epoch):
        if epoch >= self.epochs:
            return Stop(reason=self.why)

class Misspelt:
    @hookimpl
    def control_epok(self, epoch): ...

class Tracker:
    @hookimpl
    def on_epoch_end(self, epoch): ...
"""


@pytest.fixture(autouse=True)
def my_rules(tmp_path, importable):
    (tmp_path / "my_rules.py").write_text(RULE)
    importable(tmp_path)


def reasons(text):
    """What each rule of a text says when it stops."""
    made = rules.build(text)
    return {name: rule.hook.control_epoch(run=None, epoch=9, metrics={}, progress=None).reason for name, rule in made}


def test_rules_are_calls_with_plain_values_separated_by_semicolons_or_lines():
    assert reasons("my_rules.StopAfter(3); my_rules.StopAfter(epochs = 4, why='a; b')") == {
        "my_rules.StopAfter(3)": "enough",
        "my_rules.StopAfter(epochs=4, why='a; b')": "a; b",
    }
    assert list(reasons("\n  my_rules.StopAfter(1)\n  my_rules.StopAfter(2)\n")) == [
        "my_rules.StopAfter(1)",
        "my_rules.StopAfter(2)",
    ]
    assert rules.build("") == []


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("my_rules.StopAfter(3", "was never closed"),
        ("my_rules.StopAfter(3), my_rules.StopAfter(4)", "separated by semicolons"),
        ("my_rules.StopAfter", r"lacks its parentheses: my_rules.StopAfter\(\)"),
        ("x = 1", "'x = 1' is not a rule"),
        ("my_rules.StopAfter(os.getpid())", r"'os.getpid\(\)' is not a plain value"),
        ("my_rules.StopAfter(1 + 2)", "is not a plain value"),
        ("my_rules.StopAfter(epoch=3)", "unknown option 'epoch'. Did you mean 'epochs'?"),
        ("my_rules.StopAfter()", r"missing a required argument: 'epochs'.*StopAfter\(epochs, why='enough'\)"),
        ("my_rules.StopAfter(1, 2, 3)", "too many positional arguments"),
        ("my_rules.StopAfter(0)", r"rule my_rules.StopAfter\(0\): epochs: at least 1"),
        ("my_rules.StopAfter('x')", "rule my_rules.StopAfter.*not supported"),
        ("my_rules.StopAftr(1)", "rule my_rules.StopAftr cannot be imported"),
        ("no_such_module.Rule()", "cannot be imported.*PYTHONPATH"),
        ("my_rules.Misspelt()", "unknown hook 'control_epok'. Did you mean 'control_epoch'?"),
        ("my_rules.Tracker()", "my_rules.Tracker is not a rule"),
        ("**x", "invalid syntax"),
        ("my_rules.StopAfter(**{'epochs': 3})", r"unknown option '\*\*'"),
    ],
)
def test_each_mistake_is_one_sentence_that_says_what_to_do(text, answer):
    with pytest.raises(ConfigurationError, match=f"(?s){answer}"):
        rules.build(text)


def test_a_misspelt_rule_is_answered_with_the_one_that_was_meant(installed):
    pytest.importorskip("tracking_hooks_control")
    with pytest.raises(ConfigurationError, match=r"no rule 'early_stopp' is installed\. Did you mean 'early_stop'\?"):
        rules.build("early_stopp('fitness')")


def test_a_trackers_trainer_side_is_no_rule(installed):
    with pytest.raises(ConfigurationError, match="no rule 'notes' is installed"):
        rules.build("notes()")


def test_listing_rules_imports_no_tracker(installed, python):
    done = python("import sys; from tracking_hooks.control import rules; rules.installed(); print(*sys.modules)")
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert "tracking_hooks" in imported
    trackers = {f"tracking_hooks_{name}" for name in ("mlflow", "tensorboard", "wandb")}
    assert not imported & {"demo_trackers", "demo_trackers_broken", *trackers}


@pytest.mark.parametrize(
    ("point", "answer"),
    [
        ("tracker = demo_trackers:Notes", "tracker is not a rule: a rule is a class with a hook control_epoch"),
        ("broken = demo_trackers_broken:Rule", "cannot be imported.*remove 'broken' from TRACKING_HOOKS_CONTROL"),
    ],
)
def test_what_a_package_offers_as_a_rule_and_is_none_is_named(installed, install, point, answer):
    install(f"[tracking_hooks.rules]\n{point}\n")
    with pytest.raises(ConfigurationError, match=answer):
        rules.build(f"{point.split()[0]}()")
    said = rules.installed()[point.split()[0]]
    assert re.search(answer.partition(".*")[0], said)
    assert "TRACKING_HOOKS_CONTROL" not in said, "it is not named there"
    others = [name for name, wrong in rules.installed().items() if not wrong]
    assert others or not find_spec("tracking_hooks_control"), "the others are listed"


def test_a_package_offers_rules_by_their_names(install):
    install("[tracking_hooks.rules]\nstop_after = my_rules:StopAfter\n")
    assert reasons("stop_after(3)") == {"stop_after(3)": "enough"}
    assert "stop_after(epochs, why='enough')" in rules.installed()


def test_where_no_rule_is_installed_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(rules.plugins, "installed", lambda group: {})
    with pytest.raises(ConfigurationError, match="pip install tracking-hooks-control"):
        rules.build("early_stop('fitness')")


# -- pyproject.toml -------------------------------------------------------------------------------------------


def test_a_projects_file_sets_what_a_variable_would_set_and_the_variable_comes_first(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.tracking-hooks]\ncontrol = ["my_rules.StopAfter(3)", "my_rules.StopAfter(4)"]\nlinger = 5\n'
    )
    (tmp_path / "src/deep").mkdir(parents=True)
    project = projectfile.read(tmp_path / "src/deep")
    settings = read_settings({}, project)
    assert list(reasons(settings.rules())) == ["my_rules.StopAfter(3)", "my_rules.StopAfter(4)"]
    assert settings.linger == 5.0
    assert read_settings({"TRACKING_HOOKS_LINGER": "7"}, project).linger == 7.0
    assert read_settings({"TRACKING_HOOKS_CONTROL": "off"}, project).rules() == ""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("[tool.tracking-hooks]\ncontrl = 'x()'\n", r"unknown setting 'contrl'. Did you mean 'control'\?"),
        ("[tool.tracking-hooks]\nselection = 'mlflow'\n", "unknown setting 'selection'"),
        ("[tool.tracking-hooks\n", "pyproject.toml cannot be read"),
    ],
)
def test_a_mistake_in_a_projects_file_is_told_with_its_path(tmp_path, text, answer):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=answer) as error:
        projectfile.read(tmp_path)
    assert str(tmp_path / "pyproject.toml") in str(error.value)


def test_a_value_in_a_projects_file_that_cannot_be_is_told_with_where_it_stands(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.tracking-hooks]\nlinger = 'soon'\n")
    with pytest.raises(ConfigurationError, match=r"pyproject.toml, \[tool.tracking-hooks\]: linger='soon'"):
        read_settings({}, projectfile.read(tmp_path))


def test_a_project_without_such_a_file_sets_nothing(tmp_path):
    assert projectfile.read(tmp_path) == {}
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert projectfile.read(tmp_path) == {}
