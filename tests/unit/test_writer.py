"""Events reach the journal once and in order, whatever comes in between."""

import threading

import pytest

from tracking_hooks.recording.writer import Writer
from tracking_hooks.run import journal, lines
from tracking_hooks.run.journal import FORMAT, Head, Journal
from tracking_hooks.run.liveness import Lock
from tracking_hooks.testing import sample_run


@pytest.fixture
def log(tmp_path):
    head = Head(format=FORMAT, created=0.0, run=sample_run(tmp_path / "project/train"), plugins={})
    return Journal.create(tmp_path / "journal.jsonl", head)


@pytest.fixture
def writer(log, tmp_path):
    lock = Lock(tmp_path / "trainer.lock")
    lock.acquire()
    writer = Writer(log, lock, pytest.fail)
    yield writer
    writer.close()


def written(log):
    _, offset = journal.read_head(log.path)
    return [(entry.call.seq, entry.call.args["step"]) for entry in journal.read(log.path, offset)]


@pytest.fixture
def once_written(log, monkeypatch):
    """Do something as soon as the next line of the journal is in the file, before ``os.write`` returns."""
    write = journal.os.write

    def arm(action):
        def write_and_act(fd, data):
            count = write(fd, data)
            if fd == log._fd:
                monkeypatch.setattr(journal.os, "write", write)
                action()
            return count

        monkeypatch.setattr(journal.os, "write", write_and_act)

    return arm


def interrupt():
    raise KeyboardInterrupt


def test_ctrl_c_right_behind_the_write_doubles_neither_an_event_nor_a_number(writer, log, once_written):
    once_written(interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.append("on_log", {"metrics": {}, "step": 1})
    writer.append("on_log", {"metrics": {}, "step": 2})
    assert written(log) == [(1, 1), (2, 2)]


def test_an_event_of_a_signal_handler_within_the_write_comes_behind_it(writer, log, once_written):
    def append():
        once_written(lambda: writer.append("on_log", {"metrics": {}, "step": 2}))
        writer.append("on_log", {"metrics": {}, "step": 1})
        writer.append("on_log", {"metrics": {}, "step": 3})

    thread = threading.Thread(target=append, daemon=True)  # it would wait for itself for ever
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert written(log) == [(1, 1), (2, 2), (3, 3)]


def test_what_does_not_fit_on_the_disk_waits_its_turn(log, tmp_path, monkeypatch):
    lock = Lock(tmp_path / "trainer.lock")
    lock.acquire()
    complaints = []
    writer = Writer(log, lock, complaints.append)

    def full(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(journal.os, "write", full)
        writer.append("on_log", {"metrics": {}, "step": 1})
        writer.append("on_log", {"metrics": {}, "step": 2})
    writer.append("on_log", {"metrics": {}, "step": 3})
    assert written(log) == [(1, 1), (2, 2), (3, 3)]
    assert "events wait in memory" in complaints[0]
    assert writer.close() == 3


@pytest.fixture
def another(log, writer, monkeypatch):
    """Let another process take this one for dead, write the run's end, and keep the lock until told."""
    keeps = [True]

    class Other:
        def writes(self, *hooks):
            other = Journal(log.path, log.seq)
            for hook in hooks:
                other.append(hook, 1.0, {"status": "killed"} if hook == "on_run_end" else {"metrics": {}, "step": 0})
            other.close()

        def ends(self):
            keeps[0] = False

    acquire = Lock.acquire
    monkeypatch.setattr(Lock, "acquire", lambda lock: not keeps[0] and acquire(lock))
    return Other()


def test_while_another_process_keeps_the_lock_nothing_is_written_between_its_events(writer, log, another, monkeypatch):
    complaints = []
    monkeypatch.setattr(writer, "_complain", complaints.append)
    writer.append("on_run_start", {"params": {}, "resumed": False})
    another.writes("on_run_end")
    before = log.path.read_bytes()
    writer.append("on_log", {"metrics": {}, "step": 1})
    writer.append("on_log", {"metrics": {}, "step": 2})
    assert log.path.read_bytes() == before
    assert "is recording this run" in complaints[0]

    another.ends()
    writer.append("on_log", {"metrics": {}, "step": 3})
    _, offset = journal.read_head(log.path)
    calls = [entry.call for entry in journal.read(log.path, offset)]
    assert [call.hook for call in calls] == ["on_run_start", "on_run_end", "on_run_start", "on_log", "on_log", "on_log"]
    assert [call.seq for call in calls] == [1, 2, 3, 4, 5, 6]
    assert calls[2].args["resumed"] is True


def test_a_suspended_process_that_is_back_asks_the_server_what_another_machine_has_written(log, monkeypatch):
    """As on NFS: where a file ends is what this machine remembers, until it asks for the file's attributes."""
    asked = journal.os.fstat
    remembered = [asked(log._fd).st_size]

    def ask(fd):
        remembered[0] = asked(fd).st_size
        return asked(fd)

    monkeypatch.setattr(journal.os, "lseek", lambda *_: remembered[0])
    monkeypatch.setattr(journal.os, "fstat", ask)
    assert not log.was_ended_by_another()
    elsewhere = Journal(log.path, log.seq)
    remembered[0] = asked(log._fd).st_size
    elsewhere.append("on_run_end", 1.0, {"status": "killed"})
    elsewhere.close()
    now = journal.time.time()
    monkeypatch.setattr(journal.time, "time", lambda: now + 400.0)
    assert log.was_ended_by_another()
    assert log.seq == 1


def test_ctrl_c_while_an_event_is_encoded_leaves_it_for_the_next_write(writer, log, monkeypatch):
    def interrupted(_):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(lines, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.append("on_log", {"metrics": {}, "step": 1})
    writer.append("on_log", {"metrics": {}, "step": 2})
    assert written(log) == [(1, 1), (2, 2)]


@pytest.mark.parametrize("more", [True, False], ids=["and goes on", "and ends"])
def test_a_disk_that_is_full_at_the_last_byte_of_an_event_does_not_double_it(log, tmp_path, monkeypatch, more):
    lock = Lock(tmp_path / "trainer.lock")
    lock.acquire()
    writer = Writer(log, lock, lambda _: None)
    write = journal.os.write
    with monkeypatch.context() as disk:
        disk.setattr(journal.os, "write", lambda fd, data: write(fd, data[:-1]))
        writer.append("on_log", {"metrics": {}, "step": 1})
    if more:
        writer.append("on_log", {"metrics": {}, "step": 2})
    writer.close()
    assert written(log) == [(1, 1), (2, 2)][: 1 + more]
