"""Values that TensorBoard shows: scalars, texts and images."""

from __future__ import annotations

import struct

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.text.metadata import create_summary_metadata

from tracking_hooks.events import Metrics

_RGB = 3
_SIZE_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""The JPEG segments that hold the size of the picture: all variants of "start of frame"."""


def scalars(metrics: Metrics, prefix: str = "") -> list[Summary.Value]:
    """Return the values of an event that has only scalars."""
    return [Summary.Value(tag=prefix + name, simple_value=value) for name, value in metrics.items()]


def text(tag: str, markdown: str) -> Summary.Value:
    """Return a text, which TensorBoard shows as Markdown."""
    return Summary.Value(
        tag=tag,
        metadata=create_summary_metadata(display_name="", description=""),
        tensor=TensorProto(
            dtype=DT_STRING, tensor_shape=TensorShapeProto(), string_val=[markdown.encode(errors="replace")]
        ),
    )


def image(tag: str, data: bytes) -> Summary.Value:
    """Return a picture with the unchanged bytes of its file.

    :param data: the content of a PNG or JPEG file
    :raises ValueError: if it is neither
    """
    width, height = _measure(data)
    picture = Summary.Image(encoded_image_string=data, width=width, height=height, colorspace=_RGB)
    return Summary.Value(tag=tag, image=picture)


def _measure(data: bytes) -> tuple[int, int]:
    """Return width and height from the head of a PNG or JPEG file."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    while at + 9 <= len(data):
        start, marker, length = struct.unpack_from(">BBH", data, at)
        if start != 0xFF:
            break
        if marker in _SIZE_MARKERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 1 if marker == 0xFF else 2 + length  # any number of 0xFF may fill up between segments
    raise ValueError("it is neither a PNG nor a JPEG picture")
