"""Whether a training process lives is never guessed on its own machine."""

import os
import signal
import subprocess
import sys

import msgspec
import psutil
import pytest

from tracking_hooks.run.layout import write_json
from tracking_hooks.run.liveness import Holder, Lock, is_alive, read_holder, request_release

HOLD = """
import os, sys
from pathlib import Path
from tracking_hooks.run.liveness import Lock

assert Lock(Path(sys.argv[1])).acquire()
child = os.fork() if "fork" in sys.argv else 0
if child or "fork" not in sys.argv:
    print("held", child, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trainer.lock"


@pytest.fixture
def alive(path, tmp_path):
    """Ask whether the holder lives; its last sign of life is as old as given."""
    heartbeat = tmp_path / "journal.jsonl"
    heartbeat.touch()

    def ask(last_sign=0.0):
        now = heartbeat.stat().st_mtime
        os.utime(heartbeat, (now - last_sign, now - last_sign))
        return is_alive(path, heartbeat=heartbeat, silence=300.0)

    return ask


@pytest.fixture
def hold(path):
    """Let another process take the lock; returns it, and the pid of its forked child."""
    holders = []

    def start(*options):
        command = [sys.executable, "-c", HOLD, str(path), *options]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        holders.append(holder)
        word, child = holder.stdout.readline().split()
        assert word == "held"
        return holder, int(child)

    yield start
    for holder in holders:
        holder.stdin.close()  # which ends a forked child too
        holder.stdout.read()
        holder.stdout.close()
        holder.wait()


def test_nobody_holds_what_was_never_taken(alive):
    assert not alive()


def test_a_living_process_holds_its_lock(path, hold, alive):
    holder, _ = hold()
    assert alive(last_sign=1e6)
    assert read_holder(path).pid == holder.pid
    assert not Lock(path).acquire()
    assert alive(), "to ask for the lock takes nothing away"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("options", [[], ["fork"]], ids=["alone", "with a living forked child"])
def test_sigkill_frees_the_lock_at_once(path, hold, alive, options):
    holder, child = hold(*options)
    assert alive()
    holder.kill()
    holder.wait()
    if child:
        os.kill(child, 0)  # raises if it does not live on
    assert not alive()
    lock = Lock(path)
    assert lock.acquire()
    lock.release()


def test_a_process_that_ends_properly_frees_the_lock(hold, alive):
    holder, _ = hold()
    holder.send_signal(signal.SIGTERM)
    holder.wait()
    assert not alive()


def test_a_lock_is_not_taken_twice_in_one_process(path, alive):
    lock = Lock(path)
    assert lock.acquire()
    assert not Lock(path).acquire()
    assert alive()
    lock.release()
    assert not alive()
    again = Lock(path)
    assert again.acquire()
    again.release()


def test_to_ask_in_the_holding_process_does_not_drop_the_lock(path, alive, python):
    lock = Lock(path)
    assert lock.acquire()
    assert alive()
    assert not Lock(path).acquire()
    python(
        """
        import sys
        from pathlib import Path
        from tracking_hooks.run.liveness import Lock
        sys.exit(Lock(Path(sys.argv[1])).acquire())
        """,
        path,
    )
    lock.release()


def test_release_without_acquire_is_without_effect(path, hold, alive):
    hold()
    Lock(path).release()
    assert alive()


@pytest.fixture
def held_by(path):
    """Leave a lock behind as a process of another boot or another machine would."""

    def write(**changes):
        lock = Lock(path)
        assert lock.acquire()
        note = path.with_suffix(".json").read_bytes()
        lock.release()
        holder = msgspec.structs.replace(msgspec.json.decode(note, type=Holder), pid=1, **changes)
        path.with_suffix(".json").write_bytes(msgspec.json.encode(holder))

    return write


def test_a_process_of_an_earlier_boot_is_dead(held_by, alive):
    held_by(boot="an earlier one")
    assert not alive(last_sign=0)


def test_a_process_on_another_machine_lives_while_it_gives_signs(held_by, alive):
    held_by(host="another", boot="its own")
    assert alive(last_sign=200)
    assert not alive(last_sign=400)


def test_a_process_on_another_machine_that_has_never_given_a_sign_is_dead(held_by, path, tmp_path):
    held_by(host="another", boot="its own")
    assert not is_alive(path, heartbeat=tmp_path / "never-written", silence=300.0)


def test_a_container_on_this_machine_is_judged_by_its_lock_not_by_its_signs(held_by, alive):
    held_by(host="a-container")
    assert not alive(last_sign=0)


@pytest.mark.parametrize("content", [b"", b"{", b'{"host": 3}'])
def test_a_damaged_note_is_no_error(path, alive, content):
    path.with_suffix(".json").write_bytes(content)
    assert not alive()


def test_a_lock_is_known_by_its_file_and_not_by_a_spelling_of_its_path(path, tmp_path, alive, python):
    lock = Lock(path)
    assert lock.acquire()
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    other = tmp_path / "link" / path.name
    assert is_alive(other, heartbeat=path, silence=0.0)
    assert not Lock(other).acquire()
    python(
        """
        import sys
        from pathlib import Path
        from tracking_hooks.run.liveness import Lock
        assert not Lock(Path(sys.argv[1])).acquire(), "to ask by another path has dropped it"
        """,
        path,
    )
    lock.release()
    assert not alive()


def test_a_process_is_asked_for_its_lock_and_gives_it_back(path, hold):
    hold()
    assert request_release(path, patience=30.0)


def test_a_lock_that_stays_taken_is_not_waited_for_without_end(path, hold):
    hold()
    another = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    note = path.with_suffix(".json")
    holder = msgspec.json.decode(note.read_bytes(), type=Holder)
    started = psutil.Process(another.pid).create_time()
    write_json(note, msgspec.structs.replace(holder, pid=another.pid, started=started))
    assert not request_release(path, patience=0.2)
    another.wait()


def test_nobody_is_ended_for_a_lock_that_is_free(path):
    assert request_release(path, patience=0.0)
