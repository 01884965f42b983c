"""The state of the repository is noted down with a training, and keeps no training waiting."""

import os
import subprocess

import msgspec
import pytest

from tests.support.systems import posix
from tracking_hooks.recording import repository
from tracking_hooks.recording.environment import describe
from tracking_hooks.recording.repository import Repository


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with one commit, in which this process works."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "train.py").write_text("import ultralytics\n")

    def git(*words):
        who = ["-c", "user.name=me", "-c", "user.email=me@example.com"]
        subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)

    git("init", "--initial-branch", "trunk")
    git("remote", "add", "origin", "https://me:glpat-abcdefghijklmnopqrst@dev.example/x.git")
    git("add", "train.py")
    git("commit", "-m", "Begin")
    return folder


def told():
    here = describe([], [])
    return Repository(here).add_to(here).git


def test_commit_branch_and_origin_are_told_and_whether_something_was_changed(project):
    clean = told()
    (project / "train.py").write_text("import torch\n")
    (project / "new.py").write_text("")  # not part of it
    changed = told()
    assert len(clean.commit) == 40
    assert (clean.branch, clean.dirty, changed.dirty) == ("trunk", False, True)
    assert "glpat" not in clean.remote
    assert clean.remote.endswith("@dev.example/x.git")


def replace_status(folder, monkeypatch, command):
    """Let `git status` do something else first."""
    git = folder / "bin" / "git"
    git.parent.mkdir()
    real = subprocess.check_output(["sh", "-c", "command -v git"], text=True).strip()
    git.write_text(f'#!/bin/sh\ncase "$*" in *status*) {command};; esac\nexec {real} "$@"\n')
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{git.parent}{os.pathsep}{os.environ['PATH']}")


@posix("named pipes in folders")
@pytest.mark.usefixtures("project")
def test_what_takes_long_to_find_out_is_not_waited_for_by_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(repository, "_PATIENCE", 0.5)
    os.mkfifo(tmp_path / "pipe")  # `git status` waits for it, as in a repository of a million files
    replace_status(tmp_path, monkeypatch, f"read _ < {tmp_path}/pipe")
    here = describe([], [])
    asked = Repository(here)
    while (early := asked.add_to(here).git) is None:
        pass  # the commit is told at once
    assert early.branch == "trunk"
    assert early.dirty is None, "nobody knows"
    (tmp_path / "pipe").write_text("\n")
    asked._thread.join()
    assert asked.add_to(here).git == msgspec.structs.replace(early, dirty=False)


@pytest.mark.usefixtures("project")
def test_a_repository_is_not_called_clean_if_git_does_not_say_so(tmp_path, monkeypatch):
    replace_status(tmp_path, monkeypatch, "exit 128")
    found = told()
    assert (found.branch, found.dirty) == ("trunk", None)


def test_outside_of_a_repository_there_is_nothing_to_tell(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert told() is None


def test_what_is_known_already_is_not_asked_for(environment):
    assert environment.git
    known = Repository(environment)
    assert known.add_to(msgspec.structs.replace(environment, git=None)).git == environment.git
