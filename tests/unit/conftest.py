import importlib
import os
import subprocess
import sys
import uuid
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest
from click.testing import CliRunner

from tests.support import runs
from tests.support.processes import wait_for
from tracking_hooks import redact
from tracking_hooks.cli import main
from tracking_hooks.delivery.relay import Relay
from tracking_hooks.events import Environment
from tracking_hooks.recording import addenda, process
from tracking_hooks.run import filesystems
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import RunFolder, write_json
from tracking_hooks.run.liveness import Heart, Holder
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run, sample_run

INSTALLED = Path(__file__).parent / "installed"
PLUGIN = """
import os, signal, sys, threading
from pathlib import Path
from demo_trackers import Notes
from tracking_hooks import Rejected, Unavailable, hookimpl
"""


@pytest.fixture(autouse=True)
def _nothing_of_the_user(monkeypatch, tmp_path):
    """No test reads or writes the real home, the repository, or the variables of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("TRACKING_HOOKS")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(redact, "_learnt", {})
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("WIN_PD_OVERRIDE_LOCAL_APPDATA", str(tmp_path / "state"))  # what platformdirs takes on Windows
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


@pytest.fixture(autouse=True)
def _no_run_outlasts_its_test(monkeypatch):
    """What a test adds to a run is closed behind it, and the next one finds no run in this process."""
    monkeypatch.setattr(addenda, "_complaints", {})
    monkeypatch.setattr(process, "launched", None)
    yield
    process.recorders.clear()
    for addendum in process.addenda:
        addendum.close()
        addendum.supervisor.stop()
    process.addenda.clear()


@pytest.fixture
def installed(monkeypatch, importable):
    """Install the distribution ``demo-trackers``, here and in child processes."""
    importable(INSTALLED)
    monkeypatch.setenv("PYTHONPATH", str(INSTALLED), prepend=os.pathsep)


@pytest.fixture
def install(importable, tmp_path):
    """Install one more distribution, ``other-trackers``, with these entry points."""

    def install(points):
        metadata = tmp_path / "site" / "other_trackers-2.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other-trackers\nVersion: 2.0\n")
        (metadata / "entry_points.txt").write_text(points)
        importable(tmp_path / "site")

    return install


@pytest.fixture
def make_plugin(installed, importable, tmp_path):
    """Write a module with a class ``Plugin``; return the name by which ``TRACKING_HOOKS`` takes it."""
    folder = tmp_path / "code"
    folder.mkdir()
    importable(folder)

    def make(body):
        module = f"plugin_{uuid.uuid4().hex}"
        (folder / f"{module}.py").write_text(PLUGIN + dedent(body))
        importlib.invalidate_caches()
        return f"{module}:Plugin"

    return make


class RecordedRun:
    """A run on disk, whose training process is gone."""

    def __init__(self, folder: RunFolder, save_dir: Path, notes: Path) -> None:
        self.folder = folder
        self.save_dir = save_dir
        self.notes = notes

    def append(self, calls) -> None:
        runs.append(self.folder.journal, calls)

    def relay(self, plugin: str, *, drain: bool = False, **settings) -> int:
        """Run a relay in this process; return its exit code."""
        return Relay(self.folder, plugin, Settings(**settings), drain=drain).run()

    def cursor(self, plugin: str):
        return self.folder.relay(plugin).read_cursor()

    def calls(self) -> list[Call]:
        return runs.read_calls(self.folder.journal)

    def noted(self) -> list[int]:
        """The events that reached a ``Notes`` plugin."""
        return [int(line.split()[0]) for line in self.notes.read_text().splitlines()] if self.notes.exists() else []

    def set_aside(self, plugin: str) -> dict[int, str]:
        """Event to the reason why it was set aside."""
        return {event.seq: event.reason for event in self.folder.relay(plugin).read_aside()}


@pytest.fixture
def record_run(tmp_path):
    """Put a run on disk: by default the whole of ``recorded_run``."""

    def record(*plugins, calls=None, name="train", destination=None, **head) -> RecordedRun:
        save_dir = tmp_path / "project" / name
        whole = recorded_run(save_dir)
        run = msgspec.structs.replace(sample_run(save_dir), uid=f"20251009-085320-{name}")
        notes = tmp_path / f"notes-{name}"
        destinations = {plugin: destination or {"file": str(notes)} for plugin in plugins}
        folder = runs.write_run(run, whole if calls is None else calls, destinations, **head)
        return RecordedRun(folder, save_dir, notes)

    return record


@pytest.fixture
def environment(tmp_path) -> Environment:
    """A description of some machine."""
    return recorded_run(tmp_path / "some-machine")[0].args["environment"]


@pytest.fixture
def elsewhere(monkeypatch):
    """Leave a lock behind as a process of another machine has it where neither sees the other's locks."""
    monkeypatch.setattr(filesystems, "is_local", lambda _: False)

    def leave(lock, heartbeat, last_sign=0.0, host="another"):
        holder = msgspec.structs.replace(Holder.this(), host=host, boot="its own", pid=1)
        write_json(lock.with_suffix(".json"), holder)
        Heart(heartbeat).beat()
        now = heartbeat.stat().st_mtime
        os.utime(heartbeat, (now - last_sign, now - last_sign))

    return leave


@pytest.fixture
def cli():
    """Call ``tracking-hooks`` in this process."""

    def call(*arguments):
        return CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def until():
    """Wait for what another process does."""
    return wait_for


@pytest.fixture
def python():
    """Run a script in a process of its own; its exit code must be as expected (None: whatever it is)."""

    def run(script, *arguments, code=0, **variables):
        environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
        command = [sys.executable, "-c", dedent(script), *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert code in (None, done.returncode), f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    return run
