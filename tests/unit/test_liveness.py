"""Who is alive: each row of the table in ``run/liveness.py``, and the locks and signs of life that it goes by."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import psutil
import pytest

from tests.support.systems import posix
from tracking_hooks.run import filesystems, liveness, recordlocks
from tracking_hooks.run.layout import write_json
from tracking_hooks.run.liveness import Heart, Holder, Lock, Watch, is_alive, look, read_holder, request_release

pytestmark = posix("record locks")

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
    heartbeat = tmp_path / "heartbeat"
    Heart(heartbeat).beat()

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
        holder = msgspec.structs.replace(msgspec.json.decode(note, type=Holder), **{"pid": 1, **changes})
        path.with_suffix(".json").write_bytes(msgspec.json.encode(holder))

    return write


@pytest.fixture
def shared(monkeypatch):
    """Let several machines see the file system."""
    monkeypatch.setattr(filesystems, "is_local", lambda _: False)


def test_a_process_of_an_earlier_boot_is_dead(held_by, alive):
    held_by(boot="an earlier one")
    assert not alive(last_sign=0)


def test_a_lock_that_is_held_is_alive_whatever_its_note_tells_of_machines(path, hold, alive):
    hold()
    holder = read_holder(path)
    for changes in ({"boot": "another"}, {"host": "another"}, {"boot": "another", "host": "another", "pid": 1}):
        write_json(path.with_suffix(".json"), msgspec.structs.replace(holder, **changes))
        assert alive(last_sign=1e6)
    path.with_suffix(".json").unlink()
    assert alive(last_sign=1e6)


def test_a_process_of_this_boot_is_dead_whatever_its_last_sign_is(held_by, shared, alive):
    held_by()
    assert not alive(last_sign=0)


def test_a_process_on_another_machine_lives_while_it_gives_signs(held_by, shared, alive):
    held_by(host="another", boot="its own")
    assert alive(last_sign=200)
    assert not alive(last_sign=400)


def test_two_machines_of_one_name_are_two_machines(held_by, shared, alive):
    held_by(boot="its own")
    assert alive(last_sign=200)


@pytest.mark.parametrize("skew", [-300.0, 300.0])
def test_five_minutes_of_skew_between_two_clocks_end_nobody(held_by, shared, alive, monkeypatch, skew):
    held_by(host="another", boot="its own")
    ours = time.time
    monkeypatch.setattr(time, "time", lambda: ours() + skew)
    assert alive(last_sign=200)
    assert not alive(last_sign=400)


def test_to_ask_for_the_age_of_a_heartbeat_leaves_no_file_behind(held_by, shared, alive, tmp_path):
    held_by(boot="its own")
    before = set(tmp_path.iterdir())
    assert alive()
    assert set(tmp_path.iterdir()) == before


def test_a_process_on_another_machine_that_has_never_given_a_sign_is_dead(held_by, shared, path, tmp_path):
    held_by(host="another", boot="its own")
    assert not is_alive(path, heartbeat=tmp_path / "never-written", silence=300.0)


def test_what_is_known_of_a_process_on_another_machine_is_told(held_by, shared, path, tmp_path):
    held_by(host="another", boot="its own")
    heartbeat = tmp_path / "heartbeat"
    Heart(heartbeat).beat()
    now = heartbeat.stat().st_mtime
    os.utime(heartbeat, (now - 100, now - 100))
    life = look(path, heartbeat=heartbeat)
    assert (life.alive, life.elsewhere) == (True, True)
    assert 99 < life.silent_for < 200


@pytest.mark.parametrize(
    ("kind", "options", "local"),
    [("ext4", "rw", True), ("overlay", "rw", True), ("NTFS", "rw,fixed", True), ("NTFS", "rw,remote", False)]
    + [
        (kind, "rw", False)
        for kind in ("nfs", "nfs4", "cifs", "smb3", "lustre", "beegfs", "gpfs", "ceph", "9p", "fuse.sshfs", "virtiofs")
    ],
)
def test_the_type_of_a_file_system_tells_whether_other_machines_see_it(tmp_path, monkeypatch, kind, options, local):
    root = SimpleNamespace(mountpoint="/", fstype="ext4", opts="rw")
    hidden = SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4" if local else "ext4", opts="rw")
    mount = SimpleNamespace(mountpoint=str(tmp_path), fstype=kind, opts=options)
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: [hidden, mount, root])
    folder = tmp_path / "runs"
    filesystems.is_local.cache_clear()
    assert filesystems.is_local(folder) is local
    filesystems.is_local.cache_clear()


@pytest.fixture
def own_clock(monkeypatch):
    """Let time pass by this process's own clock."""

    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(liveness, "clock", clock)
    return clock


def test_whose_heartbeat_goes_on_is_not_dead_by_a_clock_that_is_five_minutes_behind(
    held_by, shared, path, tmp_path, own_clock
):
    held_by(host="another", boot="its own")
    heartbeat = tmp_path / "heartbeat"
    heartbeat.touch()
    behind = heartbeat.stat().st_mtime - 400
    watch = Watch(path, heartbeat)
    for beat in range(20):
        os.utime(heartbeat, (behind + beat, behind + beat))
        own_clock.now += 15
        assert watch.look().alive
    own_clock.now += 15
    assert watch.look().alive
    own_clock.now += 45
    assert not watch.look().alive


def test_a_watcher_believes_a_lock_at_once(path, hold, own_clock, tmp_path):
    holder, _ = hold()
    watch = Watch(path, tmp_path / "heartbeat")
    assert watch.look().alive
    holder.kill()
    holder.wait()
    assert not watch.look().alive


def test_a_heart_beats_when_it_is_due_and_leaves_its_file_alone_otherwise(tmp_path, own_clock):
    heartbeat = tmp_path / "heartbeat"
    heart = Heart(heartbeat)
    heart.beat()
    assert heartbeat.stat().st_mode & 0o077 == 0
    os.utime(heartbeat, (1.0, 1.0))
    heart.beat()
    assert heartbeat.stat().st_mtime == 1.0
    own_clock.now += 30
    heart.beat()
    assert heartbeat.stat().st_mtime > 1.0


def test_a_heart_whose_folder_was_deleted_says_nothing(tmp_path):
    Heart(tmp_path / "deleted" / "heartbeat").beat()


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


def test_a_lock_that_stays_taken_is_not_waited_for_without_end(path, hold, monkeypatch):
    holder, _ = hold()
    for end in ("terminate", "kill"):  # a process in state D, a zombie of a notebook
        monkeypatch.setattr(psutil.Process, end, lambda _: None)
    assert not request_release(path, patience=0.2)
    assert holder.poll() is None


def test_a_process_that_does_not_have_the_lock_is_not_ended_for_it(path, hold):
    """In another container of the machine, the number of the holder may be that of any other process."""
    hold()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        note = path.with_suffix(".json")
        started = psutil.Process(bystander.pid).create_time()
        write_json(note, msgspec.structs.replace(read_holder(path), pid=bystander.pid, started=started))
        assert not request_release(path, patience=0.2)
        assert bystander.poll() is None
        bystander.communicate(b"\n")


def test_nobody_is_ended_for_a_lock_that_is_free(path):
    assert request_release(path, patience=0.0)


def test_two_who_ask_at_the_same_instant_do_not_keep_the_lock_from_who_takes_it(path):
    path.touch()
    asking = [
        subprocess.Popen([sys.executable, "-c", ASK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in asking:
        assert process.stdout.readline() == b"in the midst of it\n"
    lock = Lock(path)
    assert lock.acquire()
    assert [process.communicate(b"\n")[0] for process in asking] == [b"nobody has it\n"] * 2
    lock.release()


ASK = """
import os, sys
from pathlib import Path
from tracking_hooks.run import recordlocks

def close(fd):
    print("in the midst of it", flush=True)
    sys.stdin.readline()
    close_at_once(fd)

close_at_once, os.close = os.close, close
print({None: "nobody has it"}.get(recordlocks.locked_by(Path(sys.argv[1])), "taken"))
"""


def test_where_a_lock_cannot_be_asked_for_the_process_answers(path, held_by, alive, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOSYS, "no such thing")

    held_by(pid=os.getpid())
    monkeypatch.setattr(recordlocks, "locked_by", refuse)
    assert alive(last_sign=1e6)
    held_by(started=1.0, pid=os.getpid())
    assert not alive(last_sign=0)


def test_what_must_have_the_lock_is_told_who_keeps_it(path, hold):
    holder, _ = hold()
    with pytest.raises(OSError, match=f"process {holder.pid} on .+ is recording this run"):
        Lock(path).take(patience=0.1)


def test_what_must_have_the_lock_waits_until_it_is_given_back(path, hold):
    holder, _ = hold()
    ended = threading.Timer(0.2, holder.kill)
    ended.start()
    Lock(path).take(patience=60.0)
    ended.join()
    assert read_holder(path).pid == os.getpid()


def test_who_gives_a_lock_back_leaves_the_note_of_another_who_took_it_where_locks_do_not_reach(path, tmp_path):
    lock = Lock(path)
    assert lock.acquire()
    other = msgspec.structs.replace(Holder.this(), boot="its own")
    write_json(path.with_suffix(".json"), other)
    lock.release()
    assert read_holder(path) == other


def test_a_lock_is_taken_anew_without_being_given_back(path, python):
    lock = Lock(path)
    assert lock.acquire()
    path.with_suffix(".json").unlink()  # by another one, which thought this process dead
    assert lock.acquire()
    assert read_holder(path) == Holder.this()
    lock.release()
    assert read_holder(path) is None


def test_on_macos_the_boot_is_told_by_its_session_since_the_time_of_the_boot_moves(monkeypatch):
    class Library:
        def __init__(self, _):
            pass

        def sysctlbyname(self, name, value, size, *_):
            assert name == b"kern.bootsessionuuid"
            value.value = b"0B5C-77"
            return 0

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", Library)
    monkeypatch.setattr(Path, "read_text", lambda *_: (_ for _ in ()).throw(FileNotFoundError()))
    assert liveness.this_boot.__wrapped__() == "0B5C-77"
