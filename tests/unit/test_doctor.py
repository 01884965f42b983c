"""What `tracking-hooks doctor` says before a training: whether it would be tracked, and if not, why."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support import runs
from tests.support.systems import posix
from tracking_hooks.cli import examination, main
from tracking_hooks.hosts.ultralytics import checkup
from tracking_hooks.run import index
from tracking_hooks.run.layout import SetAside

GOOD = "from tracking_hooks.autoload import install\ninstall()\n"
TRACKERS = """
import threading
from tracking_hooks import Capture, Unavailable, hookimpl

class Album:
    @hookimpl
    def on_run_end(self): pass

class Trainer:
    @hookimpl
    def capture(self):
        return Capture(destination={"server": "http://album:1"}, place="http://album:1")

class Answers(Trainer):
    @hookimpl
    def probe(self, destination):
        return f"{destination['server']} answers"

class Refuses(Trainer):
    @hookimpl
    def probe(self):
        raise Unavailable("album refuses access, with password open-sesame-1")

class Hangs(Trainer):
    @hookimpl
    def probe(self):
        threading.Event().wait()
"""


@pytest.fixture(autouse=True)
def torch(monkeypatch, tmp_path):
    """A PyTorch that is quick to import, with the version of the real one; return how to write another one."""
    folder = tmp_path / "torch"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(checkup, "_version", {"torch": "2.9.1", "ultralytics": "8.4.1"}.get)
    monkeypatch.setattr(examination, "LIMIT", 60.0)  # the machine may be busy

    def write(code):
        (folder / "torch.py").write_text(code)

    write(GOOD)
    return write


@pytest.fixture
def album(install, monkeypatch, tmp_path):
    """Install a plugin `album` whose trainer side is one of those above, and select it."""

    def select(trainer):
        install(f"[tracking_hooks]\nalbum = album:Album\n[tracking_hooks.trainer]\nalbum = album:{trainer}\n")
        (tmp_path / "site/album.py").write_text(TRACKERS)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
        monkeypatch.setenv("TRACKING_HOOKS", "album")

    return select


def lines(result, level):
    """The texts of one level, each with its advice."""
    mark = {"ok": "ok", "note": "-", "warning": "WARN", "problem": "FAIL"}[level]
    found, is_open = [], False
    for line in result.output.splitlines():
        if line.startswith("       ") and is_open:
            found[-1] += f" {line.strip()}"  # its rest, where the terminal is too narrow, or its advice
        elif is_open := line.startswith(f"  {mark:4} "):
            found.append(line[7:])
    return found


def test_nothing_is_selected(cli, installed):
    result = cli("doctor")
    assert result.exit_code == 1
    assert any(
        line.startswith("TRACKING_HOOKS is not set: nothing is tracked → export") for line in lines(result, "problem")
    )
    assert result.output.endswith("A training here would not be tracked: 1 problem.\n")


def test_everything_is_well(cli, album):
    album("Answers")
    result = cli("doctor")
    assert result.exit_code == 0, result.output
    assert lines(result, "problem") == []
    found = lines(result, "ok")
    assert "PyTorch 2.9.1 loads tracking-hooks" in found
    assert "Ultralytics 8.4.1" in found
    assert "TRACKING_HOOKS=album" in found
    assert "album: other-trackers 2.0 can be used" in found
    assert any(line.startswith("album: http://album:1 answers (") for line in found)
    assert "no run waits for delivery" in found
    assert result.output.endswith("A training here is tracked.\n")


@pytest.mark.parametrize("selection", ["off", "mlfow", "album;other", "1"])
def test_a_selection_that_tracks_nothing(cli, album, monkeypatch, selection):
    album("Answers")
    monkeypatch.setenv("TRACKING_HOOKS", selection)
    result = cli("doctor")
    assert result.exit_code == 1
    assert len(lines(result, "problem")) == 1


def test_what_is_set_is_said_with_where_and_what_nothing_reads_with_what_was_meant(cli, album, monkeypatch):
    album("Answers")
    Path("pyproject.toml").write_text('[tool.tracking-hooks]\ntags = "team=vision"\nlinger = 9\n')
    monkeypatch.setenv("TRACKING_HOOKS_LINGER", "20")
    monkeypatch.setenv("TRACKING_HOOKS_METIRCS", "-lr/*")
    result = cli("doctor")
    found = lines(result, "ok")
    assert "TRACKING_HOOKS_LINGER=20" in found
    assert "TRACKING_HOOKS_TAGS=team=vision (pyproject.toml)" in found
    assert lines(result, "warning") == ["TRACKING_HOOKS_METIRCS is not a setting. Did you mean TRACKING_HOOKS_METRICS?"]
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TRACKING_HOOKS_LINGER", "soon", "TRACKING_HOOKS_LINGER='soon' is not a valid value"),
        ("TRACKING_HOOKS_CONTROL", "early_stop(", "rules:"),
    ],
)
def test_a_value_that_would_end_the_training(cli, album, monkeypatch, name, value, words):
    album("Answers")
    monkeypatch.setenv(name, value)
    result = cli("doctor")
    assert result.exit_code == 1
    (problem,) = lines(result, "problem")
    assert words in problem


# -- this environment -----------------------------------------------------------------------------------------


def test_it_works_where_pytorch_cannot_be_imported(cli, album, torch):
    album("Answers")
    torch("raise OSError('libcudart.so.13: cannot open shared object file')")
    result = cli("doctor")
    assert result.exit_code == 1
    (problem,) = lines(result, "problem")
    assert problem.startswith("PyTorch 2.9.1 cannot be imported: OSError: libcudart.so.13: cannot open shared object")


@pytest.mark.parametrize(
    ("version", "variable", "why"),
    [("2.9.1", "0", "TORCH_DEVICE_BACKEND_AUTOLOAD is 0"), ("2.4.1+cpu", "1", "it is older than 2.5")],
)
def test_a_pytorch_that_does_not_load_us_is_named_with_the_way_out(
    cli, album, torch, monkeypatch, version, variable, why
):
    album("Answers")
    torch("")
    monkeypatch.setenv("TORCH_DEVICE_BACKEND_AUTOLOAD", variable)
    monkeypatch.setattr(checkup, "_version", {"torch": version, "ultralytics": "8.4.1"}.get)
    result = cli("doctor")
    assert result.exit_code == 1
    (problem,) = lines(result, "problem")
    assert problem.startswith(f"PyTorch {version} does not load tracking-hooks: {why}")
    assert "tracking-hooks run -- CMD" in problem


def test_below_our_own_command_such_a_pytorch_is_no_problem(cli, album, torch, monkeypatch):
    album("Answers")
    torch("")
    bootstrap = Path(checkup.__file__).parents[2] / "bootstrap"
    monkeypatch.setenv("PYTHONPATH", str(bootstrap), prepend=os.pathsep)
    assert cli("doctor").exit_code == 0


def test_what_is_not_installed_or_too_old(cli, album, monkeypatch):
    album("Answers")
    monkeypatch.setattr(checkup, "_version", {"ultralytics": "8.0.9"}.get)
    result = cli("doctor")
    assert result.exit_code == 1
    assert "PyTorch is not installed here" in lines(result, "problem")[0]
    assert any("Ultralytics 8.0.9 is older than" in line for line in lines(result, "warning"))


@posix("scripts that are programs")
def test_a_command_yolo_of_another_environment(cli, album, monkeypatch, tmp_path):
    album("Answers")
    yolo = tmp_path / "other/bin/yolo"
    yolo.parent.mkdir(parents=True)
    yolo.write_text("")
    yolo.chmod(0o700)
    monkeypatch.setenv("PATH", str(yolo.parent))
    (warning,) = lines(cli("doctor"), "warning")
    assert f"the command `yolo` is {yolo}, of another environment" in warning


def test_ultralytics_own_integrations_that_are_on(cli, album, monkeypatch, tmp_path):
    album("Answers")
    (tmp_path / "yolo/Ultralytics").mkdir(parents=True)
    (tmp_path / "yolo/Ultralytics/settings.json").write_text(
        '{"mlflow": true, "wandb": false, "comet": true, "hub": true}'
    )
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "yolo"))
    assert any("integrations that are on: comet, mlflow;" in line for line in lines(cli("doctor"), "note"))


def test_a_module_of_the_users_in_this_folder_breaks_no_plugin(cli, album, tmp_path, monkeypatch):
    album("Answers")
    (tmp_path / "project").mkdir()
    (tmp_path / "project/csv.py").write_text("raise RuntimeError('this is not the standard library')")
    monkeypatch.chdir(tmp_path / "project")  # a relay is started so that nothing in there stands in for another module
    assert any("album: other-trackers 2.0 can be used" in line for line in lines(cli("doctor"), "ok"))


def test_a_package_that_is_older_than_a_plugin_asks_for(cli, album, tmp_path):
    album("Answers")
    metadata = tmp_path / "site/other_trackers-2.0.dist-info/METADATA"
    metadata.write_text(metadata.read_text() + "Requires-Dist: click>=99\nRequires-Dist: nowhere-at-all\n")
    problems = lines(cli("doctor"), "problem")
    assert problems[0].startswith("other-trackers needs click>=99, and ")
    assert problems[1].startswith("other-trackers needs nowhere-at-all")


# -- trackers -------------------------------------------------------------------------------------------------


def test_a_tracker_that_refuses_is_a_problem_and_no_secret_is_told(cli, album, monkeypatch):
    album("Refuses")
    monkeypatch.setenv("ALBUM_PASSWORD", "open-sesame-1")
    result = cli("doctor")
    assert result.exit_code == 1
    assert lines(result, "problem") == ["album: album refuses access, with password [redacted]"]
    assert "album: variables that are set: ALBUM_PASSWORD" in lines(result, "note")


def test_where_trainings_are_only_recorded_a_tracker_that_is_down_is_no_problem(cli, album, monkeypatch):
    album("Refuses")
    monkeypatch.setenv("TRACKING_HOOKS_MODE", "offline")
    result = cli("doctor")
    assert result.exit_code == 0
    assert any("(offline: not needed now)" in line for line in lines(result, "note"))


def test_a_tracker_that_does_not_answer_is_not_waited_for(album, monkeypatch, python):
    album("Hangs")
    done = python(
        """
        from tracking_hooks.cli import examination, main
        examination.LIMIT = 0.1
        main(["doctor"])
        """,
        code=1,
    )
    assert "album: no answer within" in done.stdout


def test_a_plugin_that_cannot_be_asked_or_used(cli, installed, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS", "notes,unknown-hook")
    result = cli("doctor")
    assert any(line.startswith("notes: a file; this plugin cannot be asked") for line in lines(result, "note"))
    (problem,) = lines(result, "problem")
    assert problem.startswith("plugin 'unknown-hook': unknown hook 'on_epoch_ended'")


# -- runs, and how it is said ---------------------------------------------------------------------------------


def test_runs_that_wait(cli, album, record_run):
    album("Answers")
    run = record_run("album")
    index.enter(run.folder)
    (note,) = [line for line in lines(cli("doctor"), "note") if "delivery" in line]
    count = len(runs.read_calls(run.folder.journal))
    assert note == f"1 run waits for delivery, with {count} events → tracking-hooks sync"


def test_events_that_are_set_aside(cli, album, record_run):
    album("Answers")
    run = record_run("album")
    index.enter(run.folder)
    run.folder.relay("album").path.mkdir(parents=True)
    run.folder.relay("album").write_aside([SetAside(seq=1, start=0, end=1, hook="on_log", reason="not that")])
    assert "1 event set aside → tracking-hooks status --set-aside" in lines(cli("doctor"), "note")


@pytest.mark.parametrize("width", [60, 80])
def test_it_is_whole_in_a_narrow_terminal(album, monkeypatch, width):
    album("Refuses")
    monkeypatch.setenv("TRACKING_HOOKS_METRICS", "-lr/*, metrics/mAP50-95(B)=map, -system/gpu*, val/*, train/box_loss")
    result = CliRunner(env={"COLUMNS": str(width)}).invoke(main, ["doctor"])
    for line in result.output.splitlines():
        assert len(line) <= width or len(line.split()) <= 2, "a word alone may be longer"
    assert "".join(result.output.split()) == "".join(
        CliRunner(env={"COLUMNS": "120"}).invoke(main, ["doctor"]).output.split()
    )


def test_the_whole_as_json_for_a_bug_report(cli, album, monkeypatch, tmp_path):
    album("Refuses")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ALBUM_PASSWORD", "open-sesame-1")
    monkeypatch.setenv("TRACKING_HOOKS_TAGS", "password=open-sesame-1")
    result = cli("doctor", "--json")
    assert result.exit_code == 1
    told = json.loads(result.output)
    assert told["tracked"] is False
    assert {"topic", "level", "text", "advice"} == set(told["findings"][0])
    settings = {one["variable"]: (one["value"], one["origin"]) for one in told["settings"]}
    assert settings["TRACKING_HOOKS"] == ("album", "variable")
    assert settings["TRACKING_HOOKS_MODE"] == ("online", "default")
    assert told["plugins"] == {"album": "other-trackers 2.0", **told["plugins"]}
    assert "open-sesame-1" not in result.output
    assert str(tmp_path) not in result.output


def test_a_user_without_a_home_folder(cli, album, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    album("Answers")
    monkeypatch.delenv("YOLO_CONFIG_DIR", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", home)
    assert cli("doctor").exit_code == 0


def test_it_writes_nothing(cli, album, tmp_path):
    album("Answers")

    def files():
        return sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts)

    before = files()
    cli("doctor")
    assert files() == before
