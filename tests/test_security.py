"""What SECURITY.md says, as far as it can be tried."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner

from tests.support import runs, users
from tracking_hooks import autoload
from tracking_hooks.cli import main
from tracking_hooks.events import Artifact
from tracking_hooks.recording.process import recorders
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import files, layout
from tracking_hooks.run.journal import Call
from tracking_hooks.settings import Settings, settable
from tracking_hooks.testing import recorded_run, sample_run

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _nothing_of_the_user(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("TRACKING_HOOKS")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def run(tmp_path):
    """Record a run in a process of its own, with a tracker that is a class of a module beside it."""
    (tmp_path / "mine.py").write_text(
        "import pathlib\n"
        "from tracking_hooks import hookimpl\n"
        "pathlib.Path(__file__).with_name('imported').touch()\n"
        "class Mine:\n"
        "    @hookimpl\n"
        "    def on_event(self, seq): pass\n"
    )
    save_dir = tmp_path / "project/train"
    calls = recorded_run(save_dir, epochs=1)
    return runs.write_run(sample_run(save_dir), calls, {"mine:Mine": {}})


def sync(tmp_path, **variables):
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", **variables}
    command = [sys.executable, "-c", "from tracking_hooks.cli import main; main()", "sync", str(tmp_path / "project")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


# -- what runs, and when --------------------------------------------------------------------------------------

AT_IMPORT = """
    import importlib, sys
    from importlib.metadata import entry_points
    (point,) = entry_points(group="torch.backends", name="tracking_hooks")
    before, done = set(sys.modules), []

    def note(event, args):
        if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
            done.append((event, args[0]))
        if event in {"subprocess.Popen", "os.fork", "os.exec", "os.posix_spawn", "os.mkdir"} or "socket" in event:
            done.append((event, args))

    sys.dont_write_bytecode = True
    sys.addaudithook(note)
    point.load()()
    new = set(sys.modules) - before
    print(done)
    print(sorted(name for name in new if name.split(".")[0] not in sys.stdlib_module_names))
"""


@pytest.mark.parametrize("selection", ["", "mlflow,tensorboard,mine:Mine"])
def test_at_import_torch_nothing_is_written_started_or_connected(selection):
    done = subprocess.run(
        [sys.executable, "-c", dedent(AT_IMPORT)], env={**os.environ, "TRACKING_HOOKS": selection},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    happened, modules = done.stdout.splitlines()
    assert happened == "[]"
    assert modules == "['tracking_hooks', 'tracking_hooks.autoload']"


def test_as_many_functions_are_wrapped_as_it_says():
    names = {
        name for functions in autoload._SEAMS.values() for name in functions
    }  # some are in other modules of older ones
    assert len(names) == 14
    assert "fourteen of its functions are wrapped" in TEXT


def test_a_projects_file_names_no_tracker():
    assert "selection" not in settable()
    assert "control" in settable()


# -- what a journal may do ------------------------------------------------------------------------------------


def test_a_class_that_a_journal_names_is_imported_only_if_the_variable_names_it(run, tmp_path):
    said = sync(tmp_path)
    assert not (tmp_path / "imported").exists(), said.stdout + said.stderr
    assert "TRACKING_HOOKS=mine:Mine" in said.stdout
    said = sync(tmp_path, TRACKING_HOOKS="mine:Mine")
    assert (tmp_path / "imported").exists(), said.stdout + said.stderr


@pytest.mark.parametrize("how", ["another folder", "dots", "a link"])
def test_no_file_outside_of_the_root_is_delivered(run, tmp_path, how):
    secret = tmp_path / "secret.txt"
    secret.write_text("of nobody's business")
    size, sha = files.digest(secret)
    root = tmp_path / "project"
    path = {"another folder": secret, "dots": root / "train/../../secret.txt", "a link": root / "train/link.txt"}[how]
    if how == "a link":
        path.symlink_to(secret)
    artifact = Artifact(path=path, kind="file", name="x", size=size, digest=sha)
    runs.append(run.journal, [Call(0, 9e9, "on_artifact", {"artifact": artifact})])
    sync(tmp_path, TRACKING_HOOKS="mine:Mine")
    (aside,) = [event for event in run.relay("mine:Mine").read_aside() if event.name == "x"]
    assert "outside of the run's root folder" in aside.reason


# -- who reads what -------------------------------------------------------------------------------------------


def modes(folder):
    """The modes of its files; a link to a file of the training has that of the training, behind the folder's own."""
    found = [path.lstat() for path in folder.rglob("*") if path.is_file()]
    return {stat.st_mode & 0o777 for stat in found if stat.st_nlink == 1}


def test_run_folder_index_and_pointer_are_for_their_owner_only(tmp_path):
    save_dir = tmp_path / "project/train"
    start = recorded_run(save_dir, epochs=1)[0].args
    start = {"params": start["params"], "environment": start["environment"]}
    recorder = Recorder.start(
        sample_run(save_dir), {}, Settings(system_every=0.0), logging.getLogger("trainer"), **start
    )
    recorder.begin(**start)
    recorder.record("on_artifact", artifact=files.config(recorder.folder, ROOT / "pyproject.toml", "x.toml"))
    recorder.end("finished")
    recorders.clear()
    index = tmp_path / "state/tracking-hooks/runs"
    assert list(index.rglob("*.json"))
    for folder in (recorder.folder.path, index):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert modes(folder) == {0o600}, folder
    assert (save_dir / layout.POINTER).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(bool(users.missing()), reason=users.missing())
def test_another_user_cannot_read_a_run():
    with tempfile.TemporaryDirectory() as folder:  # unlike those of pytest, one that everybody may enter
        Path(folder).chmod(0o755)
        save_dir = Path(folder) / "project/train"
        run = runs.write_run(sample_run(save_dir), recorded_run(save_dir, epochs=1))

        def ask(*command):
            done = subprocess.run(users.as_other(command), capture_output=True, text=True, check=False)
            return done.stdout + done.stderr

        assert run.uid in ask("ls", str(run.path.parent)), "else this shows nothing"
        assert "Permission denied" in ask("ls", str(run.path))
        assert "Permission denied" in ask("cat", str(run.journal))
        assert "Permission denied" in ask("cat", str(save_dir / layout.POINTER))


# -- secrets --------------------------------------------------------------------------------------------------


def test_credentials_of_the_environment_are_in_no_file_of_a_run(run, tmp_path):
    sync(tmp_path, TRACKING_HOOKS="mine:Mine", MLFLOW_TRACKING_PASSWORD="of-nobodys-business-7")
    for path in (path for path in run.path.rglob("*") if path.is_file()):
        assert b"of-nobodys-business-7" not in path.read_bytes(), path


def test_a_vulnerability_is_reported_where_github_takes_it_and_to_no_address():
    assert "*Report a vulnerability*" in TEXT
    assert not re.search(r"[\w.]+@[\w.]+", TEXT)


def test_what_is_written_at_a_call_of_status_is_nothing(run, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    assert CliRunner().invoke(main, ["status", str(tmp_path / "project")]).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
