"""What ``open`` is told of a run does not take longer the longer the run is."""

import pytest

from tracking_hooks.delivery.disk import RunSource
from tracking_hooks.run import journal
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
