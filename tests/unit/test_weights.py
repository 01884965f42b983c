import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
weights = pytest.importorskip("tracking_hooks.hosts.ultralytics.weights")

from tracking_hooks.run.layout import RunFolder  # noqa: E402


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    folder = RunFolder.beside(tmp_path / "train", "uid")
    folder.create()
    return folder


class Network(torch.nn.Module):
    def __init__(self, **parameters):
        super().__init__()
        for name, values in parameters.items():
            self.register_parameter(name, torch.nn.Parameter(torch.tensor(values)))


def content(artifact):
    data = artifact.path.read_bytes()
    assert len(data) == artifact.size
    return json.loads(data)


def test_a_histogram_counts_all_values_that_are_numbers(folder):
    network = Network(a=[-1.0, 0.0, 1.0, float("nan"), float("inf")], b=[2.0, 2.0], c=[float("nan")], d=3.0)
    artifact = weights.histograms(folder, network, 4, pytest.fail)
    assert (artifact.name, artifact.kind, artifact.epoch) == ("histograms/epoch4.json", "table", 4)
    found = content(artifact)
    assert sorted(found) == ["a", "b", "d"]
    assert (found["a"]["min"], found["a"]["max"], found["a"]["sum"], found["a"]["sum_squares"]) == (-1, 1, 0, 2)
    assert (len(found["a"]["counts"]), sum(found["a"]["counts"])) == (64, 3)
    assert (found["b"]["min"], found["b"]["counts"]) == (2, [2])
    assert found["d"]["counts"] == [1]


def test_values_that_lie_as_close_together_as_numbers_can_are_counted(folder):
    one = np.float32(1)
    network = Network(a=[one, np.nextafter(one, np.float32(2))], b=[0.0, 1e-45], c=[-3e38, 3e38])
    found = content(weights.histograms(folder, network, 1, pytest.fail))
    assert {name: sum(one["counts"]) for name, one in found.items()} == {"a": 2, "b": 2, "c": 2}


def test_a_parameter_that_cannot_be_counted_is_named_and_leaves_out_itself_alone(folder):
    network, said = Network(a=[1.0, 2.0]), []
    for name in ("lazy", "lazier", "laziest", "last"):
        network.register_parameter(name, torch.nn.UninitializedParameter())
    assert list(content(weights.histograms(folder, network, 1, said.append))) == ["a"]
    (sentence,) = said
    assert sentence.startswith("histograms are left out: lazy, lazier, laziest and 1 more (ValueError: ")


def test_half_precision_and_a_wrapped_network(folder):
    inner = Network(a=[1.0, 2.0]).half()
    wrapped = torch.nn.Module()
    wrapped.module = inner
    teaching = torch.nn.Module()
    teaching.student_model, teaching.teacher_model = inner, Network(b=[3.0])
    for given in (wrapped, teaching):
        assert list(content(weights.histograms(folder, given, 1, pytest.fail))) == ["a"]


def test_nothing_random_is_drawn_and_nothing_is_changed(folder):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    before = torch.get_rng_state(), {name: value.clone() for name, value in network.state_dict().items()}
    weights.histograms(folder, network, 1, pytest.fail)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(torch.equal(value, before[1][name]) for name, value in network.state_dict().items())
    assert network.training


def test_the_graph_says_which_layers_feed_which(folder):
    network = torch.nn.Module()
    network.model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Identity())
    for index, (layer, source) in enumerate(zip(network.model, [-1, -1, [-1, 0]])):
        layer.i, layer.f = index, source
    artifact = weights.graph(folder, network, pytest.fail)
    assert (artifact.name, artifact.epoch) == ("graph.json", None)
    assert content(artifact) == {
        "layers": [
            {"name": "0_Conv2d", "type": "Conv2d", "inputs": [-1], "parameters": 112},
            {"name": "1_ReLU", "type": "ReLU", "inputs": [0], "parameters": 0},
            {"name": "2_Identity", "type": "Identity", "inputs": [1, 0], "parameters": 0},
        ]
    }


def test_a_layer_that_cannot_be_described_leaves_out_itself_alone(folder):
    network, said = torch.nn.Module(), []
    network.model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.LazyLinear(2), torch.nn.ReLU(), torch.nn.ReLU())
    for index, (layer, source) in enumerate(zip(network.model, [-1, -1, 7, 1])):
        layer.i, layer.f = index, source
    layers = content(weights.graph(folder, network, said.append))["layers"]
    assert [(layer["name"], layer["inputs"]) for layer in layers] == [
        ("0_ReLU", [-1]), ("1_LazyLinear", []), ("2_ReLU", []), ("3_ReLU", [1]),
    ]  # fmt: skip
    (sentence,) = said
    assert sentence.startswith("the graph lacks connections and sizes: 1_LazyLinear, 2_ReLU (ValueError: ")


@pytest.mark.parametrize("network", [Network(a=[1.0]), torch.nn.Sequential(torch.nn.ReLU())])
def test_another_network_has_no_graph(folder, network):
    assert weights.graph(folder, network, pytest.fail) is None


def test_the_files_are_the_users_alone_and_found_by_what_they_hold(folder):
    artifact = weights.histograms(folder, Network(a=[1.0, 2.0]), 1, pytest.fail)
    assert artifact.path == Path(folder.files / f"{artifact.digest}.json")
    assert artifact.path.stat().st_mode & 0o777 == 0o600
