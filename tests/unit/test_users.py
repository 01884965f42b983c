"""Several users of one machine, who share the folder that they train in."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.support import accounts
from tests.support.accounts import Account
from tracking_hooks.delivery.spawn import start_adopter
from tracking_hooks.run import index
from tracking_hooks.run.layout import FOLDER

pytestmark = pytest.mark.skipif(bool(accounts.CANNOT), reason=accounts.CANNOT)

RECORD = """
import msgspec
from tests.support import runs
from tracking_hooks.run import index
from tracking_hooks.testing import recorded_run, sample_run
save_dir, notes = map(Path, sys.argv[1:3])
run = msgspec.structs.replace(sample_run(save_dir), uid="20251009-085320-" + save_dir.name)
folder = runs.write_run(run, recorded_run(save_dir), {"notes": {"file": str(notes)}})
index.enter(folder)
"""

TRAIN = """
import logging
from tracking_hooks import events
from tracking_hooks.plugins import capture, load_trainer_sides
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.settings import Settings
from tracking_hooks.testing import recorded_run, sample_run
logging.basicConfig(level=logging.INFO, format="%(message)s")
save_dir = Path(sys.argv[1])
environment = recorded_run(Path(sys.argv[2]))[0].args["environment"]
save_dir.mkdir(parents=True)
run = sample_run(save_dir)
captures = capture(load_trainer_sides(["notes"]), run)
recorder = Recorder.start(run, captures, Settings(), logging.getLogger(), params={}, environment=environment)
recorder.check()
recorder.begin(params={}, environment=environment)
recorder.end("finished")
"""


@pytest.fixture
def shared():
    """A folder in which everybody trains; pytest's own are for its user alone."""
    folder = Path(tempfile.mkdtemp(prefix="tracking-hooks-shared-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def ada(shared, installed):
    return Account(12001, shared)


@pytest.fixture
def bob(shared, installed):
    return Account(12002, shared)


@pytest.fixture
def of_ada(ada, shared):
    """A run of Ada's that waits for its delivery; returns the notes that are taken of it."""
    project = shared / "project"
    project.mkdir()
    project.chmod(0o777)
    notes = shared / "notes-of-ada"
    ada.run(RECORD, project / "hers", notes)
    return notes


def test_a_training_beside_another_users_run_is_tracked_as_if_that_were_not_there(of_ada, bob, shared):
    said = bob.run(TRAIN, shared / "project/his", bob.home / "some")
    assert "tracking run" in said
    assert "notes: all 3 events delivered" in said
    for word in ("failed", "cannot", "may be", "Errno", "Traceback"):
        assert word not in said
    assert (shared / "project/his/notes").read_text().split()[1::2] == ["on_run_start", "on_console", "on_run_end"]
    assert not of_ada.exists(), "hers is not his to deliver"


def test_a_training_in_the_folder_of_another_users_run_is_tracked(of_ada, bob, shared):
    """As with exist_ok: the pointer there leads to a run that he may not look into."""
    save_dir = shared / "project/hers"
    said = bob.run(TRAIN.replace("mkdir(parents=True)", "exists()"), save_dir, bob.home / "some")
    assert "notes: all 3 events delivered" in said


@pytest.mark.parametrize("where", ["", "project"])
def test_every_command_names_what_is_another_users_and_goes_on(of_ada, bob, shared, where):
    bob.run(RECORD, shared / "project/his", bob.home / "notes")
    hidden = shared / "project" / FOLDER / "20251009-085320-hers"
    for command in (["status"], ["sync"], ["prune", "--dry-run"]):
        said = bob.cli(*command, shared / where)
        assert f"{hidden}: skipped, it is another user's and cannot be read" in said
        assert "Traceback" not in said
    assert (bob.home / "notes").exists()
    assert hidden.exists()
    assert not of_ada.exists()


def test_a_project_that_nobody_else_may_look_into_is_no_reason_to_fail(ada, bob, of_ada, shared):
    ada.run("(Path(sys.argv[1]) / '.tracking-hooks').chmod(0o700)", shared / "project")
    assert "No runs in" in bob.cli("status", shared)


def test_root_delivers_nobody_elses_run_unless_it_is_named(of_ada, cli, shared):
    project = shared / "project"
    assert start_adopter(project / FOLDER).wait(60) == 0
    assert cli("sync").output == "Nothing is pending: 0 runs of this user on this machine.\n"
    assert not of_ada.exists()

    result = cli("sync", project)
    assert result.exit_code == 0
    assert "1 run was not recorded by this user on this machine: delivered to where its journal says" in result.output
    assert of_ada.exists()


def test_a_run_folder_that_belongs_to_somebody_else_by_now_is_not_adopted(record_run, installed, cli):
    run = record_run("notes")
    index.enter(run.folder)
    os.chown(run.folder.path, 12001, 12001)
    assert start_adopter(run.folder.path.parent).wait(60) == 0
    assert "Nothing is pending" in cli("sync").output
    assert run.noted() == []


def test_two_users_adopt_in_one_folder(of_ada, ada, bob, shared):
    bob.run(RECORD, shared / "project/his", bob.home / "notes")
    adopt = """
    from tracking_hooks.delivery.spawn import start_adopter
    assert start_adopter(Path(sys.argv[1]).resolve()).wait(60) == 0
    """
    ada.run(adopt, shared / "project" / FOLDER)
    assert of_ada.exists()
    assert not (bob.home / "notes").exists()
    bob.run(adopt, shared / "project" / FOLDER)
    assert (bob.home / "notes").exists()


def test_what_another_user_recorded_is_not_resumed_under_its_name(of_ada, bob, shared):
    script = """
    from tracking_hooks.recording import resumption
    from tracking_hooks.testing import sample_run
    save_dir = Path(sys.argv[1])
    try:
        print(resumption.find(sample_run(save_dir), [save_dir]))
    except PermissionError as error:
        print(error)
    """
    assert bob.run(script, shared / "project/hers") == "None\n"
    (shared / "project/hers/tracking.json").chmod(0o644)  # by a copy, for instance
    assert "hers is another user's" in bob.run(script, shared / "project/hers")
