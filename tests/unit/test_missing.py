"""What is lost is said in the tracker itself, once, and taken back when it arrives after all."""

import json
import os

import pytest

from tracking_hooks.delivery.spawn import DELIVERED
from tracking_hooks.events import Missing, in_words
from tracking_hooks.recording import writer as writing
from tracking_hooks.run import missing
from tracking_hooks.run.journal import FORMAT, Head, Journal
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.liveness import Lock
from tracking_hooks.run.story import reopen
from tracking_hooks.testing import sample_run
from tracking_hooks.testing.writing import as_recorded

PICKY = """
import json

class Plugin(Notes):
    @hookimpl
    def on_epoch_end(self, epoch, destination):
        if epoch == 2 and not Path(destination["file"]).with_name("room").exists():
            raise Rejected("no room for it")

    @hookimpl
    def report_missing(self, missing, state, destination):
        file = Path(destination["file"])
        state["said"] = state.get("said", 0) + 1
        with file.with_name("said").open("a") as said:
            said.write(json.dumps([[item.hook, item.reason, item.first, item.last] for item in missing]) + "\\n")
        if file.with_name("mute").exists():
            raise Unavailable("nobody listens")
"""
"""Does not take the second epoch, and writes down what it is told to be missing."""


@pytest.fixture
def picky(make_plugin, monkeypatch):
    plugin = make_plugin(PICKY)
    monkeypatch.setenv("TRACKING_HOOKS", plugin)
    return plugin


def said(run):
    file = run.notes.with_name("said")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def second_epoch(run):
    return next(call.seq for call in run.calls() if call.hook == "on_epoch_end" and call.args["epoch"] == 2)


def test_a_tracker_is_told_what_it_did_not_take_once_at_the_end(record_run, picky):
    run = record_run(picky)
    assert run.relay(picky) == DELIVERED
    seq = second_epoch(run)
    assert said(run) == [[["on_epoch_end", "no room for it", seq, seq]]]
    assert run.cursor(picky).state["said"] == 1, "its state is saved"
    run.relay(picky)
    run.relay(picky, drain=True)
    assert len(said(run)) == 1


def test_a_tracker_that_has_everything_is_told_nothing(record_run, picky):
    run = record_run(picky)
    run.notes.with_name("room").touch()
    assert run.relay(picky) == DELIVERED
    assert said(run) == []


def test_what_is_delivered_after_all_is_taken_back(record_run, picky, cli):
    run = record_run(picky)
    run.relay(picky)
    run.notes.with_name("room").touch()
    assert "1 event delivered" in cli("sync", run.save_dir, "--retry").output
    assert said(run)[1:] == [[]], "an empty list"
    assert "Nothing is pending" in cli("sync", run.save_dir).output


def test_what_fails_costs_nothing_but_the_words_and_the_next_sync_says_them(record_run, picky, cli):
    run = record_run(picky)
    run.notes.with_name("mute").touch()
    assert run.relay(picky) == DELIVERED
    assert "state" not in run.cursor(picky).state
    assert run.cursor(picky).offset == run.folder.journal.stat().st_size
    first = cli("sync", run.save_dir)
    assert first.exit_code == 1, "an event is set aside"
    assert "what is missing could not be said in the tracker" in first.output
    assert "nobody listens" in run.folder.relay(picky).log.read_text()
    run.notes.with_name("mute").unlink()
    assert "could not be said" not in cli("sync", run.save_dir).output
    assert len(said(run)) == 3
    assert "Nothing is pending" in cli("sync", run.save_dir).output


def test_what_is_refused_for_now_is_not_missing(record_run, make_plugin):
    plugin = make_plugin(PICKY.replace('"no room for it"', '"busy", retry_after=3600'))
    run = record_run(plugin)
    assert run.relay(plugin) == DELIVERED
    assert said(run) == []


def test_a_plugin_that_says_nothing_is_not_opened_for_it(record_run, make_plugin, cli):
    plugin = make_plugin(
        """
        class Plugin:
            @hookimpl
            def open(self):
                raise Unavailable("never")

            @hookimpl
            def on_artifact(self):
                pass
        """
    )
    run = record_run(plugin)
    for call in run.calls():
        if "artifact" in call.args:
            call.args["artifact"].path.unlink()
    assert run.relay(plugin) == DELIVERED
    assert len(run.set_aside(plugin)) == 3, "files that are gone"


# -- what the journal lacks -----------------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path):
    folder = RunFolder(tmp_path / ".tracking-hooks" / "uid")
    folder.path.mkdir(parents=True)
    log = Journal.create(folder.journal, Head(format=FORMAT, created=1.0, run=sample_run(tmp_path), plugins={}))
    yield log
    log.close()


def gaps(log):
    return [(item.first, item.last, item.reason) for item in missing._gaps(log.path, log.path.stat().st_size)]


def write(log, number):
    log.append("on_log", 1.0, {"metrics": {"number": float(number)}, "step": number})


def fill_disk(monkeypatch, part):
    """Let one write break off."""
    real = os.write

    def broken(fd, data):
        monkeypatch.setattr(os, "write", real)
        return real(fd, data[: int(len(data) * part)])

    monkeypatch.setattr(os, "write", broken)


def test_numbers_that_are_left_out_are_lost(journal):
    write(journal, 1)
    journal.seq += 3
    write(journal, 2)
    ((first, last, reason),) = gaps(journal)
    assert (first, last) == (2, 4)
    assert "could not be written" in reason


def test_what_a_full_disk_pushes_out_of_memory_is_lost(journal, monkeypatch, tmp_path):
    monkeypatch.setattr(writing, "_MEMORY", 3)
    writer = writing.Writer(journal, Lock(tmp_path / "trainer.lock"), lambda _: None)
    real = os.write

    def full(fd, data):
        if fd == journal._fd:
            raise OSError("no space left on device")
        return real(fd, data)

    for number in range(1, 8):
        monkeypatch.setattr(os, "write", full if 1 < number < 7 else real)
        writer.append("on_log", {"metrics": {}, "step": number})
    ((first, last, reason),) = gaps(journal)
    assert (first, last) == (2, 4)
    assert "could not be written" in reason


@pytest.mark.parametrize("part", [0.2, 0.5, 0.95])
def test_a_torn_line_that_was_written_again_is_not_lost(journal, monkeypatch, part):
    write(journal, 1)
    for _ in range(2):
        fill_disk(monkeypatch, part)
        with pytest.raises(OSError, match="could be written"):
            write(journal, 2)
    write(journal, 2)
    assert gaps(journal) == []


def test_a_torn_line_that_was_not_written_again_is_lost(journal, monkeypatch):
    write(journal, 1)
    fill_disk(monkeypatch, 0.9)
    with pytest.raises(OSError, match="could be written"):
        write(journal, 2)
    write(journal, 3)
    ((first, last, reason),) = gaps(journal)
    assert (first, last) == (2, 2)
    assert "damaged" in reason


def test_the_tracker_and_status_name_what_the_journal_lacks(record_run, picky, cli):
    calls = record_run(picky, name="whole").calls()
    run = record_run(picky, calls=calls[:3])
    log, _ = reopen(run.folder.journal)
    log.seq += 2
    for call in calls[3:]:
        log.append(call.hook, call.time, as_recorded(call.args))
    log.close()
    run.notes.with_name("room").touch()
    run.relay(picky)
    ((gap,),) = said(run)
    assert (gap[0], gap[2:]) == ("", [4, 5])
    assert "2 events lost: the journal lacks them" in cli("status", run.save_dir).output
    assert f"{picky}  2 events, 4 to 5: {gap[1]}" in cli("status", run.save_dir, "--set-aside").output


# -- the words ------------------------------------------------------------------------------------------------


def test_what_has_the_same_reason_is_one_line():
    some = [Missing(hook="on_log", reason="full", first=seq, last=seq) for seq in (3, 5, 9)]
    plot = Missing(hook="on_artifact", name="results.png", reason="is\ngone", first=7, last=7)
    assert in_words([*some, plot]) == ["3 events, 3 to 9, on_log: full", "event 7, on_artifact results.png: is gone"]


def test_of_many_lines_the_last_one_counts_the_rest():
    many = [Missing(hook="on_artifact", name=f"{n}.png", reason="gone", first=n, last=n) for n in range(1, 15)]
    assert in_words(many, 3)[2:] == [
        "event 3, on_artifact 3.png: gone",
        "and 11 more: tracking-hooks status --set-aside",
    ]
    assert in_words([]) == []
