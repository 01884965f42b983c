"""Systems and accounts that are not as the developer's."""

import logging
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support import accounts
from tests.support.accounts import Account
from tracking_hooks.recording import process
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import commands, journal, layout, liveness, portable
from tracking_hooks.run.layout import FOLDER, RunFolder
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run, sample_run

TRAIN = """
import logging, os, sys
from pathlib import Path
import msgspec
from tracking_hooks.events import Plan
from tracking_hooks.recording.tracking import Tracking
from tracking_hooks.testing import sample_run
logging.basicConfig(level=logging.INFO, format="%(message)s")
def train(save_dir):
    save_dir.mkdir(parents=True, exist_ok=True)
    run = msgspec.structs.replace(sample_run(save_dir), uid=f"20251009-085320-{save_dir.name}")
    tracking = Tracking.of(run, logging.getLogger())
    recorder = tracking.start({}, Plan())
    recorder.check()
    recorder.begin(params={}, environment=tracking.environment)
    recorder.end("finished")
"""


@pytest.fixture
def start(tmp_path, installed):
    """Begin to record a run that nothing is delivered of."""
    begun = []

    def start(name="train"):
        save_dir = tmp_path / "project" / name
        save_dir.mkdir(parents=True)
        run = sample_run(save_dir)
        environment = recorded_run(tmp_path / "some-machine")[0].args["environment"]
        one = Recorder.start(
            run, {}, Settings(mode="offline"), logging.getLogger(name), params={}, environment=environment
        )
        begun.append(one)
        return one

    yield start
    for one in begun:
        one.end("finished")
        process.forget(one)


# -- Windows --------------------------------------------------------------------------------------------------


def test_every_file_that_is_written_byte_by_byte_is_opened_for_bytes(monkeypatch, start):
    """Or Windows would put a carriage return before each line feed, and no checksum would fit."""
    flags, binary = {}, 1 << 30
    system = os.open

    def opened(path, flag, mode=0o777, **more):
        flags[Path(path).name] = flag & binary
        return system(path, flag & ~binary, mode, **more)

    monkeypatch.setattr(portable, "_BINARY", binary)
    monkeypatch.setattr(os, "open", opened)
    recorder = start()
    commands.send(recorder.folder.commands, commands.Command(plugin="x", action=_stop()))
    recorder.end("finished")
    monkeypatch.undo()
    assert {"journal.jsonl", "commands.jsonl", "console.log", "trainer.lock"} <= {
        name for name, on in flags.items() if on
    }


def _stop():
    from tracking_hooks.events import Stop

    return Stop(reason="")


def test_on_windows_a_file_is_replaced_as_soon_as_nobody_reads_it(monkeypatch, tmp_path):
    refused = []
    replace = Path.replace

    def busy(path, target):
        if len(refused) < 3:
            refused.append(path)
            raise PermissionError(13, "Access is denied")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(PermissionError):
        layout.write_json(tmp_path / "x.json", layout.AsideFile())  # here it is a reason to fail
    monkeypatch.setattr(sys, "platform", "win32")
    layout.write_json(tmp_path / "x.json", layout.AsideFile())
    assert len(refused) == 3
    assert layout.read_json(tmp_path / "x.json", layout.AsideFile) is not None


def test_on_windows_a_file_that_stays_in_use_is_a_reason_to_fail(monkeypatch, tmp_path):
    def refuse(*_):
        raise PermissionError(13, "Access is denied")

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(portable, "_PATIENCE", 0.05)
    with pytest.raises(PermissionError):
        layout.write_json(tmp_path / "x.json", layout.AsideFile())


# -- macOS ----------------------------------------------------------------------------------------------------


def test_on_macos_the_boot_is_told_by_its_session_and_not_by_a_time_that_moves(monkeypatch):
    class System:
        def sysctlbyname(self, name, buffer, *_):
            assert name == b"kern.bootsessionuuid"
            buffer.value = b"6E1C9A1F-0000-4B8D-9A3C-2F6C41D1B0AA"
            return 0

    import ctypes

    monkeypatch.setattr(ctypes, "CDLL", lambda _: System())
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(Path, "read_text", _no_proc)
    liveness.this_boot.cache_clear()
    try:
        assert liveness.this_boot() == "6E1C9A1F-0000-4B8D-9A3C-2F6C41D1B0AA"
    finally:
        liveness.this_boot.cache_clear()


def _no_proc(*_, **__):
    raise FileNotFoundError


# -- accounts -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(bool(accounts.CANNOT), reason=accounts.CANNOT)
@pytest.mark.parametrize("home", ["none at all", "one that cannot be written"])
def test_a_user_without_a_home_is_tracked_and_told_in_one_sentence(home, installed):
    import tempfile

    shared = Path(tempfile.mkdtemp(prefix="tracking-hooks-shared-"))
    shared.chmod(0o755)
    try:
        nobody = Account(54321, shared)  # an id that no line of /etc/passwd names
        script = TRAIN + (
            "os.environ['TRACKING_HOOKS'] = 'notes'\n"
            "if sys.argv[2] == 'none at all':\n"
            "    del os.environ['HOME'], os.environ['XDG_STATE_HOME']\n"
            "    os.environ.pop('USER', None), os.environ.pop('LOGNAME', None)\n"
            "else:\n"
            "    os.environ['HOME'] = os.environ['XDG_STATE_HOME'] = '/proc'\n"
            "train(Path(sys.argv[1]))\n"
            "print('trained')\n"
        )
        said = nobody.run(script, nobody.home / "project/train", home)
        assert "notes: all 3 events delivered" in said
        lines = [line for line in said.splitlines() if "list of your runs" in line]
        assert len(lines) == 1
        assert f"tracking-hooks sync {nobody.home / 'project' / FOLDER}" in lines[0]
        assert "Traceback" not in said
        assert not list(nobody.home.rglob("~")), "no folder of that name"
        if home == "none at all":
            assert "this user has no home folder: set HOME" in lines[0]
            drop = "del os.environ['HOME'], os.environ['XDG_STATE_HOME']\n"
            command = drop + "from tracking_hooks.cli import main; main()"
            assert "finished" in nobody.run(command, "status", nobody.home / "project")
            assert "No runs of this user" in nobody.run(command, "status")
            assert "Nothing is pending" in nobody.run(command, "sync")
    finally:
        shutil.rmtree(shared)


# -- the working directory ------------------------------------------------------------------------------------

GONE = """
folder = Path(sys.argv[1])
folder.mkdir()
os.chdir(folder)
folder.rmdir()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there it cannot be deleted")
def test_a_training_whose_working_directory_was_deleted_is_tracked(python, tmp_path, installed):
    script = TRAIN + GONE + "train(Path(sys.argv[2]))\n"
    done = python(script, tmp_path / "gone", tmp_path / "project/train", TRACKING_HOOKS="notes")
    assert "notes: all 3 events delivered" in done.stderr
    (folder,) = layout.find_runs(tmp_path / "project")
    start = next(call for call in _calls(folder) if call.hook == "on_run_start")
    assert start.args["environment"].cwd == tmp_path / "gone"


def test_a_relay_has_a_working_directory_also_where_its_training_has_none(python, tmp_path, make_plugin):
    plugin = make_plugin(
        """
        class Plugin:
            @hookimpl
            def on_run_start(self, run):
                (run.save_dir / "where").write_text(os.getcwd())
        """
    )
    script = TRAIN + GONE + "train(Path(sys.argv[2]))\n"
    path = os.pathsep.join([str(tmp_path / "code"), os.environ["PYTHONPATH"]])
    python(script, tmp_path / "gone", tmp_path / "project/train", TRACKING_HOOKS=plugin, PYTHONPATH=path)
    assert Path((tmp_path / "project/train/where").read_text()).is_relative_to(tmp_path / "project" / FOLDER)


@pytest.mark.parametrize("command", ["status", "sync", "prune"])
def test_every_command_works_where_the_working_directory_was_deleted(python, tmp_path, record_run, installed, command):
    run = record_run("notes")
    script = "import os, sys\nfrom pathlib import Path\n" + GONE
    script += "sys.argv[1:] = sys.argv[2:]\nfrom tracking_hooks.cli import main; main()\n"
    assert run.folder.uid in python(script, tmp_path / "gone", command, tmp_path / "project").stdout


def test_a_command_is_run_where_the_working_directory_was_deleted(python, tmp_path, installed):
    script = "import os, sys\nfrom pathlib import Path\n" + GONE
    script += "sys.argv[1:] = ['run', '--', sys.executable, '-c', 'print(1)']\n"
    script += "from tracking_hooks.cli import main; main()\n"
    # With a relative folder in it, Python itself would not start there.
    path = os.pathsep.join(filter(os.path.isabs, os.environ["PYTHONPATH"].split(os.pathsep)))
    done = python(script, tmp_path / "gone", PYTHONPATH=path)
    assert done.stdout == "1\n"
    assert done.stderr == ""


def _calls(folder: RunFolder):
    _, offset = journal.read_head(folder.journal)
    return [entry.call for entry in journal.read(folder.journal, offset) if entry.call]


# -- the end of the process -----------------------------------------------------------------------------------


def test_a_log_whose_stream_is_closed_by_then_is_no_traceback_at_exit(python, tmp_path, installed):
    """As pytest does with the streams that it has put in the place of the terminal's."""
    script = TRAIN + (
        "import io\n"
        "stream = io.StringIO()\n"
        "handler = logging.StreamHandler(stream)\n"
        "logging.getLogger().handlers = [handler]\n"
        "train(Path(sys.argv[1]))\n"
        "stream.close()\n"
    )
    done = python(script, tmp_path / "project/train", TRACKING_HOOKS="notes")
    assert done.stderr == ""
    assert (tmp_path / "project/train/notes").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="zombies are counted in /proc")
def test_a_process_that_trains_many_times_keeps_no_zombie_of_a_relay(tmp_path, python, installed):
    script = TRAIN + (
        "import psutil, time\n"
        "from tracking_hooks.recording import process\n"
        "most = 0\n"
        "for number in range(4):\n"
        "    train(Path(sys.argv[1]) / str(number))\n"
        "    here = process.recorders[-1].supervisor\n"
        "    while not here.are_done():\n"
        "        time.sleep(0.01)\n"
        "    relay = psutil.Process(here.processes['notes'].pid)\n"
        "    while relay.status() != psutil.STATUS_ZOMBIE:\n"
        "        time.sleep(0.01)\n"
        "    children = psutil.Process().children()\n"
        "    most = max(most, sum(child.status() == psutil.STATUS_ZOMBIE for child in children))\n"
        "print(most)\n"
    )
    assert python(script, tmp_path / "project", TRACKING_HOOKS="notes").stdout == "1\n"
