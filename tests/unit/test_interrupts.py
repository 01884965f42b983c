"""Signal handlers, Ctrl-C and forks, at whatever moment they come: nothing blocks, no event is lost or there twice."""

import itertools
import logging
import os
import sys
from functools import partial

import msgspec
import pytest

import tracking_hooks
from tests.support.runs import read_calls
from tests.support.systems import posix
from tracking_hooks.recording import process
from tracking_hooks.recording.process import recorders
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import layout
from tracking_hooks.run.liveness import read_holder
from tracking_hooks.settings import Settings
from tracking_hooks.testing import sample_run

pytestmark = posix("signals between processes")

QUIET = Settings(system_every=0.0, console="off")

TRAINING = """
import itertools, logging, os, random, signal, sys, threading, time
from pathlib import Path
import tracking_hooks
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run, sample_run

save_dir = Path(sys.argv[1])
start = recorded_run(save_dir)[0].args
told = {"params": start["params"], "environment": start["environment"]}
logger = logging.getLogger("host")
logger.setLevel(logging.INFO)
busy = Settings(system_every=0.001, console="on")  # so that other threads record, too
one = Recorder.start(sample_run(save_dir), {}, busy, logger, plan=start["plan"], **told)
one.begin(**told)

def soon():  # while the next event is recorded
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 6e-5))
"""


@pytest.fixture
def begin(tmp_path, environment):
    """Begin to record a run, which goes nowhere."""
    numbers = itertools.count()

    def begin():
        save_dir = tmp_path / f"project-{next(numbers)}" / "train"
        save_dir.mkdir(parents=True)
        told = {"params": {}, "environment": environment}
        run = msgspec.structs.replace(sample_run(save_dir), uid=save_dir.parent.name)
        one = Recorder.start(run, {}, QUIET, logging.getLogger("host"), **told)
        one.begin(**told)
        return one

    yield begin
    for one in list(recorders):
        one.end("finished")
    recorders.clear()


def interrupt():
    raise KeyboardInterrupt


def come_in(action, number, handler):
    """Call a signal handler at one of the points of an action where Python lets one in, which are counted.

    Those are the beginnings of functions, and behind calls of C; what a profiler is told of comes at the same points.
    Returns whether there was such a point.
    """
    left = number

    def look(_, event, __):
        nonlocal left
        if event in ("call", "c_return"):
            left -= 1
            if left == 0:
                sys.setprofile(None)
                handler()

    try:
        sys.setprofile(look)
        action()
    finally:
        sys.setprofile(None)
    return left <= 0


def steps(calls):
    return [call.args["step"] for call in calls if call.hook == "on_log"]


def assert_whole(calls):
    """Every number is there once, in order."""
    assert [call.seq for call in calls] == list(range(1, len(calls) + 1))


def test_ctrl_c_at_any_point_of_log_loses_no_event_and_doubles_none(begin):
    one = begin()
    returned = []
    for number in itertools.count(1):
        try:
            was_interrupted = come_in(partial(tracking_hooks.log, {"loss": 1.0}, number), number, interrupt)
        except KeyboardInterrupt:
            continue
        returned.append(number)
        if not was_interrupted:
            break
    tracking_hooks.log({"loss": 1.0}, 0)
    calls = read_calls(one.folder.journal)
    assert_whole(calls)
    assert len(set(steps(calls))) == len(steps(calls))
    assert {0, *returned} <= set(steps(calls))
    assert number - 1 in steps(calls)  # that was the last point: the event was recorded before it
    assert number > 20


def test_log_in_a_signal_handler_at_any_point_of_log_is_recorded_once(begin):
    one = begin()
    for number in itertools.count(1):
        handler = partial(tracking_hooks.log, {"mine": 1.0}, -number)
        if not come_in(partial(tracking_hooks.log, {"loss": 1.0}, number), number, handler):
            break
    calls = read_calls(one.folder.journal)
    assert_whole(calls)
    assert sorted(steps(calls)) == sorted([*range(1, number + 1), *range(1 - number, 0)])


def test_ctrl_c_at_any_point_of_the_end_leaves_an_end_to_the_next_try(begin):
    for number in itertools.count(1):
        one = begin()
        try:
            was_interrupted = come_in(partial(one.end, "finished"), number, interrupt)
        except KeyboardInterrupt:
            was_interrupted = True
        process._finish_all()  # as the process does at last
        calls = read_calls(one.folder.journal)
        assert_whole(calls)
        assert [call.hook for call in calls] == ["on_run_start", "on_run_end"], number
        assert read_holder(one.folder.lock) is None
        if not was_interrupted:
            break
    assert number > 20


def test_an_epoch_whose_end_was_interrupted_is_recorded_at_the_next_try_and_once(begin):
    for number in itertools.count(1):
        one = begin()
        end = {"epoch": 1, "step": 1, "metrics": {"fitness": 1.0}, "per_class": None}
        try:
            was_interrupted = come_in(partial(one.record, "on_epoch_end", **end), number, interrupt)
        except KeyboardInterrupt:
            was_interrupted = True
        if one.epoch < 1:
            one.record("on_epoch_end", **end)
        one.end("finished")
        calls = read_calls(one.folder.journal)
        assert_whole(calls)
        assert [call.hook for call in calls] == ["on_run_start", "on_epoch_end", "on_run_end"], number
        if not was_interrupted:
            break


def test_a_log_handler_of_the_users_that_records_is_no_deadlock(python, tmp_path):
    """One thread finds the disk full, which the handler is to be told of; another one is in it, and records."""
    python(
        TRAINING
        + """
emitting = threading.Event()
class Counting(logging.Handler):
    def emit(self, record):
        if threading.current_thread() is other:
            emitting.set()
            tracking_hooks.log({"warnings": 1.0})

def full(fd, data):
    if fd == one._writer._journal._fd and threading.current_thread() is recording:
        other.start()
        emitting.wait()
        raise OSError("no space left on device")
    return write(fd, data)

logger.addHandler(Counting())
write, os.write = os.write, full
other = threading.Thread(target=logger.warning, args=["mine"], daemon=True)
recording = threading.Thread(target=one.record, args=["on_log"], kwargs={"metrics": {}, "step": 1}, daemon=True)
recording.start()
recording.join(20)
other.join(20)
os._exit(recording.is_alive() or other.is_alive())
        """,
        tmp_path / "train",
    )


# -- real signals and forks -------------------------------------------------------------------------------------


@pytest.fixture
def train(python, tmp_path):
    """Train in a process of its own; return its journal and what it has printed."""

    def train(text):
        save_dir = tmp_path / "project" / "train"
        save_dir.mkdir(parents=True)
        done = python(TRAINING + text, save_dir)
        (folder,) = layout.find_runs(save_dir)
        calls = read_calls(folder.journal)
        assert_whole(calls)
        assert calls[-1].hook == "on_run_end"
        return calls, done

    return train


def test_thousands_of_signals_whose_handler_calls_log(train):
    calls, done = train(
        """
steps, handled, numbers = [], [], itertools.count(1)
def handle(*_):
    number = next(numbers)
    tracking_hooks.log({"handled": 1.0}, -number)
    handled.append(number)

signal.signal(signal.SIGALRM, handle)
while len(handled) < 2000:
    soon()
    tracking_hooks.log({"loss": 1.0}, len(steps))
    steps.append(1)
signal.setitimer(signal.ITIMER_REAL, 0)
one.end("finished")
print(len(steps), len(handled))
        """
    )
    looped, handled = map(int, done.stdout.split())
    assert [step for step in steps(calls) if step >= 0] == list(range(looped))
    assert sorted(step for step in steps(calls) if step < 0) == list(range(-handled, 0))


def test_thousands_of_interrupts(train):
    calls, done = train(
        """
def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
interrupts, step, returned = 0, 0, []
while interrupts < 2000:
    step += 1
    try:
        soon()
        tracking_hooks.log({"loss": 1.0}, step)
        returned.append(step)
    except KeyboardInterrupt:
        interrupts += 1
    finally:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            interrupts += 1
one.end("finished")
print(*returned)
        """
    )
    returned = map(int, done.stdout.split())
    assert len(set(steps(calls))) == len(steps(calls))
    assert set(returned) <= set(steps(calls))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("thread_that_forks", ["main", "another"])
@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit()", "return"])
def test_forks_at_any_moment(train, end, thread_that_forks):
    calls, done = train(
        f"""
def child():
    tracking_hooks.log({{"child": 1.0}}, -1)
    one.record("on_log", metrics={{}}, step=-2)
    logger.warning("I am another one")
    one.look_after_relays()
    one.record_final_files()
    one.end("failed")
    {end}

children, steps, is_over = [], 0, threading.Event()
def fork():
    while len(children) < 100:
        pid = os.fork()
        if pid == 0:
            child()
            os._exit(0)
        children.append(pid)
        time.sleep(0.001)
    is_over.set()

def loop():
    global steps
    while not is_over.is_set():
        tracking_hooks.log({{"loss": 1.0}}, steps)
        steps += 1

here, there = (fork, loop) if {thread_that_forks!r} == "main" else (loop, fork)
thread = threading.Thread(target=there)
thread.start()
here()
thread.join()
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
one.end("finished")
print(steps)
        """
    )
    assert steps(calls) == list(range(int(done.stdout)))
    assert calls[-1].args["status"] == "finished"
