"""What was delivered costs nothing any more; what was not recorded here is not collected, and gets no end."""

import logging
import os
import shutil
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest

from tests.support import runs
from tracking_hooks.delivery.spawn import DELIVERED, start_adopter, start_relay
from tracking_hooks.delivery.sync import Watcher
from tracking_hooks.events import Plan, Rejected
from tracking_hooks.run import files, index, orphans, state
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import FOLDER, POINTER, Pointer, RunFolder, write_json
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run, sample_run

MANY = 1000

COUNT = """
import logging, sys
from pathlib import Path
opened = []
sys.addaudithook(lambda event, args: event == "open" and str(args[0]).endswith("journal.jsonl") and opened.append(args))
"""
"""Counts the journals that are opened from here on, in a process of its own: such a hook stays."""


@pytest.fixture
def notes(installed):
    return "notes"


@pytest.fixture
def deliver(notes):
    """Deliver a run by a relay of its own."""

    def deliver(run):
        index.enter(run.folder)
        assert start_relay(run.folder, notes, Settings()).wait(60) == DELIVERED

    return deliver


def undelivered():
    return [folder.uid for folder in index.undelivered()]


# -- what is delivered ----------------------------------------------------------------------------------------


@pytest.fixture
def delivered(record_run, deliver, tmp_path):
    """A thousand runs that every tracker has; returns their folder."""
    first = record_run("notes", name="0000")
    deliver(first)
    entry = index.index_folder() / "delivered" / f"{first.folder.uid}.json"
    for number in range(1, MANY):
        uid = f"20251009-085320-{number:04}"
        path = first.folder.path.with_name(uid)
        shutil.copytree(first.folder.path, path, copy_function=os.link)
        text = entry.read_text().replace(first.folder.uid, uid)
        entry.with_name(f"{uid}.json").write_text(text)
    return first.folder.path.parent


def test_a_training_beside_a_thousand_delivered_runs_reads_none_of_their_journals(delivered, python):
    script = """
    from tracking_hooks.recording.complaints import Complaints
    from tracking_hooks.recording.folders import adopt
    from tracking_hooks.settings import Settings
    adopt(Path(sys.argv[1]), Settings(), Complaints(logging.getLogger()))
    print(len(opened))
    """
    assert python(COUNT + dedent(script), delivered).stdout == "0\n"
    assert not (index.index_folder().parent / "adopters").exists(), "nothing to adopt"


def test_no_command_reads_the_journals_of_what_is_delivered(delivered, python):
    script = """
    from click.testing import CliRunner
    from tracking_hooks.cli import main
    for arguments in (["status"], ["status", sys.argv[1]], ["sync"], ["sync", sys.argv[1]], ["status", "--set-aside"]):
        result = CliRunner().invoke(main, arguments)
        print(len(opened), result.exit_code, result.output.count("finished"), result.output.splitlines()[0])
    """
    lines = python(COUNT + dedent(script), delivered.parent).stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [["0", "0", str(MANY)]] * 2 + [["0", "0", "0"]] * 3
    assert all(f"Nothing is pending: {MANY} runs " in line for line in lines[2:4])
    assert "Nothing is set aside" in lines[4]


def test_status_says_the_same_of_a_run_whether_or_not_it_is_noted_as_delivered(record_run, deliver, cli):
    run = record_run("notes")
    deliver(run)
    noted = cli("status").output
    assert undelivered() == []
    assert "finished" in noted
    index.forget(run.folder)
    assert cli("status", run.save_dir).output == noted


def test_a_run_that_some_tracker_lacks_is_looked_at(record_run, deliver):
    run = record_run("notes", "gone")
    deliver(run)
    assert undelivered() == [run.folder.uid]


def test_a_run_with_events_set_aside_is_looked_at(record_run, make_plugin):
    plugin = make_plugin(
        """
        class Plugin:
            @hookimpl
            def on_run_end(self):
                raise Rejected("not that")
        """
    )
    run = record_run(plugin)
    index.enter(run.folder)
    assert start_relay(run.folder, plugin, Settings()).wait(60) == DELIVERED
    assert undelivered() == [run.folder.uid]


def test_sync_notes_what_a_relay_on_another_machine_has_delivered(record_run, notes, cli):
    run = record_run(notes)
    index.enter(run.folder)
    run.relay(notes)
    assert undelivered() == [run.folder.uid]
    assert "Nothing is pending: 1 run " in cli("sync").output
    assert undelivered() == []
    assert "Nothing is pending: 1 run " in cli("sync").output


def test_a_run_that_goes_to_one_more_tracker_is_looked_at_again(record_run, deliver, cli, tmp_path):
    run = record_run("notes")
    deliver(run)
    shutil.move(run.notes, tmp_path / "the first notes")
    other = tmp_path / "missing" / "other notes"
    assert cli("sync", "--to", "notes", "--set", f"file={other}").exit_code == 1
    assert undelivered() == [run.folder.uid]
    other.parent.mkdir()
    assert cli("sync").exit_code == 0
    assert len(other.read_text().splitlines()) == len(run.calls())
    assert undelivered() == []


def test_a_run_that_is_resumed_is_looked_at_again(record_run, deliver, environment, caplog):
    from tracking_hooks.plugins import capture, load_trainer_sides
    from tracking_hooks.recording import resumption
    from tracking_hooks.recording.recorder import Recorder

    run = record_run("notes")
    deliver(run)
    earlier = resumption.find(sample_run(run.save_dir), [run.save_dir])
    captures = capture(load_trainer_sides(["notes"]), earlier.run)
    recorder = Recorder.start(
        earlier.run, captures, Settings(), logging.getLogger(), params={}, environment=environment, earlier=earlier
    )
    recorder.check()
    recorder.begin(params={}, environment=environment)
    assert undelivered() == [run.folder.uid]
    recorder.end("finished")
    assert recorder.supervisor.processes["notes"].wait(60) == DELIVERED
    assert undelivered() == []
    assert index.delivered(run.folder).size == run.folder.journal.stat().st_size


def test_what_was_added_to_a_journal_behind_our_back_is_shown(record_run, deliver, cli):
    run = record_run("notes")
    deliver(run)
    run.append([Call(900, 1.0, "on_log", {"metrics": {}, "step": 1})])
    assert index.delivered(run.folder) is None
    assert " 1  " in cli("status").output


def test_prune_forgets_what_it_removes(record_run, deliver, cli):
    run = record_run("notes")
    deliver(run)
    assert "removed" in cli("prune", "--all").output
    assert not run.folder.path.exists()
    assert index.count_delivered() == 0
    assert cli("status").output == "No runs of this user on this machine.\n"


def test_an_adopter_leaves_alone_what_is_in_no_index_and_what_is_elsewhere(record_run, notes, tmp_path):
    mine, foreign = record_run(notes, name="mine"), record_run(notes, name="foreign")
    index.enter(mine.folder)
    other = msgspec.structs.replace(sample_run(tmp_path / "other/train"), uid="20251009-085320-other")
    elsewhere = runs.write_run(other, recorded_run(tmp_path / "other/train"), {notes: {"file": str(tmp_path / "x")}})
    index.enter(elsewhere)
    assert start_adopter(mine.folder.path.parent).wait(60) == 0
    assert mine.noted() == [call.seq for call in mine.calls()]
    assert foreign.noted() == []
    assert not (tmp_path / "x").exists()


# -- copies ---------------------------------------------------------------------------------------------------

PLAN = Plan(checkpoints={"best": "weights/best.pt"}, files=["*.csv"])


@pytest.fixture
def dead(record_run, notes):
    """A run that began, and whose process died."""
    return record_run(notes, calls=[Call(1, 1.0, "on_run_start", {"params": {}, "resumed": False, "plan": PLAN})])


def hooks(folder):
    return [call.hook for call in runs.read_calls(folder.journal)]


ENDED = ["on_run_start", "on_checkpoint_saved", "on_artifact", "on_run_end"]


def test_a_dead_run_gets_its_end_where_it_was_recorded_by_whoever_shares_the_folder(dead):
    assert not index.names(dead.folder)
    orphans.end_orphan(dead.folder)
    assert hooks(dead.folder) == ENDED


def test_a_dead_run_gets_its_end_where_the_user_has_moved_it(dead, tmp_path):
    index.enter(dead.folder)
    shutil.move(tmp_path / "project", tmp_path / "moved")
    folder = RunFolder(tmp_path / "moved" / FOLDER / dead.folder.uid)
    orphans.end_orphan(folder)
    assert hooks(folder)[-1] == "on_run_end"


def test_a_copy_of_a_run_is_delivered_and_gets_no_end(dead, tmp_path, cli):
    index.enter(dead.folder)
    shutil.copytree(tmp_path / "project", tmp_path / "copy")
    folder = RunFolder(tmp_path / "copy" / FOLDER / dead.folder.uid)
    before = folder.journal.read_bytes()

    result = cli("sync", tmp_path / "copy")
    assert result.exit_code == 0
    assert "1 event delivered, the run's end is not known: this is a copy" in result.output
    assert folder.journal.read_bytes() == before
    assert hooks(dead.folder) == ["on_run_start"], "nor the one that it is a copy of"


def test_of_a_run_that_says_it_saved_to_a_folder_of_mine_nothing_is_collected(tmp_path, notes):
    """A colleague's archive, unpacked where its journal says that it was recorded."""
    mine = tmp_path / "home/runs/train"
    recorded_run(mine)
    run = msgspec.structs.replace(sample_run(mine), uid="20251009-085320-theirs")
    home = tmp_path / "unpacked" / FOLDER
    calls = [Call(1, 1.0, "on_run_start", {"params": {}, "resumed": False, "plan": PLAN})]
    folder = runs.write_run(run, calls, {notes: {}}, home=home)
    write_json(mine / POINTER, Pointer(uid=run.uid, folder=folder.path))
    orphans.end_orphan(folder)
    assert hooks(folder) == ["on_run_start"]
    assert not folder.files.exists()

    index.enter(folder)  # had I recorded it, as a trial that saves elsewhere
    orphans.end_orphan(folder)
    assert hooks(folder) == ENDED


def test_a_folder_of_a_copied_run_that_is_a_link_leads_nowhere(tmp_path, notes):
    mine = tmp_path / "home/runs/train"
    recorded_run(mine)
    save_dir = tmp_path / "unpacked/train"
    save_dir.parent.mkdir()
    save_dir.symlink_to(mine)
    run = msgspec.structs.replace(sample_run(save_dir), uid="20251009-085320-theirs")
    calls = [Call(1, 1.0, "on_run_start", {"params": {}, "resumed": False, "plan": PLAN})]
    folder = runs.write_run(run, calls, {notes: {}})
    orphans.end_orphan(folder)
    assert hooks(folder) == ["on_run_start"]


def test_a_console_log_that_is_a_link_is_not_collected(dead, tmp_path):
    secret = tmp_path / "project/secret"
    secret.write_text("hunter2")
    dead.folder.files.mkdir()
    (dead.folder.files / "console.log").symlink_to(secret)
    orphans.end_orphan(dead.folder)
    assert hooks(dead.folder) == ENDED


def test_where_the_root_is_the_top_of_the_file_system_only_the_runs_own_folders_are_read(tmp_path):
    folder = RunFolder(Path("/") / FOLDER / "20251009-085320-top")
    save_dir = tmp_path / "train"
    save_dir.mkdir()
    for path in (tmp_path / "secret.csv", save_dir / "results.csv"):
        path.write_text("1")
    write_json(save_dir / POINTER, Pointer(uid=folder.uid, folder=folder.path))
    artifact = next(call.args["artifact"] for call in recorded_run(tmp_path / "x") if call.hook == "on_artifact")
    size, digest = files.digest(save_dir / "results.csv")

    def located(path):
        return files.locate(folder, Path("/"), msgspec.structs.replace(artifact, path=path, size=size, digest=digest))

    assert located(save_dir / "results.csv") == save_dir / "results.csv"
    with pytest.raises(Rejected, match="outside of the run's root folder"):
        located(tmp_path / "secret.csv")
    (save_dir / "link.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(Rejected, match="outside of the run's root folder"):
        located(save_dir / "link.csv")


def test_an_entry_of_an_earlier_release_still_names_its_run(record_run, notes, cli):
    run = record_run(notes)
    index.index_folder().mkdir(parents=True)
    write_json(index.index_folder() / f"{run.folder.uid}.json", Pointer(uid=run.folder.uid, folder=run.folder.path))
    assert "events delivered" in cli("sync").output
    assert state.is_delivered(run.folder, notes)
    assert undelivered() == []


def test_watch_delivers_a_copy_once_and_again_when_it_has_grown(dead, tmp_path, monkeypatch, until):
    monkeypatch.setattr("tracking_hooks.delivery.sync._REST", 0.0)
    index.enter(dead.folder)
    shutil.copytree(tmp_path / "project", tmp_path / "copy")
    folder = RunFolder(tmp_path / "copy" / FOLDER / dead.folder.uid)
    started = []
    monkeypatch.setattr(
        "tracking_hooks.delivery.sync.start_relay", lambda *what: [start_relay(*what), started.append(1)][0]
    )
    watcher = Watcher(Settings())
    said = []

    def look():
        said.extend(what for _, _, what in watcher.look([folder]))
        return said

    try:
        until(lambda: len(look()) == 2)
        assert look() == ["delivering", "complete, 1 event, 0 set aside"]
        assert len(started) == 1
        runs.append(folder.journal, [Call(2, 1.0, "on_log", {"metrics": {}, "step": 1})])
        until(lambda: "complete, 2 events, 0 set aside" in look())
    finally:
        watcher.close()
