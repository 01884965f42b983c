"""The public names, and who imports what."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tracking_hooks
from tests.support.systems import posix
from tracking_hooks import events

SOURCE = Path(tracking_hooks.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
ROOT = Path(__file__).parents[2]
SHOWN = sorted([*ROOT.glob("examples/**/*.py"), *ROOT.glob("docs/*.md"), *ROOT.glob("plugins/*/README.md")])
TRACKERS = {"mlflow", "tensorboard", "wandb", "comet_ml", "clearml", "aim", "trackio", "dvclive", "neptune"}


def names(path):
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def imported(path):
    """The top-level packages that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_public_names_are_sorted():
    assert tracking_hooks.__all__ == sorted(tracking_hooks.__all__)
    assert events.__all__ == sorted(events.__all__)


@pytest.mark.parametrize("name", tracking_hooks.__all__)
def test_each_public_name_loads(name):
    assert callable(getattr(tracking_hooks, name))


def test_every_name_that_loads_is_public():
    assert sorted(tracking_hooks._HOMES) == sorted(tracking_hooks.__all__)


def test_what_a_rule_returns_and_is_given_is_public():
    assert {"Stop", "SaveCheckpoint", "ScaleLearningRate", "Progress"} <= set(tracking_hooks.__all__)
    both = set(tracking_hooks.__all__) & set(events.__all__)
    assert all(getattr(tracking_hooks, name) is getattr(events, name) for name in both)


def test_to_use_a_public_name_imports_its_own_module_only(python):
    done = python("import sys; from tracking_hooks import Stop, hookimpl; print(*sys.modules)")
    ours = {name for name in done.stdout.split() if name.startswith("tracking_hooks.")}
    assert ours == {"tracking_hooks.actions", "tracking_hooks.markers"}


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_users_copy_takes_public_names_from_the_package_itself(path):
    text = path.read_text(encoding="utf-8")
    taken = re.findall(r"^ *from tracking_hooks\.events import (.+)$", text, re.MULTILINE)
    assert not {name.strip() for line in taken for name in line.split(",")} & set(tracking_hooks.__all__)


def test_every_event_type_is_public():
    own = {name for name, value in vars(events).items() if getattr(value, "__module__", "") == events.__name__}
    assert {name for name in own if not name.startswith("_")} <= set(events.__all__)
    assert all(hasattr(events, name) for name in events.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'tracking_hooks' has no attribute 'hookimp'"):
        _ = tracking_hooks.hookimp


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert tracking_hooks.__version__ == version("tracking-hooks")


def test_the_types_are_public():
    assert (SOURCE / "py.typed").is_file()


@pytest.mark.parametrize("path", MODULES, ids=names)
def test_every_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", MODULES, ids=names)
def test_no_module_imports_a_tracker_or_torch(path):
    assert not imported(path) & (TRACKERS | {"torch", "torchvision"})


@pytest.mark.parametrize("path", MODULES, ids=names)
def test_ultralytics_is_imported_in_its_host_only(path):
    assert "ultralytics" not in imported(path) or path.parent == SOURCE / "hosts/ultralytics"


@posix("fork")
def test_each_module_can_be_imported_alone():
    """In a process of its own each: in this one, all of them are imported already."""
    alone = [path for path in MODULES if path.parent not in {SOURCE / "hosts/ultralytics", SOURCE / "bootstrap"}]
    code = """
import os, sys
from importlib import import_module
for name in sys.argv[1:]:
    pid = os.fork()
    if pid == 0:
        import_module(name)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, name
"""
    modules = [f"tracking_hooks.{names(path)}".removesuffix(".__init__") for path in alone]
    subprocess.run([sys.executable, "-c", code, *modules], check=True)


@pytest.mark.parametrize("path", MODULES, ids=names)
def test_the_core_knows_no_training_library_by_name(path):
    about_it = {SOURCE / "autoload.py", SOURCE / "cli/demo.py", SOURCE / "cli/shapes.py"}
    if path not in about_it and not path.is_relative_to(SOURCE / "hosts") and path.parent != SOURCE / "testing":
        assert "ultralytics" not in path.read_text().lower()


@pytest.mark.parametrize("path", MODULES, ids=names)
def test_no_module_and_no_class_is_too_long_to_be_read_in_one_sitting(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 350
    classes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    assert all(node.end_lineno - node.lineno < 250 for node in classes)
