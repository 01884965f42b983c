"""What is read off the live network leaves no mark on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tracking_hooks.run import journal, layout

pytestmark = pytest.mark.e2e

TRAINING = """
from ultralytics import YOLO
YOLO("yolo26n.yaml").train(
    data={data!r}, epochs=2, imgsz=32, batch=16, device="cpu", workers=0, amp=False, seed=0, plots=False,
    project={project!r}, name="train",
)
"""

HASH = """
import hashlib, sys, torch
weights = torch.load(sys.argv[1], weights_only=False)["model"].state_dict()
sha = hashlib.sha256()
for name, tensor in weights.items():
    sha.update(name.encode() + tensor.numpy().tobytes())
print(sha.hexdigest())
"""


def train(folder, data, yolo_settings, **settings):
    folder.mkdir()
    not_inherited = ("TRACKING_HOOKS", "MLFLOW", "PYTEST", "GITHUB")
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith(not_inherited)},
        "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), "YOLO_CONFIG_DIR": str(yolo_settings),
        "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "OMP_NUM_THREADS": "1",
        "TRACKING_HOOKS": "tensorboard", **settings,
    }  # fmt: skip

    def python(*arguments):
        done = subprocess.run(
            [sys.executable, "-c", *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    python(TRAINING.format(data=str(data), project=str(folder / "runs")))
    return python(HASH, str(folder / "runs/train/weights/last.pt")).strip()


def test_histograms_and_graph_do_not_change_the_weights(shapes, settings, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    off = train(tmp_path / "off", shapes, settings)
    on = train(tmp_path / "on", shapes, settings, TRACKING_HOOKS_HISTOGRAMS="on", TRACKING_HOOKS_GRAPH="on")
    assert on == off

    events = EventAccumulator(str(tmp_path / "on/runs/train"), size_guidance={"histograms": 0}).Reload()
    tags = events.Tags()["histograms"]
    assert len(tags) > 300
    for tag in ("weights/model.0.conv.weight", "weights/model.0.bn.bias"):
        assert [event.step for event in events.Histograms(tag)] == [1, 2]
    histogram = events.Histograms("weights/model.0.conv.weight")[-1].histogram_value
    assert sum(histogram.bucket) == histogram.num == 16 * 3 * 3 * 3
    nodes = {node.name: node for node in GraphDef.FromString(events.Graph().SerializeToString()).node}
    assert list(nodes["0_Conv"].input) == ["images"]
    concat = next(node for name, node in nodes.items() if name.endswith("_Concat"))
    assert len(concat.input) == 2

    (folder,) = layout.find_runs(tmp_path / "off")
    _, offset = journal.read_head(folder.journal)
    names = [e.call.args["artifact"].name for e in journal.read(folder.journal, offset) if e.call.hook == "on_artifact"]
    assert not [name for name in names if name.startswith(("histograms/", "graph"))]
    (folder,) = layout.find_runs(tmp_path / "on")
    written = [path for path in folder.files.glob("*.json") if b"sum_squares" in path.read_bytes()]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in written)
    assert "model.0.conv.weight" in json.loads(written[0].read_text())
