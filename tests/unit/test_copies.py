"""What keeps the content of a run's files, and when it is let go."""

import errno
import hashlib
import os
import shutil

import pytest

from tests.support.runs import append
from tracking_hooks.delivery.spawn import DELIVERED
from tracking_hooks.events import Artifact, Rejected
from tracking_hooks.run import copies, files, journal, orphans
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import CONSOLE
from tracking_hooks.testing import recorded_run

FILES = {"on_artifact", "on_checkpoint_saved"}


@pytest.fixture
def kept(record_run):
    """Put a run on disk whose files are kept as the recorder keeps them."""

    def record(*plugins, **options):
        run = record_run(*plugins, **options)
        for file in recorded(run):
            assert copies.keep(run.folder, file)
        (run.folder.files / CONSOLE).write_text("what was said\n")
        return run

    return record


@pytest.fixture(params=["links", "no links"])
def links(request, monkeypatch):
    """A file system that has links, and one that has neither these nor shared blocks."""
    if request.param == "no links":
        refuse_links(monkeypatch, errno.EPERM)


def refuse_links(monkeypatch, reason):
    def refuse(*_, **__):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(copies, "_share", lambda *_: False)


@pytest.fixture
def notes(installed):
    return "notes"


def recorded(run):
    return [file for call in journal.calls(run.folder.journal, FILES) if (file := copies.of_call(call.args))]


def names(run):
    """The files in the run folder by suffix, without the tables and configurations, which stay."""
    return sorted(path.suffix for path in run.folder.files.rglob("*") if path.suffix not in copies.TEXTS)


def test_keeping_copies_no_byte(kept, notes, monkeypatch):
    monkeypatch.setattr("shutil.copyfile", None)
    run = kept(notes)
    assert {path.stat().st_nlink for path in run.folder.files.iterdir() if path.name != CONSOLE} == {2}


def test_a_tracker_is_given_what_is_kept_so_the_user_may_delete_the_file_while_it_is_uploaded(kept, notes):
    run = kept(notes)
    root = run.folder.path.parent.parent
    for file in recorded(run):
        assert files.locate(run.folder, root, file).is_relative_to(run.folder.files)


def test_what_is_kept_goes_when_every_tracker_has_it_and_the_console_and_small_tables_stay(kept, notes, make_plugin):
    other = make_plugin("class Plugin(Notes): pass")
    run = kept(notes, other)
    before = names(run)
    assert ".pt" in before and ".png" in before
    assert run.relay(notes) == DELIVERED
    assert names(run) == before, "the other tracker has nothing yet"
    assert run.relay(other) == DELIVERED
    assert names(run) == [".log"]
    assert [path.suffix for path in run.folder.files.iterdir() if path.suffix in copies.TEXTS]


@pytest.fixture
def give(record_run, notes):
    """Deliver a run to which a script has given files of this content."""

    def give(*contents):
        run = record_run(notes, calls=[])
        run.folder.files.mkdir()
        for seq, content in enumerate(contents, 1):
            sha = hashlib.sha256(content).hexdigest()
            path = run.folder.files / f"{sha}.bin"
            path.write_bytes(content)
            given = Artifact(path=path, kind="file", name=f"{seq}.bin", size=len(content), digest=sha)
            run.append([Call(seq, 1.0, "on_artifact", {"artifact": given})])
        end = {"status": "finished", "error": None}
        run.append([Call(len(contents) + 1, 1.0, "on_run_end", end)])
        assert run.relay(notes) == DELIVERED
        return run

    return give


def test_what_a_script_has_given_stays_so_that_another_tracker_gets_it_later(give, notes, tmp_path):
    run = give(b"weights of its own", b"another")
    label = run.folder.add_replay(notes, {"file": str(tmp_path / "elsewhere.txt")})
    assert run.relay(label, drain=True) == DELIVERED
    assert run.set_aside(label) == {}


def test_of_what_a_script_has_given_no_more_stays_than_the_disk_should_hold(give, monkeypatch):
    monkeypatch.setattr(copies, "_GIVEN", 10)
    run = give(b"123456", b"1234567", b"1234")
    assert sorted(path.stat().st_size for path in run.folder.files.iterdir()) == [4, 6]


def test_what_is_set_aside_is_kept(kept, make_plugin):
    plugin = make_plugin(
        """
        class Plugin:
            @hookimpl
            def on_checkpoint_saved(self, checkpoint):
                if checkpoint.digest and checkpoint.kind == "best":
                    raise Rejected("too large")
        """
    )
    run = kept(plugin)
    assert run.relay(plugin) == DELIVERED
    assert names(run) == [".log", ".pt"]
    shutil.rmtree(run.save_dir)
    (best,) = [file for file in recorded(run) if getattr(file, "kind", "") == "best"]
    assert files.locate(run.folder, run.folder.path.parent.parent, best).read_bytes() == b"best weights"


def test_in_a_long_training_it_goes_meanwhile(kept, notes, monkeypatch):
    monkeypatch.setattr(copies, "_EVERY", 0.0)
    run = kept(notes)
    seen = []
    letting_go = copies.Sweep.now
    monkeypatch.setattr(copies.Sweep, "now", lambda sweep: letting_go(sweep) or seen.append(names(run)))
    run.relay(notes)
    assert len(seen[0]) > len(seen[-2]) == 1, "before the relay ends"


def test_a_file_that_no_event_names_is_left_alone(kept, notes):
    run = kept(notes)
    new = run.folder.files / f"{'0' * 64}.pt"
    new.write_bytes(b"about to be recorded")
    run.relay(notes)
    assert new.exists()


def test_links_that_are_still_needed_become_copies_before_somebody_writes_into_the_folder(kept, notes):
    run = kept(notes)
    orphans.secure_files(run.folder)
    kept_now = [path for path in run.folder.files.iterdir() if path.name != CONSOLE]
    assert {path.stat().st_nlink for path in kept_now} == {1}
    for path in run.save_dir.rglob("*.*"):
        path.write_bytes(b"of the later run")
    root = run.folder.path.parent.parent
    assert {files.digest(files.locate(run.folder, root, file)) for file in recorded(run)}


def test_links_that_nobody_needs_are_not_copied(kept, notes, monkeypatch):
    run = kept(notes)
    run.relay(notes)
    for file in recorded(run):
        copies.keep(run.folder, file)  # as if it had just been delivered
    monkeypatch.setattr("shutil.copyfile", None)
    orphans.secure_files(run.folder)


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EMLINK])
def test_where_no_link_can_be_made_it_says_so_and_a_copy_does(record_run, notes, monkeypatch, reason):
    refuse_links(monkeypatch, reason)
    run = record_run(notes)
    assert not any(copies.keep(run.folder, file) for file in recorded(run))
    copies.copy_owed(run.folder)
    shutil.rmtree(run.save_dir)
    root = run.folder.path.parent.parent
    for file in recorded(run):
        assert files.digest(files.locate(run.folder, root, file)) == (file.size, file.digest)


def test_what_a_killed_training_has_left_is_kept_by_whoever_ends_its_run(record_run, notes, tmp_path, links):
    calls = recorded_run(tmp_path / "project/train")
    begun = [call for call in calls if call.hook not in FILES | {"on_run_end"}]
    run = record_run(notes, calls=begun)
    orphans.end_orphan(run.folder)
    left = {file.path for file in recorded(run)}
    assert {path.suffix for path in left} >= {".pt", ".csv", ".png"}
    shutil.rmtree(run.save_dir)
    root = run.folder.path.parent.parent
    for file in recorded(run):
        assert files.digest(files.locate(run.folder, root, file)) == (file.size, file.digest)


def test_what_an_untracked_training_has_put_in_their_place_is_not_that_of_a_killed_one(record_run, notes, tmp_path):
    calls = recorded_run(tmp_path / "project/train")
    run = record_run(notes, calls=[call for call in calls if call.hook not in FILES | {"on_run_end"}])
    long_ago = calls[-1].time
    for path in [run.folder.heartbeat, *run.save_dir.rglob("*.*")]:
        path.touch()
        os.utime(path, (long_ago, long_ago))
    for name in ("weights/best.pt", "results.csv"):  # as exist_ok=True has it, without the variable
        (run.save_dir / name).write_bytes(b"of another training")
    orphans.end_orphan(run.folder)
    assert {file.path.name for file in recorded(run)} >= {"last.pt", "results.png"}
    assert not {"best.pt"} & {file.path.name for file in recorded(run)}
    assert "results.csv" not in {getattr(file, "name", "") for file in recorded(run)}


def test_what_was_recorded_already_when_a_training_was_killed_is_not_recorded_twice(record_run, notes, tmp_path):
    calls = [call for call in recorded_run(tmp_path / "project/train") if call.hook != "on_run_end"]
    run = record_run(notes, calls=calls)
    orphans.end_orphan(run.folder)
    weights = [file.path.name for file in recorded(run) if file.path.suffix == ".pt"]
    assert sorted(weights) == sorted(set(weights))


def test_a_path_that_leads_out_of_the_root_is_not_copied_for_a_later_run(record_run, notes, tmp_path):
    run = record_run(notes)
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"of somebody else")
    (run.save_dir / "results.png").unlink()
    (run.save_dir / "results.png").symlink_to(outside)
    (plot,) = [file for file in recorded(run) if file.path.suffix == ".png"]
    outside.write_bytes(b"x" * plot.size)
    copies.copy_owed(run.folder)
    assert not copies.place(run.folder, plot).exists()
    with pytest.raises(Rejected, match="outside"):
        files.locate(run.folder, run.folder.path.parent.parent, plot)


def test_status_tells_the_disk_that_only_the_run_folder_holds(kept, notes, cli):
    run = kept(notes)
    big = run.save_dir / "big.bin"
    big.write_bytes(bytes(12_300_000))
    os.link(big, run.folder.files / "big.bin")
    assert " holds " not in cli("status", run.save_dir).output, "it is in the training's folder, too"
    big.unlink()
    assert "the run folder holds 12.3 MB" in cli("status", run.save_dir).output


def test_what_was_read_of_a_long_run_to_let_files_go_is_not_read_again_each_minute(kept, notes, monkeypatch):
    run = kept(notes)  # which has not received them, so they stay
    append(run.folder.journal, [Call(0, 9.0, "on_log", {"metrics": {"loss": 1.0}, "step": step}) for step in range(50)])
    read = []
    parse = journal.lines.parse
    monkeypatch.setattr(journal.lines, "parse", lambda *args: read.append(args) or parse(*args))
    sweep = copies.Sweep(run.folder)
    sweep.now()
    assert len(read) == len(run.calls())
    read.clear()
    sweep.now()
    assert read == []
