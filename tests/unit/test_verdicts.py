"""A plugin that could be used is not waited for again, as long as nothing has changed that it was loaded from."""

import logging
import os
import stat
import subprocess
import sys
import time
import zipfile

import msgspec
import pytest

from tracking_hooks import plugins
from tracking_hooks.delivery.reads import variables_read
from tracking_hooks.recording.folders import new_uid
from tracking_hooks.recording.process import recorders
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import verdicts
from tracking_hooks.settings import ConfigurationError, Settings
from tracking_hooks.testing import sample_run

PLUGIN = """
import os, time
from pathlib import Path
from tracking_hooks import hookimpl

FOLDER = Path(__file__).parent
while (FOLDER / "closed").exists():
    time.sleep(0.01)
if (FOLDER / "revoked").exists():
    raise ImportError("the licence was revoked")
if (FOLDER / "deadly").exists():
    os._exit(3)

class Plugin:
    @hookimpl
    def on_run_start(self, run):
        (FOLDER / "delivered").write_text(run.uid)
"""


@pytest.fixture
def plugin(tmp_path, importable):
    """The folder of a plugin that is loaded as files there say, and that asks for none of them in its imports."""
    folder = tmp_path / "code"
    folder.mkdir()
    importable(folder)
    (folder / "my_tracker.py").write_text(PLUGIN)
    return folder


@pytest.fixture
def cached(tmp_path):
    """The verdicts that are remembered."""
    return lambda: [*(tmp_path / "cache" / "tracking-hooks" / "verdicts").glob("*.json")]


@pytest.fixture
def train(tmp_path, environment, caplog):
    """Start a training, up to its first epoch; it is ended and its relay awaited."""
    caplog.set_level(logging.INFO)
    started = []

    def begin(name="my_tracker:Plugin", **settings):
        save_dir = tmp_path / "project" / f"train{len(started)}"
        save_dir.mkdir(parents=True)
        run = msgspec.structs.replace(sample_run(save_dir), uid=new_uid())
        captures = plugins.capture(plugins.load_trainer_sides([name]), run)
        settings = Settings(system_every=0.0, console="off", **settings)
        started.append(
            Recorder.start(run, captures, settings, logging.getLogger("host"), params={}, environment=environment)
        )
        started[-1].check()
        started[-1].begin(params={}, environment=environment)
        return started[-1]

    yield begin
    for one in started:
        one.end("finished")
        for process in one.supervisor.processes.values():
            process.wait(60)
    recorders.clear()


@pytest.fixture
def known(train, cached, until):
    """Train once, with a plugin that can be used."""

    def once(name="my_tracker:Plugin", **settings):
        before = len(cached())
        train(name, **settings).end("finished")
        until(lambda: len(cached()) > before, "the verdict to be remembered")

    return once


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_second_training_does_not_wait_until_the_plugin_is_loaded(plugin, train, known, until, caplog, mode):
    known(mode=mode)
    (plugin / "delivered").unlink(missing_ok=True)
    (plugin / "closed").touch()
    second = train(mode=mode)  # the plugin cannot be loaded before the next line but one
    assert second.is_recording
    (plugin / "closed").unlink()
    second.end("finished")
    assert second.supervisor.processes["my_tracker:Plugin"].wait(60) == 0
    assert (plugin / "delivered").exists() == (mode == "online")
    assert said(caplog) == []


def test_it_waits_again_after_the_file_of_the_plugin_was_changed(plugin, train, known):
    known()
    with (plugin / "my_tracker.py").open("a") as file:
        file.write("raise ImportError('half a line was typed')\n")
    with pytest.raises(ConfigurationError, match="half a line was typed"):
        train()


# -- the installation is broken between two trainings ---------------------------------------------------------


@pytest.fixture
def client(plugin, tmp_path, importable, known):
    """The package of a tracker's client, which worked in the first training."""
    module = plugin / "my_tracker.py"
    module.write_text(module.read_text() + "\nfrom acme_client.core import connect\n")
    folder = tmp_path / "site" / "acme_client"
    (folder.parent / "acme_client-1.0.dist-info").mkdir(parents=True)
    (folder.parent / "acme_client-1.0.dist-info" / "METADATA").write_text("Name: acme-client\nVersion: 1.0\n")
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "core.py").write_text("def connect(): pass\n")
    importable(folder.parent)
    known()
    return folder


def test_it_is_noticed_that_pip_has_installed_another_version_of_the_tracker(client, train, tmp_path):
    wheel, info = tmp_path / "acme_client-2.0-py3-none-any.whl", "acme_client-2.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("acme_client/core.py", "def connected(): pass\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: acme-client\nVersion: 2.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]
    subprocess.run([*command, "--upgrade", "--target", client.parent, wheel], check=True, capture_output=True)
    with pytest.raises(ConfigurationError, match=r"cannot import name 'connect' from 'acme_client\.core'"):
        train()


def test_it_is_noticed_that_a_file_of_the_tracker_is_gone(client, train):
    (client / "core.py").unlink()
    with pytest.raises(ConfigurationError, match=r"No module named 'acme_client\.core'"):
        train()


def test_it_is_noticed_that_a_file_of_the_tracker_was_replaced_by_one_of_the_same_size_and_time(client, train):
    core = client / "core.py"
    times = core.stat().st_atime_ns, core.stat().st_mtime_ns
    core.write_text(core.read_text().replace("connect", "content"))
    os.utime(core, ns=times)
    for compiled in client.glob("__pycache__/core.*"):
        compiled.unlink()  # Python itself goes by size and time
    with pytest.raises(ConfigurationError, match="cannot import name 'connect'"):
        train()


def test_the_training_waits_after_something_else_was_installed_beside_the_tracker(client, plugin, train):
    (client.parent / "acme_extra-1.0.dist-info").mkdir()
    (plugin / "revoked").touch()
    with pytest.raises(ConfigurationError, match="the licence was revoked"):
        train()


# -- what else a verdict depends on ---------------------------------------------------------------------------


def test_a_setting_that_the_plugin_refuses_still_stops_the_training(plugin, train, known, monkeypatch):
    module = plugin / "my_tracker.py"
    refusing = (
        "    def __init__(self):\n        if os.environ.get('ACME_URL') == 'nonsense': raise ValueError('no URL')\n"
    )
    module.write_text(module.read_text() + refusing)
    monkeypatch.setenv("ACME_URL", "https://acme.example")
    known()
    monkeypatch.setenv("ACME_URL", "nonsense")
    with pytest.raises(ConfigurationError, match="no URL"):
        train()


def test_a_variable_that_the_plugin_does_not_read_is_no_reason_to_wait(plugin, train, known, monkeypatch):
    module = plugin / "my_tracker.py"
    module.write_text(module.read_text() + "\nread = {**os.environ}, os.environ.get('_ACME_SESSION')\n")
    known()
    (plugin / "closed").touch()
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("_ACME_SESSION", "4712")
    assert train().is_recording
    (plugin / "closed").unlink()


@pytest.mark.parametrize(
    "how", ["os.environ.get(NAME)", "os.getenv(NAME)", "NAME in os.environ", "os.environb.get(b'ACME_URL')"]
)
def test_what_is_asked_for_is_noted_whether_or_not_it_is_set(how, monkeypatch):
    code = compile(f"import os; NAME = 'ACME_URL'; {how}", "<plugin>", "exec")
    for prepare in (lambda: monkeypatch.delenv("ACME_URL", raising=False), lambda: monkeypatch.setenv("ACME_URL", "x")):
        prepare()
        with variables_read() as names:
            exec(code)
        assert names == {"ACME_URL"}
    os.environ.get("BEHIND_THAT")
    assert names == {"ACME_URL"}


def test_what_is_asked_for_in_the_middle_of_a_copy_is_noted():
    with variables_read() as names:
        copies = [dict(os.environ), os.environ.copy(), {**os.environ}, dict(os.environ.items())]
        for _ in os.environ:
            os.environ.get("ACME_URL")
            break
        os.environ.get("ACME_TOKEN")
    assert copies == [dict(os.environ)] * 4
    assert names == {"ACME_URL", "ACME_TOKEN"}


def test_a_variable_is_noted_under_the_name_by_which_the_system_knows_it(monkeypatch):
    """Windows has them in capitals, however they are asked for."""
    monkeypatch.setattr(os.environ, "encodekey", lambda name: name.upper().encode())
    with variables_read() as names:
        assert "acme_url" not in os.environ
    assert names == {"ACME_URL"}


# -- what was remembered and is not true ----------------------------------------------------------------------


def test_a_later_refusal_is_said_and_the_next_training_is_stopped(plugin, train, known, until, cached, caplog):
    known()
    (plugin / "closed").touch()
    (plugin / "revoked").touch()
    second = train()
    second.look_after_relays()
    assert said(caplog) == []
    (plugin / "closed").unlink()
    until(lambda: second.supervisor.processes["my_tracker:Plugin"].poll() is not None, "the refusal")
    for _ in range(2):
        second.look_after_relays()
    (sentence,) = said(caplog)
    assert sentence.startswith("tracking-hooks: my_tracker:Plugin gets nothing, recording continues: ")
    assert "the licence was revoked" in sentence
    assert second.is_recording
    assert cached() == []
    second.end("finished")
    (line,) = second.supervisor.outcome()
    assert "2 of 2 events are not delivered yet: " in line
    assert "the licence was revoked" in line
    with pytest.raises(ConfigurationError, match="the licence was revoked"):
        train()


def test_a_plugin_that_ends_its_process_is_forgotten_too(plugin, train, known, until, cached):
    known()
    (plugin / "deadly").touch()
    second = train()
    until(lambda: [second.look_after_relays(), not cached()][1], "the end of the process to be noticed")
    with pytest.raises(ConfigurationError, match="ended with exit code 3 while it was being loaded"):
        train()


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "new"])
def test_a_relay_that_is_killed_while_it_loads_the_plugin_ends_no_training(
    plugin, train, known, until, cached, monkeypatch, is_known
):
    if is_known:
        known()
    else:
        monkeypatch.setattr("tracking_hooks.recording.recorder.Recorder.check", lambda _: None)
    (plugin / "closed").touch()
    second = train()
    (relay,) = second.supervisor.processes.values()
    relay.kill()
    relay.wait()
    assert [is_fatal for _, is_fatal in second.supervisor.verdicts() if is_fatal] == []
    assert list(second.supervisor.faults()) == []
    assert len(cached()) == is_known
    (plugin / "closed").unlink()
    (plugin / "delivered").unlink(missing_ok=True)
    second.look_after_relays()
    until((plugin / "delivered").exists, "the delivery by the next relay")


# -- the cache ------------------------------------------------------------------------------------------------


@pytest.fixture
def place():
    """Where a verdict is remembered."""
    return verdicts.place("acme", sys.path)


def test_a_file_that_was_changed_since_the_plugin_was_asked_for_is_not_trusted(place, plugin, importable):
    import my_tracker  # noqa: F401 it counts as loaded here

    verdicts.note(place, time.time(), os.environ, [])
    assert verdicts.holds(place)
    asked = time.time() - 60
    verdicts.note(place, asked, os.environ, [])
    assert not place.exists()


NOTHING = b'{"files":{},"distributions":{},"variables":[],"values":"ab"}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\xff\x00",
        b'{"files":{"/":{"a":1}},"distributions":{}}',
        b"[" * 100_000,
        NOTHING.replace(b'"distributions":{}', b'"distributions":{"/\\u0000":[]}'),
        NOTHING.replace(b'"files":{}', b'"files":{"/\\u0000":{"a":[1,2,3]}}'),
        NOTHING.replace(b'"variables":[]', b'"variables":["\\ud800"]'),
    ],
)
def test_a_damaged_cache_is_no_cache(place, content, monkeypatch):
    monkeypatch.setattr(verdicts, "_digest", lambda *_: "ab") if b"u0000" in content else None
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    assert not verdicts.holds(place)


@pytest.mark.parametrize("where", ["a file", "nowhere"])
def test_where_no_cache_can_be_kept_each_training_waits(plugin, train, monkeypatch, tmp_path, where, caplog):
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file") if where == "a file" else os.devnull)
    train().end("finished")
    train().end("finished")
    (plugin / "revoked").touch()
    with pytest.raises(ConfigurationError, match="the licence was revoked"):
        train()
    assert said(caplog) == []


def test_the_oldest_verdicts_make_room(place, cached):
    verdicts.note(place, time.time(), os.environ, [])
    for age in range(1, 100):
        other = verdicts.place(f"other{age}", sys.path)
        other.write_text("{}")
        os.utime(other, (time.time() - age,) * 2)
    verdicts.note(place, time.time(), os.environ, [])
    assert len(cached()) == verdicts._MOST
    assert verdicts.holds(place)
    assert verdicts.place("other1", sys.path).exists()
    assert not verdicts.place("other99", sys.path).exists()


def test_it_holds_no_value_of_a_variable_and_is_its_owners_alone(plugin, known, cached, monkeypatch):
    monkeypatch.setenv("ACME_TOKEN", "correct-horse-battery")
    module = plugin / "my_tracker.py"
    module.write_text(module.read_text() + "\ntoken = os.environ['ACME_TOKEN']\n")
    known()
    (file,) = cached()
    assert "correct-horse" not in f"{file} {file.read_text()}"
    assert all(word in file.read_text() for word in ("my_tracker.py", "ACME_TOKEN"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_processes_that_remember_and_look_up_at_the_same_time_do_not_meet(place):
    code = (
        "import os, sys, time; from pathlib import Path; from tracking_hooks.run import verdicts\n"
        "place, asked = Path(sys.argv[1]), time.time()\n"
        "for _ in range(50):\n"
        "    verdicts.note(place, asked, os.environ, [])\n"
        "    assert verdicts.holds(place)\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(place)]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert [file.name for file in place.parent.iterdir()] == [place.name]
