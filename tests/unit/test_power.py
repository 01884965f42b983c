"""After a power failure: nothing is doubled, what is left is delivered, and what is missing is said.

A relay makes the journal durable before it gives an event, and then its own cursor. The rest may be lost.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.systems import linux
from tracking_hooks.cli import main
from tracking_hooks.delivery.relay import Relay
from tracking_hooks.delivery.spawn import DELIVERED
from tracking_hooks.events import Artifact
from tracking_hooks.run import copies, files, index, journal, layout, orphans, state, story
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import Cursor, SetAside


@pytest.fixture
def run(record_run, installed):
    """A run that has begun, and has no end."""
    events = [Call(number, float(number), "on_log", {"metrics": {"a": 1.0}, "step": number}) for number in range(2, 8)]
    return record_run("notes", calls=[Call(1, 1.0, "on_run_start", {"params": {}, "resumed": False}), *events])


@pytest.fixture
def delivered(run, monkeypatch):
    """That run, delivered as far as it goes while its training ran."""
    with monkeypatch.context() as patch:
        patch.setattr(orphans, "end_orphan", lambda *_: False)
        assert run.relay("notes", drain=True) == DELIVERED
    assert run.noted() == list(range(1, 8))
    return run


def offsets(run):
    """Where each event begins, and where the last one ends."""
    _, start = journal.read_head(run.folder.journal)
    entries = list(journal.read(run.folder.journal, start))
    return [entry.start for entry in entries] + [entries[-1].end]


# -- what is durable, and when --------------------------------------------------------------------------------


@pytest.fixture
def log(monkeypatch):
    """What reaches the disk, in order: files that were waited for, files that were put in place, events given."""
    happened = []
    fsync, replace = os.fsync, layout.Path.replace

    def waited_for(fd):
        name = Path(f"/proc/self/fd/{fd}").readlink().name
        happened.append(("on disk", name.partition(".json")[0].strip(".")))
        fsync(fd)

    def put(draft, target):
        happened.append(("in place", target.name.removesuffix(".json")))
        return replace(draft, target)

    monkeypatch.setattr(os, "fsync", waited_for)
    monkeypatch.setattr(layout.Path, "replace", put)
    return happened


@linux("/proc")
def test_an_event_is_given_when_the_disk_has_it_and_a_cursor_counts_when_the_disk_has_it(run, log, monkeypatch):
    give = Relay._make
    monkeypatch.setattr(Relay, "_make", lambda self: log.append(("given", "notes")) or give(self))
    assert run.relay("notes", drain=True) == DELIVERED
    first = log.index(("given", "notes"))
    assert ("on disk", "journal") in log[:first]
    places = [index for index, step in enumerate(log) if step == ("in place", "cursor")]
    assert places
    assert all(log[index - 1] == ("on disk", "cursor") for index in places)


@linux("/proc")
def test_the_disk_is_waited_for_once_for_the_trackers_run_and_twice_for_a_batch_however_many_events_it_has(run, log):
    orphans.write_end(run.folder)
    assert run.relay("notes", drain=True) == DELIVERED
    assert len(run.noted()) == 8
    assert [name for what, name in log if what == "on disk"] == ["journal", "cursor", "cursor"]


@linux("/proc")
def test_what_is_set_aside_is_on_the_disk_before_it_counts(run, log):
    event = SetAside(seq=1, start=0, end=1, hook="on_log", reason="a test")
    files_ = run.folder.relay("notes")
    files_.path.mkdir(parents=True)
    files_.write_aside([event])
    assert log == [("on disk", "set-aside"), ("in place", "set-aside")]


# -- what is lost all the same --------------------------------------------------------------------------------


@pytest.mark.parametrize("torn", [0, 1, 20])
def test_a_journal_that_ends_in_the_middle_of_a_line_is_delivered_up_to_there(run, torn):
    *_, last, _ = offsets(run)
    os.truncate(run.folder.journal, last + torn)
    assert run.relay("notes", drain=True) == DELIVERED
    assert run.noted() == [1, 2, 3, 4, 5, 6, run.calls()[-1].seq]
    assert run.calls()[-1].args["status"] == "killed"
    assert run.cursor("notes").damaged == (torn > 0)
    assert state.is_delivered(run.folder, "notes")


def test_zeros_where_the_end_of_a_journal_was_cost_one_damaged_line(run):
    *_, last, end = offsets(run)
    with run.folder.journal.open("r+b") as file:
        file.seek(last)
        file.write(b"\0" * (end - last))
    assert run.relay("notes", drain=True) == DELIVERED
    assert run.noted()[:6] == [1, 2, 3, 4, 5, 6]
    assert run.calls()[-1].args["status"] == "killed"
    assert run.cursor("notes").damaged == 1


@pytest.mark.parametrize("tail", [b'{"seq":1,"time":1.0,"hook":"on_run_st', b"\0" * 50], ids=["torn", "zeros"])
@pytest.mark.parametrize("whole", [0, 8], ids=["never began", "behind its end"])
def test_a_line_that_was_torn_where_the_run_is_not_open_leaves_nothing_to_deliver(run, tail, whole):
    if whole:
        assert run.relay("notes", drain=True) == DELIVERED
    else:
        os.truncate(run.folder.journal, offsets(run)[0])
    with run.folder.journal.open("ab") as file:
        file.write(tail)
    index.enter(run.folder)
    output = CliRunner().invoke(main, ["sync", str(run.folder.path)]).output
    assert "not known" not in output
    assert state.is_delivered(run.folder, "notes")
    assert run.noted() == list(range(1, whole + 1))
    told = index.delivered(run.folder)
    assert told, "it is not looked at again"
    assert told.status == ("killed" if whole else "never began")


@pytest.mark.parametrize("torn", [0, 10])
def test_a_journal_that_has_lost_what_was_delivered_goes_on_behind_it(delivered, torn):
    """A disk that says too early that it has written."""
    run = delivered
    os.truncate(run.folder.journal, offsets(run)[3] + torn)
    assert run.relay("notes", drain=True) == DELIVERED
    assert run.noted() == [1, 2, 3, 4, 5, 6, 7, 8], "the end is an event that the tracker has not seen"
    assert run.calls()[-1] == Call(8, 3.0, "on_run_end", {"status": "killed", "error": None})
    assert state.is_delivered(run.folder, "notes")
    # A tracker that comes later is told that something is missing.
    label = run.folder.add_replay("notes", {"file": str(run.save_dir / "replayed")})
    assert run.relay(label, drain=True) == DELIVERED
    assert run.cursor(label).damaged >= 1
    assert state.is_delivered(run.folder, label)


def test_a_resume_behind_a_journal_that_has_lost_its_end_is_delivered(delivered):
    run = delivered
    os.truncate(run.folder.journal, offsets(run)[3])
    log, _ = story.reopen(run.folder.journal)
    assert log.append("on_run_start", 9.0, {"params": {}, "resumed": True}) == 8
    log.close()
    assert run.relay("notes", drain=True) == DELIVERED
    assert run.noted() == [*range(1, 10)]


def test_an_empty_journal_is_named_and_no_reason_to_fail_for_the_others(run, record_run):
    other = record_run("notes", name="other")
    os.truncate(run.folder.journal, 0)
    project = run.save_dir.parent
    shown = CliRunner().invoke(main, ["status", str(project)])
    assert "unreadable" in shown.output
    assert str(run.folder.journal) in shown.output
    CliRunner().invoke(main, ["sync", str(project)])
    assert state.is_delivered(other.folder, "notes")


def test_an_empty_cursor_is_one_at_the_start(run):
    """Trackers know by uid, name, step and time what they have."""
    assert run.relay("notes", drain=True) == DELIVERED
    run.folder.relay("notes").cursor.write_bytes(b"")
    assert run.cursor("notes") == Cursor()
    assert run.relay("notes", drain=True) == DELIVERED
    assert run.noted() == [*range(1, 9)] * 2
    assert state.is_delivered(run.folder, "notes")


@pytest.mark.parametrize("name", ["health.json", "inflight.json", "set-aside.json", "relay.json", "heartbeat"])
def test_another_file_of_a_relay_that_is_empty_is_as_one_that_is_missing(run, name):
    run.folder.relay("notes").path.mkdir(parents=True)
    (run.folder.relay("notes").path / name).touch()
    assert run.relay("notes", drain=True) == DELIVERED
    assert run.noted() == [*range(1, 9)]


# -- copies of files ------------------------------------------------------------------------------------------


@pytest.fixture
def weights(run):
    """A file of weights that was recorded, and the copy of it in the run folder."""
    path = run.save_dir / "weights/best.pt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"the best weights")
    size, sha = files.digest(path)
    artifact = Artifact(path=path, kind="file", name="best.pt", size=size, digest=sha)
    run.append([Call(8, 8.0, "on_artifact", {"artifact": artifact})])
    copies.copy_owed(run.folder)
    (copy,) = run.folder.files.iterdir()
    return artifact, copy


def test_a_copy_that_is_empty_is_not_delivered_the_original_is(run, weights):
    artifact, copy = weights
    os.truncate(copy, 0)
    assert files.locate(run.folder, run.save_dir.parent, artifact) == artifact.path
    assert run.relay("notes", drain=True) == DELIVERED
    assert run.set_aside("notes") == {}


def test_a_file_that_is_lost_is_set_aside_with_a_sentence(run, weights):
    artifact, copy = weights
    os.truncate(copy, 0)
    os.truncate(artifact.path, 0)
    assert run.relay("notes", drain=True) == DELIVERED
    assert str(artifact.path) in run.set_aside("notes")[8]
    assert "best.pt" in CliRunner().invoke(main, ["status", "--set-aside", str(run.save_dir)]).output


def test_an_empty_copy_does_not_keep_the_next_run_from_securing_the_file(run, weights):
    _, copy = weights
    os.truncate(copy, 0)
    orphans.secure_files(run.folder)
    assert copy.read_bytes() == b"the best weights"
