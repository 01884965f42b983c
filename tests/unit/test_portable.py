"""Systems and accounts that are not as the developer's."""

import logging
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import accounts
from tests.support.accounts import Account
from tracking_hooks.delivery.spawn import relay_path
from tracking_hooks.recording import process
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import commands, journal, layout, liveness, portable
from tracking_hooks.run.layout import FOLDER, RunFolder
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run, sample_run

TRAIN = """
import logging, os, sys
from pathlib import Path
from types import SimpleNamespace
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


def test_on_windows_a_relay_has_a_console_of_its_own_since_ctrl_c_goes_to_all_that_share_one(monkeypatch):
    assert portable.apart() == {"start_new_session": True}
    monkeypatch.setattr(sys, "platform", "win32")
    assert portable.apart() == {"creationflags": 0x08000000}, "CREATE_NO_WINDOW"


def test_in_a_virtual_environment_of_windows_the_id_of_a_relay_is_that_of_the_process_that_delivers(monkeypatch):
    """There, ``python.exe`` is a launcher: what a relay says of itself would never be found to be its own."""
    monkeypatch.setattr(sys, "_base_executable", "C:\\Python\\python.exe")
    assert portable.as_this_python() == {}
    monkeypatch.setattr(sys, "platform", "win32")
    how = portable.as_this_python()
    assert how["executable"] == "C:\\Python\\python.exe"
    assert how["env"] == {**os.environ, "__PYVENV_LAUNCHER__": sys.executable}
    monkeypatch.setattr(sys, "_base_executable", sys.executable)
    assert portable.as_this_python() == {}, "it is in no virtual environment"


def test_on_windows_a_user_without_a_name_is_none_to_name(monkeypatch):
    def unknown():
        raise ImportError("No module named 'pwd'")

    monkeypatch.setattr("getpass.getuser", unknown)
    assert portable.user_name() == ""


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


@pytest.mark.parametrize("variable", [{"PYTHONDEVMODE": "1"}, {"PYTHONWARNINGS": "error::ResourceWarning"}])
def test_nothing_is_warned_of_where_a_relay_goes_on_behind_the_process(python, tmp_path, make_plugin, variable):
    """As `python -X dev` does, and pytest where warnings are errors; nor in a process that was forked."""
    plugin = make_plugin(
        """
        import time
        class Plugin:
            @hookimpl
            def on_run_end(self, run):
                while not (run.save_dir.parent / "go on").exists():
                    time.sleep(0.02)
        """
    )
    script = TRAIN + (
        "train(Path(sys.argv[1]))\n"
        "if hasattr(os, 'fork'):\n"
        "    if pid := os.fork():\n"
        "        os.waitpid(pid, 0)\n"
        "    else:\n"
        "        sys.exit()\n"
    )
    path = os.pathsep.join([str(tmp_path / "code"), os.environ["PYTHONPATH"]])
    settings = {"TRACKING_HOOKS": plugin, "TRACKING_HOOKS_EXIT_WAIT": "0", "PYTHONPATH": path}
    done = python(script, tmp_path / "project/train", **settings, **variable)
    (tmp_path / "project/go on").touch()
    assert "in the background" in done.stderr, "the relay was still at work"
    warned = [line for line in done.stderr.splitlines() if "Warning" in line and "os.fork" not in line]
    assert not warned  # Python itself warns of a fork beside threads


# -- closed streams -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [1, 2])
def test_what_a_library_prints_to_a_closed_stream_gets_into_no_file_of_a_run(python, tmp_path, stream):
    """After `2>&-` the next file that is opened has the number of standard error, where libjpeg prints its warnings."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from tracking_hooks.run import portable\n"
        "stream = int(sys.argv[2])\n"
        "os.close(stream)\n"
        "file = portable.append_to(Path(sys.argv[1]))\n"
        "try:\n"
        "    os.write(stream, b'Corrupt JPEG data')\n"
        "except OSError:\n"
        "    pass\n"
        "os.write(file, b'ours')\n"
        "assert not os.get_inheritable(file)\n"
    )
    python(script, tmp_path / "file", stream)
    assert (tmp_path / "file").read_text() == "ours"


def test_a_debugger_does_not_follow_into_a_relay(python, tmp_path, make_plugin):
    """As that of VS Code follows into each Python process: a breakpoint, or its end, would stop the delivery."""
    pytest.importorskip("debugpy")
    plugin = make_plugin(
        """
        class Plugin:
            @hookimpl
            def on_run_start(self, run):
                (run.save_dir / "debugged").write_text(str("pydevd" in sys.modules))
        """
    )
    script = TRAIN + "import debugpy\ndebugpy.listen(('127.0.0.1', 0))\ntrain(Path(sys.argv[1]))\n"
    path = os.pathsep.join([str(tmp_path / "code"), os.environ["PYTHONPATH"]])
    python(script, tmp_path / "project/train", TRACKING_HOOKS=plugin, PYTHONPATH=path)
    assert (tmp_path / "project/train/debugged").read_text() == "False"


# -- the path of a relay --------------------------------------------------------------------------------------


def test_an_application_in_a_zip_shadows_no_module_of_a_relay(monkeypatch, tmp_path):
    """As `python app.zip`: its modules may be called like those of the standard library, or like a tracker."""
    application, package = tmp_path / "app.zip", str(tmp_path / "pyspark.zip")
    monkeypatch.setattr(sys, "path", [str(application), package, *sys.path])
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__file__=str(application / "__main__.py")))
    path = relay_path()
    assert path.index(str(application)) > path.index(package) > path.index(sysconfig.get_path("stdlib"))


# -- a folder that does not stay ------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", ["", "prefix='mine-'"])
def test_a_training_in_a_temporary_folder_is_delivered_although_that_is_removed_behind_it(
    python, tmp_path, make_plugin, arguments
):
    plugin = make_plugin(
        """
        import time
        class Plugin:
            @hookimpl
            def on_run_end(self, run):
                while run.save_dir.exists():
                    time.sleep(0.02)
                Path(__file__).with_name("delivered").touch()
        """
    )
    script = TRAIN + (
        "import tempfile\n"
        f"with tempfile.TemporaryDirectory({arguments}) as folder:\n"
        "    train(Path(folder) / 'runs/train')\n"
        "    assert not list(Path(folder).rglob('journal.jsonl'))\n"
    )
    path = os.pathsep.join([str(tmp_path / "code"), os.environ["PYTHONPATH"]])
    done = python(script, TRACKING_HOOKS=plugin, PYTHONPATH=path)
    assert "all 3 events delivered" in done.stderr
    assert (tmp_path / "code/delivered").exists()


def test_a_training_whose_trackers_are_in_its_temporary_folder_goes_with_it_without_a_word(
    python, tmp_path, make_plugin
):
    """As with TensorBoard alone: in the user's own folder, the run would wait for ever for what is gone."""
    plugin = make_plugin(
        """
        import time
        class Plugin:
            @hookimpl
            def on_run_end(self, run):
                while run.save_dir.exists():
                    time.sleep(0.02)
                raise Unavailable("the folder is gone")
        """
    )
    script = TRAIN + (
        "import atexit, tempfile\n"
        "from tracking_hooks import plugins\n"
        "from tracking_hooks.events import Capture\n"
        "plugins.capture = lambda sides, run, _: {os.environ['TRACKING_HOOKS']: Capture(\n"
        "    destination={}, place=run.save_dir.as_uri()\n"
        ")}\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    train(Path(folder) / 'runs/train')\n"
        "    assert list(Path(folder).rglob('journal.jsonl'))\n"
        "atexit._run_exitfuncs()\n"
        "assert not Path(folder).exists()\n"
    )
    path = os.pathsep.join([str(tmp_path / "code"), os.environ["PYTHONPATH"]])
    done = python(script, TRACKING_HOOKS=plugin, PYTHONPATH=path)
    (start,) = [line for line in done.stderr.splitlines() if "tracking-hooks" in line]
    assert "tracking run" in start
    assert not layout.find_runs(tmp_path)
