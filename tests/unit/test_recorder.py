"""The recorder: it takes everything that a training tells it, and never harms the training."""

import builtins
import errno
import json
import logging
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from types import SimpleNamespace

import msgspec
import pytest

import tracking_hooks
from tests.support.runs import read_calls
from tests.support.systems import posix
from tracking_hooks import plugins
from tracking_hooks.events import Capture, Curve, Plan
from tracking_hooks.recording import sampler, supervisor
from tracking_hooks.recording.folders import new_uid
from tracking_hooks.recording.process import recorders
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.recording.supervisor import Supervisor
from tracking_hooks.recording.tracking import Tracking
from tracking_hooks.run import index, layout, liveness
from tracking_hooks.run.journal import read, read_head
from tracking_hooks.run.liveness import Holder, read_holder
from tracking_hooks.settings import ConfigurationError, Settings
from tracking_hooks.testing import recorded_run, sample_run

QUIET = Settings(system_every=0.0, console="off")


@pytest.fixture
def save_dir(tmp_path):
    folder = tmp_path / "project" / "train"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def start(save_dir, environment, caplog):
    """Start recorders; by default one that delivers nowhere. All are ended, and their relays awaited."""
    caplog.set_level(logging.INFO)
    started = []

    def begin(*names, run=None, settings=QUIET, params=None, **more):
        logger = logging.getLogger("host")
        run = run or sample_run(save_dir)
        args = {"params": params or {"lr0": 0.01}, "environment": environment, **more}
        started.append(
            Recorder.start(run, plugins.capture(plugins.load_trainer_sides(names), run), settings, logger, **args)
        )
        return started[-1]

    yield begin
    for one in started:
        one.end("finished")
        for process in one.supervisor.processes.values():
            process.wait()
    recorders.clear()


@pytest.fixture
def begun(start, environment):
    """A recorder in mid-training."""
    one = start()
    one.begin(params={"lr0": 0.01}, environment=environment)
    return one


def calls(one, hook=None):
    path = one.folder.journal
    found = [entry.call for entry in read(path, read_head(path)[1]) if entry.call]
    return [call for call in found if hook in (None, call.hook)]


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8")
def test_a_training_in_a_folder_that_is_no_utf_8_is_tracked(start, environment, tmp_path, installed, caplog):
    save_dir = tmp_path / "caf\udce9" / "train"
    save_dir.mkdir(parents=True)
    one = start("notes", run=sample_run(save_dir))
    one.begin(params={}, environment=environment)
    one.end("finished")
    assert one.supervisor.processes["notes"].wait(60) == 0
    assert (save_dir / "notes").read_text().split() == ["1", "on_run_start", "2", "on_run_end"]
    assert [folder.path for folder in index.all_runs()] == [one.folder.path]
    assert [folder.path for folder in layout.find_runs(save_dir)] == [one.folder.path]
    assert warnings(caplog) == []


def test_a_frozen_application_says_that_it_has_no_interpreter_for_a_relay(start, installed, monkeypatch, save_dir):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(ConfigurationError, match="a relay cannot be started: this application is frozen"):
        start("notes")
    assert not list(save_dir.parent.glob(".tracking-hooks/*/journal.jsonl"))


# -- what is recorded -----------------------------------------------------------------------------------------


def test_a_whole_run_is_recorded_as_it_was_told(start, save_dir):
    told = recorded_run(save_dir)
    one = start(plan=told[0].args["plan"])
    one.begin(params=told[0].args["params"], environment=told[0].args["environment"])
    for call in told[1:-1]:
        one.record(call.hook, **call.args)
    one.end("finished")
    assert [described(call) for call in calls(one)] == [described(call) for call in told]


def described(call):
    """Spell NaN out, since it does not equal itself."""
    metrics = {name: "NaN" if math.isnan(value) else value for name, value in call.args.get("metrics", {}).items()}
    return call.seq, call.hook, {**call.args, "metrics": metrics}


def test_what_is_no_number_is_left_out_of_metrics_with_one_warning_each(begun, caplog):
    for step in range(3):
        begun.record("on_log", metrics={"good": 1, "none": None, "text": "0.5", "list": [1]}, step=step)
    assert [call.args["metrics"] for call in calls(begun, "on_log")] == [{"good": 1.0}] * 3
    said = warnings(caplog)
    assert len(said) == 3
    for name in ("none", "text", "list"):
        assert sum(repr(name) in sentence for sentence in said) == 1


class Tensor:
    """Of two elements: PyTorch does not make a float of that."""

    def __float__(self):
        raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")


@pytest.mark.parametrize("value", [Tensor(), 10**400], ids=["tensor", "too large"])
def test_one_odd_value_does_not_take_the_other_metrics_with_it(begun, caplog, value):
    begun.record("on_log", metrics={"good": 1.0, "odd": value}, step=1)
    assert [call.args["metrics"] for call in calls(begun, "on_log")] == [{"good": 1.0}]
    assert any("'odd'" in sentence for sentence in warnings(caplog))


def test_values_that_are_not_finite_are_recorded_wherever_they_stand(begun):
    nan = float("nan")
    begun.record("on_validation_end", epoch=1, attempt=1, metrics={"a": nan}, per_class={"cat": {"a": nan, "b": 1.0}})
    curve = Curve(name="PR", x_label="", y_label="", x=[0.0], y={"cat": [nan]})
    begun.record(
        "on_final_validation", metrics={}, per_class=None, curves=[curve], confusion_matrix=None, checkpoint=None
    )
    (validation,) = calls(begun, "on_validation_end")
    (final,) = calls(begun, "on_final_validation")
    assert repr(validation.args["per_class"]) == "{'cat': {'a': nan, 'b': 1.0}}"
    assert repr(final.args["curves"]) == repr([curve])


def test_the_end_is_recorded_once(begun):
    begun.end("finished")
    begun.end("failed", ValueError("late"))
    begun.record("on_log", metrics={"late": 1.0}, step=1)
    assert [call.args["status"] for call in calls(begun, "on_run_end")] == ["finished"]
    assert calls(begun)[-1].hook == "on_run_end"


def test_a_training_that_fails_during_set_up_has_a_start_and_an_end(start):
    one = start(params={"lr0": 0.02})
    one.end("failed", FileNotFoundError("coco.yaml"))
    first, last = calls(one)
    assert first.hook == "on_run_start"
    assert first.args["params"] == {"lr0": 0.02}
    assert last.args["error"].type == "FileNotFoundError"


def test_a_training_that_never_began_is_ended_where_no_thread_can_be_started_any_more(start, monkeypatch):
    def refuse(_):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    one = start(settings=Settings(system_every=10.0))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    one.end("failed", ValueError("no such data set"))
    (begun,) = calls(one, "on_run_start")
    (end,) = calls(one, "on_run_end")
    assert (begun.seq, end.args["status"], end.args["error"].message) == (1, "failed", "no such data set")


def test_an_exception_that_cannot_say_what_it_is_ends_a_run_all_the_same(begun):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    begun.end(error=Mute())
    (end,) = calls(begun, "on_run_end")
    assert (end.args["status"], end.args["error"].type) == ("failed", "Mute")


def test_a_refused_run_leaves_the_pointer_of_an_older_one(start, begun, save_dir):
    begun.end("finished")
    with pytest.raises(ConfigurationError):
        start("broken", run=msgspec.structs.replace(sample_run(save_dir), uid=new_uid())).check()
    assert [folder.uid for folder in layout.find_runs(save_dir)] == [begun.run.uid]


def test_a_failure_is_recorded_with_its_traceback_and_without_secrets(begun):
    try:
        raise ValueError("cannot open https://ada:hunter2@host/data")
    except ValueError as error:
        begun.end("failed", error)
    (end,) = calls(begun, "on_run_end")
    assert end.args["error"].type == "ValueError"
    assert "Traceback" in end.args["error"].traceback
    assert "hunter2" not in begun.folder.journal.read_text()


def test_secrets_in_params_do_not_get_into_any_file(start, environment):
    one = start(params={"api_key": "hunter2"})
    one.begin(params={"api_key": "hunter2", "notes": ["token=hunter2"]}, environment=environment)
    one.end("finished")
    for path in one.folder.path.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes()


def test_files_are_for_their_owner_only(begun):
    files = [path for path in begun.folder.path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if path.stat().st_mode & 0o077]
    assert begun.folder.path.stat().st_mode & 0o077 == 0


def test_the_pointer_leads_from_the_training_to_its_journal(begun, save_dir):
    assert layout.find_runs(save_dir)[0].journal == begun.folder.journal
    assert [folder.path for folder in index.all_runs()] == [begun.folder.path]


def test_system_metrics_are_sampled(start, environment, until):
    one = start(settings=Settings(system_every=0.01))
    one.begin(params={}, environment=environment)
    sample = until(lambda: calls(one, "on_system_metrics"))[0]
    assert sample.args["metrics"]["system/memory_rss_mb"] > 1


def test_what_the_user_has_to_know_of_system_metrics_is_said_once(start, environment, until, monkeypatch, caplog):
    class Monitor:
        remarks = ("which processes run on a GPU cannot be told here",)

        def __init__(self, *, gpus):
            self.gpus = gpus

        def sample(self):
            return {f"system/{self.gpus[0]}": 1.0}

    monkeypatch.setattr(sampler, "SystemMonitor", Monitor)
    one = start(settings=Settings(system_every=0.01))
    one.begin(params={}, environment=environment, gpus=["gpu1"])
    sample = until(lambda: calls(one, "on_system_metrics")[3:])[0]
    assert sample.args["metrics"] == {"system/gpu1": 1.0}
    assert [line for line in warnings(caplog) if "cannot be told here" in line] == warnings(caplog)[:1]


@pytest.mark.parametrize("every", [0.0, 1000.0])
def test_a_training_gives_signs_of_life_whatever_is_sampled(start, until, monkeypatch, every):
    monkeypatch.setattr(sampler, "_LOOK", 0.01)
    monkeypatch.setattr(liveness, "_BEAT", 0.0)
    heartbeat = start(settings=Settings(system_every=every)).folder.heartbeat  # it has not even begun
    os.utime(heartbeat, (1.0, 1.0))
    until(lambda: heartbeat.stat().st_mtime > 1.0)


def test_a_driver_that_hangs_does_not_end_the_signs_of_life(start, environment, until, monkeypatch):
    asked, answered = threading.Event(), threading.Event()

    class Hanging:
        def sample(self):
            asked.set()
            answered.wait()
            return {}

    monkeypatch.setattr(sampler, "SystemMonitor", Hanging)
    monkeypatch.setattr(sampler, "_LOOK", 0.01)
    monkeypatch.setattr(liveness, "_BEAT", 0.0)
    one = start(settings=Settings(system_every=0.01))
    one.begin(params={}, environment=environment)
    assert asked.wait(60)
    os.utime(one.folder.heartbeat, (1.0, 1.0))
    until(lambda: one.folder.heartbeat.stat().st_mtime > 1.0)
    answered.set()


def test_a_run_gives_its_first_sign_of_life_when_its_lock_is_taken(begun):
    assert begun.folder.heartbeat.exists()


def test_a_console_log_that_cannot_be_written_is_no_reason_not_to_train(start, monkeypatch, caplog):
    def refuse(_):
        raise OSError("disk quota exceeded")

    monkeypatch.setattr(sampler, "ConsoleLog", refuse)
    assert start(settings=Settings(system_every=0.0)).is_recording
    assert "recording the console failed: OSError: disk quota exceeded" in caplog.text


# -- log() ----------------------------------------------------------------------------------------------------


def test_log_without_a_run_is_without_effect(caplog):
    tracking_hooks.log({"mine": 1.0}, step=1)
    assert not caplog.records


def test_log_records_in_the_run(begun):
    tracking_hooks.log({"mine": 1.0}, step=7)
    tracking_hooks.log({"mine": 2.0})
    recorded = [(call.args["metrics"], call.args["step"]) for call in calls(begun, "on_log")]
    assert recorded == [({"mine": 1.0}, 7), ({"mine": 2.0}, None)]


def test_log_after_the_end_does_not_touch_what_was_recorded(begun):
    begun.end("finished")
    tracking_hooks.log({"mine": 1.0})
    assert calls(begun, "on_log") == []


def test_log_goes_to_the_training_of_its_thread(start, save_dir, tmp_path):
    started = {}

    def train(name):
        folder = tmp_path / "project" / name
        folder.mkdir()
        started[name] = start(run=msgspec.structs.replace(sample_run(folder), uid=name))
        barrier.wait()
        tracking_hooks.log({name: 1.0})

    barrier = threading.Barrier(2, timeout=30)
    threads = [threading.Thread(target=train, args=[name]) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, one in started.items():
        assert [call.args["metrics"] for call in calls(one, "on_log")] == [{name: 1.0}]


# -- what must not harm the training --------------------------------------------------------------------------


@posix("fork")
def test_a_forked_child_records_nothing_and_ends_nothing(begun):
    before = calls(begun)
    child = os.fork()
    if child == 0:
        try:
            begun.record("on_log", metrics={"child": 1.0}, step=1)
            tracking_hooks.log({"child": 1.0})
            begun.look_after_relays()
            begun.end("failed", ValueError("child"))
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert calls(begun) == before
    assert begun.is_recording
    assert read_holder(begun.folder.lock) == Holder.this()


def test_a_journal_that_cannot_be_written_never_raises_into_the_training(begun, caplog):
    begun._writer._journal.close()
    for step in range(3):
        begun.record("on_log", metrics={"x": 1.0}, step=step)
    begun.end("finished")
    assert warnings(caplog)


def test_a_run_folder_that_was_deleted_never_raises_into_the_training(begun):
    shutil.rmtree(begun.folder.path)
    begun.record("on_log", metrics={"x": 1.0}, step=1)
    begun.look_after_relays()
    begun.end("finished")


FULL_DISK = """
    import logging, resource, sys
    from pathlib import Path
    from tracking_hooks.recording.recorder import Recorder
    from tracking_hooks.settings import Settings
    from tracking_hooks.testing import recorded_run, sample_run

    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(message)s")
    save_dir = Path(sys.argv[1])
    start = recorded_run(save_dir)[0].args
    args = {"params": start["params"], "environment": start["environment"]}
    quiet = Settings(system_every=0.0, console="off")
    one = Recorder.start(sample_run(save_dir), {}, quiet, logging.getLogger(), **args)
    one.begin(**args)
    limit = one.folder.journal.stat().st_size + 50
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for epoch in range(1, 21):
        one.record("on_epoch_start", epoch=epoch, attempt=1)
        one.record("on_epoch_end", epoch=epoch, step=epoch, metrics={"x": 1.0 / epoch}, per_class=None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    one.record("on_log", metrics={"room": 1.0}, step=None)
    one.end("finished")
    print(one.folder.path, file=sys.stderr)
    """


@pytest.fixture
def full_disk(python, save_dir):
    """Record a run while the disk is full for 20 epochs; returns what was said, and the calls."""
    done = python(FULL_DISK, save_dir)
    folder = layout.find_runs(save_dir)[0]
    return done.stdout, [entry.call for entry in read(folder.journal, read_head(folder.journal)[1]) if entry.call]


@posix("limit for the size of files")
def test_what_is_told_after_a_full_disk_is_recorded(full_disk):
    _, recorded = full_disk
    assert [call.hook for call in recorded[-2:]] == ["on_log", "on_run_end"]


@posix("limit for the size of files")
def test_a_full_disk_is_said_once(full_disk):
    said, _ = full_disk
    assert len(said.splitlines()) == 1
    assert "tracking-hooks" in said


@posix("limit for the size of files")
def test_what_was_told_during_a_full_disk_is_kept_in_memory_and_recorded_later(full_disk):
    _, recorded = full_disk
    assert [call.args["epoch"] for call in recorded if call.hook == "on_epoch_end"] == list(range(1, 21))


def test_an_epoch_that_waits_in_memory_is_not_settled_for_who_resumes_from_a_copy_of_the_folder(
    begun, save_dir, monkeypatch
):
    """If the training is killed then, nobody has that epoch: it has to be trained and recorded once more."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def settled_behind(epoch):
        begun.record("on_epoch_end", epoch=epoch, step=epoch, metrics={"x": 1.0}, per_class=None)
        return layout.read_json(save_dir / layout.POINTER, layout.Pointer).epoch

    assert settled_behind(1) == 1
    with monkeypatch.context() as patch:
        patch.setattr(begun._writer._journal, "append", full)
        assert settled_behind(2) == 1
    assert settled_behind(3) == 3


# -- plugins --------------------------------------------------------------------------------------------------


def test_everything_reaches_the_plugin_and_the_outcome_says_so(start, installed, save_dir, caplog):
    one = start("notes")
    one.check()
    assert one.supervisor.disabled == ["notebook"]
    assert one.supervisor.describe() == "notes (a file)"
    for call in recorded_run(save_dir)[1:-1]:
        one.record(call.hook, **call.args)
    one.end("finished")
    one.supervisor.processes["notes"].wait()
    noted = [int(line.split()[0]) for line in (save_dir / "notes").read_text().splitlines()]
    assert noted == [call.seq for call in calls(one)]
    assert one.supervisor.outcome() == [f"notes: all {len(noted)} events delivered. See: a file"]
    assert one.supervisor.pending() == []
    assert not warnings(caplog)


def test_the_link_into_the_tracker_is_in_the_outcome_and_in_the_pointer(start, make_plugin, save_dir):
    plugin = make_plugin(
        """
        class Plugin:
            @hookimpl
            def on_run_start(self, state):
                state["url"] = "https://tracker.example/runs/7"
        """
    )
    one = start(plugin)
    one.check()
    one.end("finished")
    one.supervisor.processes[plugin].wait()
    one.tell_outcome()
    assert "https://tracker.example/runs/7" in "".join(one.supervisor.outcome())
    assert json.loads((save_dir / "tracking.json").read_text())["links"] == {plugin: "https://tracker.example/runs/7"}


def test_the_outcome_says_what_was_not_taken_and_where_the_reasons_are(start, make_plugin, tmp_path):
    plugin = make_plugin(
        """
        class Plugin:
            @hookimpl
            def on_run_start(self):
                raise Rejected("no such project")
        """
    )
    one = start(plugin)
    one.check()
    one.end("finished")
    one.supervisor.processes[plugin].wait()
    (told,) = one.supervisor.outcome()
    assert told.splitlines() == [
        f"{plugin}: 1 of 2 events set aside, for: no such project",
        f"  all reasons: tracking-hooks status --set-aside {one.folder.path}",
        f"  to try them again: tracking-hooks sync {one.folder.path} --retry",
    ]


@pytest.mark.parametrize(
    ("plugin", "parts"),
    [
        ("unknown-hook", ["'unknown-hook'", "'on_epoch_ended'", "Did you mean 'on_epoch_end'?"]),
        ("default-value", ["'default-value'", "'metrics'"]),
        ("not_there:Tracker", ["'not_there:Tracker'", "PYTHONPATH"]),
    ],
)
def test_a_plugin_that_cannot_be_used_stops_the_training_early_and_leaves_no_files(
    start, installed, tmp_path, plugin, parts
):
    one = start("notes", plugin)
    with pytest.raises(ConfigurationError) as caught:
        one.check()
    for part in parts:
        assert part in str(caught.value)
    assert not one.is_recording
    left = [path for top in ("project", "state") for path in (tmp_path / top).rglob("*") if path.is_file()]
    assert left == []


def test_a_plugin_that_ends_its_process_while_it_is_loaded_is_named(start, make_plugin):
    plugin = make_plugin("print('no license'); sys.stdout.flush(); os._exit(3)")
    with pytest.raises(ConfigurationError) as caught:
        start(plugin).check()
    for part in (plugin, "exit code 3", "no license"):
        assert part in str(caught.value)


def test_a_plugin_that_is_slow_to_load_delays_the_training_for_a_bounded_time(start, make_plugin, caplog, tmp_path):
    gate = tmp_path / "gate"
    gate.touch()
    plugin = make_plugin(
        f"""
        import time
        while Path({str(gate)!r}).exists():
            time.sleep(0.01)

        class Plugin(Notes):
            pass
        """
    )
    one = start(plugin, settings=Settings(system_every=0.0, ready_wait=0.2))
    try:
        one.check()
    finally:
        gate.unlink()
    assert any("not ready" in sentence for sentence in warnings(caplog))


def test_a_trainer_side_that_fails_stops_the_training_before_anything_is_written(start, installed, tmp_path):
    with pytest.raises(ConfigurationError, match="no experiment is set"):
        start("broken")
    assert [path for path in (tmp_path / "project").rglob("*") if path.is_file()] == []


def test_a_save_dir_that_cannot_be_written_is_a_configuration_error(start, save_dir):
    (save_dir / layout.POINTER / "in the way").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="cannot be made"):
        start().check()


@posix("SIGKILL")
def test_a_relay_that_died_is_started_again(start, make_plugin, environment, tmp_path, until):
    marker = tmp_path / "killed"
    plugin = make_plugin(
        f"""
        class Plugin:
            @hookimpl
            def on_run_start(self):
                if not Path({str(marker)!r}).exists():
                    Path({str(marker)!r}).touch()
                    os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    one = start(plugin)
    one.check()
    one.begin(params={}, environment=environment)
    one.supervisor.processes[plugin].wait()
    one.look_after_relays()
    until(lambda: one.folder.relay(plugin).read_cursor().delivered == 1)


# -- the end of the process -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last_words", "code", "status"),
    [
        ("one.end('finished')", 0, "finished"),
        ("raise ValueError('no more memory')", 1, "failed"),
        ("raise KeyboardInterrupt", None, "interrupted"),
        ("import os; os._exit(9)", 9, None),
    ],
)
def test_a_process_that_ends_ends_its_run(python, save_dir, last_words, code, status):
    python(
        f"""
        import logging, sys
        from pathlib import Path
        from tracking_hooks.recording.recorder import Recorder
        from tracking_hooks.settings import Settings
        from tracking_hooks.testing import recorded_run, sample_run

        save_dir = Path(sys.argv[1])
        args = recorded_run(save_dir)[0].args
        args.pop("resumed")
        quiet = Settings(system_every=0.0, console="off")
        one = Recorder.start(sample_run(save_dir), {{}}, quiet, logging.getLogger(), **args)
        {last_words}
        """,
        save_dir,
        code=code,
    )
    (folder,) = layout.find_runs(save_dir.parent)
    ends = [e.call.args for e in read(folder.journal, read_head(folder.journal)[1]) if e.call.hook == "on_run_end"]
    assert [end["status"] for end in ends] == ([status] if status else [])
    if status == "failed":
        assert ends[0]["error"].message == "no more memory"


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
@pytest.mark.parametrize(
    ("last_words", "code", "status"),
    [
        ("one.end('finished')", 0, "finished"),
        ("raise ValueError('no more memory')", 1, "failed"),
        ("raise KeyboardInterrupt", 1, "interrupted"),
        ("sys.exit(3)", 3, "failed"),
    ],
)
def test_a_training_in_a_forked_process_waits_for_its_delivery_as_a_script_does(
    python, make_plugin, save_dir, last_words, code, status, tmp_path
):
    plugin = make_plugin(
        """
        import time
        class Plugin(Notes):
            def before(self, seq, state):
                time.sleep(0.5)
        """
    )
    done = python(
        f"""
        import logging, multiprocessing, sys
        from pathlib import Path
        from tracking_hooks.events import Capture
        from tracking_hooks.recording.recorder import Recorder
        from tracking_hooks.settings import Settings
        from tracking_hooks.testing import recorded_run, sample_run

        save_dir = Path(sys.argv[1])

        def train():
            args = recorded_run(save_dir)[0].args
            args.pop("resumed")
            captures = {{sys.argv[2]: Capture(destination={{"file": str(save_dir / "notes")}})}}
            logging.basicConfig(level=logging.INFO, format="%(message)s")
            quiet = Settings(system_every=0.0, console="off")
            one = Recorder.start(sample_run(save_dir), captures, quiet, logging.getLogger("host"), **args)
            one.check()
            {last_words}

        process = multiprocessing.get_context("fork").Process(target=train)
        process.start()
        process.join()
        assert (save_dir / "notes").read_text().split() == ["1", "on_run_start", "2", "on_run_end"]
        sys.exit(process.exitcode)
        """,
        save_dir,
        plugin,
        code=code,
        PYTHONPATH=f"{tmp_path / 'code'}{os.pathsep}{os.environ['PYTHONPATH']}",
    )
    assert done.stderr.count("all 2 events delivered") == 1
    (folder,) = layout.find_runs(save_dir.parent)
    (end,) = [call for call in read_calls(folder.journal) if call.hook == "on_run_end"]
    assert end.args["status"] == status


@pytest.mark.parametrize(
    ("bases", "status"),
    [
        (["TrialPruned", "OptunaError", "Exception"], "interrupted"),
        (["MyPruning", "TrialPruned", "Exception"], "interrupted"),
        (["Pruned", "Exception"], "interrupted"),
        (["TaskCancelledError", "RayError", "Exception"], "interrupted"),
        (["StopTraining", "Exception"], "interrupted"),
        (["TrainingCancelled", "Exception"], "interrupted"),
        (["CancelledError", "BaseException"], "interrupted"),
        (["KeyboardInterrupt", "BaseException"], "interrupted"),
        (["StopIteration", "Exception"], "failed"),
        (["InterruptedError", "OSError"], "failed"),
        (["PrunedLayerMissing", "Exception"], "failed"),
        (["OutOfMemoryError", "RuntimeError"], "failed"),
    ],
)
def test_a_training_that_is_called_off_is_no_failure(begun, bases, status):
    """Told by the name of the exception, or of one that it is based on: no library that prunes is imported for it."""
    kind = getattr(builtins, bases[-1])
    for name in reversed(bases[:-1]):
        kind = type(name, (kind,), {})
    begun.end(error=kind("not promising"))
    (end,) = calls(begun, "on_run_end")
    assert end.args["status"] == status
    assert (end.args["error"] is None) == (status == "interrupted")


def test_at_the_end_of_a_process_each_of_several_runs_is_named(python, save_dir):
    done = python(
        """
        import logging, sys
        from pathlib import Path
        from msgspec.structs import replace
        from tracking_hooks.events import Capture
        from tracking_hooks.recording.recorder import Recorder
        from tracking_hooks.settings import Settings
        from tracking_hooks.testing import recorded_run, sample_run

        logging.basicConfig(level=logging.INFO, format="%(message)s")
        settings = Settings(system_every=0.0, console="off", mode="offline")
        for fold in ("fold-1", "fold-2"):
            save_dir = Path(sys.argv[1]) / fold
            args = recorded_run(save_dir)[0].args
            args.pop("resumed")
            run = replace(sample_run(save_dir), uid=fold, name=fold)
            Recorder.start(run, {"notes": Capture()}, settings, logging.getLogger("host"), **args).end("finished")
        """,
        save_dir,
    )
    told = [line for line in done.stderr.splitlines() if "offline" in line]
    assert [line.split(": ")[:3] for line in told] == [
        ["tracking-hooks", "fold-1", "offline"],
        ["tracking-hooks", "fold-2", "offline"],
    ]


@pytest.mark.parametrize(
    ("code", "status"), [(0, "interrupted"), (None, "interrupted"), (1, "failed"), ("no", "failed")]
)
def test_a_program_that_exits_in_mid_training_has_failed_if_its_exit_code_says_so(begun, code, status):
    begun.end(error=SystemExit(code))
    assert calls(begun, "on_run_end")[0].args["status"] == status


@pytest.fixture
def waiting(tmp_path):
    """The relays of a run that is over, as its end waits for them; and a function by which one says how it is."""
    folder = layout.RunFolder(tmp_path)
    folder.journal.write_bytes(b"a journal")
    folder.relay("notes").path.mkdir(parents=True)
    one = Supervisor(folder, {"notes": Capture()}, {"notes": "notes"}, Settings())
    one.processes = {"notes": SimpleNamespace(pid=57, poll=lambda: None)}
    one.finish(size=9, events=1)

    def say(condition):
        layout.write_json(folder.relay("notes").health, layout.Health(state=condition, pid=57))
        return one

    return say


def test_the_end_of_a_training_waits_two_seconds_for_a_tracker_that_is_down(waiting):
    assert waiting("down").pending(0.0) == ["notes"]
    assert waiting("down").pending(1.9) == ["notes"]
    assert waiting("down").pending(2.1) == []


def test_a_tracker_that_has_a_hiccup_now_and_then_while_it_is_waited_for_is_not_given_up(waiting):
    assert waiting("down").pending(1.0) == ["notes"]
    assert waiting("ready").pending(2.0) == ["notes"]
    assert waiting("down").pending(5.0) == ["notes"]
    assert waiting("ready").pending(6.5) == ["notes"]
    assert waiting("down").pending(20.0) == ["notes"]
    assert waiting("down").pending(22.1) == []


def test_what_cannot_wait_is_not_held_up_by_a_tracker_that_is_down(waiting):
    assert waiting("ready").pending(math.inf) == ["notes"]
    assert waiting("down").pending(math.inf) == []
    assert waiting("down").pending(0.1) == ["notes"]


def test_what_an_earlier_relay_said_of_itself_is_no_verdict_on_this_one(tmp_path):
    """As where a tuning is resumed at once with a plugin that cannot be imported any more."""
    folder = layout.RunFolder(tmp_path)
    folder.relay("notes").path.mkdir(parents=True)
    layout.write_json(folder.relay("notes").health, layout.Health(state="ready", pid=os.getpid()))
    supervisor = Supervisor(folder, {"notes": Capture()}, {"notes": "notes"}, Settings())
    supervisor.processes = {"notes": subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])}
    ((sentence, is_fatal),) = supervisor.verdicts()
    assert is_fatal
    assert sentence.startswith("plugin 'notes' cannot be used: its process ended with exit code 3")


def test_nor_is_it_where_that_one_had_the_same_pid_as_in_a_container_that_is_started_again(tmp_path, monkeypatch):
    folder = layout.RunFolder(tmp_path)
    folder.relay("notes").path.mkdir(parents=True)
    layout.write_json(folder.relay("notes").health, layout.Health(state="refused", pid=57, error="no password"))
    monkeypatch.setattr(supervisor, "start_relay", lambda *_, **__: SimpleNamespace(pid=57, poll=lambda: None))
    one = Supervisor(folder, {"notes": Capture()}, {"notes": "notes"}, Settings(ready_wait=0.0))
    one.start()
    ((sentence, is_fatal),) = one.verdicts()
    assert not is_fatal
    assert "notes is not ready" in sentence


def test_a_secret_that_the_script_has_set_while_it_trained_is_masked_in_its_text_files(
    start, save_dir, environment, monkeypatch
):
    one = start(plan=Plan(files=["*.yaml"]))
    one.begin(params={}, environment=environment)
    monkeypatch.setenv("QUEUE_PASSWORD", "correct-horse")
    (save_dir / "queue.yaml").write_text("queue: correct-horse\n")
    one.record_final_files()
    (call,) = calls(one, "on_artifact")
    assert call.args["artifact"].path.read_text() == "queue: [redacted]\n"
    assert (save_dir / "queue.yaml").read_text() == "queue: correct-horse\n"


def test_params_tags_and_the_command_line_are_recorded_without_the_values_of_secret_variables(
    save_dir, monkeypatch, installed
):
    monkeypatch.setenv("SERVICE_PASSWORD", "correct-horse")
    monkeypatch.setenv("TRACKING_HOOKS", "notes")
    monkeypatch.setenv("TRACKING_HOOKS_TAGS", f"note=correct-horse,commit={'0123456789' * 4}")
    monkeypatch.setattr(sys, "argv", ["train.py", "correct-horse", "best.pt"])
    tracking = Tracking.of(sample_run(save_dir), logging.getLogger("host"))
    assert tracking.run.tags == {"note": "[redacted]", "commit": "0123456789" * 4}
    assert tracking.environment.argv == ["train.py", "[redacted]", "best.pt"]


def test_a_relay_that_was_just_started_again_does_not_hide_why_the_one_before_it_gave_up(tmp_path):
    down = layout.Health(state="down", pid=1, error="no credentials.")
    ready = layout.Health(state="ready", pid=2)
    for now in (None, ready, down):
        assert supervisor._why(now, down, None, tmp_path) == ": no credentials"
    assert "its relay died (exit code 7" in supervisor._why(ready, down, 7, tmp_path)
    assert supervisor._why(ready, None, None, tmp_path) == ""
