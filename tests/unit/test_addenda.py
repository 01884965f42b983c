"""What is added to a run after its end has a journal of its own, and goes wherever the run goes."""

import logging
from pathlib import Path

import pytest
from msgspec import structs

from tests.support.runs import read_calls, write_run
from tracking_hooks.delivery import retention, sync
from tracking_hooks.delivery.relay import Relay
from tracking_hooks.delivery.spawn import IDLE, PENDING
from tracking_hooks.delivery.target import Target
from tracking_hooks.events import Artifact
from tracking_hooks.recording import addenda, folders, parents, process, resumption
from tracking_hooks.run import files, index, journal, layout, orphans, removal, state
from tracking_hooks.run.pack import Parcel, leave_receipt, owes, pack
from tracking_hooks.run.unpack import unpack
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run, sample_run

LOGGER = logging.getLogger("host")


@pytest.fixture
def run(tmp_path):
    save_dir = tmp_path / "project/train"
    save_dir.mkdir(parents=True)
    return sample_run(save_dir)


@pytest.fixture
def folder(run, make_plugin, tmp_path):
    """A run of mine that is over, with a plugin that writes down what it is given."""
    plugin = make_plugin("class Plugin(Notes): pass")
    made = write_run(run, recorded_run(run.save_dir), {plugin: {"file": str(tmp_path / "project/notes")}})
    index.enter(made)
    return made


@pytest.fixture
def addendum(folder):
    return addenda.open_for(folder, LOGGER)


@pytest.fixture
def plugin(folder, monkeypatch):
    (label,) = state.labels(folder)
    monkeypatch.setenv("TRACKING_HOOKS", label)  # for `sync`, which runs a class only where it is named
    return label


def deliver(*folders):
    return list(sync.deliver(folders, Settings()))


def test_an_addendum_names_the_run_and_has_a_folder_of_its_own(folder, run, addendum):
    addendum.record("on_log", metrics={"test/mAP50": 0.5}, step=None)
    head, _ = journal.read_head(addendum.folder.journal)
    assert (head.run.uid, head.run.addendum, head.run.save_dir) == (run.uid, addendum.folder.uid, run.save_dir)
    assert addendum.folder.path.parent == folder.path.parent
    assert [(call.seq, call.hook) for call in read_calls(addendum.folder.journal)] == [(1, "on_log")]


def test_a_process_has_one_addendum_to_a_run(folder, addendum):
    assert addenda.open_for(folder, LOGGER) is addendum


def test_nothing_is_added_to_a_run_of_somebody_else(folder, caplog):
    index.forget(folder)
    assert addenda.open_for(folder, LOGGER) is None
    assert addenda.open_for(folder, LOGGER) is None
    (said,) = caplog.messages
    assert f"nothing is added to the run {folder.uid}" in said


def test_it_is_delivered_while_its_process_lives(addendum, plugin, tmp_path, until):
    addendum.record("on_log", metrics={"test/mAP50": 0.5}, step=None)
    until(lambda: state.owed(addendum.folder, plugin).pending == 0)
    assert not state.owed(addendum.folder, plugin).is_over
    addendum.close()
    until(lambda: state.owed(addendum.folder, plugin).is_over)
    assert "on_log" in (tmp_path / "project/notes").read_text()


def test_it_goes_where_the_run_goes_by_now(folder, plugin, tmp_path):
    added = folder.add_replay(plugin, {"file": str(tmp_path / "added")}, "there")
    one = addenda.open_for(folder, LOGGER)
    head, _ = journal.read_head(one.folder.journal)
    assert state.labels(one.folder) == [plugin, added]
    assert Target.of(one.folder, added, head).destination == {"file": str(tmp_path / "added")}
    assert Target.of(one.folder, added, head).place.endswith("there")


def test_it_does_not_go_where_the_run_is_not_wanted_any_more(folder, plugin):
    state.forget(folder, plugin)
    one = addenda.open_for(folder, LOGGER)
    assert state.labels(one.folder) == []


def test_it_goes_where_the_run_was_moved_to(folder, run, plugin, tmp_path):
    (tmp_path / "project").rename(tmp_path / "moved")
    moved = layout.RunFolder(tmp_path / "moved" / layout.FOLDER / run.uid)
    one = addenda.open_for(moved, LOGGER)
    target = Target.of(one.folder, plugin, journal.read_head(one.folder.journal)[0])
    assert one.folder.path.parent == moved.path.parent
    assert target.destination == {"file": str(tmp_path / "moved/notes")}
    assert target.run.save_dir == tmp_path / "moved/train"


def test_its_relay_rests_when_nothing_is_added_and_comes_back(addendum, plugin, monkeypatch, until):
    addendum.supervisor.stop()
    monkeypatch.setattr("tracking_hooks.delivery.relay._IDLE_OF_ADDENDUM", 0.1)
    addendum.record("on_log", metrics={"first": 1.0}, step=None)
    addendum.supervisor.stop()
    assert Relay(addendum.folder, plugin, Settings()).run() == IDLE
    assert state.owed(addendum.folder, plugin).pending == 0


def test_a_relay_that_has_ended_is_started_for_the_next_event(addendum, plugin, until):
    addendum.supervisor.stop()
    before = addendum.supervisor.processes[plugin].pid
    addendum.record("on_log", metrics={"second": 1.0}, step=None)
    until(lambda: state.owed(addendum.folder, plugin).pending == 0)
    assert addendum.supervisor.processes[plugin].pid != before


def test_one_that_has_left_the_rest_to_a_sync_comes_back_for_the_next_event(addendum, plugin, until):
    addendum.record("on_log", metrics={"first": 1.0}, step=None)
    until(lambda: state.owed(addendum.folder, plugin).pending == 0)
    addendum.supervisor.processes[plugin].terminate()
    assert addendum.supervisor.processes[plugin].wait() == PENDING
    addendum.look_after_relays()
    assert addendum.supervisor.processes[plugin].poll() == PENDING, "there is nothing for it"
    addendum.record("on_log", metrics={"second": 2.0}, step=None)
    until(lambda: state.owed(addendum.folder, plugin).pending == 0)


def test_what_was_added_stays_if_the_journal_cannot_be_closed(addendum, monkeypatch, caplog):
    def fails():
        raise OSError("no space left")

    addendum.record("on_log", metrics={"test/mAP50": 0.5}, step=None)
    monkeypatch.setattr(addendum._journal, "close", fails)
    addendum.close()
    assert [call.hook for call in read_calls(addendum.folder.journal)] == ["on_log"]
    assert "closing the journal failed: OSError: no space left" in caplog.text


def test_one_that_cannot_be_made_leaves_nothing_behind(folder, monkeypatch, caplog):
    def fails(*_):
        raise OSError("no space left")

    monkeypatch.setattr(journal.Journal, "create", fails)
    assert addenda.open_for(folder, LOGGER) is None
    assert addenda.open_for(folder, LOGGER) is None
    assert [path.name for path in folder.path.parent.iterdir() if path.is_dir()] == [folder.uid]
    assert len(caplog.messages) == 1


def test_a_process_that_adds_to_many_runs_has_few_open(folder, run, plugin, tmp_path, monkeypatch, until):
    monkeypatch.setattr(addenda, "_MOST", 2)
    first = addenda.open_for(folder, LOGGER)
    first.record("on_log", metrics={"test/mAP50": 0.5}, step=None)
    for uid in ("20251009-090000-second", "20251009-100000-third"):
        other = structs.replace(run, uid=uid)
        made = write_run(other, recorded_run(other.save_dir), {plugin: {"file": str(tmp_path / uid)}})
        index.enter(made)
        assert addenda.open_for(made, LOGGER).is_open
    assert [one.is_open for one in process.addenda] == [False, True, True]
    again = addenda.open_for(folder, LOGGER)
    assert again is not first
    assert addenda.made_to(folder) == [first, again]
    until(lambda: state.owed(first.folder, plugin).is_over)


def test_one_without_an_event_leaves_nothing_behind(folder, addendum):
    addendum.close()
    assert not addendum.folder.path.exists()
    assert [one.uid for one in index.all_runs()] == [folder.uid]


def test_what_a_process_that_died_has_added_is_delivered_without_an_end(folder, plugin, python, until):
    done = python(
        f"""
        import logging, os
        from pathlib import Path
        from tracking_hooks.recording import addenda
        from tracking_hooks.run.layout import RunFolder
        os.environ["TRACKING_HOOKS_MODE"] = "offline"
        one = addenda.open_for(RunFolder(Path({str(folder.path)!r})), logging.getLogger())
        one.record("on_log", metrics={{"test/mAP50": 0.5}}, step=None)
        print(one.folder.path, flush=True)
        os._exit(1)
        """,
        code=1,
    )
    added = layout.RunFolder(Path(done.stdout.strip()))
    assert not orphans.end_orphan(added)
    assert {one.folder.uid: one.done for one in deliver(folder, added)} == {folder.uid: True, added.uid: True}
    assert state.owed(added, plugin).is_over
    assert removal.reason_to_keep(added) == ""
    assert index.delivered(added).name == "addendum to train"


def test_its_files_are_its_own_and_an_image_is_kept_at_each_step(addendum, plugin, tmp_path):
    for step, content in enumerate((b"one", b"two")):
        path = tmp_path / f"{step}.png"
        path.write_bytes(content)
        size, digest = files.digest(path)
        image = Artifact(path=path, kind="plot", name="sample", size=size, digest=digest)
        addendum.record("on_image", artifact=image, step=step)
        path.unlink()
    parcel = Parcel.of(addendum.folder)
    assert (len(parcel.files), parcel.gone) == (2, [])


def test_it_travels_in_a_pack_of_its_own_uid(folder, addendum, plugin, tmp_path, monkeypatch):
    addendum.supervisor.stop()
    addendum.record("on_log", metrics={"test/mAP50": 0.5}, step=None)
    addendum.supervisor.stop()
    assert owes(addendum.folder)
    parcels = [Parcel.of(folder), Parcel.of(addendum.folder)]
    pack(parcels, tmp_path / "runs.pack")
    leave_receipt(parcels[1], tmp_path / "runs.pack")
    assert not owes(addendum.folder)
    _, arrivals = unpack(tmp_path / "runs.pack", tmp_path / "there")
    assert [arrival.folder.uid for arrival in arrivals] == [folder.uid, addendum.folder.uid]


def test_a_resumed_training_and_a_trial_do_not_take_it_for_the_run(folder, run, addendum):
    addendum.record("on_log", metrics={"test/mAP50": 0.5}, step=None)
    assert resumption.find(run, [run.save_dir]).journal[0].uid == folder.uid
    assert parents.saved_to(run.save_dir).folder.uid == folder.uid


def test_one_that_cannot_be_read_does_not_keep_a_training_from_being_resumed(folder, addendum):
    addendum.record("on_log", metrics={"test/mAP50": 0.5}, step=None)
    addendum.supervisor.stop()
    addendum.folder.journal.write_bytes(bytes(100))
    resumption.take_over(folder)


def test_the_commands_tell_it_from_the_run(folder, run, addendum, cli):
    addendum.record("on_log", metrics={"test/mAP50": 0.5}, step=None)
    assert "addendum to train open" in " ".join(cli("status", run.save_dir).output.split())
    assert "no training is running" in cli("stop", folder.path.parent.parent).output
    assert addendum.folder.uid not in cli("simulate", "--control", "budget(hours=1)", run.save_dir).output


def test_it_is_removed_when_it_is_delivered_and_old(folder, addendum, plugin, until, monkeypatch):
    addendum.record("on_log", metrics={"test/mAP50": 0.5}, step=None)
    addendum.close()
    until(lambda: state.owed(addendum.folder, plugin).is_over and not state.has_relay(addendum.folder, plugin))
    deliver(folder)
    monkeypatch.setattr(retention, "_REST", -1.0)
    assert len(list(retention.remove("0d"))) == 2
    assert not addendum.folder.path.exists()


def test_it_stands_behind_its_run_also_if_both_were_made_in_one_second(monkeypatch):
    moments = [1795000000 + fraction / 8 for fraction in range(8)]
    monkeypatch.setattr(folders.time, "time", iter(moments).__next__)
    uids = [folders.new_uid() for _ in moments]
    assert uids == sorted(uids)
    assert len({uid.rpartition("-")[0] for uid in uids}) == 1
