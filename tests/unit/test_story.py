"""What a run has come to is read in one pass, which holds nothing of the journal in memory."""

import tracemalloc
from pathlib import Path

import pytest

from tracking_hooks.events import DONE, Checkpoint, Plan, SaveCheckpoint
from tracking_hooks.run import journal, orphans, story
from tracking_hooks.run.journal import FORMAT, Head, Journal
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.testing import recorded_run, sample_run

START = {"params": {}, "environment": None, "resumed": False}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "journal.jsonl"
    Journal.create(path, Head(format=FORMAT, created=0.0, run=sample_run(tmp_path), plugins={})).close()
    return path


@pytest.fixture
def write(path):
    def write(*calls):
        log, _ = story.reopen(path)
        for hook, args in calls:
            log.append(hook, 5.0, args)
        log.close()
        return story.read(path)[1]

    return write


def saved(name, kind="last", digest=None):
    return "on_checkpoint_saved", {"epoch": 1, "checkpoint": Checkpoint(path=Path(name), kind=kind, digest=digest)}


def test_a_whole_run(write, tmp_path):
    told = write(*((call.hook, call.args) for call in recorded_run(tmp_path) if "metrics" not in call.args))
    assert (told.began, told.is_open, told.status, told.last_epoch) == (True, False, "finished", 3)
    assert told.plan.epochs == 3


@pytest.mark.parametrize(
    ("hooks", "is_open"),
    [
        ([], False),
        (["on_run_start"], True),
        (["on_run_start", "on_run_end"], False),
        (["on_run_start", "on_run_end", "on_run_start"], True),
        (["on_run_start", "on_run_end", "on_log"], False),  # by a journal of another making
    ],
)
def test_whether_a_run_is_open_is_told_by_its_last_start_or_end(write, hooks, is_open):
    args = {"on_run_start": START, "on_run_end": {"status": "killed"}, "on_log": {"metrics": {}}}
    assert write(*((hook, args[hook]) for hook in hooks)).is_open is is_open


@pytest.mark.parametrize(
    ("hooks", "has_end"),
    [
        ([], False),
        (["on_run_start"], False),
        (["on_run_start", "on_run_end"], True),
        (["on_run_start", "on_run_end", "on_run_start"], False),
    ],
)
def test_whether_a_run_has_ended_is_told_by_its_last_event(write, path, hooks, has_end):
    args = {"on_run_start": START, "on_run_end": {"status": "killed"}}
    write(*((hook, args[hook]) for hook in hooks))
    assert story.has_end(path) is has_end


def test_who_asks_after_a_run_that_has_ended_reads_its_last_lines_however_long_it_was(write, path, monkeypatch):
    write(("on_run_start", START), *[("on_log", {"metrics": {"loss": 1.0}, "step": 1})] * 5000)
    write(("on_run_end", {"status": "finished"}))
    read = []
    parse = journal.lines.parse
    monkeypatch.setattr(journal.lines, "parse", lambda *args: read.append(args) or parse(*args))
    assert orphans.write_end(RunFolder(path.parent)) == (False, True)
    assert 0 < len(read) < 1000


def test_the_last_plan_counts(write):
    plans = [Plan(epochs=3), Plan(epochs=9), None]  # the last is a part of a run that says nothing of it
    assert write(*(("on_run_start", {**START, "plan": plan}) for plan in plans)).plan.epochs == 9


def test_checkpoints_that_may_still_be_rewritten_are_remembered(write):
    action = SaveCheckpoint(name="better", reason="", replaces="good")
    refused = SaveCheckpoint(name="", reason="", replaces="last")
    told = write(
        saved("weights/last.pt"),
        saved("weights/epoch1.pt", "periodic"),
        saved("weights/best.pt", "best", digest="0" * 64),
        saved("weights/good.pt", "action"),
        ("on_action", {"action": action, "plugin": "p", "outcome": DONE}),
        ("on_action", {"action": refused, "plugin": "p", "outcome": "refused"}),
        saved("weights/better.pt", "action"),
    )
    assert told.checkpoints == {Path("weights/last.pt"): "last", Path("weights/better.pt"): "action"}


def test_a_damaged_line_has_a_number_of_its_own(write, path):
    write(("on_run_start", START))
    with path.open("ab") as file:
        file.write(b"torn by a full disk\n")
    assert write().seq == 2
    assert write(("on_log", {"metrics": {}})).seq == 3


def test_what_a_newer_release_has_added_costs_nothing_else(write, path):
    write(("on_run_start", START), ("on_epoch_start", {"epoch": 1}))
    log, _ = story.reopen(path)
    log.seq = 8  # what was between could not be written
    log.append("on_hyperspace", 9.0, {"epoch": 5, "status": "paused"})
    log.close()
    told = story.read(path)[1]
    assert (told.seq, told.time, told.last_epoch, told.is_open) == (9, 9.0, 1, True)
    told = write(saved("weights/a.pt", kind="averaged"), saved("weights/last.pt"), ("on_epoch_end", {"epoch": 1}))
    assert (told.seq, told.epoch, told.checkpoints) == (12, 1, {Path("weights/last.pt"): "last"})
    assert write(("on_log", {"metrics": {}})).seq == 13


def test_resuming_a_long_run_takes_no_more_memory_than_resuming_a_short_one(write, path):
    def peak():
        tracemalloc.start()
        log, _ = story.reopen(path)
        log.close()
        for _ in journal.calls(path, {"on_epoch_end", "on_batch_end"}):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    batch = ("on_batch_end", {"epoch": 1, "step": 1, "metrics": {f"metric/{i}": 0.5 for i in range(5)}})
    write(("on_run_start", START), *[batch] * 300)
    short = peak()
    write(*[batch] * 9_000)
    assert path.stat().st_size > 10 * short
    assert peak() < 1.5 * short


def test_an_action_that_rewrites_its_own_checkpoint_keeps_it(write):
    again = SaveCheckpoint(name="top", reason="", replaces="top")
    told = write(saved("weights/top.pt", "action"), ("on_action", {"action": again, "plugin": "p", "outcome": DONE}))
    assert told.checkpoints == {Path("weights/top.pt"): "action"}


def test_only_a_checkpoint_of_an_action_is_replaced_by_one(write):
    action = SaveCheckpoint(name="better", reason="", replaces="model")
    told = write(saved("model.pt"), ("on_action", {"action": action, "plugin": "p", "outcome": DONE}))
    assert told.checkpoints == {Path("model.pt"): "last"}


def test_the_last_epoch_is_the_one_that_began_last(write):
    epochs = [("on_epoch_start", {"epoch": epoch, "attempt": 1}) for epoch in (1, 2, 3, 2)]  # an older checkpoint
    assert write(*epochs).last_epoch == 2


def test_what_another_release_left_out_tells_nothing(write):
    told = write(
        ("on_run_start", {}), ("on_epoch_start", {}), ("on_epoch_end", {}), ("on_checkpoint_saved", {}),
        ("on_action", {}), ("on_run_end", {}),
    )  # fmt: skip
    assert (told.epoch, told.checkpoints, told.is_open) == (0, {}, False)


def test_checkpoints_are_found_where_the_folder_is_now():
    told = story.Story(checkpoints={Path("/old/train/weights/top.pt"): "action", Path("/elsewhere/a.pt"): "action"})
    told.move(Path("/old/train"), Path("/new/train"))
    assert told.checkpoints == {Path("/new/train/weights/top.pt"): "action", Path("/elsewhere/a.pt"): "action"}


def test_a_journal_that_was_read_is_gone_on_with_from_there(path, write, monkeypatch):
    write(("on_run_start", START), ("on_epoch_end", {"epoch": 1, "step": 1, "metrics": {}}))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])  # torn, yet nothing but its newline is missing
    _, told = story.read(path)
    assert (told.seq, told.epoch) == (1, 0)
    monkeypatch.setattr(story, "read", lambda _: pytest.fail("it is read from the beginning again"))
    log, again = story.reopen(path, told)
    log.close()
    assert (again.seq, again.epoch, log.seq) == (2, 1, 2)
    assert path.read_bytes() == whole
