"""Real trainings on the file systems, beside the users and in the containers that there are."""

from __future__ import annotations

import os
import random

import pytest

from tests.faults.mishaps import leave_a_strangers_folder, listing
from tests.support import filesystems, users
from tests.support.processes import PATIENCE
from tests.support.runs import read_calls
from tracking_hooks.run import state
from tracking_hooks.run.layout import FOLDER

pytestmark = pytest.mark.e2e

needs_mount = pytest.mark.skipif(bool(filesystems.missing()), reason=filesystems.missing())
needs_namespaces = pytest.mark.skipif(bool(filesystems.missing_namespaces()), reason=filesystems.missing_namespaces())

WAIT = """
import pathlib, time
def wait(trainer):
    while trainer.epoch == 1 and not pathlib.Path("go on").exists(): time.sleep(0.05)
model.add_callback("on_train_epoch_start", wait)
"""
"""Waits before the second epoch."""


@pytest.fixture
def project(home):
    """The folder that trainings save to."""
    folder = home.work / "runs"
    (folder / FOLDER).mkdir(parents=True)
    return folder


def said(home, *command):
    """What a command says, whatever its exit code."""
    return home.start(list(command)).communicate(timeout=PATIENCE)[0]


def delivered_files(home):
    """What MLflow has of the one run."""
    reader = home.reader()
    return reader.artifacts(reader.only_run())


# -- no hard links --------------------------------------------------------------------------------------------


LINKLESS = [
    pytest.param(lambda project, _: filesystems.apart(project / FOLDER), id="another mount", marks=needs_mount),
    pytest.param(
        filesystems.without_links, id="vfat",
        marks=pytest.mark.skipif(bool(filesystems.missing_vfat()), reason=filesystems.missing_vfat()),
    ),
    pytest.param(
        filesystems.linkless, id="FUSE",
        marks=pytest.mark.skipif(bool(filesystems.missing_fuse()), reason=filesystems.missing_fuse()),
    ),
]  # fmt: skip


@pytest.fixture(params=LINKLESS)
def linkless(request, project, tmp_path):
    """The folder that trainings save to, where no hard link can be made from it to the run folder."""
    place = tmp_path / "content"
    if "FUSE" in request.node.name:
        (place / FOLDER).mkdir(parents=True)
    with request.param(project, place):
        (project / FOLDER).mkdir(exist_ok=True)
        file = project / "a"
        file.touch()
        with pytest.raises(OSError, match=r"Operation not permitted|Invalid cross-device link"):
            os.link(file, project / FOLDER / "b")
        file.unlink()
        yield project


def test_all_files_are_delivered_where_no_hard_link_can_be_made(home, linkless):
    home.run(home.yolo(epochs=1), "mlflow")
    home.wait_for_delivery()
    assert {"weights/best.pt", "weights/last.pt", "results.csv", "args.yaml"} <= delivered_files(home)


def test_files_that_the_user_deletes_behind_the_training_are_delivered_where_no_hard_link_can_be_made(home, linkless):
    command = home.script(epochs=1)
    with (home.work / "train.py").open("a") as script:
        script.write("import shutil\nshutil.rmtree('runs/train')\n")
    home.run(command, "mlflow", TRACKING_HOOKS_MODE="offline")
    assert not (linkless / "train").exists()
    home.run(["tracking-hooks", "sync", str(linkless)])
    assert {"weights/best.pt", "weights/last.pt", "results.csv", "args.yaml"} <= delivered_files(home)


# -- no room --------------------------------------------------------------------------------------------------

FULL = """
import pathlib, sys, tracking_hooks
sys.path.insert(0, {root!r})
from tests.support.filesystems import fill
def until_there_is_room(trainer):
    if trainer.epoch == 0:
        fill(pathlib.Path({folder!r}))
        for number in range(300): tracking_hooks.log({{"while it was full": number}}, number)
def room(trainer):
    if trainer.epoch == 1:
        pathlib.Path({folder!r}, "ballast").unlink()
        tracking_hooks.log({{"behind it": 1.0}}, 1)
model.add_callback("on_train_epoch_start", until_there_is_room)
model.add_callback("on_train_epoch_start", room)
"""


@needs_mount
def test_what_is_recorded_while_the_disk_is_full_is_delivered_when_there_is_room(home, project, scalars, pytestconfig):
    home.take_the_real_network()  # its weights do not fit
    with filesystems.small(project / FOLDER, "1m"):
        text = FULL.format(root=str(pytestconfig.rootpath), folder=str(project / FOLDER))
        output = home.run(home.script(text), "tensorboard")
        home.wait_for_delivery()
        recorded = read_calls(home.run_folder().journal)
        cursor = home.run_folder().relay("tensorboard").read_cursor()
        found = scalars(project / "train")
    assert output.count("is the disk full?") == 1
    assert len(recorded) + cursor.damaged == recorded[-1].seq, (
        "none is missing but the line for which there was no room"
    )
    assert cursor.damaged <= 1
    assert [step for step, _ in found["while it was full"]] == list(range(300))
    assert found["behind it"] == [(1, 1.0)]
    assert len(found["metrics/fitness"]) == 2


# -- read-only ------------------------------------------------------------------------------------------------


@needs_mount
def test_where_run_folders_cannot_be_written_the_run_is_recorded_in_the_users_own_folder(home, project):
    with filesystems.read_only(project / FOLDER):
        output = home.run(home.yolo(epochs=1), "mlflow")
        home.wait_for_delivery()
        (folder,) = home.runs()
    assert folder.path.is_relative_to(home.folder / "state")
    assert str(folder.path) in output
    assert {"weights/best.pt", "results.csv"} <= delivered_files(home)


@needs_mount
def test_a_run_on_a_read_only_disk_is_shown_and_its_delivery_refused_in_a_sentence(home, project):
    home.run(home.yolo(epochs=1), "tensorboard", TRACKING_HOOKS_MODE="offline")
    with filesystems.read_only(project):
        shown, sent, kept = (said(home, "tracking-hooks", name, str(project)) for name in ("status", "sync", "prune"))
    assert "finished" in shown
    assert "Read-only file system" in sent
    for text in (shown, sent, kept):
        assert "Traceback" not in text
    home.run(["tracking-hooks", "sync", str(project)])
    assert state.is_delivered(home.run_folder(), "tensorboard")


# -- another user ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(bool(users.missing()), reason=users.missing())
@pytest.mark.parametrize("seed", [1, 2])
def test_a_folder_of_another_user_disturbs_nobody_and_is_left_alone(home, project, seed):
    stranger = leave_a_strangers_folder(project / FOLDER, random.Random(seed))
    before = listing(stranger)
    output = home.run(users.powerless(home.script(epochs=1)), "tensorboard")
    assert "Traceback" not in output
    (folder,) = [run for run in home.runs() if run.path != stranger]
    for command in ("status", "sync"):
        assert "Traceback" not in said(home, *users.powerless(["tracking-hooks", command, str(project)])), command
    assert state.is_delivered(folder, "tensorboard")
    assert "Traceback" not in said(home, *users.powerless(["tracking-hooks", "prune", str(project)]))
    assert not folder.path.exists()
    assert listing(stranger) == before


# -- containers -----------------------------------------------------------------------------------------------


@needs_namespaces
@pytest.mark.parametrize("container", ["of the training", "of whoever asks"])
def test_a_training_in_another_container_is_alive(home, project, container):
    is_inside = container == "of the training"
    inside = home.script(WAIT)
    training = home.start(filesystems.in_namespaces(inside, "pid") if is_inside else inside, "tensorboard")
    home.wait_for_call("on_epoch_end", epoch=1)

    def ask(*command):
        asked = ["tracking-hooks", *command, str(project)]
        return said(home, *(asked if is_inside else filesystems.in_namespaces(asked, "pid")))

    assert " running" in ask("status")
    ask("sync")
    ask("prune")
    assert [call.hook for call in home.calls()].count("on_run_end") == 0, "it was taken for dead"
    (home.work / "go on").touch()
    output, _ = training.communicate(timeout=PATIENCE)
    assert training.returncode == 0, output
    assert home.calls()[-1].args["status"] == "finished"
    home.run(["tracking-hooks", "sync", str(project)])  # the relays of a container may have ended with it
    home.wait_for_delivery()
    assert " finished" in ask("status")


@needs_namespaces
def test_what_a_container_without_a_network_has_recorded_is_delivered_from_outside(home, project, start_server, port):
    start_server()
    uri = f"http://127.0.0.1:{port}"
    quick = {"TRACKING_HOOKS_EXIT_WAIT": "1", "TRACKING_HOOKS_LINGER": "0", "MLFLOW_TRACKING_URI": uri}
    output = home.run(filesystems.in_namespaces(home.script(epochs=1), "pid", "net"), "mlflow", **quick)
    assert "sync" in output
    assert home.reader(uri).runs() == []
    home.run(["tracking-hooks", "sync", str(project)])
    (run,) = home.reader(uri).runs()
    assert run.info.status == "FINISHED"
