"""Histograms of weights and the graph of layers, as the training process writes them."""

import hashlib
import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import HISTOGRAMS, EventAccumulator
from tensorboard.compat.proto.graph_pb2 import GraphDef

from tracking_hooks.events import Artifact, Rejected
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import STARTED, play, sample_run
from tracking_hooks_tensorboard.tracker import TensorBoardTracker

SPREAD = {"min": -1.0, "max": 1.0, "sum": 0.5, "sum_squares": 2.0, "counts": [1, 0, 3, 1]}
CONSTANT = {"min": 2.0, "max": 2.0, "sum": 6.0, "sum_squares": 12.0, "counts": [3]}
LAYERS = [
    {"name": "0_Conv", "type": "Conv", "inputs": [-1], "parameters": 464},
    {"name": "1_Conv", "type": "Conv", "inputs": [0], "parameters": 4672},
    {"name": "2_Concat", "type": "Concat", "inputs": [1, 0], "parameters": 0},
]


@pytest.fixture
def deliver(tmp_path):
    def deliver(name, content, epoch=None):
        path = tmp_path / name.replace("/", "-")
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        size = path.stat().st_size
        artifact = Artifact(path=path, kind="table", name=name, size=size, digest=digest, epoch=epoch)
        call = Call(1, STARTED, "on_artifact", {"artifact": artifact})
        logdir = tmp_path / "tb"
        play(TensorBoardTracker(), [call], sample_run(tmp_path), destination={"logdir": str(logdir)})
        return EventAccumulator(str(logdir), size_guidance={HISTOGRAMS: 0}).Reload()

    return deliver


def test_weights_are_histograms_by_epoch(deliver):
    events = deliver("histograms/epoch7.json", {"model.0.weight": SPREAD, "model.0.bias": CONSTANT}, epoch=7)
    assert sorted(events.Tags()["histograms"]) == ["weights/model.0.bias", "weights/model.0.weight"]
    (event,) = events.Histograms("weights/model.0.weight")
    assert event.step == 7
    assert event.histogram_value.num == 5
    assert event.histogram_value.bucket_limit == [-0.5, 0.0, 0.5, 1.0]
    assert event.histogram_value.bucket == [1, 0, 3, 1]
    (event,) = events.Histograms("weights/model.0.bias")
    assert (event.histogram_value.bucket_limit, event.histogram_value.bucket) == ([2.0], [3])


def test_layers_are_a_graph(deliver):
    events = deliver("graph.json", {"layers": LAYERS})
    nodes = {node.name: node for node in GraphDef.FromString(events.Graph().SerializeToString()).node}
    assert {name: list(node.input) for name, node in nodes.items()} == {
        "images": [], "0_Conv": ["images"], "1_Conv": ["0_Conv"], "2_Concat": ["1_Conv", "0_Conv"],
    }  # fmt: skip
    assert nodes["1_Conv"].op == "Conv"
    assert nodes["1_Conv"].attr["parameters"].i == 4672


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("histograms/epoch1.json", b"{"),
        ("histograms/epoch1.json", {"a": {"min": 0}}),
        ("histograms/epoch1.json", {"a": {**SPREAD, "counts": []}}),
        ("graph.json", {"layers": [{**LAYERS[0], "inputs": [9]}]}),
    ],
)
def test_a_damaged_file_is_rejected(deliver, name, content):
    with pytest.raises(Rejected, match=r"cannot be shown"):
        deliver(name, content, epoch=1)
