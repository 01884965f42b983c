"""``sync`` of many runs: one process for each plugin, in which each run is as alone as in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.systems import posix
from tests.unit.test_relay import whole
from tracking_hooks.delivery.disk import RunDisk
from tracking_hooks.delivery.sync import deliver
from tracking_hooks.run.layout import Health, read_json
from tracking_hooks.run.liveness import Lock
from tracking_hooks.settings import Settings

QUICKLY = "import tracking_hooks.delivery.relay as relay; relay._DRAIN_PATIENCE = 0.0"
"""In the module of a plugin: `sync` does not wait for a tracker that is down."""
PROCESS = """
class Plugin:
    def __init__(self):
        self.events = 0

    @hookimpl
    def on_log(self, seq):
        self.events += 1

    @hookimpl
    def on_run_end(self, destination):
        seen = {"pid": os.getpid(), "cwd": os.getcwd(), "left": os.environ.get("LEFT"), "events": self.events}
        Path(destination["file"]).write_text(json.dumps(seen))
        print("a line of the plugin's")
        os.environ["LEFT"] = "by another run"
        os.chdir("/")
"""
"""Says in which process it delivers a run and what it finds there, and changes it."""


@pytest.fixture
def sync_plugin(make_plugin, monkeypatch):
    """Write a plugin that ``sync`` may import."""

    def make(body):
        plugin = make_plugin(f"import json\n{body}")
        monkeypatch.setenv("TRACKING_HOOKS", plugin)
        return plugin

    return make


@pytest.fixture
def sync():
    """Deliver runs as ``sync`` does; return the results by the runs' names."""

    def sync(*runs, retry=False, **settings):
        results = deliver([run.folder for run in runs], Settings(**settings), retry=retry)
        return {result.folder.uid.rpartition("-")[2]: result for result in results}

    return sync


def seen(run):
    return json.loads(run.notes.read_text())


# -- one process for many runs --------------------------------------------------------------------------------


def test_all_runs_are_delivered_in_one_process_by_an_instance_each(record_run, sync_plugin, sync):
    plugin = sync_plugin(PROCESS)
    runs = [record_run(plugin, calls=whole(events), name=f"with{events}") for events in (5, 10, 20)]
    assert all(result.done for result in sync(*runs).values())
    (process,) = {seen(run)["pid"] for run in runs}
    assert process != os.getpid()
    assert [seen(run)["events"] for run in runs] == [4, 9, 19]


def test_each_run_finds_the_working_directory_and_the_environment_as_they_were(record_run, sync_plugin, sync):
    plugin = sync_plugin(PROCESS)
    runs = [record_run(plugin, calls=whole(2), name=name) for name in ("a", "b")]
    sync(*runs)
    assert [(seen(run)["cwd"], seen(run)["left"]) for run in runs] == [(str(Path.cwd()), None)] * 2


def test_what_a_plugin_prints_is_in_the_log_of_the_run_that_it_was_printed_for(record_run, sync_plugin, sync):
    plugin = sync_plugin(PROCESS)
    runs = [record_run(plugin, calls=whole(2), name=name) for name in ("a", "b", "c")]
    sync(*runs)
    logs = [run.folder.relay(plugin).log.read_text() for run in runs]
    assert [log.count("a line of the plugin's") for log in logs] == [1, 1, 1]


def test_a_plugin_that_keeps_something_in_its_modules_has_a_process_for_each_run(record_run, sync_plugin, sync):
    plugin = sync_plugin(PROCESS.replace("class Plugin:", "class Plugin:\n    one_run_per_process = True"))
    runs = [record_run(plugin, calls=whole(2), name=name) for name in ("a", "b", "c")]
    assert all(result.done for result in sync(*runs).values())
    assert len({seen(run)["pid"] for run in runs}) == 3


def test_a_process_whose_client_keeps_too_much_of_each_run_is_replaced(record_run, sync_plugin, sync):
    keeps = "kept = []\nimport tracking_hooks.delivery.worker as worker; worker.GROWTH = 100_000_000\n"
    plugin = sync_plugin(
        keeps + PROCESS.replace("self.events = 0", "self.events = kept.append(b'x' * 60_000_000) or 0")
    )
    runs = [record_run(plugin, calls=whole(2), name=f"n{number}") for number in range(4)]
    assert all(result.done for result in sync(*runs).values())
    pids = [seen(run)["pid"] for run in runs]
    assert pids[0] == pids[1] == pids[2] != pids[3]


def test_a_long_path_for_temporary_files_keeps_nothing_back(record_run, sync_plugin, sync, monkeypatch, tmp_path):
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    run = record_run(sync_plugin(PROCESS), calls=whole(2))
    assert sync(run)["train"].done


@pytest.mark.parametrize("is_alone", [False, True])
def test_what_a_trackers_client_does_at_exit_is_not_cut_off(record_run, sync_plugin, sync, tmp_path, is_alone):
    ended = tmp_path / "ended"
    at_exit = f"import atexit, time\natexit.register(lambda: (time.sleep(0.5), Path({str(ended)!r}).touch()))\n"
    plugin = sync_plugin(at_exit + PROCESS + f"    one_run_per_process = {is_alone}\n")
    assert sync(record_run(plugin, calls=whole(2)))["train"].done
    assert ended.exists()


# -- runs that take the process with them ---------------------------------------------------------------------


@posix("SIGKILL")
def test_a_run_that_kills_the_process_is_charged_with_it_and_the_others_are_delivered(record_run, sync_plugin, sync):
    plugin = sync_plugin(
        """
class Plugin(Notes):
    def before(self, seq, state):
        if seq == 7:
            os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    runs = {name: record_run(plugin, calls=whole(5), name=name) for name in ("a", "c")}
    fatal = record_run(plugin, calls=whole(10), name="b")
    results = sync(runs["a"], fatal, runs["c"])
    assert [results[name].done for name in ("a", "b", "c")] == [True, False, True]
    assert "exit code -9" in results["b"].note
    notes = {run.folder.uid: RunDisk(run.folder.relay(plugin)).left() for run in (*runs.values(), fatal)}
    assert [uid for uid, note in notes.items() if note] == [fatal.folder.uid]
    while not (result := sync(fatal)["b"]).done:
        assert not result.aside
    assert [(event.seq, event.reason) for event in result.aside] == [
        (7, "the relay process died 3 times at this event")
    ]
    assert set(fatal.noted()) == set(range(1, 11)) - {7}
    assert all(not run.set_aside(plugin) for run in runs.values())


HANGS = """
class Plugin(Notes):
    def before(self, seq, state):
        if seq == 7:
            threading.Event().wait()
"""


def test_a_hang_ends_the_process_and_the_next_run_goes_on_in_another(record_run, sync_plugin, sync, tmp_path):
    plugin, there = sync_plugin(HANGS), {"file": str(tmp_path / "there")}
    long, short = (record_run(plugin, calls=whole(n), name=f"with{n}", destination=there) for n in (10, 5))
    results = sync(long, short, call_timeout=1.0)
    assert "on_log has not returned" in results["with10"].note
    assert results["with5"].done
    assert RunDisk(long.folder.relay(plugin)).left() is None, "a hang is no death at an event"


def test_a_place_where_two_runs_have_hung_is_not_tried_again(record_run, sync_plugin, sync, tmp_path):
    plugin, there = sync_plugin(HANGS), {"file": str(tmp_path / "there")}
    runs = [record_run(plugin, calls=whole(10), name=name, destination=there) for name in ("a", "b", "c")]
    results = sync(*runs, call_timeout=1.0)
    assert all("on_log has not returned" in result.note for result in results.values())
    assert [run.folder.relay(plugin).path.exists() for run in runs] == [True, True, False]


@posix("SIGINT for one process")
def test_ctrl_c_ends_the_process_and_is_no_death_at_an_event(record_run, sync_plugin, until, tmp_path):
    plugin = sync_plugin(
        f"""
class Plugin(Notes):
    def before(self, seq, state):
        Path({str(tmp_path / "pid")!r}).write_text(f"{{os.getpid()}}\\n")
        threading.Event().wait()
"""
    )
    run = record_run(plugin, calls=whole(5))
    command = [sys.executable, "-c", "from tracking_hooks.cli import main; main()", "sync", str(run.save_dir)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        until(lambda: process.poll() is not None or (tmp_path / "pid").exists())
        assert process.poll() is None, process.stdout.read()
        pid = until(lambda: int((tmp_path / "pid").read_text() or 0))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert process.returncode == 1
    assert RunDisk(run.folder.relay(plugin)).left() is None


# -- trackers that are down -----------------------------------------------------------------------------------

DOWN = f"""
{QUICKLY}

class Plugin:
    @hookimpl
    def open(self, run, destination):
        with Path(destination["file"]).open("a") as file:
            print(run.uid, file=file)
        raise Unavailable("nobody answers")

    @hookimpl
    def on_log(self, seq):
        pass
"""
"""Notes who asks, and is down."""


def asked(path):
    return {line.rpartition("-")[2] for line in path.read_text().split()}


def test_a_place_that_is_down_is_asked_for_one_run(record_run, sync_plugin, sync, tmp_path):
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere-notes"
    plugin = sync_plugin(DOWN)
    runs = [record_run(plugin, calls=whole(3), name=n, destination={"file": str(there)}) for n in ("a", "b", "c")]
    other = record_run(plugin, calls=whole(3), name="d", destination={"file": str(elsewhere)})
    results = sync(*runs, other)
    assert all("nobody answers" in result.note for result in results.values())
    assert asked(there) == {"a"}
    assert asked(elsewhere) == {"d"}, "another place is asked"


def test_a_run_that_is_refused_alone_keeps_no_other_back(record_run, sync_plugin, sync, tmp_path):
    there = tmp_path / "there"
    body = DOWN.replace(
        'raise Unavailable("nobody answers")',
        'if run.uid.endswith("-a"):\n            raise Unavailable("this run was deleted", only_this_run=True)',
    )
    plugin = sync_plugin(body)
    runs = [record_run(plugin, calls=whole(3), name=n, destination={"file": str(there)}) for n in ("a", "b", "c")]
    results = sync(*runs)
    assert [results[name].done for name in ("a", "b", "c")] == [False, True, True]
    assert "this run was deleted" in results["a"].note
    assert read_json(runs[0].folder.relay(plugin).health, Health).only_this_run
    assert asked(there) == {"a", "b", "c"}


# -- parts ----------------------------------------------------------------------------------------------------


@pytest.fixture
def parts(installed, install):
    """Install a plugin in two parts."""
    install("[tracking_hooks]\nbook = demo_trackers:Notes\nbook.files = demo_trackers:Notes\n")
    return ["book", "book.files"]


def test_the_first_part_comes_first_and_both_in_one_process(record_run, parts, sync, monkeypatch):
    started = []
    monkeypatch.setattr("tracking_hooks.delivery.workers.start_worker", _counting(started))
    run = record_run(*reversed(parts), calls=whole(5))
    results = [result.label for result in deliver([run.folder], Settings())]
    assert results == parts
    assert run.noted() == [1, 2, 3, 4, 5] * 2
    assert len(started) == 1


def test_in_a_replay_the_first_part_comes_first_too(record_run, parts):
    run = record_run(calls=whole(5))
    labels = [run.folder.add_replay(part, {"file": str(run.notes)}) for part in parts]
    assert sorted(labels) != labels, "by their names they would come the other way round"
    results = list(deliver([run.folder], Settings()))
    assert [(result.label, result.done) for result in results] == [(label, True) for label in labels]


def test_a_part_that_waits_for_the_first_one_is_not_said_to_be_down_while_that_is_being_delivered(record_run, parts):
    """Otherwise a training would end without waiting for it, once the adopter of the next one has come by."""
    run = record_run(*parts, calls=whole(5))
    first, second = map(run.folder.relay, parts)
    first.path.mkdir(parents=True)
    at_work = Lock(first.lock)
    assert at_work.acquire()
    results = list(deliver([run.folder], Settings()))
    at_work.release()
    assert [(result.label, result.busy) for result in results] == [(part, True) for part in parts]
    assert read_json(second.health, Health).state == "ready"


def _counting(started):
    from tracking_hooks.delivery.spawn import start_worker

    def start(*arguments):
        started.append(arguments)
        return start_worker(*arguments)

    return start
