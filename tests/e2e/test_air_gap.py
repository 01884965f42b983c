"""A training on a machine without a network arrives in full in the trackers of another one."""

from __future__ import annotations

import shutil

import pytest

pytestmark = pytest.mark.e2e


def test_a_training_without_a_network_is_carried_to_mlflow_and_tensorboard(home, port, start_server, scalars, tmp_path):
    uri = f"http://127.0.0.1:{port}"
    home.run(home.yolo(plots=True), "mlflow,tensorboard", TRACKING_HOOKS_MODE="offline")
    results = home.results()
    file = tmp_path / "runs.tracking.tar.gz"
    assert "Packed 1 run" in home.run(["tracking-hooks", "pack", "runs", "-o", str(file)])
    recorded = len(home.calls())
    status = home.run(["tracking-hooks", "status", "runs"])
    assert status.count(f", {recorded} events") == 3, "one for each part"

    shutil.move(home.work / "runs", tmp_path / "out-of-reach")
    home.env["XDG_STATE_HOME"] = str(tmp_path / "state-there")
    start_server()
    there = tmp_path / "there"
    unpack = ["tracking-hooks", "unpack", str(file), "--into", str(there)]
    assert "did not come along" in home.run(unpack), "the database is in the working directory"
    assert uri in home.run([*unpack, "--set", f"mlflow.tracking_uri={uri}"])
    home.run(["tracking-hooks", "sync", str(there)])

    reader = home.reader(uri)
    run = reader.only_run()
    assert run.info.status == "FINISHED"
    losses = [(epoch, pytest.approx(row["train/box_loss"], rel=1e-3)) for epoch, row in results.items()]
    assert reader.history(run, "train/box_loss") == losses
    names = {name.rpartition("/")[2] for name in reader.artifacts(run)}
    assert {"best.pt", "last.pt", "results.csv", "args.yaml", "results.png", "labels.jpg"} <= names
    assert scalars(there / "train")["train/box_loss"] == losses
    assert "Nothing is set aside" in home.run(["tracking-hooks", "status", "--set-aside", str(there)])
