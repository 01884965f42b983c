"""A group: rows for its runs, mean and spread of what they have come to."""

import json
import logging
import math
import os
from pathlib import Path

import pytest
from msgspec import structs

import tracking_hooks
from tests.support.runs import append, read_calls, write_run
from tracking_hooks import ConfigurationError
from tracking_hooks.events import Environment, Plan, Run
from tracking_hooks.recording import lineage, parents
from tracking_hooks.recording.folders import new_uid
from tracking_hooks.recording.process import recorders
from tracking_hooks.recording.tracking import Tracking
from tracking_hooks.run import index, journal
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import read_settings

ROOT = Path(__file__).parents[2]
NAME = "3-seed"
mAP = "metrics/mAP50-95(B)"  # noqa: N816 as it is spelled


@pytest.fixture(autouse=True)
def _offline(installed, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS", "notes")
    monkeypatch.setenv("TRACKING_HOOKS_MODE", "offline")
    yield
    recorders.clear()


def train(save_dir, metrics=None, *, status="finished", task="detect"):
    """Record a training, as a host does; return its run."""
    run = Run(uid=new_uid(), name=save_dir.name, project="shapes", task=task, save_dir=save_dir)
    tracking = Tracking.of(run, logging.getLogger(__name__))
    if tracking is None:
        return run
    save_dir.mkdir(parents=True, exist_ok=True)
    recorder = tracking.start({}, Plan(checkpoints={"best": "weights/best.pt"}))
    recorder.begin(params={}, environment=tracking.environment)
    if metrics is not None:
        validation = {"per_class": None, "curves": [], "confusion_matrix": None, "checkpoint": None}
        recorder.record("on_final_validation", metrics=metrics, **validation)
    if status != "killed":
        recorder.end(status)
    return recorder.run


def group_runs():
    return [folder for folder in index.all_runs() if head(folder).run.task == "group"]


def head(folder):
    return journal.read_head(folder.journal)[0]


def calls(folder, hook):
    return [call.args for call in read_calls(folder.journal) if call.hook == hook]


def table(folder):
    artifact = calls(folder, "on_table")[-1]["artifact"]
    assert artifact.name == "group"
    found = json.loads(artifact.path.read_text())
    return [dict(zip(found["columns"], row)) for row in found["data"]]


# -- in one process -------------------------------------------------------------------------------------------


def test_the_trainings_of_a_with_are_below_a_run_that_has_their_mean_and_spread(tmp_path):
    with tracking_hooks.group(NAME) as group:
        runs = [train(tmp_path / f"seed-{n}", {mAP: n / 10}) for n in (1, 2, 3)]
    after = train(tmp_path / "after", {mAP: 0.9})
    (folder,) = group_runs()
    assert [(run.parent, run.group) for run in runs] == [(folder.uid, NAME)] * 3
    assert (after.parent, after.group) == (None, None)
    assert group.uid == folder.uid
    assert group.mean == {mAP: pytest.approx(0.2)}
    assert group.std == {mAP: pytest.approx(0.1)}, "the sample's"
    logged = [(call["step"], call["metrics"]) for call in calls(folder, "on_log")]
    assert logged == [
        *((n, {mAP: n / 10}) for n in (1, 2, 3)),
        (0, {f"mean/{mAP}": pytest.approx(0.2), f"std/{mAP}": pytest.approx(0.1)}),
    ]
    assert [(row["run"], row["status"], row[mAP]) for row in table(folder)] == [
        *((f"seed-{n}", "finished", n / 10) for n in (1, 2, 3)),
        ("mean", "of 3 of 3 runs", pytest.approx(0.2)),
        ("std", "of 3 of 3 runs", pytest.approx(0.1)),
    ]
    assert calls(folder, "on_run_end")[-1]["status"] == "finished"


def test_a_run_that_failed_is_shown_and_left_out(tmp_path):
    def fails():
        with tracking_hooks.group(NAME) as group:
            made.append(group)
            for n, status in enumerate(["finished", "failed", "finished"], 1):
                train(tmp_path / f"seed-{n}", {mAP: float(n)}, status=status)
            raise RuntimeError("no fourth")

    made = []
    with pytest.raises(RuntimeError, match="no fourth"):
        fails()
    (folder,) = group_runs()
    assert made[0].mean == {mAP: 2.0}
    assert [row["status"] for row in table(folder)] == [
        "finished", "failed", "finished", "of 2 of 3 runs", "of 2 of 3 runs"
    ]  # fmt: skip
    assert calls(folder, "on_run_end")[-1]["status"] == "failed"


def test_a_training_whose_error_the_loop_has_caught_has_failed(tmp_path):
    with tracking_hooks.group(NAME) as group:
        run = train(tmp_path / "seed-1", {mAP: 1.0}, status="killed")  # its trainer is still there, and says nothing
    assert [row.status for row in group.summary.rows] == ["failed"]
    assert calls(RunFolder.beside(run.save_dir, run.uid), "on_run_end")[-1]["status"] == "failed"


def test_one_run_has_no_spread_and_nan_stays_nan(tmp_path):
    with tracking_hooks.group(NAME) as group:
        train(tmp_path / "seed-1", {mAP: math.nan})
    assert group.std == {}
    assert math.isnan(group.mean[mAP])
    (folder,) = group_runs()
    assert table(folder)[0][mAP] is None


def test_child_processes_are_in_the_group(tmp_path, python):
    with tracking_hooks.group(NAME) as group:
        python(
            """
            import sys
            from pathlib import Path
            from tests.unit.test_group import train
            train(Path(sys.argv[1]), {"a": 1.0})
            """,
            tmp_path / "seed-1",
            PYTHONPATH=os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]]),
        )
    assert [row.name for row in group.summary.rows] == ["seed-1"]


def test_the_run_folder_of_a_run_in_a_group_is_beside_its_own_save_dir(tmp_path):
    with tracking_hooks.group(NAME):
        run = train(tmp_path / "seed-1", {})
    assert RunFolder.beside(tmp_path / "seed-1", run.uid).has_journal(), "where a resume looks for it"


def test_a_tuning_in_a_group_is_a_run_of_it_and_its_trials_are_not(tmp_path):
    with tracking_hooks.group(NAME) as group:
        tuning = train(tmp_path / "tune", {"best/fitness": 1.0})
        before = dict(os.environ)
        with parents.handed_on(RunFolder.beside(tuning.save_dir, tuning.uid)):
            os.environ[parents.TRIAL] = "trial-1"
            parent = parents.current()
            trial = parent.take_in(Run(uid="u", name="x", project="", task="detect", save_dir=tmp_path))
            assert parents.is_trial()
        assert dict(os.environ) == before, "the group goes on"
        assert not parents.is_trial()
        train(tmp_path / "seed-2", {"best/fitness": 3.0})
    assert (trial.parent, trial.group, trial.name) == (tuning.uid, None, "trial-1")
    assert (trial.is_trial, tuning.is_trial) == (True, False)
    assert group.mean == {"best/fitness": 2.0}


def test_a_group_in_a_group_is_one_of_its_runs(tmp_path):
    with tracking_hooks.group("outer") as outer:
        for n in (1, 2):
            with tracking_hooks.group(f"inner-{n}"):
                train(tmp_path / f"seed-{n}", {"a": float(n)})
    assert [row.name for row in outer.summary.rows] == ["inner-1", "inner-2"]
    assert outer.mean == {"mean/a": 1.5}


def test_what_a_callback_logs_goes_to_the_training_and_not_to_its_group(tmp_path):
    with tracking_hooks.group(NAME):
        run = train(tmp_path / "seed-1", status="killed")
        tracking_hooks.log({"mine": 1.0})
    (folder,) = group_runs()
    assert [call["metrics"] for call in calls(RunFolder.beside(run.save_dir, run.uid), "on_log")] == [{"mine": 1.0}]
    assert calls(folder, "on_log") == []


def test_behind_a_training_of_a_group_the_current_run_is_that_training(tmp_path):
    with tracking_hooks.group(NAME):
        run = train(tmp_path / "seed-1", {"a": 1.0})
        assert tracking_hooks.current_run().uid == run.uid
        tracking_hooks.log({"mine": 1.0})
    (folder,) = group_runs()
    assert {name for call in calls(folder, "on_log") for name in call["metrics"]} == {"a", "mean/a"}


def test_without_a_tracker_a_group_is_nothing_at_all(tmp_path, monkeypatch):
    monkeypatch.delenv("TRACKING_HOOKS")
    with tracking_hooks.group(NAME) as group:
        train(tmp_path / "seed-1", {"a": 1.0})
        assert parents.PARENT not in os.environ
    assert (group.uid, group.mean, group_runs()) == (None, {}, [])
    assert not list(tmp_path.glob("**/groups"))


@pytest.mark.parametrize("name", ["", "a/b", "..", " x", "x" * 101])
def test_what_cannot_name_a_folder_names_no_group(name):
    with pytest.raises(ConfigurationError, match="is not a group's name"), tracking_hooks.group(name):
        pass
    if name.strip() == name != "":
        with pytest.raises(ConfigurationError, match=r"TRACKING_HOOKS_GROUP=.* is not a group's name"):
            read_settings({"TRACKING_HOOKS_GROUP": name})


def test_the_rows_of_a_group_have_the_names_that_the_trackers_have(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS_METRICS", "metrics/*=val/*, -fitness")
    with tracking_hooks.group(NAME) as group:
        train(tmp_path / "seed-1", {"metrics/a": 1.0, "fitness": 2.0})
    assert group.mean == {"val/a": 1.0}
    (folder,) = group_runs()
    assert head(folder).metrics == "", "so that mean/val/a is not judged once more"


# -- with a variable alone ------------------------------------------------------------------------------------


@pytest.fixture
def seeds(tmp_path, monkeypatch):
    """Record the runs of a group by the variable, the third of them killed."""

    def record(*numbers, status="finished"):
        monkeypatch.setenv("TRACKING_HOOKS_GROUP", NAME)
        found = [train(tmp_path / f"runs/seed-{n}", {mAP: n / 10, "fitness": 1.0}, status=status) for n in numbers]
        monkeypatch.delenv("TRACKING_HOOKS_GROUP")
        return found

    return record


def test_the_variable_names_the_group_and_no_run_is_made_for_it(seeds):
    (run,) = seeds(1)
    assert (run.group, run.parent) == (NAME, None)
    assert group_runs() == []


def test_the_command_shows_rows_mean_and_spread_in_80_columns_and_writes_nothing(seeds, cli, tmp_path, monkeypatch):
    seeds(1, 2, 4)
    environment = Environment(
        host="", user="", cwd=tmp_path, argv=[], python="", platform="", versions={}, devices=[], git=None
    )
    start = Call(1, 1.0, "on_run_start", {"params": {}, "environment": environment, "resumed": False, "plan": Plan()})
    killed = Run(uid=new_uid(), name="seed-3", project="", task="detect", save_dir=tmp_path / "runs/seed-3", group=NAME)
    index.enter(write_run(killed, [start], {"notes": {}}, created=1e10))
    done = cli("group", NAME)
    assert done.exit_code == 0, done.output
    assert all(len(line) <= 80 for line in done.output.splitlines())
    assert done.output.splitlines() == [
        "3-seed: 4 runs, 3 in mean and std",
        "left out: seed-3 (killed)",
        "",
        "run     status    metrics/mAP50-95(B)  fitness",
        "seed-1  finished                  0.1        1",
        "seed-2  finished                  0.2        1",
        "seed-4  finished                  0.4        1",
        "seed-3  killed                      -        -",
        "mean                          0.23333        1",
        "std                           0.15275        0",
    ]
    assert group_runs() == []
    assert cli("group", NAME, tmp_path / "runs").output == done.output
    (told,) = json.loads(cli("group", NAME, "--json").output)
    assert [row["status"] for row in told["runs"]] == ["finished"] * 3 + ["killed"]
    assert (told["counted"], told["mean"][mAP]) == (3, pytest.approx(0.7 / 3))
    assert "No run of this user on this machine is in the group 4-seed." in cli("group", "4-seed").output


def test_many_metrics_take_several_tables(seeds, cli, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKING_HOOKS_GROUP", NAME)
    names = [f"metrics/of-a-longer-name-{n}" for n in range(5)]
    train(tmp_path / "a-run-with-a-name-that-is-too-long-to-be-shown", dict.fromkeys(names, 0.123456789))
    lines = cli("group", NAME).output.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert [name for line in lines for name in line.split() if name.startswith("metrics/")] == names


def test_the_command_delivers_the_group_as_one_run_that_grows(seeds, cli, monkeypatch, tmp_path):
    monkeypatch.delenv("TRACKING_HOOKS_MODE")
    first = seeds(1, 2)
    done = cli("group", NAME, "--deliver")
    assert done.exit_code == 0, done.output
    (folder,) = group_runs()
    assert folder.path.parent == tmp_path / "runs/.tracking-hooks", "beside its runs"
    assert calls(folder, "on_run_start")[-1]["plan"].members == [run.uid for run in first]
    assert f"{folder.uid}  notes: " in done.output
    assert [row["run"] for row in table(folder)] == ["seed-1", "seed-2", "mean", "std"]

    size = folder.journal.stat().st_size
    assert cli("group", NAME, "--deliver").exit_code == 0
    assert folder.journal.stat().st_size == size, "nothing has changed"

    seeds(3)
    assert cli("group", NAME, "--deliver").exit_code == 0
    assert group_runs() == [folder] or [one.uid for one in group_runs()] == [folder.uid]
    assert [call["step"] for call in calls(folder, "on_log")] == [1, 2, 0, 3, 0], "each row once"
    assert calls(folder, "on_log")[-1]["metrics"][f"mean/{mAP}"] == pytest.approx(0.2)
    assert [call["resumed"] for call in calls(folder, "on_run_start")] == [False, True]
    assert calls(folder, "on_run_end")[-1]["status"] == "finished"
    assert [row["run"] for row in table(folder)] == ["seed-1", "seed-2", "seed-3", "mean", "std"]


def test_the_command_completes_the_run_of_a_with_that_came_to_a_bad_end(cli, tmp_path):
    def is_interrupted():
        with tracking_hooks.group(NAME):
            runs.append(train(tmp_path / "seed-1", {mAP: 1.0}, status="interrupted"))
            raise KeyboardInterrupt

    runs = []
    with pytest.raises(KeyboardInterrupt):
        is_interrupted()
    (run,) = runs
    (folder,) = group_runs()
    assert calls(folder, "on_run_end")[-1]["status"] == "interrupted"
    assert "seed-1 (interrupted)" in cli("group", NAME).output
    save = RunFolder.beside(run.save_dir, run.uid)
    end = {"status": "finished", "error": None}
    append(save.journal, [Call(9, 9.0, "on_run_end", end)])
    cli("group", NAME, "--deliver")
    (again,) = group_runs()
    assert again.uid == folder.uid
    assert calls(folder, "on_run_end")[-1]["status"] == "finished"
    assert calls(folder, "on_log")[-1]["metrics"] == {f"mean/{mAP}": 1.0}


def test_of_the_ranks_of_a_distributed_training_the_first_one_records_the_group(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with tracking_hooks.group(NAME) as group:
        assert parents.PARENT not in os.environ
    assert (group.uid, group.mean, group_runs()) == (None, {}, [])


def test_two_withs_of_one_name_are_two_groups(cli, tmp_path):
    for n in (1, 2):
        with tracking_hooks.group(NAME):
            train(tmp_path / f"seed-{n}", {mAP: float(n)})
    assert len({folder.uid for folder in group_runs()}) == 2
    assert sorted(head(folder).run.save_dir.name for folder in group_runs()) == [NAME, f"{NAME}-2"]
    shown = cli("group", NAME).output
    assert shown.count("3-seed: 1 run, 1 in mean and std") == 2


def test_the_runs_of_others_are_shown_and_deliver_nothing(cli, tmp_path, record_run):
    other = Run(uid=new_uid(), name="seed", project="", task="detect", save_dir=tmp_path / "theirs/seed", group=NAME)
    write_run(other, [], {"notes": {}})
    assert "seed (never began)" in cli("group", NAME, tmp_path / "theirs").output
    done = cli("group", NAME, "--deliver", tmp_path / "theirs")
    assert done.exit_code == 1
    assert "no run of the group 3-seed was recorded by this user on this machine" in done.output


# -- lineage --------------------------------------------------------------------------------------------------


def test_weights_name_the_run_that_they_are_from(tmp_path):
    run = train(tmp_path / "train", {})
    weights = tmp_path / "train/weights/best.pt"
    weights.parent.mkdir(exist_ok=True)
    weights.write_bytes(b"weights")
    origin = lineage.origin(weights)
    assert (origin.uid, origin.name, origin.checkpoint) == (run.uid, "train", "best.pt")


def test_weights_of_nobody_and_of_others_name_no_run(tmp_path, record_run):
    assert lineage.origin(tmp_path / "missing.pt") is None
    stray = tmp_path / "a/b/yolo.pt"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"weights")
    assert lineage.origin(stray) is None
    theirs = record_run("notes")
    assert lineage.origin(theirs.save_dir / "weights/best.pt") is None, "this user has not recorded it"


def test_a_journal_keeps_what_a_run_started_from(tmp_path):
    origin = tracking_hooks.events.Origin(uid="u", name="train", checkpoint="best.pt")
    run = Run(uid="v", name="x", project="", task="detect", save_dir=tmp_path / "x", started_from=origin)
    assert head(write_run(run, [])).run == run
    assert structs.replace(run, started_from=None) != run
