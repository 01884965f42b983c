"""The event file of a run, which can be continued at a known size after a crash."""

from __future__ import annotations

import glob
import os
import re
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

import google_crc32c
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import Summary

from tracking_hooks.events import Unavailable

_VERSION = "brain.Event:2"

_MOST_WAITING = 1 << 20
"""Bytes that may wait in memory: the events of a backlog are written in fewer pieces than they come in."""

_OF_A_RUN = re.compile(r"events\.out\.tfevents\.\d+\..*\.\d{8}-\d{6}-\w{8}")
"""The file of a run that was tracked, by its uid."""


def files(folder: Path, uid: str, opened: str = "*") -> list[Path]:
    """Return the event files that a run, or an addendum, has in a folder."""
    return list(folder.glob(f"events.out.tfevents.{opened}.*.{glob.escape(uid)}"))


def place(folder: Path, uid: str) -> Path:
    """Return where the files of a run are, or will be: in a subfolder where the folder shows another run.

    It did not when the run was recorded. What is delivered late may find another one there, which TensorBoard would
    mix with this one.
    """
    own = folder / uid
    is_taken = any(_OF_A_RUN.fullmatch(path.name) for path in folder.glob("*tfevents*"))
    return own if files(own, uid) or (is_taken and not files(folder, uid)) else folder


class EventFile:
    """Appends events after the first ``size`` bytes of a file, and cuts off everything else.

    The events wait in memory until ``write`` or ``sync``, which open the file. So a discarded object writes nothing
    more, and a deleted file causes an error instead of a loss.

    :param size: number of bytes of the file that count
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self._waiting = bytearray()

    @classmethod
    def create(cls, folder: Path, uid: str, opened: float) -> EventFile:
        """Start the file of a run or an addendum; start it again if the folder holds a file with this start time.

        A file with another time is that of the run's first part, copied here from another machine.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for path in files(folder, uid, f"{int(opened):010}"):
            return cls(path, 0)
        # Readers read the files of a folder in the order of their names.
        path = folder / f"events.out.tfevents.{int(opened):010}.{socket.gethostname()}.{uid}"
        path.touch()
        return cls(path, 0)

    def append(self, time: float, step: int, values: Iterable[Summary.Value]) -> None:
        """Write values at a step, as one event."""
        self._append(Event(wall_time=time, step=step, summary=Summary(value=values)))

    def append_graph(self, time: float, graph: GraphDef) -> None:
        """Write the graph of the network; a run has one."""
        self._append(Event(wall_time=time, graph_def=graph.SerializeToString(deterministic=True)))

    def _append(self, event: Event) -> None:
        if not (self.size or self._waiting):
            self._waiting += _framed(Event(wall_time=event.wall_time, file_version=_VERSION))
        self._waiting += _framed(event)
        if len(self._waiting) > _MOST_WAITING:
            self.write()

    def sync(self) -> None:
        """Write the appended events, and make them survive a power failure."""
        self.write(to_disk=True)

    def write(self, *, to_disk: bool = False) -> None:
        """Write the appended events, so that readers see them.

        :raises Unavailable: if the file has lost what it had
        """
        with self.path.open("r+b") as file:
            there = file.seek(0, os.SEEK_END)
            if there < self.size:
                raise Unavailable(f"{self.path} has lost data: it holds {there} of {self.size} bytes")
            file.truncate(self.size)
            file.seek(self.size)
            file.write(self._waiting)
            file.flush()
            if to_disk:
                os.fsync(file.fileno())
        self.size += len(self._waiting)
        self._waiting.clear()


def _framed(event: Event) -> bytes:
    """Return a record of TensorFlow's format: its length and its bytes, each with a checksum behind it."""
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return b"".join([length, _checksum(length), data, _checksum(data)])


def _checksum(data: bytes) -> bytes:
    """Return a CRC-32C, masked as TensorFlow does. TensorBoard's own is in Python: half the time of an event."""
    crc: int = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
