"""What is read off the live network leaves no mark on it."""

from __future__ import annotations

import json

import pytest

from tests.support.home import Home

pytestmark = pytest.mark.e2e

HASH = """
import hashlib, sys, torch
weights = torch.load(sys.argv[1], weights_only=False)["model"].state_dict()
sha = hashlib.sha256()
for name, tensor in weights.items():
    sha.update(name.encode() + tensor.numpy().tobytes())
print(sha.hexdigest())
"""


@pytest.fixture
def train(tmp_path, shapes, settings):
    """Train in a home folder of its own; return it, and the hash of the weights."""

    def train(name, **env):
        home = Home(tmp_path / name, shapes)
        home.take_the_real_network()
        home.env["YOLO_CONFIG_DIR"] = str(settings)
        home.run(home.yolo(), "tensorboard", **env)
        output = home.run([home.python, "-c", HASH, str(home.work / "runs/train/weights/last.pt")])
        return home, output.strip()

    return train


def test_histograms_and_graph_do_not_change_the_weights(train):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    off, weights_off = train("off")
    on, weights_on = train("on", TRACKING_HOOKS_HISTOGRAMS="on", TRACKING_HOOKS_GRAPH="on")
    assert weights_on == weights_off

    events = EventAccumulator(str(on.work / "runs/train"), size_guidance={"histograms": 0}).Reload()
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

    names = [call.args["artifact"].name for call in off.calls() if call.hook == "on_artifact"]
    assert not [name for name in names if name.startswith(("histograms/", "graph"))]
    written = [path for path in on.run_folder().files.glob("*.json") if b"sum_squares" in path.read_bytes()]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in written)
    assert "model.0.conv.weight" in json.loads(written[0].read_text())
