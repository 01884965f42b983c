"""The network: the distribution of its weights, and the connections of its layers."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

_INPUT = "images"


class _Histogram(Struct):
    min: float
    max: float
    sum: float
    sum_squares: float
    counts: Annotated[list[int], Meta(min_length=1)]


class _Layer(Struct):
    name: str
    type: str
    inputs: list[int]
    """Indices of layers; -1 is the input of the network."""
    parameters: int


class _Graph(Struct):
    layers: list[_Layer]


def histograms(data: bytes) -> list[Summary.Value]:
    """Return a histogram for each parameter.

    :param data: the content of a file ``histograms/epoch….json``
    :raises ValueError: if the content is not valid
    """
    found = msgspec.json.decode(data, type=dict[str, _Histogram])
    return [Summary.Value(tag=f"weights/{name}", histo=_histogram(one)) for name, one in found.items()]


def graph(data: bytes) -> GraphDef:
    """Return the graph of layers.

    :param data: the content of a file ``graph.json``
    :raises ValueError: if the content is not valid
    """
    layers = msgspec.json.decode(data, type=_Graph).layers
    names = dict(enumerate(layer.name for layer in layers)) | {-1: _INPUT}
    nodes = [NodeDef(name=_INPUT, op="Input")]
    for layer in layers:
        if not names.keys() >= set(layer.inputs):
            raise ValueError(f"layer {layer.name} has an input that is not a layer")
        attributes = {"parameters": AttrValue(i=layer.parameters)}
        nodes.append(NodeDef(name=layer.name, op=layer.type, input=[names[i] for i in layer.inputs], attr=attributes))
    return GraphDef(node=nodes)


def _histogram(one: _Histogram) -> HistogramProto:
    width = (one.max - one.min) / len(one.counts)
    limits = [one.min + width * i for i in range(1, len(one.counts))] + [one.max]
    return HistogramProto(
        min=one.min, max=one.max, num=sum(one.counts), sum=one.sum, sum_squares=one.sum_squares,
        bucket_limit=limits, bucket=one.counts,
    )  # fmt: skip
