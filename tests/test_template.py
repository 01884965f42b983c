"""``tracking-hooks new``: what it makes installs and passes its own tests, and copier makes the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import tracking_hooks
from tracking_hooks.cli import main

KINDS = ("tracker", "sink", "rule")
BIN = Path(sys.executable).parent
TEMPLATE = Path(tracking_hooks.__file__).parent / "template"


def new(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["new", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def run(*command: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind, installed together."""
    folder = tmp_path_factory.mktemp("projects")
    for kind in KINDS:
        new(f"acme-{kind}", "--kind", kind, "--into", str(folder))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run(*pip, "--target", folder / "site", *folder.glob("tracking-hooks-*"), cwd=folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_installs_and_passes_its_tests(kind, projects):
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    mine = {f"ACME_{kind.upper()}_FOLDER": str(projects / "mine")}  # where the author tracks
    tests = run(*pytest_, cwd=projects / f"tracking-hooks-acme-{kind}", PYTHONPATH=path_of(projects), **mine)
    assert " passed" in tests
    assert not (projects / "mine").exists()


def test_new_plugins_are_found(projects):
    command = [sys.executable, "-c", "from tracking_hooks.cli import main; main()", "plugins"]
    listed = run(*command, cwd=projects, PYTHONPATH=path_of(projects), TRACKING_HOOKS="none", COLUMNS="200")
    for name in ("acme-tracker", "acme-sink"):
        assert next(line for line in listed.splitlines() if line.startswith(name)).rstrip().endswith("ok")
    assert "acme_rule(" in listed


def test_an_installed_plugin_is_checked_by_one_command(projects):
    check = [sys.executable, "-c", "from tracking_hooks.cli import main; main()", "plugins", "--check", "acme-sink"]
    assert " passed" in run(*check, cwd=projects, PYTHONPATH=path_of(projects))


def test_a_plugin_that_is_not_installed_cannot_be_checked():
    refused = CliRunner().invoke(main, ["plugins", "--check", "acme"])
    assert refused.exit_code == 1 and "no tracker 'acme' is installed" in refused.output


def path_of(projects: Path) -> str:
    return os.pathsep.join([str(projects / "site"), *filter(None, sys.path)])


@pytest.mark.parametrize(("kind", "inside"), [*((kind, False) for kind in KINDS), ("tracker", True)])
def test_copier_makes_the_same_of_the_template(kind, inside, tmp_path):
    new("acme-2", "--kind", kind, "--into", str(tmp_path), *["--in-repository"] * inside)
    copied = tmp_path / "copied"
    answers = ["--data", "name=acme-2", "--data", f"kind={kind}", "--data", f"in_repository={inside}"]
    run(BIN / "copier", "copy", "--defaults", "--quiet", *answers, TEMPLATE, copied, cwd=tmp_path)
    assert content(copied) == content(tmp_path / "tracking-hooks-acme-2")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_made_is_as_the_formatter_would_have_it(kind, tmp_path):
    new("acme-2", "--kind", kind, "--into", str(tmp_path))
    for command in (["check"], ["format", "--check"]):
        ruff = [BIN / "ruff", *command, "--isolated", "--line-length", "120"]
        run(*ruff, ".", cwd=tmp_path / "tracking-hooks-acme-2")


def test_the_types_of_a_new_plugin_hold(projects):
    packages = sorted(str(path) for path in projects.glob("tracking-hooks-*/src/*"))
    assert len(packages) == len(KINDS) and all((Path(package) / "py.typed").exists() for package in packages)
    run(BIN / "mypy", "--strict", "--config-file=", f"--cache-dir={projects / 'mypy'}", *packages, cwd=projects)


def test_in_a_repository_a_new_plugin_brings_no_workflow_and_no_gitignore(tmp_path):
    new("acme", "--into", str(tmp_path), "--in-repository")
    new("acme-2", "--into", str(tmp_path))
    inside, alone = content(tmp_path / "tracking-hooks-acme"), content(tmp_path / "tracking-hooks-acme-2")
    assert {name for name in alone if name.startswith(".")} == {".github/workflows/test.yaml", ".gitignore"}
    assert not any(name.startswith(".") for name in inside)
    assert len(alone) - len(inside) == 2


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("mlflow", "tracking-hooks-mlflow"), ("tracking-hooks-control", "tracking-hooks-control"),
        ("notes", "demo-trackers"), ("early-stop", "demo-rules"),
    ],
)  # fmt: skip
def test_a_name_that_another_plugin_has_is_refused(name, owner, monkeypatch, tmp_path):
    texts = {
        "demo_trackers": "[tracking_hooks]\nnotes = a:B\n",
        "demo_rules": "[tracking_hooks.rules]\nearly_stop = a:B\n",
    }
    for package, text in texts.items():
        made = tmp_path / f"site/{package}-1.0.dist-info"
        made.mkdir(parents=True)
        (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.0\n")
        (made / "entry_points.txt").write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "site")
    refused = CliRunner().invoke(main, ["new", name, "--into", str(tmp_path)])
    assert refused.exit_code == 1
    assert f"is the name of a plugin in {owner}: choose another one" in refused.output


def test_the_name_of_the_project_is_a_name_as_well(tmp_path):
    new("tracking-hooks-acme", "--into", str(tmp_path))
    assert 'name = "tracking-hooks-acme"' in (tmp_path / "tracking-hooks-acme/pyproject.toml").read_text()


def test_a_name_that_cannot_be_selected_and_a_folder_that_is_there_are_refused(tmp_path):
    refused = CliRunner().invoke(main, ["new", "My Tracker", "--into", str(tmp_path)])
    assert refused.exit_code == 2 and "lower-case letters, digits and hyphens" in refused.output
    new("acme", "--into", str(tmp_path))
    refused = CliRunner().invoke(main, ["new", "acme", "--into", str(tmp_path)])
    assert refused.exit_code == 1 and "is there already" in refused.output
