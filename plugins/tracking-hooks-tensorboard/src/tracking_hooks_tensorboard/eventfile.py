"""The event file of a run, which can be continued at a known size after a crash."""

from __future__ import annotations

import glob
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from tracking_hooks.events import Unavailable

_VERSION = "brain.Event:2"
"""Version 2 is the one in which a ``SessionLog`` tells a reader to drop older points."""


def files(folder: Path, uid: str, opened: str = "*") -> list[Path]:
    """Return the event files that a run, or an addendum, has in a folder."""
    return list(folder.glob(f"events.out.tfevents.{opened}.*.{glob.escape(uid)}"))


class EventFile:
    """Appends events after the first ``size`` bytes of a file, and cuts off everything else.

    The file is opened for each event. So a discarded object holds no buffer that it could still write, and a
    deleted file causes an error instead of a loss.

    :param size: number of bytes of the file that count
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size

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
        self._write(Event(wall_time=time, step=step, summary=Summary(value=values)))

    def append_graph(self, time: float, graph: GraphDef) -> None:
        """Write the graph of the network; a run has one."""
        self._write(Event(wall_time=time, graph_def=graph.SerializeToString(deterministic=True)))

    def start_session(self, time: float, step: int) -> None:
        """Tell readers to drop earlier points of this and later steps."""
        self._write(Event(wall_time=time, step=step, session_log=SessionLog(status=SessionLog.START)))

    def sync(self) -> None:
        """Make the appended events survive a power failure."""
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())

    def _write(self, event: Event) -> None:
        with self.path.open("r+b") as file:
            there = file.seek(0, os.SEEK_END)
            if there < self.size:
                raise Unavailable(f"{self.path} has lost data: it holds {there} of {self.size} bytes")
            file.truncate(self.size)
            file.seek(self.size)
            writer = RecordWriter(file)
            if self.size == 0:
                writer.write(Event(wall_time=event.wall_time, file_version=_VERSION).SerializeToString())
            writer.write(event.SerializeToString())
            size = file.tell()
        self.size = size
