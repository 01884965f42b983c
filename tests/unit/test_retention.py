"""TRACKING_HOOKS_KEEP: what is delivered is removed by age or size, and nothing else is."""

import logging
import os
import time

import msgspec
import pytest

from tests.support import runs
from tracking_hooks.delivery import retention
from tracking_hooks.delivery.spawn import adopter_file, start_adopter
from tracking_hooks.recording import folders
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.run import index, layout
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.liveness import Lock
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run, sample_run

DAY = 86_400


@pytest.fixture
def notes(make_plugin):
    return make_plugin("class Plugin(Notes): pass")


@pytest.fixture
def delivered(record_run, notes):
    """Put a run on disk that was delivered some days ago, and is in my index."""

    def make(name, days, *, size=0, plugins=(notes,)):
        run = record_run(*plugins, name=name)
        for plugin in plugins:
            run.relay(plugin)
        index.enter(run.folder)
        index.note_delivered(run.folder)
        if size:
            run.folder.files.mkdir()
            (run.folder.files / "weights.pt").write_bytes(bytes(size))
        age(run.folder, days)
        return run

    return make


def age(folder: RunFolder, days: float) -> None:
    """Make a run one of some days ago."""
    then = time.time() - days * DAY
    for path in [folder.journal, *folder.path.glob("relays/*/cursor.json")]:
        os.utime(path, (then, then))


def there(*found):
    """The names of the runs that have their folder."""
    return {run.save_dir.name for run in found if run.folder.journal.exists()}


@pytest.mark.parametrize("keep", ["14d", "14", "14D", " 14d "])
def test_after_some_days_a_delivered_run_folder_is_removed(delivered, keep):
    old, young = delivered("old", 15), delivered("young", 13)
    (line,) = retention.remove(keep)
    assert f"{old.folder.uid} removed" in line
    assert "delivered 15.0 days ago" in line
    assert there(old, young) == {"young"}
    assert [folder.uid for folder in index.all_runs()] == [young.folder.uid]
    assert [path.name for path in layout.index_folder().rglob("*.json")] == [f"{young.folder.uid}.json"]
    assert (old.save_dir / "weights/best.pt").exists(), "what the training made is not ours to remove"


def test_a_run_that_was_delivered_late_has_its_days_from_then_on(delivered):
    run = delivered("recorded-long-ago", 15)
    os.utime(run.folder.relay(next(iter(run.folder.path.glob("relays/*"))).name).cursor)
    assert list(retention.remove("14d")) == []


def test_beyond_a_size_the_oldest_delivered_run_folders_are_removed(delivered):
    found = [delivered(f"{days}-days", days, size=600_000) for days in (5, 3, 4, 2)]
    assert len(list(retention.remove("1.5MB"))) == 2
    assert there(*found) == {"2-days", "3-days"}


def test_a_file_that_has_a_name_elsewhere_takes_nothing(delivered):
    run = delivered("linked", 5)
    run.folder.files.mkdir(exist_ok=True)
    weights = run.save_dir / "weights/large.pt"
    weights.write_bytes(bytes(3_000_000))
    os.link(weights, run.folder.files / "large.pt")
    assert list(retention.remove("2MB")) == []
    weights.unlink()
    assert len(list(retention.remove("2MB"))) == 1


@pytest.mark.parametrize("keep", ["", "off", "none", "0"])
def test_unset_or_off_nothing_is_removed(delivered, keep):
    run = delivered("old", 10_000)
    assert list(retention.remove(keep)) == []
    assert there(run)


@pytest.mark.parametrize("keep", ["1d", "0.001MB"])
def test_what_is_not_delivered_is_never_removed(record_run, delivered, notes, make_plugin, keep):
    pending = record_run(notes, name="pending")
    refusing = make_plugin(
        """
        class Plugin(Notes):
            def before(self, seq, state):
                if seq == 3:
                    raise Rejected("no")
        """
    )
    aside = record_run(refusing, name="set-aside")
    aside.relay(refusing)
    halfway = record_run(notes, "gone", name="one-of-two-trackers")
    halfway.relay(notes)
    nowhere = record_run(name="no-tracker")
    for run in (pending, aside, halfway, nowhere):
        index.enter(run.folder)
        age(run.folder, 100)
    old = delivered("delivered", 100)
    assert len(list(retention.remove(keep))) == 1
    names = {"pending", "set-aside", "one-of-two-trackers", "no-tracker"}
    assert there(pending, aside, halfway, nowhere, old) == names


def test_a_run_that_goes_on_is_not_removed(delivered):
    resumed, busy = delivered("resumed", 100), delivered("with-a-relay", 100)
    (relay,) = [busy.folder.relay(path.name) for path in busy.folder.path.glob("relays/*")]
    locks = [Lock(resumed.folder.lock), Lock(relay.lock)]
    assert all(lock.acquire() for lock in locks)
    try:
        assert list(retention.remove("1d")) == []
    finally:
        for lock in locks:
            lock.release()
    assert len(list(retention.remove("1d"))) == 2


@pytest.mark.parametrize("place", ["project/trial", "beside/no/group"])
def test_a_trial_stays_as_long_as_its_tuning_goes_on_and_a_run_as_its_group(
    delivered, record_run, notes, tmp_path, place
):
    tuning = record_run(name="tuning")
    index.enter(tuning.folder)
    save_dir = tmp_path / place
    whole = recorded_run(save_dir)
    run = msgspec.structs.replace(sample_run(save_dir), uid="20251009-085320-trial", parent=tuning.folder.uid)
    trial = runs.write_run(run, whole, {})
    trial = type(tuning)(trial, save_dir, tmp_path / "notes-trial")
    label = trial.folder.add_replay(notes, {"file": str(trial.notes)})
    trial.relay(label)
    index.enter(trial.folder)
    age(trial.folder, 100)
    lock = Lock(tuning.folder.lock)
    assert lock.acquire()
    try:
        assert list(retention.remove("1d")) == []
    finally:
        lock.release()
    assert len(list(retention.remove("1d"))) == 1


def test_what_was_delivered_a_moment_ago_stays_for_those_who_tell_of_it(delivered):
    run = delivered("just-now", 0.01, size=1_000_000)
    assert list(retention.remove("0.5MB")) == []
    assert there(run)


def test_only_my_own_run_folders_are_removed(delivered, monkeypatch):
    unknown, foreign = delivered("not-in-my-index", 100), delivered("of-another-user", 100)
    index.forget(unknown.folder)
    if hasattr(os, "getuid"):
        owner = foreign.folder.path.stat().st_uid
        with monkeypatch.context() as patch:
            patch.setattr(os, "getuid", lambda: owner + 1)
            assert list(retention.remove("1d")) == []
    copied = foreign.save_dir.parent / "copied"
    foreign.folder.path.rename(copied)
    layout.write_json(
        layout.index_folder() / f"delivered/{foreign.folder.uid}.json",
        layout.Pointer(uid=foreign.folder.uid, folder=copied),
    )
    assert list(retention.remove("1d")) == [], "what an index names need not be a run folder any more"
    assert copied.exists()
    assert there(unknown)


def test_a_training_that_goes_on_later_finds_its_uid(delivered):
    run = delivered("resumed-later", 100)
    list(retention.remove("14d"))
    assert layout.read_json(run.save_dir / layout.POINTER, layout.Pointer).uid == run.folder.uid
    assert layout.find_runs(run.save_dir) == []


# -- when a training starts ---------------------------------------------------------------------------------------


def test_an_adopter_removes_and_says_so_in_its_log(delivered, record_run, notes, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS", notes)
    old, left = delivered("old", 15), record_run(notes, name="left")
    index.enter(left.folder)
    home = left.folder.path.parent
    assert start_adopter(home, "14d").wait(60) == 0
    assert there(old, left) == {"left"}
    assert f"{old.folder.uid} removed, as TRACKING_HOOKS_KEEP=14d says" in adopter_file(home, ".log").read_text()
    assert left.noted(), "and it delivers what is pending"


@pytest.mark.parametrize(("settings", "starts"), [({"keep": "14d"}, ["14d"]), ({}, []), ({"keep": "off"}, [])])
def test_a_training_starts_one_only_if_there_is_something_to_do(delivered, settings, starts, monkeypatch):
    run = delivered("old", 15)
    started = []
    monkeypatch.setattr(folders, "start_adopter", lambda home, keep: started.append(keep))
    folders.adopt(run.folder.path.parent, Settings(**settings), Complaints(logging.getLogger("host")))
    assert started == starts
