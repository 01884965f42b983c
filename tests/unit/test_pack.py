"""Runs of a machine without a network are carried to another one in a file, and delivered from there."""

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import zlib
from contextlib import suppress
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import runs
from tracking_hooks.cli import main
from tracking_hooks.delivery.spawn import DELIVERED
from tracking_hooks.delivery.target import Target
from tracking_hooks.run import index, journal, layout, state
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import RunFolder, SetAside
from tracking_hooks.run.liveness import Lock
from tracking_hooks.run.packfile import PackError
from tracking_hooks.run.unpack import unpack
from tracking_hooks.testing import recorded_run, sample_run

FILES = """
class Plugin:
    @hookimpl
    def on_checkpoint_saved(self, checkpoint, destination):
        if checkpoint.digest:
            self.note(checkpoint.path, destination)

    @hookimpl
    def on_artifact(self, artifact, destination):
        self.note(artifact.path, destination)

    def note(self, path, destination):
        with Path(destination["file"]).open("a") as file:
            print(path.read_bytes(), file=file)
"""
RESUMED = Call(0, 1.0, "on_run_start", {"params": {}, "environment": None, "resumed": True, "plan": None})
END = Call(0, 2.0, "on_run_end", {"status": "finished", "error": None})
LOG = Call(0, 1.5, "on_log", {"metrics": {"mine": 1.0}, "step": 1})


@pytest.fixture
def notes(installed):
    return "notes"


@pytest.fixture
def there(tmp_path, monkeypatch):
    """Another machine: nothing of the first one's files and of its user is there any more."""

    def move() -> Path:
        if (tmp_path / "project").exists():
            shutil.move(tmp_path / "project", tmp_path / "out-of-reach")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-there"))
        return tmp_path / "there"

    return move


@pytest.fixture
def back(tmp_path):
    """The first machine again."""
    return lambda: shutil.move(tmp_path / "out-of-reach", tmp_path / "project")


def packed(cli, *arguments, into):
    done = cli("pack", *arguments, "-o", into)
    assert done.exit_code == 0, done.output
    return into


def noted(path: Path) -> list[int]:
    return [int(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []


# -- there and back -------------------------------------------------------------------------------------------


def test_what_is_packed_is_delivered_elsewhere_with_all_of_its_files(record_run, make_plugin, cli, tmp_path, there):
    plugin = make_plugin(FILES)
    run = record_run(plugin)
    file = packed(cli, tmp_path / "project", into=tmp_path / "pack.tar.gz")
    folder = there()
    done = cli("unpack", file, "--into", folder)
    assert done.exit_code == 0, done.output
    copy = type(run)(RunFolder(folder / ".tracking-hooks" / run.folder.uid), folder / "train", run.notes)
    original = RunFolder(tmp_path / "out-of-reach/.tracking-hooks" / run.folder.uid)
    assert copy.folder.journal.read_bytes() == original.journal.read_bytes()
    assert copy.relay(plugin, drain=True) == DELIVERED
    assert not copy.set_aside(plugin)
    for content in ("best weights", "last weights", "epoch,time", "task: detect", "PNG"):
        assert content in run.notes.read_text()


def test_sync_there_delivers_from_the_first_event_and_knows_the_run_without_a_path(
    record_run, notes, cli, tmp_path, there, monkeypatch
):
    run = record_run(notes)
    run.relay(notes)
    run.notes.unlink()
    (run.folder.relay(notes).path / "relay.log").write_text("a log")
    runs.append(run.folder.journal, [RESUMED, LOG, END])
    events = len(run.calls())
    file = packed(cli, run.save_dir, into=tmp_path / "pack.tar.gz")
    cli("unpack", file, "--into", there())
    folder = tmp_path / "there/.tracking-hooks" / run.folder.uid
    assert {path.name for path in folder.iterdir()} == {"journal.jsonl", "files", "unpacked.json"}
    assert [one.path for one in index.all_runs()] == [folder]
    monkeypatch.setenv("TRACKING_HOOKS_EXIT_WAIT", "20")
    done = cli("sync")
    assert f"{run.folder.uid}  notes: {events} events delivered" in done.output
    assert noted(run.notes) == list(range(1, events + 1))


def test_nothing_but_runs_that_owe_something_is_packed_unless_all_are_asked_for(record_run, notes, cli, tmp_path):
    done, owing = record_run(notes, name="done"), record_run(notes, name="owing")
    done.relay(notes)
    output = cli("pack", tmp_path / "project", "-o", tmp_path / "one.tar.gz").output
    assert owing.folder.uid in output
    assert done.folder.uid not in output
    assert "Packed 1 run, 5 files" in output
    assert f"tracking-hooks unpack {tmp_path}/one.tar.gz" in output
    assert cli("pack", tmp_path / "project").output.startswith("Nothing to pack: 2 runs in ")
    assert "Packed 2 runs, 5 files" in cli("pack", "--all", tmp_path / "project", "-o", tmp_path / "two.tar.gz").output


def test_a_pack_is_for_its_owner_only_tells_no_names_and_holds_what_was_recorded(record_run, notes, cli, tmp_path):
    run = record_run(notes)
    (run.folder.path / "crash-1.json").write_text("{}")
    file = packed(cli, run.save_dir, into=tmp_path / "pack.tar.gz")
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as tar:
        members = tar.getmembers()
    assert {(member.uid, member.uname, member.mtime) for member in members} == {(0, "", 0)}
    assert [member.name for member in members[:2]] == ["manifest.json", f"journals/{run.folder.uid}.jsonl"]
    assert len(members) == 2 + 5
    assert {member.name.split("/")[0] for member in members[2:]} == {"files"}


def test_an_existing_file_is_not_overwritten(record_run, notes, cli, tmp_path):
    run = record_run(notes)
    file = tmp_path / "pack.tar.gz"
    file.write_text("precious")
    done = cli("pack", run.save_dir, "-o", file)
    assert (done.exit_code, file.read_text()) == (1, "precious")
    assert "is there already" in done.output


def test_a_file_that_is_gone_is_said_and_the_rest_is_packed(record_run, notes, cli, tmp_path, there):
    run = record_run(notes)
    (run.save_dir / "weights/best.pt").write_bytes(b"those of a later run")
    done = cli("pack", run.save_dir, "-o", tmp_path / "pack.tar.gz")
    assert "without a file" in done.output
    assert "best.pt was overwritten after it was recorded" in done.output
    assert "4 files" in done.output
    assert cli("unpack", tmp_path / "pack.tar.gz", "--into", there()).exit_code == 0


def test_the_same_content_is_packed_once(record_run, notes, cli, tmp_path, there):
    record_run(notes, name="one"), record_run(notes, name="two")
    file = packed(cli, tmp_path / "project", into=tmp_path / "pack.tar.gz")
    with tarfile.open(file) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names)) == 1 + 2 + 5
    cli("unpack", file, "--into", there())
    assert [len(list(one.files.iterdir())) for one in layout.find_runs(tmp_path / "there")] == [5, 5]


def test_a_destination_that_was_added_comes_along(record_run, notes, cli, tmp_path, there):
    run = record_run(notes)
    label = run.folder.add_replay("notes", {"file": str(tmp_path / "more")}, "there")
    file = packed(cli, run.save_dir, into=tmp_path / "pack.tar.gz")
    cli("unpack", file, "--into", there())
    [copy] = layout.find_runs(tmp_path / "there")
    assert state.labels(copy) == ["notes", label]
    assert copy.replays()[label].destination == {"file": str(tmp_path / "more")}


# -- the source -----------------------------------------------------------------------------------------------


def test_what_is_packed_counts_as_delivered_here_and_status_says_so(record_run, notes, cli, tmp_path):
    run = record_run(notes)
    events = len(run.calls())
    packed(cli, run.save_dir, into=tmp_path / "pack.tar.gz")
    owed = state.owed(run.folder, notes)
    assert (owed.delivered, owed.packed, owed.pending, owed.is_over) == (0, events, 0, True)
    assert owed.in_words() == f"0 events delivered, {events} packed"
    assert not list(state.pending([run.folder]))
    output = cli("status", run.save_dir).output
    assert "packed on 20" in output
    assert f", {events} events" in output
    assert "to deliver" not in output
    output = cli("sync", run.save_dir).output
    assert "Nothing is pending: 1 run" in output
    assert "tracking-hooks pack --forget" in output
    assert not run.notes.exists()
    assert "removed" in cli("prune", run.save_dir).output
    assert not run.folder.path.exists()


def test_what_is_recorded_after_the_pack_is_owed_here(record_run, notes, cli, tmp_path):
    run = record_run(notes)
    events = len(run.calls())
    packed(cli, run.save_dir, into=tmp_path / "pack.tar.gz")
    run.append([RESUMED, LOG])
    owed = state.owed(run.folder, notes)
    assert (owed.packed, owed.pending, owed.is_over) == (events, 2, False)
    assert "kept: notes has not received all of it" in cli("prune", run.save_dir).output
    run.relay(notes, drain=True)  # it ends the run
    owed = state.owed(run.folder, notes)
    assert (owed.delivered, owed.packed, owed.pending, owed.is_over) == (len(run.calls()), 0, 0, True)


def test_a_pack_that_was_lost_is_forgotten_and_the_run_delivered_from_here(record_run, notes, cli, tmp_path):
    run = record_run(notes)
    packed(cli, run.save_dir, into=tmp_path / "pack.tar.gz")
    assert "1 run " in cli("pack", "--forget", run.save_dir).output
    assert "0 runs " in cli("pack", "--forget", run.save_dir).output
    assert state.owed(run.folder, notes).pending == len(run.calls())
    assert run.relay(notes) == DELIVERED
    assert run.noted() == list(range(1, len(run.calls()) + 1))


def test_what_was_set_aside_here_is_packed_and_tried_there(record_run, notes, cli, tmp_path):
    run = record_run(notes)
    run.relay(notes)
    entries = list(journal.read(run.folder.journal, journal.read_head(run.folder.journal)[1]))
    events = [
        SetAside(seq=entry.call.seq, start=entry.start, end=entry.end, hook=entry.call.hook, reason="no", retry_at=0.0)
        for entry in entries[3:5]
    ]
    run.folder.relay(notes).write_aside(events)
    assert len(state.owed(run.folder, notes).aside) == 2
    packed(cli, run.save_dir, into=tmp_path / "pack.tar.gz")
    owed = state.owed(run.folder, notes)
    assert (owed.aside, owed.packed, owed.delivered) == ([], 2, len(entries) - 2)
    assert not owed.is_worth_a_try


def test_a_run_whose_process_died_is_ended_before_it_is_packed(record_run, notes, cli, tmp_path):
    calls = [call for call in recorded_run(tmp_path / "project/train") if call.hook != "on_run_end"]
    run = record_run(notes, calls=calls)
    packed(cli, run.save_dir, into=tmp_path / "pack.tar.gz")
    assert run.calls()[-1].args["status"] == "killed"
    assert state.owed(run.folder, notes).is_over


# -- a run that grows -----------------------------------------------------------------------------------------


def test_a_running_training_is_packed_as_far_as_it_goes_and_extended_by_the_next_pack(
    record_run, notes, cli, tmp_path, there, back, monkeypatch
):
    calls = [call for call in recorded_run(tmp_path / "project/train") if call.hook != "on_run_end"]
    run = record_run(notes, calls=calls)
    with run.folder.journal.open("ab") as file:
        file.write(b'{"seq": half a line')
    lock = Lock(run.folder.lock)
    lock.take()
    done = cli("pack", run.save_dir, "-o", tmp_path / "one.tar.gz")
    assert "is running: pack it again when it has ended" in done.output
    assert f"{len(calls)} events" in done.output
    lock.release()

    copy = RunFolder(there() / ".tracking-hooks" / run.folder.uid)
    cli("unpack", tmp_path / "one.tar.gz", "--into", tmp_path / "there")
    monkeypatch.setenv("TRACKING_HOOKS_EXIT_WAIT", "20")
    assert cli("sync", tmp_path / "there").exit_code == 0
    assert noted(run.notes) == list(range(1, len(calls) + 1))
    assert runs.read_calls(copy.journal)[-1].hook != "on_run_end", "it goes on elsewhere"
    assert "running when packed" in cli("status", tmp_path / "there").output
    assert "kept: it was running when it was packed" in cli("prune", tmp_path / "there").output
    assert cli("sync", tmp_path / "there").output.startswith("Nothing is pending")

    back()
    run.append([LOG, END])  # behind a torn line, which is one event more
    packed(cli, run.save_dir, into=tmp_path / "two.tar.gz")
    there()
    done = cli("unpack", tmp_path / "two.tar.gz", "--into", tmp_path / "there")
    assert "is extended by 3 events" in done.output
    assert cli("sync", tmp_path / "there").exit_code == 0
    assert noted(run.notes)[: len(calls)] == list(range(1, len(calls) + 1))
    assert len(noted(run.notes)) == len(calls) + 2
    assert "finished" in cli("status", tmp_path / "there").output


def test_the_same_pack_and_an_older_one_change_nothing(record_run, notes, cli, tmp_path, there, back):
    run = record_run(notes)
    one = packed(cli, run.save_dir, into=tmp_path / "one.tar.gz")
    run.append([RESUMED, LOG, END])
    two = packed(cli, run.save_dir, into=tmp_path / "two.tar.gz")
    there()
    copy = RunFolder(tmp_path / "there/.tracking-hooks" / run.folder.uid)
    cli("unpack", two, "--into", tmp_path / "there")
    before = copy.journal.read_bytes()
    for file in (two, one):
        assert "was there already, as far as it is packed" in cli("unpack", file, "--into", tmp_path / "there").output
        assert copy.journal.read_bytes() == before


def test_a_copy_that_went_another_way_is_left_alone(record_run, notes, cli, tmp_path, there):
    run = record_run(notes)
    one = packed(cli, run.save_dir, into=tmp_path / "one.tar.gz")
    run.append([RESUMED, LOG, END])
    two = packed(cli, run.save_dir, into=tmp_path / "two.tar.gz")
    copy = RunFolder(there() / ".tracking-hooks" / run.folder.uid)
    cli("unpack", one, "--into", tmp_path / "there")
    runs.append(copy.journal, [RESUMED, END])
    before = copy.journal.read_bytes()
    done = cli("unpack", two, "--into", tmp_path / "there")
    assert done.exit_code == 1
    assert "has gone another way" in done.output
    assert copy.journal.read_bytes() == before
    assert sorted(path.name for path in copy.path.parent.iterdir()) == [".gitignore", run.folder.uid]


def test_a_run_that_was_recorded_there_is_not_extended(record_run, notes, cli, tmp_path):
    run = record_run(notes)
    whole = run.folder.journal.read_bytes()
    file = packed(cli, run.save_dir, into=tmp_path / "one.tar.gz")
    run.folder.journal.write_bytes(whole[: whole.index(b"\n", 5000) + 1])
    done = cli("unpack", file, "--into", tmp_path / "project")
    assert done.exit_code == 1
    assert "was recorded there" in done.output


# -- where they go to -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "moved"),
    [
        ("{old}/train/logs", "{new}/train/logs"),
        ("sqlite:///{old}/mlflow.db", "sqlite:///{new}/mlflow.db"),
        ("sqlite+pysqlite:///{old}/mlflow.db?timeout=5", "sqlite+pysqlite:///{new}/mlflow.db?timeout=5"),
        ("file://{old}/mlruns", "file://{new}/mlruns"),
        ("file:{old}/mlruns", "file:{new}/mlruns"),
        ("http://tracking{old}", "http://tracking{old}"),
        ("sqlite:////elsewhere/mlflow.db", "sqlite:////elsewhere/mlflow.db"),
    ],
)
def test_a_destination_below_the_root_folder_follows_it(record_run, notes, cli, tmp_path, there, destination, moved):
    old, new = tmp_path / "project", tmp_path / "there"
    run = record_run(notes, destination={"file": destination.format(old=old)})
    file = packed(cli, run.save_dir, into=tmp_path / "pack.tar.gz")
    done = cli("unpack", file, "--into", there())
    [copy] = layout.find_runs(new)
    head, _ = journal.read_head(copy.journal)
    assert Target.of(copy, notes, head).destination == {"file": moved.format(old=old, new=new)}
    assert moved.format(old=old, new=new) in done.output
    says = "is a path of the machine that recorded notes" in done.output
    assert says == ("/elsewhere/" in destination)
    assert ("tracking-hooks sync --to notes --set file=…" in done.output) == says


def test_another_place_than_the_recorded_one_is_given_when_it_is_unpacked(
    record_run, notes, cli, tmp_path, there, monkeypatch
):
    run = record_run(notes)
    file = packed(cli, run.save_dir, into=tmp_path / "pack.tar.gz")
    into = there()
    assert f"unpack {file} --into {into} --set notes.file=…" in cli("unpack", file, "--into", into).output
    other = tmp_path / "other"
    done = cli("unpack", file, "--into", into, "--set", f"notes.file={other}")
    assert f"notes  {other}\n" in done.output
    assert "did not come along" not in done.output
    monkeypatch.setenv("TRACKING_HOOKS_EXIT_WAIT", "20")
    assert "notes: 30 events delivered" in cli("sync", into).output
    assert noted(other) == list(range(1, 31))
    assert not run.notes.exists()
    [copy] = layout.find_runs(into)
    assert state.labels(copy) == ["notes"], "there is no second delivery"
    late = cli("unpack", file, "--into", into, "--set", f"notes.file={run.notes}")
    assert late.exit_code == 1
    assert "is delivered to notes already" in late.output
    assert cli("unpack", file, "--into", into, "--set", f"notes.file={other}").exit_code == 0, "it goes there"


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("notes.file", "it takes KEY=VALUE"),
        ("notes.path=x", "has no such part. It has: file"),
        ("mlflow.tracking_uri=x", "no run in it goes to mlflow"),
        ("file=x", "no run in it goes to a tracker of no name"),
        ("notes.password=hunter2", "looks like a password or a key"),
    ],
)
def test_a_place_that_means_nothing_is_refused(good, cli, tmp_path, assignment, words):
    done = cli("unpack", good, "--into", tmp_path / "there", "--set", assignment)
    assert done.exit_code == 1
    assert words in done.output
    assert "hunter2" not in done.output


def test_a_store_whose_name_is_quoted_is_found_where_it_was_moved_to(record_run, notes, tmp_path):
    run = record_run(notes, destination={"file": f"sqlite:///{tmp_path}/project/my%20runs.db"})
    shutil.move(tmp_path / "project", tmp_path / "a new place")
    [copy] = layout.find_runs(tmp_path / "a new place")
    head, _ = journal.read_head(copy.journal)
    quoted = str(tmp_path / "a new place").replace(" ", "%20")
    assert Target.of(copy, notes, head).destination == {"file": f"sqlite:///{quoted}/my%20runs.db"}
    assert run.folder.uid == copy.uid


# -- what was damaged or changed ------------------------------------------------------------------------------


class Opened:
    """The members of a pack, to be changed and written again."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as tar:
            self.members = [(member, tar.extractfile(member).read()) for member in tar.getmembers()]

    @property
    def manifest(self):
        return json.loads(self.members[0][1])

    def change(self, at, data=None, **attributes):
        member, before = self.members[at]
        data = before if data is None else data
        member.size = len(data)
        for name, value in attributes.items():
            setattr(member, name, value)
        self.members[at] = (member, data)

    def change_manifest(self, change):
        manifest = self.manifest
        change(manifest)
        self.change(0, json.dumps(manifest).encode())

    def add(self, name, data=b"", **attributes):
        self.members.append((tarfile.TarInfo(name), b""))
        self.change(-1, data, **attributes)

    def write(self, path: Path) -> Path:
        with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as tar:
            for member, data in self.members:
                tar.addfile(member, io.BytesIO(data))
        return path


@pytest.fixture
def good(record_run, notes, cli, tmp_path):
    return packed(cli, record_run(notes).save_dir, into=tmp_path / "good.tar.gz")


def refuse(file: Path, into: Path, cli) -> str:
    """Let it be refused in one sentence, with nothing left behind; return the sentence."""
    done = cli("unpack", file, "--into", into / "deep/er")
    assert done.exit_code == 1, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert not into.exists()
    [line] = done.output.splitlines()
    assert line.startswith("Error: ")
    return line


def change_journal(pack):
    pack.change(1, pack.members[1][1].replace(b"yolo26n", b"yolo26x"))


def forge_journal(pack, data):
    pack.change(1, data)

    def change(manifest):
        manifest["runs"][0]["journal"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}

    pack.change_manifest(change)


def claim_too_much(manifest):
    manifest["files"][0]["size"] = 1 << 60


def lead_out(manifest):
    manifest["runs"][0]["uid"] = "../../out"


def rename(manifest):
    manifest["runs"][0]["uid"] = "another"


CHANGES = {
    "a member was changed": change_journal,
    "a member was left out": lambda pack: pack.members.pop(),
    "two members were exchanged": lambda pack: pack.members.append(pack.members.pop(2)),
    "a member was added": lambda pack: pack.add("files/more", b"data"),
    "a member is there twice": lambda pack: pack.members.append(pack.members[-1]),
    "an absolute path": lambda pack: pack.change(2, name="/etc/cron.d/out"),
    "a path that leads out": lambda pack: pack.change(2, name="../../out"),
    "a link": lambda pack: pack.change(2, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": lambda pack: pack.change(2, type=tarfile.LNKTYPE, linkname="manifest.json"),
    "a device": lambda pack: pack.change(2, type=tarfile.CHRTYPE),
    "a pipe": lambda pack: pack.change(2, type=tarfile.FIFOTYPE),
    "a folder": lambda pack: pack.change(2, type=tarfile.DIRTYPE),
    "an extension of the format": lambda pack: pack.change(2, type=tarfile.XHDTYPE),
    "a size that no disk has": lambda pack: pack.change_manifest(claim_too_much),
    "a uid that leads out": lambda pack: pack.change_manifest(lead_out),
    "a uid of another run": lambda pack: (
        pack.change_manifest(rename),
        pack.change(1, name="journals/another.jsonl"),
    ),
    "a run that is there twice": lambda pack: pack.change_manifest(lambda m: m["runs"].append(m["runs"][0])),
    "a file that is there twice": lambda pack: pack.change_manifest(lambda m: m["files"].append(m["files"][0])),
    "a file that is not there": lambda pack: pack.change_manifest(lambda m: m["runs"][0]["files"].append("0" * 64)),
    "a suffix that leads out": lambda pack: pack.change_manifest(
        lambda m: m["runs"][0]["files"].append(m["files"][0]["sha256"] + "./../../../out")
    ),
    "a manifest without runs": lambda pack: pack.change_manifest(lambda m: m.pop("runs")),
    "a manifest that is no JSON": lambda pack: pack.change(0, b"runs:"),
    "a manifest that is no object": lambda pack: pack.change(0, b"[" * 100_000),
    "a format that is to come": lambda pack: pack.change_manifest(lambda m: m.update(format=2)),
    "a journal that is none": lambda pack: forge_journal(pack, b"no journal\n"),
    "no manifest": lambda pack: pack.members.pop(0),
    "nothing": lambda pack: pack.members.clear(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_pack_that_was_changed_is_refused_and_leaves_nothing(good, cli, tmp_path, change):
    pack = Opened(good)
    change(pack)
    sentence = refuse(pack.write(tmp_path / "bad.tar.gz"), tmp_path / "there", cli)
    assert "bad.tar.gz" in sentence
    assert not list(tmp_path.rglob("*out"))


def test_it_is_said_what_is_wrong(good, cli, tmp_path):
    for name, words in {
        "a size that no disk has": "are free in",
        "a format that is to come": "upgrade it",
        "a run that is there twice": "lists something twice",
        "a file that is there twice": "lists something twice",
        "a file that is not there": "lacks a file of one of its runs",
    }.items():
        pack = Opened(good)
        CHANGES[name](pack)
        assert words in refuse(pack.write(tmp_path / "bad.tar.gz"), tmp_path / "there", cli)


def test_a_pack_that_ends_too_early_is_refused_wherever_that_is(good, cli, tmp_path):
    data = good.read_bytes()
    bad = tmp_path / "bad.tar.gz"
    for size in [*range(0, len(data) - 1, len(data) // 40), len(data) - 1]:
        bad.write_bytes(data[:size])
        refuse(bad, tmp_path / "there", cli)


def test_a_pack_with_a_bit_turned_over_is_refused_wherever_that_is(good, cli, tmp_path):
    data = bytearray(good.read_bytes())
    bad = tmp_path / "bad.tar.gz"
    for at in range(12, len(data), len(data) // 40):  # what stands before that tells of the compression only
        data[at] ^= 0x10
        bad.write_bytes(data)
        if not says_the_same(bad, good):
            refuse(bad, tmp_path / "there", cli)
        data[at] ^= 0x10


def says_the_same(one: Path, other: Path) -> bool:
    """Whether both are the same once decompressed: a row of zeros is written in many ways."""
    with suppress(OSError, EOFError, zlib.error):
        return gzip.decompress(one.read_bytes()) == gzip.decompress(other.read_bytes())
    return False


def test_what_stands_behind_a_pack_is_refused(good, cli, tmp_path):
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(good.read_bytes() + gzip.compress(b"\0" * 100_000))
    refuse(bad, tmp_path / "there", cli)
    bad.write_bytes(good.read_bytes() + b"more")
    refuse(bad, tmp_path / "there", cli)


def test_a_file_that_is_no_pack_is_refused(cli, tmp_path):
    (tmp_path / "bad.txt").write_text("no pack\n" * 1000)
    refuse(tmp_path / "bad.txt", tmp_path / "there", cli)


def test_a_good_run_is_not_unpacked_beside_a_bad_one(record_run, notes, cli, tmp_path):
    record_run(notes, name="one"), record_run(notes, name="two")
    pack = Opened(packed(cli, tmp_path / "project", into=tmp_path / "pack.tar.gz"))
    pack.change(2, pack.members[2][1].replace(b"yolo26n", b"yolo26x"))
    refuse(pack.write(tmp_path / "bad.tar.gz"), tmp_path / "there", cli)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60) | st.sampled_from(
    ["..", ".", "/", "//", "a/../../b", "~/.ssh/x", "files", "files/", "manifest.json", "C:\\x", "..\\..\\x", "-rf"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES, of=st.sampled_from(["uid", "file", "member"]))
def test_no_name_in_a_pack_leads_anywhere(good, tmp_path, name, of):
    pack = Opened(good)
    if of == "uid":
        pack.change_manifest(lambda manifest: manifest["runs"][0].update(uid=name))
        pack.change(1, name=f"journals/{name}.jsonl")
    elif of == "file":
        pack.change_manifest(lambda manifest: manifest["runs"][0].update(files=[name]))
    else:
        pack.change(2, name=name)
    bad = pack.write(tmp_path / "bad.tar.gz")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(PackError):
        unpack(bad, tmp_path / "there")
    assert sorted(tmp_path.rglob("*")) == before


# -- the commands ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pack", "unpack"])
def test_the_help_says_what_comes_next(cli, name):
    help_ = cli(name, "--help").output
    assert {"pack": "tracking-hooks unpack", "unpack": "tracking-hooks sync"}[name] in " ".join(help_.split())
    assert name in main.list_commands(click.Context(main))


def test_nothing_to_pack_is_a_sentence(cli, tmp_path):
    done = cli("pack", tmp_path)
    assert (done.exit_code, done.output.startswith("Nothing to pack: 0 runs in")) == (0, True)


def test_a_run_that_cannot_be_read_is_skipped(record_run, notes, cli, tmp_path):
    good, bad = record_run(notes, name="good"), record_run(notes, name="bad")
    bad.folder.journal.write_text("no journal\n")
    done = cli("pack", tmp_path / "project", "-o", tmp_path / "pack.tar.gz")
    assert f"{bad.folder.uid}  skipped: " in done.output
    assert "Packed 1 run" in done.output
    assert good.folder.uid in done.output
    assert sample_run(tmp_path).uid not in done.output


def test_a_copy_is_not_delivered_to_what_was_taken_off_the_run_and_goes_where_it_was_redirected_to(
    record_run, notes, make_plugin, cli, tmp_path, there
):
    plugin = make_plugin("class Plugin(Notes): pass")
    run = record_run(notes, plugin)
    state.forget(run.folder, plugin)
    elsewhere = layout.Replay(plugin=notes, destination={"file": str(tmp_path / "elsewhere")})
    run.folder.relay(notes).path.mkdir(parents=True)
    layout.write_json(run.folder.relay(notes).destination, elsewhere)
    file = packed(cli, run.save_dir, into=tmp_path / "pack.tar.gz")
    cli("unpack", file, "--into", there())
    copy = RunFolder(tmp_path / "there/.tracking-hooks" / run.folder.uid)
    assert (state.labels(copy), state.forgotten(copy)) == ([notes], [plugin])
    assert copy.replays() == {notes: elsewhere}


def test_a_pack_that_is_unpacked_beside_its_source_takes_nothing_from_it(record_run, notes, cli, tmp_path):
    run = record_run(notes)
    index.enter(run.folder)
    file = packed(cli, run.save_dir, into=tmp_path / "pack.tar.gz")
    done = cli("unpack", file, "--into", tmp_path / "there")
    assert done.exit_code == 0, done.output
    assert f"the run itself is in {run.folder.path}" in done.output
    assert [one.path for one in index.all_runs()] == [run.folder.path]


def test_what_was_packed_is_not_delivered_from_its_source_for_want_of_a_word(record_run, make_plugin, cli, tmp_path):
    plugin = make_plugin("""
        class Plugin(Notes):
            @hookimpl
            def on_run_start(self):
                raise Rejected("not here")

            @hookimpl
            def report_missing(self): ...
        """)
    run = record_run(plugin)
    run.folder.relay(plugin).path.mkdir(parents=True)
    first = next(journal.read(run.folder.journal, journal.read_head(run.folder.journal)[1]))
    run.folder.relay(plugin).write_aside(
        [SetAside(seq=1, start=first.start, end=first.end, hook="on_run_start", reason="not here")]
    )
    packed(cli, run.save_dir, into=tmp_path / "pack.tar.gz")
    assert cli("sync", run.save_dir).output.splitlines()[-2].startswith("Nothing is pending")
    assert not run.notes.exists()


def test_two_that_unpack_at_once_do_not_write_the_same_events_twice(record_run, notes, cli, tmp_path):
    run = record_run(notes)
    file = packed(cli, run.save_dir, into=tmp_path / "pack.tar.gz")
    cli("unpack", file, "--into", tmp_path / "there")
    lock = Lock(RunFolder(tmp_path / "there/.tracking-hooks" / run.folder.uid).lock)
    lock.take()
    with pytest.raises(PackError, match="is being recorded or unpacked"):
        unpack(file, tmp_path / "there")
    lock.release()
