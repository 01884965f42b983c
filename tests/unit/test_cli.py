"""The commands, as they are typed."""

import itertools
import json
import shutil
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.support.systems import posix
from tracking_hooks.cli import main
from tracking_hooks.run import index, layout
from tracking_hooks.run.layout import Health, SetAside, write_json
from tracking_hooks.run.liveness import Lock
from tracking_hooks.testing import recorded_run

COMMAND = [sys.executable, "-c", "from tracking_hooks.cli import main; main()"]


def run(*arguments, **options):
    """Call ``tracking-hooks run`` in a process of its own."""
    command = [*COMMAND, "run", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


# -- help -----------------------------------------------------------------------------------------------------


def test_every_command_explains_itself(cli):
    listed = cli("--help").output
    for name in main.list_commands(None):
        assert name in listed
        assert "Usage" in cli(name, "--help").output


def test_a_command_that_is_not_there(cli):
    result = cli("snyc")
    assert result.exit_code == 2
    assert "snyc" in result.output


# -- plugins --------------------------------------------------------------------------------------------------


def test_plugins_lists_what_is_installed_selected_and_broken(cli, installed, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS", "notes")
    result = cli("plugins")
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.output.splitlines() if line.strip()}
    assert "demo-trackers 1.0" in lines["notes"]
    assert "yes" in lines["notes"]
    assert lines["notes"].rstrip().endswith("ok")
    assert "selected" not in lines["broken"]
    assert "cannot be imported" in lines["broken"]
    assert "'on_epoch_ended'" in lines["unknown-hook"]


def test_plugins_lists_each_plugin_once_with_its_parts_below(cli, installed, install, monkeypatch):
    install(
        "[tracking_hooks]\nalbum.more = demo_trackers_broken:Tracker\nalbum-x = demo_trackers:Notes\n"
        "album = demo_trackers:Notes\nalbum.files = demo_trackers:Notes\norphan.files = demo_trackers:Notes\n"
    )
    monkeypatch.setenv("TRACKING_HOOKS", "album")
    lines = [line.rstrip() for line in cli("plugins").output.splitlines()]
    (at,) = [number for number, line in enumerate(lines) if line.split()[:1] == ["album"]]
    plugin, files, more = lines[at : at + 3]
    assert "other-trackers 2.0" in plugin and "yes" in plugin and plugin.endswith("ok")
    assert files.startswith("  album.files") and files.endswith("ok")
    assert more.startswith("  album.more") and "cannot be imported" in more
    assert "remove 'album' from TRACKING_HOOKS" in " ".join(" ".join(lines).split())
    names = [line.split()[0] for line in lines if line.strip()]
    assert sorted(name for name in names if name.startswith("album")) == [
        "album", "album-x", "album.files", "album.more",
    ]  # fmt: skip
    assert "no tracker 'orphan' is installed" in cli("plugins").output


def test_a_broken_plugin_matters_only_where_it_is_selected(cli, installed, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS", "notes")
    assert cli("plugins").exit_code == 0
    monkeypatch.setenv("TRACKING_HOOKS", "notes,unknown-hook")
    result = cli("plugins")
    assert result.exit_code == 1
    assert "TRACKING_HOOKS selects what cannot be used: unknown-hook." in result.output


def test_plugins_says_each_as_soon_as_it_is_checked(cli, installed, monkeypatch):
    printed, order = [], []
    monkeypatch.setattr("click.echo", lambda text="", **_: printed.append(text))
    monkeypatch.setattr("tracking_hooks.plugins.load", lambda name: order.append((name, "".join(printed))))
    cli("plugins")
    assert all(name in before for name, before in order)
    assert not any(later in before for (_, before), (later, _) in itertools.pairwise(order))


@pytest.mark.parametrize("columns", [60, 80])
def test_plugins_fits_a_terminal(cli, installed, monkeypatch, columns):
    monkeypatch.setenv("FORCE_COLOR", "1")
    lines = CliRunner(env={"COLUMNS": str(columns)}).invoke(main, ["plugins", "--settings"]).output.splitlines()
    assert [line for line in lines if len(line) > columns] == []
    assert next(line.split() for line in lines if line.startswith("broken"))[-3:] == ["cannot", "be", "used"]
    assert "cannot be imported" in " ".join(" ".join(lines).split())


def test_plugins_as_data(cli, installed, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS", "notes")
    found = {plugin["name"]: plugin for plugin in json.loads(cli("plugins", "--json").output)["plugins"]}
    assert found["notes"] == {"name": "notes", "from": "demo-trackers 1.0", "selected": True, "error": None}
    assert "cannot be imported" in found["broken"]["error"]


def test_plugins_suggests_whole_plugins(cli, installed, install):
    install("[tracking_hooks]\nalbum = demo_trackers:Notes\nalbum.files = demo_trackers:Notes\n")
    suggestion = cli("plugins").output.partition("export TRACKING_HOOKS=")[2].split()[0].split(",")
    assert "album" in suggestion and "album.files" not in suggestion


def test_plugins_says_what_is_wrong_with_the_selection(cli, installed, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS", "nots")
    result = cli("plugins")
    assert result.exit_code == 1
    assert "Did you mean 'notes'?" in result.output


def test_plugins_lists_the_rules_as_they_are_called(cli):
    pytest.importorskip("tracking_hooks_control")
    assert "budget(hours=None, epochs=None)" in cli("plugins").output


def test_plugins_lists_the_variables(cli, installed):
    result = cli("plugins", "--settings")
    for name in ("TRACKING_HOOKS", "TRACKING_HOOKS_BATCH_EVERY", "TRACKING_HOOKS_LINGER"):
        assert name in result.output


# -- run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 7])
def test_run_passes_the_exit_code_on(code):
    done = run("--", sys.executable, "-c", f"raise SystemExit({code})")
    assert done.returncode == code
    assert done.stderr == ""


@posix("signals")
def test_run_ends_as_a_shell_does_where_a_signal_ended_the_command():
    done = run("--", sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert done.returncode == 128 + 9


def test_run_passes_arguments_and_options_on_untouched():
    arguments = ["-x", "--help", "a b", "--", "lr0=0.01"]
    done = run("--", sys.executable, "-c", "import sys; print(sys.argv[1:])", *arguments)
    assert done.stdout == f"{arguments}\n"


def test_run_needs_no_double_dash():
    assert run(sys.executable, "-c", "print('hello')").stdout == "hello\n"


def test_run_sets_the_trackers_for_the_command():
    script = "import os; print(os.environ['TRACKING_HOOKS'])"
    assert run("-t", "notes,mlflow", "--", sys.executable, "-c", script).stdout == "notes,mlflow\n"


def test_run_brings_us_into_every_python_below_it():
    below = "import sys; print(any(type(finder).__name__ == '_Finder' for finder in sys.meta_path))"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {below!r}])"
    assert run("--", sys.executable, "-c", script).stdout == "True\n"


def test_run_of_a_command_that_is_not_there_is_127_with_a_sentence():
    done = run("--", "no-such-command-here")
    assert done.returncode == 127
    assert "no-such-command-here: No such file or directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_run_refuses_a_malformed_setting_before_it_starts_the_command(monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS_EXIT_WAIT", "long")
    done = run("--", sys.executable, "-c", "print('started')")
    assert done.returncode == 1
    assert "TRACKING_HOOKS_EXIT_WAIT='long'" in done.stderr
    assert "started" not in done.stdout


WAIT = """
import os, signal, sys

def leave(number, frame):
    os.write(1, f"got {number}\\n".encode())  # it may come while the line below is being printed
    sys.exit(3)

for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, leave)
print("ready", flush=True)
sys.stdin.read()
"""


@posix("signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1"])
def test_run_passes_signals_on(name, request):
    number = signal.Signals[name]
    before = signal.signal(number, signal.SIG_DFL)  # where tests run under `nohup`, what is started would ignore it
    request.addfinalizer(lambda: signal.signal(number, before))
    command = [*COMMAND, "run", "--", sys.executable, "-c", WAIT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout.readline() == "ready\n"
        launcher.send_signal(number)
        assert launcher.stdout.readline() == f"got {int(number)}\n"
        assert launcher.wait() == 3


@pytest.mark.skipif(not shutil.which("nohup"), reason="no nohup")
def test_a_command_that_is_run_by_nohup_survives_the_end_of_the_terminal():
    script = "import os, signal; os.kill(os.getpid(), signal.SIGHUP); os.kill(os.getppid(), signal.SIGHUP); print(1)"
    command = ["nohup", *COMMAND, "run", "--", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n")


@pytest.mark.skipif(not shutil.which("sh"), reason="no shell")
def test_run_needs_no_standard_input():
    command = ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "run", "--", sys.executable, "-c", "print(1)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n")


TRAINING = """
import logging, os, signal, sys
from pathlib import Path
from tracking_hooks.plugins import capture, load_trainer_sides
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run, sample_run

save_dir = Path(sys.argv[1])
calls = recorded_run(save_dir)
args = {name: calls[0].args[name] for name in ("params", "environment")}
run = sample_run(save_dir)
captures = capture(load_trainer_sides(["notes"]), run)
one = Recorder.start(run, captures, Settings(system_every=0.0), logging.getLogger(), **args)
one.begin(**args)
for call in calls[1:-1]:
    one.record(call.hook, **call.args)
if sys.argv[2] == "kill the relay too":
    one.check()
    one.supervisor.processes["notes"].kill()
os.kill(os.getpid(), signal.SIGKILL)
"""


@posix("SIGKILL")
@pytest.mark.parametrize("fate", ["kill the training", "kill the relay too"])
def test_when_run_returns_everything_is_delivered_whatever_was_killed(installed, tmp_path, fate):
    save_dir = tmp_path / "project" / "train"
    done = run("--", sys.executable, "-c", TRAINING, save_dir, fate)
    assert done.returncode == 128 + 9
    assert done.stderr == ""
    last = (save_dir / "notes").read_text().splitlines()[-1]
    assert last.endswith("on_run_end")
    (folder,) = layout.find_runs(save_dir)
    assert folder.relay("notes").read_cursor().ended


# -- status ---------------------------------------------------------------------------------------------------


def test_a_terminal_shows_all_of_a_status_whatever_its_width(record_run, monkeypatch):
    run = record_run("notes", "gone")
    run.folder.relay("notes").path.mkdir(parents=True)
    event = SetAside(seq=2, start=500, end=900, hook="on_log", reason="not that")  # the cursor is before it
    run.folder.relay("notes").write_aside([event])
    monkeypatch.setenv("FORCE_COLOR", "1")  # by this, rich takes the output for a terminal
    output = CliRunner(env={"COLUMNS": "40"}).invoke(main, ["status", str(run.save_dir)]).output

    events = len(run.calls())
    head, *lines = output.splitlines()
    assert head == f"{run.folder.uid}  train  finished"
    assert " ".join(" ".join(lines[:2]).split()).endswith(", epoch 3 of 3, metrics/mAP50-95(B) 0.71")
    assert lines[2] == f"  {run.save_dir}"
    assert " ".join(lines[3].split()) == f"notes 0 delivered, {events - 1} pending, 1 set aside"
    for what, command in (
        ("to deliver", f"tracking-hooks sync {run.folder.path}"),
        ("reasons", f"tracking-hooks status --set-aside {run.folder.path}"),
    ):
        assert lines[lines.index(f"  {what}:") + 1] == f"    {command}", "on a line of its own"


@pytest.mark.parametrize("columns", [60, 80])
def test_what_to_do_can_be_copied_from_a_narrow_terminal(record_run, monkeypatch, columns):
    run = record_run("notes", destination={"uri": "http://10.0.0.7:5000"})
    index.enter(run.folder)
    files = run.folder.relay("notes")
    files.path.mkdir(parents=True)
    why = (
        "the server at http://10.0.0.7:5000 cannot be reached: connection refused. Is it running, and is that its port?"
    )
    write_json(files.health, Health(state="down", pid=1, error=why))
    monkeypatch.setenv("FORCE_COLOR", "1")
    output = CliRunner(env={"COLUMNS": str(columns)}).invoke(main, ["status"]).output
    lines = [line for line in output.splitlines() if line != f"  {run.save_dir}"]
    assert [line for line in lines if len(line) > columns] == []
    assert why in " ".join(output.split())
    uid = run.folder.uid
    for command in (f"sync {uid}", f"sync --set uri=… {uid}", f"sync --forget notes {uid}"):
        assert f"    tracking-hooks {command}" in lines


def test_status_as_data(cli, record_run, installed):
    run = record_run("notes")
    run.relay("notes")
    (found,) = json.loads(cli("status", run.save_dir, "--json").output)
    assert (found["uid"], found["name"], found["status"]) == (run.folder.uid, "train", "finished")
    assert (found["epoch"], found["epochs"]) == (3, 3)
    assert (found["metric"], found["value"]) == ("metrics/mAP50-95(B)", 0.71), "of the best checkpoint"
    assert (found["folder"], found["run_folder"]) == (str(run.save_dir), str(run.folder.path))
    (tracker,) = found["trackers"]
    counts = [tracker[name] for name in ("label", "delivered", "pending", "set_aside")]
    assert counts == ["notes", len(run.calls()), 0, 0]
    assert json.loads(cli("status", "--json").output) == []


def test_status_shows_the_links_that_the_trackers_have_left(cli, record_run, make_plugin, monkeypatch):
    plugin = make_plugin(
        """
        class Plugin(Notes):
            @hookimpl
            def open(self, state):
                state["url"] = "https://tracker.example/runs/7"
        """
    )
    run = record_run(plugin)
    run.relay(plugin)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\n    https://tracker.example/runs/7\n" in cli("status", run.save_dir).output + "\n"


def test_status_sorts_by_the_key_metric_the_best_run_first(cli, record_run, tmp_path):
    for name, epochs in (("a", 2), ("b", 5), ("c", 3)):
        calls = recorded_run(tmp_path / "project" / name, epochs=epochs)
        record_run(name=name, calls=[call for call in calls if call.hook != "on_final_validation"])

    def shown(*order):
        return [run["uid"][-1] for run in json.loads(cli("status", tmp_path, "--json", *order).output)]

    assert shown("--sort", "metric") == ["b", "c", "a"]
    assert shown() == ["a", "b", "c"], "the oldest first"


def test_a_run_is_named_by_its_uid(cli, record_run, installed):
    run = record_run("notes")
    index.enter(run.folder)
    assert f"to deliver: tracking-hooks sync {run.folder.uid}" in cli("status", run.folder.uid).output
    assert cli("sync", run.folder.uid).exit_code == 0
    assert run.noted() == [call.seq for call in run.calls()]
    unknown = cli("status", "20251009-085320-nobody")
    assert unknown.exit_code == 2
    assert "there is no folder '20251009-085320-nobody', and no run of yours with this uid" in unknown.output


def test_what_is_piped_is_not_padded(cli, record_run, installed, tmp_path):
    for name in ("train", "a-run-with-a-much-longer-name"):
        record_run("notes", "gone", name=name)
    for line in [*cli("status", tmp_path).output.splitlines(), *cli("plugins").output.splitlines()]:
        assert line == line.rstrip()


def test_no_runs_here_is_no_riddle(cli):
    assert cli("status", ".").output == "No runs in '.'.\n"


# -- sync -----------------------------------------------------------------------------------------------------


def test_sync_of_nothing(cli, tmp_path):
    result = cli("sync")
    assert result.exit_code == 0
    assert result.output == "Nothing is pending: 0 runs of this user on this machine.\n"
    assert "Nothing is pending" in cli("sync", tmp_path).output


@pytest.mark.parametrize("where", ["indexed", "run folder", "save_dir", "project", "everything above"])
def test_sync_delivers_what_a_dead_relay_left(cli, record_run, installed, tmp_path, where):
    run = record_run("notes", calls=recorded_run(tmp_path / "project" / "train")[:10])
    paths = {
        "indexed": [],
        "run folder": [run.folder.path],
        "save_dir": [run.save_dir],
        "project": [run.save_dir.parent],
        "everything above": [tmp_path],
    }
    if where == "indexed":
        index.enter(run.folder)
    result = cli("sync", *paths[where])
    assert result.exit_code == 0, result.output
    assert run.noted() == [call.seq for call in run.calls()]
    assert f"{run.folder.uid}  notes: {len(run.calls())} events delivered" in result.output
    again = cli("sync", *paths[where])
    assert again.exit_code == 0
    assert "Nothing is pending: 1 run " in again.output
    assert run.noted() == [call.seq for call in run.calls()]


def test_sync_delivers_to_each_plugin_on_its_own(cli, record_run, installed, tmp_path):
    run = record_run("broken", "notes", "unmakeable")
    result = cli("sync", tmp_path)
    assert result.exit_code == 1
    assert run.noted() == [call.seq for call in run.calls()]
    lines = {line.split()[1].rstrip(":"): line for line in result.output.splitlines() if "events delivered" in line}
    assert "cannot be imported" in lines["broken"]
    assert "NOTES_TOKEN" in lines["unmakeable"]


def test_sync_of_a_living_run_delivers_what_is_there_and_does_not_end_it(cli, record_run, installed, tmp_path):
    run = record_run("notes", calls=recorded_run(tmp_path / "project" / "train")[:10])
    training = Lock(run.folder.lock)
    assert training.acquire()
    result = cli("sync", tmp_path)
    training.release()
    assert result.exit_code == 0, result.output
    assert run.noted() == list(range(1, 11))


def test_sync_says_what_was_not_taken_and_where_the_reasons_are(cli, record_run, make_plugin, monkeypatch, tmp_path):
    plugin = make_plugin(
        """
        class Plugin:
            @hookimpl
            def on_run_start(self):
                raise Rejected("no such project")
        """
    )
    monkeypatch.setenv("TRACKING_HOOKS", plugin)
    run = record_run(plugin)
    result = cli("sync", tmp_path)
    assert f"{len(run.calls()) - 1} events delivered, 1 set aside" in result.output
    assert "reasons: tracking-hooks status --set-aside" in result.output


def test_sync_imports_no_class_that_only_a_journal_names(cli, record_run, make_plugin, monkeypatch, tmp_path):
    plugin = make_plugin(f"Path({str(tmp_path / 'imported')!r}).touch()\nclass Plugin(Notes): pass")
    run = record_run(plugin)
    result = cli("sync", tmp_path)
    assert result.exit_code == 1
    assert f"TRACKING_HOOKS={plugin}" in result.output
    assert not (tmp_path / "imported").exists()
    assert run.noted() == []
    monkeypatch.setenv("TRACKING_HOOKS", plugin)
    assert cli("sync", tmp_path).exit_code == 0
    assert run.noted() == [call.seq for call in run.calls()]


@pytest.mark.parametrize("code", [0, 5])
def test_sync_does_not_call_done_what_a_dying_plugin_left(cli, record_run, make_plugin, monkeypatch, tmp_path, code):
    plugin = make_plugin(f"class Plugin(Notes):\n    def before(self, seq, state):\n        os._exit({code})")
    monkeypatch.setenv("TRACKING_HOOKS", plugin)
    record_run(plugin)
    result = cli("sync", tmp_path)
    assert result.exit_code == 1
    assert f"exit code {code}" in result.output


def test_a_journal_that_cannot_be_read_keeps_no_other_from_being_delivered(cli, record_run, installed, tmp_path):
    spoilt, good = record_run("notes", name="a"), record_run("notes", name="b")
    spoilt.folder.journal.write_bytes(b"\0" * 100)
    result = cli("sync", tmp_path)
    assert result.exit_code == 1
    assert str(spoilt.folder.journal) in result.output
    assert good.noted() == [call.seq for call in good.calls()]


def test_a_pointer_that_came_with_a_copied_folder_leads_nowhere_else(cli, record_run, installed, tmp_path):
    run = record_run("notes")
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied" / "tracking.json").write_bytes((run.save_dir / "tracking.json").read_bytes())
    assert "0 runs" in cli("sync", tmp_path / "copied").output
    assert run.noted() == []


def test_sync_and_prune_as_data(cli, record_run, installed, tmp_path):
    run, other = record_run("notes", name="a"), record_run("broken", name="b")
    for one in (run, other):
        index.enter(one.folder)
    synced = cli("sync", tmp_path, "--json")
    assert synced.exit_code == 1
    found = {row["uid"]: row for row in json.loads(synced.output)}
    assert (found[run.folder.uid]["delivered"], found[run.folder.uid]["done"]) == (len(run.calls()), True)
    assert "cannot be imported" in found[other.folder.uid]["note"]
    rows = json.loads(cli("prune", tmp_path, "--json").output)
    assert [(row["removed"], row["kept"]) for row in rows] == [
        (True, None),
        (False, "broken has not received all of it"),
    ]


def test_sync_ends_with_1_while_something_is_set_aside(cli, record_run, make_plugin, monkeypatch):
    plugin = make_plugin(
        """
        class Plugin(Notes):
            def before(self, seq, state):
                if seq == 2:
                    raise Rejected("not that")
        """
    )
    monkeypatch.setenv("TRACKING_HOOKS", plugin)
    run = record_run(plugin)
    assert cli("sync", run.save_dir).exit_code == 1
    again = cli("sync", run.save_dir)
    assert (again.exit_code, "Nothing is pending" in again.output) == (1, True)
    command = f"tracking-hooks status --set-aside {run.folder.path}"
    assert f"1 event set aside before. Reasons, and what to do:\n  {command}\n" in again.output


# -- demo -----------------------------------------------------------------------------------------------------


@pytest.fixture
def demo(cli, monkeypatch, tmp_path):
    """Call the demo where a training ends at once with this exit code, or cannot be started."""

    def call(*arguments, outcome=0):
        monkeypatch.setattr("tracking_hooks.plugins.select", lambda text, _: text.split(","))
        monkeypatch.setattr("tracking_hooks.cli.demo.make_shapes", make_shapes)

        def train(command, *, env, **_):
            call.selection, call.command = env["TRACKING_HOOKS"], command
            if isinstance(outcome, OSError):
                raise outcome
            return subprocess.CompletedProcess(command, outcome)

        monkeypatch.setattr("subprocess.run", train)
        return cli("demo", "--folder", tmp_path / "demo", *arguments)

    def make_shapes(folder):
        folder.mkdir(parents=True)
        return folder / "data.yaml"

    return call


def test_the_demo_needs_its_trackers(cli, installed, monkeypatch):
    monkeypatch.setattr("tracking_hooks.plugins.installed", lambda *_: {"notes": None})
    result = cli("demo")
    assert result.exit_code == 1
    assert "no tracker 'mlflow' is installed" in result.output
    assert "pip install tracking-hooks-mlflow" in result.output


def test_the_demo_needs_a_folder_that_can_be_written(demo, tmp_path):
    (tmp_path / "demo").write_text("a file")
    result = demo()
    assert result.exit_code == 1
    assert f"{tmp_path / 'demo'} cannot be written: Not a directory" in " ".join(result.output.split())


def test_the_demo_needs_what_it_trains_with(demo):
    result = demo(outcome=FileNotFoundError(2, "No such file or directory"))
    assert result.exit_code == 1
    assert "yolo cannot be started: No such file or directory" in result.output
    assert "pip install 'tracking-hooks[demo]'" in result.output


@pytest.mark.parametrize(
    ("named", "selection"), [("acme", "acme"), ("", "mlflow,tensorboard"), ("none", "mlflow,tensorboard")]
)
def test_the_demo_is_tracked_where_the_user_says(demo, named, selection, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS", named)
    output = demo().output
    assert demo.selection == selection
    shown = [line.rpartition(" ")[2] for line in output.splitlines() if "open --tracker" in line]
    assert shown == selection.split(",")
    assert f"TRACKING_HOOKS={selection} " in output.splitlines()[-1]


def test_the_demo_ends_as_its_training(demo):
    result = demo(outcome=3)
    assert (result.exit_code, "The training has ended with exit code 3" in result.output) == (3, True)
    assert demo("--epochs", "0").exit_code == 2


@posix("scripts that are programs")
def test_the_demo_runs_in_an_environment_whose_path_has_a_space(demo, monkeypatch, tmp_path):
    programs = tmp_path / "my environment"
    programs.mkdir()
    for name in ("yolo", "tracking-hooks"):
        (programs / name).touch(0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    output = demo().output
    assert demo.command[0] == str(programs / "yolo")
    assert f"'{programs / 'tracking-hooks'}' open --tracker" in output
    assert f" '{programs / 'yolo'}' train model=" in output.splitlines()[-1]
