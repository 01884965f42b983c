"""What another machine is writing may arrive in any order: a hole is waited for before an event is given up."""

import pytest

from tracking_hooks.run import journal, lines, liveness
from tracking_hooks.run.tail import Tail

HOLE = 40  # bytes that have not arrived


@pytest.fixture
def run(record_run):
    return record_run("notes")


@pytest.fixture
def torn(run):
    """A journal with a hole in its third event; returns its path, what was written, and where the hole begins."""
    path = run.folder.journal
    whole = path.read_bytes()
    _, offset = journal.read_head(path)
    third = list(journal.read(path, offset))[2]
    path.write_bytes(whole[: third.start] + b"\0" * HOLE + whole[third.start + HOLE :])
    return path, whole, third.start


@pytest.fixture
def clock(monkeypatch):
    """Let time pass."""
    now = [1000.0]
    monkeypatch.setattr(liveness, "clock", lambda: now[0])

    def later(seconds):
        now[0] += seconds

    return later


def seqs(tail, offset, **options):
    return [entry.call and entry.call.seq for entry in tail.read(offset, **{"written_elsewhere": True, **options})]


def test_an_event_that_arrives_late_is_not_lost(torn, clock):
    path, whole, hole = torn
    _, start = journal.read_head(path)
    tail = Tail(path)
    assert seqs(tail, start) == [1, 2]
    clock(30)
    assert seqs(tail, hole) == []
    path.write_bytes(whole)
    assert seqs(tail, hole)[:2] == [3, 4]


def test_what_does_not_arrive_is_given_up_and_what_follows_is_read(torn, clock):
    path, _, hole = torn
    tail = Tail(path)
    assert seqs(tail, hole) == []
    clock(59)
    assert seqs(tail, hole) == []
    clock(2)
    assert seqs(tail, hole)[:2] == [None, 4]


def test_what_is_written_on_this_machine_or_by_nobody_is_not_waited_for(torn, clock):
    path, _, hole = torn
    assert seqs(Tail(path), hole, written_elsewhere=False)[:2] == [None, 4]


def test_a_hole_far_from_the_end_is_not_waited_for(torn, clock, monkeypatch):
    path, _, hole = torn
    monkeypatch.setattr("tracking_hooks.run.tail._NEAR", 100)
    assert seqs(Tail(path), hole, max_calls=2) == [None, 4]


def test_an_event_of_a_newer_release_is_whole_and_not_waited_for(run, clock):
    path = run.folder.journal
    _, start = journal.read_head(path)
    with path.open("ab") as file:
        file.write(lines.seal(b'{"seq":99,"time":1.0,"hook":"on_tea","args":{}}'))
    assert seqs(Tail(path), start)[-1] == 99
