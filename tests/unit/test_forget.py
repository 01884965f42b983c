"""A destination that is wrong for good: the user has the runs forget it, and nobody waits for it any more."""

import time

import pytest

from tracking_hooks.delivery import relay, target
from tracking_hooks.events import Capture
from tracking_hooks.recording.supervisor import Supervisor
from tracking_hooks.run import state
from tracking_hooks.run.layout import POINTER, Cursor, Pointer, write_json
from tracking_hooks.run.liveness import Lock
from tracking_hooks.settings import ConfigurationError, Settings
from tracking_hooks.testing import recorded_run

DELETED = """
class Plugin(Notes):
    @hookimpl
    def open(self, destination):
        with open(destination["file"] + ".opens", "a") as opens:
            opens.write("x")
        raise {error}
"""


@pytest.fixture
def deleted(make_plugin, monkeypatch):
    def make(error='Unavailable("that run was deleted", only_this_run=True)'):
        plugin = make_plugin(DELETED.format(error=error))
        monkeypatch.setenv("TRACKING_HOOKS", plugin)
        return plugin

    return make


@pytest.mark.parametrize(
    "error",
    [
        'Unavailable("that run was deleted", only_this_run=True)',
        'Rejected("that run was deleted")',
        'ImportError("that run was deleted")',
    ],
)
def test_sync_does_not_wait_for_what_some_seconds_cannot_change(record_run, deleted, cli, error):
    run = record_run(deleted(error))
    result = cli("sync", run.save_dir)
    assert (result.exit_code, "that run was deleted" in result.output) == (1, True)
    assert run.notes.with_name(f"{run.notes.name}.opens").read_text() == "x", "tried once"


def test_an_outage_that_may_pass_is_tried_again(record_run, deleted, monkeypatch):
    monkeypatch.setattr(relay, "_DRAIN_PATIENCE", 1.0)
    run = record_run(plugin := deleted('Unavailable("nobody answers")'))
    start = time.monotonic()
    run.relay(plugin, drain=True)
    assert time.monotonic() - start > 1.0


def test_what_is_forgotten_is_neither_owed_nor_waited_for(record_run, deleted, cli):
    run = record_run(plugin := deleted(), "notes")
    assert cli("sync", run.save_dir).exit_code == 1
    said = cli("sync", "--forget", plugin, run.save_dir).output
    assert f"{plugin} is cancelled in 1 run." in said
    assert f"tracking-hooks sync --to {plugin}" in said
    assert state.labels(run.folder) == ["notes"]
    again = cli("sync", run.save_dir)
    assert (again.exit_code, "Nothing is pending" in again.output) == (0, True)
    shown = cli("status", run.save_dir).output
    assert f"{plugin}" in shown
    assert "nothing more is delivered there" in shown
    assert "1 of 1 run" in cli("prune", run.save_dir).output


def test_a_run_that_was_delivered_or_is_running_forgets_nothing(record_run, installed, cli, deleted):
    delivered = record_run("notes", name="delivered")
    delivered.relay("notes")
    assert "in 0 runs" in cli("sync", "--forget", "notes", delivered.save_dir).output
    running = record_run(plugin := deleted(), name="running")
    training = Lock(running.folder.lock)
    assert training.acquire()
    assert "in 0 runs" in cli("sync", "--forget", plugin, running.save_dir).output
    training.release()


def test_all_runs_of_a_machine_are_not_forgotten_by_mistake(cli):
    result = cli("sync", "--forget", "mlflow")
    assert result.exit_code == 2
    assert "takes PATHS" in result.output


def test_further_parts_are_forgotten_with_the_first(record_run, cli):
    run = record_run("mlflow", "mlflow.files", "mlflowlike")
    cli("sync", "--forget", "mlflow", run.save_dir)
    assert state.labels(run.folder) == ["mlflowlike"]


# -- another address ------------------------------------------------------------------------------------------


def test_a_run_with_a_wrong_address_goes_to_another_one(record_run, installed, cli, tmp_path):
    run = record_run("notes", destination={"file": str(tmp_path / "not there" / "notes")})
    assert cli("sync", run.save_dir).exit_code == 1
    wrong = {"notes": "a link to the wrong place"}
    write_json(run.save_dir / POINTER, Pointer(uid=run.folder.uid, folder=run.folder.path, links=wrong))
    assert wrong["notes"] in cli("status", "--json", run.save_dir).output
    told = cli("status", run.save_dir).output
    right = tmp_path / "right"
    assert f"tracking-hooks sync --set file=… {run.folder.path}" in told
    assert f"tracking-hooks sync --forget notes {run.folder.path}" in told
    result = cli("sync", "--set", f"file={right}", run.save_dir)
    assert (result.exit_code, f"notes: {len(run.calls())} events delivered" in result.output) == (0, True), (
        result.output
    )
    assert [int(line.split()[0]) for line in right.read_text().splitlines()] == [call.seq for call in run.calls()]
    assert state.labels(run.folder) == ["notes"], "there is no second delivery"
    assert wrong["notes"] not in cli("status", "--json", run.save_dir).output


@pytest.mark.parametrize(
    ("error", "is_suggested"),
    [
        ('Unavailable("nobody answers")', True),
        ("ImportError(\"No module named 'acme'\")", False),
        ('KeyError("acme")', False),
    ],
)
def test_another_address_is_suggested_only_where_the_tracker_was_asked(
    record_run, deleted, cli, monkeypatch, error, is_suggested
):
    monkeypatch.setattr(relay, "_DRAIN_PATIENCE", 0.0)
    run = record_run(plugin := deleted(error))
    run.relay(plugin, drain=True)
    captures = {plugin: Capture(destination={"file": str(run.notes)})}
    at_the_end = Supervisor(run.folder, captures, {plugin: plugin}, Settings()).outcome()
    for told in (*at_the_end, cli("status", run.save_dir).output):
        assert ("tracking-hooks sync --set file=…" in told) == is_suggested, told
        assert f"tracking-hooks sync --forget {plugin}" in told


def test_what_has_arrived_in_part_or_is_running_keeps_its_address(record_run, installed, cli, tmp_path):
    begun = record_run("notes", calls=recorded_run(tmp_path / "project" / "begun")[:10], name="begun")
    begun.relay("notes", linger=0.0)
    begun.append(recorded_run(begun.save_dir)[10:])
    running = record_run("notes", name="running")
    training = Lock(running.folder.lock)
    assert training.acquire()
    result = cli("sync", "--set", f"file={tmp_path / 'right'}", begun.save_dir.parent)
    training.release()
    assert result.exit_code == 1
    assert f"{begun.folder.uid} is delivered to notes already, in part at least" in result.output
    assert f"{running.folder.uid}  skipped: it is running" in result.output
    assert not (tmp_path / "right").exists()
    assert not running.notes.exists(), "nor is it delivered to the address that is to be left"


def test_what_arrives_while_its_relay_is_ended_keeps_its_address(record_run, installed, tmp_path, monkeypatch):
    run = record_run("notes")

    def end(lock, patience):  # a relay that is ended tries once more
        lock.parent.mkdir(parents=True)
        write_json(lock.with_name("cursor.json"), Cursor(seq=3, state={"at": "the first address"}))

    monkeypatch.setattr(target, "request_release", end)
    with pytest.raises(ConfigurationError, match="already, in part at least"):
        target.redirect(run.folder, "notes", {"file": str(tmp_path / "elsewhere")})
    assert run.folder.relay("notes").read_cursor().state == {"at": "the first address"}
    assert not run.folder.relay("notes").destination.exists()


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("path=x", "no destination has such a part. They have: notes: file"),
        ("notes.path=x", "the destination of notes has no such part. It has: file"),
        ("mlflow.file=x", "nothing is pending for a tracker 'mlflow'"),
        ("file", "it takes KEY=VALUE"),
    ],
)
def test_an_address_that_means_nothing_is_refused(record_run, installed, cli, assignment, words):
    run = record_run("notes")
    result = cli("sync", "--set", assignment, run.save_dir)
    assert (result.exit_code, words in result.output) == (1, True), result.output
    assert not run.notes.exists()


def test_another_address_is_for_runs_that_are_named(cli):
    assert "--set goes with --to, or with PATHS" in cli("sync", "--set", "file=x").output
