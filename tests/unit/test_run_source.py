"""What ``open`` is told of a run does not take longer the longer the run is."""

import msgspec
import pytest

from tracking_hooks.delivery.disk import RunSource
from tracking_hooks.delivery.ledger import Ledger
from tracking_hooks.run import journal
from tracking_hooks.run.layout import Cursor
from tracking_hooks.testing import recorded_run


@pytest.fixture
def run(record_run, tmp_path):
    calls = recorded_run(tmp_path / "project/train", epochs=4)
    return record_run(calls=[*calls, *calls])  # resumed, and run again


def fresh(run):
    head, start = journal.read_head(run.folder.journal)
    return RunSource(run.folder, head, start), [entry.end for entry in journal.read(run.folder.journal, start)]


def test_it_is_told_what_came_before_wherever_it_goes_on(run):
    source, ends = fresh(run)
    order = [*ends, *ends[::-3], *ends[::2], ends[-1], ends[0]]  # on, and back after a failure
    for offset in order:
        told = source.context(offset)
        assert told.arguments() == fresh(run)[0].context(offset).arguments()
        told.coming(run.calls()[0])  # what is done with it does not come back
        told.passed(run.calls()[-1])


def test_while_a_tracker_is_down_the_journal_is_not_read_again_and_again(run, monkeypatch):
    source, ends = fresh(run)
    read = []

    def spy(path, offset, **options):
        for entry in real(path, offset, **options):
            read.append(entry)
            yield entry

    real = journal.read
    monkeypatch.setattr(journal, "read", spy)
    for _ in range(100):
        source.context(ends[-1])
    assert len(read) == len(ends)


def cursors(run):
    """A cursor behind each event, as the relay leaves it there."""
    head, start = journal.read_head(run.folder.journal)
    ledger = Ledger(Cursor(offset=start), lambda *_: True)
    for entry in journal.read(run.folder.journal, start):
        ledger.dealt_with(entry, is_given=True)
        yield RunSource(run.folder, head, start, ledger.given), msgspec.structs.replace(ledger.given)


def test_where_a_relay_goes_on_it_is_told_the_same_as_one_that_has_read_all(run):
    for source, cursor in cursors(run):
        assert source.context(cursor.offset).arguments() == fresh(run)[0].context(cursor.offset).arguments()
        assert source.context(0).arguments() == fresh(run)[0].context(0).arguments()


def test_a_relay_that_goes_on_reads_two_events_however_long_the_run_is(run, monkeypatch):
    read = []
    parse = journal.lines.parse
    *_, (_, last) = cursors(run)
    head, start = journal.read_head(run.folder.journal)
    monkeypatch.setattr(journal.lines, "parse", lambda *args: read.append(args) or parse(*args))
    RunSource(run.folder, head, start, last).context(last.offset)
    assert len(read) == 2


@pytest.mark.parametrize("behind", ["the sixth event", "the end of the part before the resume"])
def test_a_cursor_of_an_older_release_is_gone_on_from_all_the_same(run, behind):
    head, start = journal.read_head(run.folder.journal)
    entries = list(journal.read(run.folder.journal, start))
    last = 5 if behind == "the sixth event" else len(entries) // 2 - 1
    ledger = Ledger(Cursor(offset=entries[last].end, seq=entries[last].call.seq), lambda *_: True)
    for entry in entries[last + 1 :]:
        ledger.dealt_with(entry, is_given=True)
        source = RunSource(run.folder, head, start, ledger.given)
        assert source.context(entry.end).arguments() == fresh(run)[0].context(entry.end).arguments()
