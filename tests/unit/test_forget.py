"""A destination that is wrong for good: the user has the runs forget it, and nobody waits for it any more."""

import time

import pytest

from tracking_hooks.run import state
from tracking_hooks.run.liveness import Lock

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
    "error", ['Unavailable("that run was deleted", only_this_run=True)', 'Rejected("that run was deleted")']
)
def test_sync_does_not_wait_for_what_some_seconds_cannot_change(record_run, deleted, cli, error):
    run = record_run(deleted(error))
    result = cli("sync", run.save_dir)
    assert (result.exit_code, "that run was deleted" in result.output) == (1, True)
    assert run.notes.with_name(f"{run.notes.name}.opens").read_text() == "x", "tried once"


def test_an_outage_that_may_pass_is_tried_again(record_run, deleted, monkeypatch):
    from tracking_hooks.delivery import relay

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
