"""What ``make`` offers works: each target has a test that runs its commands, in a short form where they take long."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

import pytest

from tests import one_training
from tests.makefile import ROOT, TARGETS, commands, make
from tests.support.systems import posix
from tracking_hooks.run import layout, state

TESTED_IN = {
    "demo": "tests/test_makefile.py",
    "faults": "tests/faults/test_command.py",
    "stack": "tests/test_stack_files.py",
    "compat": "tests/test_compat.py",
    "bench": "tests/test_benchmarks.py",
    "gpu-bench": "tests/test_benchmarks.py",
    "gpu": "tests/gpu/test_rehearsal.py",
    "release-check": "tests/test_release.py",
    "pictures": "tests/test_pictures.py",
    "lint": "tests/test_makefile.py",
    "format": "tests/test_makefile.py",
    "clean": "tests/test_makefile.py",
    "docs": "tests/test_site.py",
    "system-packages": "tests/test_makefile.py",
}
RUNS_THESE_TESTS = {"test", "test-fast"}


def test_every_target_has_a_test():
    assert set(TARGETS) <= TESTED_IN.keys() | RUNS_THESE_TESTS
    for target, file in TESTED_IN.items():
        calls = (f'make("{target}"', f'commands("{target}"')
        assert any(call in (ROOT / file).read_text() for call in calls), f"{file} does not run make {target}"


@pytest.mark.e2e
def test_the_demo_is_tracked_in_mlflow_and_tensorboard(tmp_path):
    from mlflow import MlflowClient

    folder = tmp_path / "demo"
    output = make("demo", f"ARGS=--epochs 1 --folder {folder}", home=tmp_path)
    (run,) = layout.find_runs(folder)
    assert state.is_delivered(run, "mlflow"), output
    assert state.is_delivered(run, "tensorboard"), output
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name == "tracking-hooks demo"]
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(tracked.info.run_id, "train/box_loss")] == [1]
    assert list((folder / "runs/demo").glob("*tfevents*"))
    assert one_training.compare(folder) > 0, "what hosted CI looks at on other systems"
    assert f"sqlite:///{folder / 'mlflow.db'}" in output, "it says how to look at it"


def test_every_linter_is_installed_and_finds_the_files_that_it_is_to_read():
    # That they have nothing to say is seen before the tests: see the next one.
    for command in [*commands("lint"), *commands("format")]:
        program, *words = shlex.split(command)
        assert shutil.which(program), f"{program} is not installed: it is in the group `lint` of pyproject.toml"
        for word in words:
            if "/" in word:
                assert list(ROOT.glob(word)), f"`{command}` names {word}, which does not exist"


def test_a_fresh_clone_is_linted_before_it_is_tested():
    script = (ROOT / ".ci/run").read_text().splitlines()
    assert script[-2:] == ["make lint", "make test"]


def test_clean_removes_what_was_made_here_and_nothing_else(tmp_path):
    made = [".venv", "build", "dist", "tracking-hooks-demo"]
    for name in [*made, "src", "runs"]:
        (tmp_path / name).mkdir()
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    assert set(made) <= ignored, "what is removed is nothing that git has"
    make("clean", "VENV=.venv", cwd=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"src", "runs"}


@posix("shell")
def test_system_packages_that_cannot_be_installed_are_named_and_no_error(tmp_path):
    (command,) = commands("system-packages")
    for name, line in {"dpkg": "exit 1", "id": "echo 1000"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        shlex.split(command), cwd=ROOT, env={"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert [line.split()[1] for line in done.stdout.splitlines()] == shlex.split(command)[1:]
