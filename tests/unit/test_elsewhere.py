"""A run that another machine may be recording: what is said of it, kept, delivered, and left to it."""

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from tracking_hooks.cli import main
from tracking_hooks.delivery.spawn import BUSY, DELIVERED
from tracking_hooks.run import layout, orphans, state
from tracking_hooks.run.journal import Call
from tracking_hooks.run.liveness import Lock


@pytest.fixture
def cli():
    """Run ``tracking-hooks``; return what it prints."""

    def run(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments]).output

    return run


@pytest.fixture
def run(record_run, installed):
    """A run that has begun, and has no end."""
    return record_run("notes", calls=[Call(1, 1.0, "on_run_start", {"params": {}, "resumed": False})])


@pytest.fixture
def train_elsewhere(run, elsewhere):
    """Let another machine record it, and have given its last sign of life so many seconds ago."""

    def train(last_sign, **holder):
        elsewhere(run.folder.lock, run.folder.heartbeat, last_sign, **holder)

    return train


def test_status_tells_the_last_sign_of_life(run, train_elsewhere, cli):
    train_elsewhere(last_sign=100)
    assert "running elsewhere, last sign of life 10" in cli("status", run.save_dir)
    train_elsewhere(last_sign=400)
    assert "killed, last sign of life 40" in cli("status", run.save_dir)
    run.folder.heartbeat.unlink()
    assert "killed, no sign of life" in cli("status", run.save_dir)


def test_status_tells_a_training_whose_lock_is_held(run, train_elsewhere, cli):
    lock = Lock(run.folder.lock)
    assert lock.acquire()
    assert " running " in cli("status", run.save_dir)
    train_elsewhere(last_sign=400)
    assert " running elsewhere " in cli("status", run.save_dir)
    lock.release()


def test_prune_keeps_what_may_be_alive(run, train_elsewhere, cli):
    run.append([Call(2, 2.0, "on_run_end", {"status": "finished", "error": None})])
    assert run.relay("notes") == DELIVERED
    train_elsewhere(last_sign=200)  # resumed there, before its first event
    assert "kept: it may be running on another machine" in cli("prune", run.save_dir)
    train_elsewhere(last_sign=400)
    assert "1 of 1 run" in cli("prune", run.save_dir)


def test_sync_delivers_what_may_be_alive_without_ending_it(run, train_elsewhere):
    train_elsewhere(last_sign=200)
    assert run.relay("notes", drain=True) == DELIVERED
    assert run.noted() == [1]
    assert [call.hook for call in run.calls()] == ["on_run_start"]
    train_elsewhere(last_sign=400)
    assert run.relay("notes", drain=True) == DELIVERED
    assert run.calls()[-1].args["status"] == "killed"


@pytest.mark.parametrize("host", ["another", socket.gethostname()], ids=["another name", "the same name"])
def test_a_run_of_another_machine_is_not_ended_while_it_gives_signs_of_life(run, train_elsewhere, host):
    train_elsewhere(last_sign=200, host=host)
    assert not orphans.end_orphan(run.folder)
    assert state.is_running(run.folder)


def test_a_relay_on_another_machine_is_at_work_while_it_gives_signs_of_life(run, elsewhere):
    files = run.folder.relay("notes")
    assert not state.has_relay(run.folder, "notes")
    files.path.mkdir(parents=True)
    elsewhere(files.lock, files.heartbeat)
    assert state.has_relay(run.folder, "notes")


def test_a_relay_leaves_the_delivery_to_that_of_another_machine_while_it_gives_signs_of_life(run, elsewhere):
    files = run.folder.relay("notes")
    files.path.mkdir(parents=True)
    elsewhere(files.lock, files.heartbeat, last_sign=200)
    assert run.relay("notes", drain=True) == BUSY
    assert run.noted() == []
    elsewhere(files.lock, files.heartbeat, last_sign=400)
    assert run.relay("notes", drain=True) == DELIVERED


def test_a_relay_that_writes_the_end_of_a_run_is_given_a_moment(run, monkeypatch):
    monkeypatch.setattr(state, "_PATIENCE", 0.1)
    lock = Lock(run.folder.lock)
    assert lock.acquire()
    assert not state.is_over(run.folder)
    lock.release()
    assert state.is_over(run.folder)


# -- what cannot be read --------------------------------------------------------------------------------------


@pytest.fixture
def unreadable(monkeypatch):
    """Let a file be there that cannot be read, as on a network file system in trouble."""
    read_bytes = Path.read_bytes

    def refuse(name):
        def read(path):
            if path.name == name:
                raise OSError(5, "Input/output error")
            return read_bytes(path)

        monkeypatch.setattr(Path, "read_bytes", read)

    return refuse


def test_a_cursor_that_cannot_be_read_is_not_one_at_the_start(run, unreadable, cli):
    assert run.relay("notes", drain=True) == DELIVERED
    unreadable("cursor.json")
    with pytest.raises(OSError, match="Input/output"):
        run.cursor("notes")
    with pytest.raises(OSError, match="Input/output"):
        run.relay("notes", drain=True)
    assert run.noted().count(1) == 1
    assert "Input/output" in cli("status", run.save_dir)
    assert "kept: [Errno 5]" in cli("prune", run.save_dir)


def test_a_cursor_that_is_missing_or_damaged_is_one_at_the_start(run):
    assert run.cursor("notes") == layout.Cursor()
    run.folder.relay("notes").path.mkdir(parents=True)
    run.folder.relay("notes").cursor.write_bytes(b"{")
    assert run.cursor("notes") == layout.Cursor()


def test_files_of_another_user_are_no_reason_to_fail(run, unreadable, train_elsewhere):
    train_elsewhere(last_sign=0)
    unreadable("trainer.json")
    assert not state.is_running(run.folder)
