"""Runs that wait in a folder for ``wandb sync``.

W&B's client writes to a folder up to 15 seconds late, and cannot continue a folder after a restart. So its folder is
only temporary: at each flush, new records are appended from it to the run's folder, where they are safe. After a crash
the temporary folder is discarded, and the run's folder continues after the records that count. So it holds everything
once, and ``wandb sync`` sees one run. (Of two folders with the same steps, it would renumber those of the second.) Only
events recorded after a ``wandb sync`` are written to a second folder, which continues the run.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import wandb
from wandb.proto import wandb_internal_pb2 as pb

from tracking_hooks.events import Destination, State, Unavailable
from tracking_hooks_wandb import content, translog
from tracking_hooks_wandb.client import Client, Start

logger = logging.getLogger("tracking_hooks.wandb")

_BARRIER = "tracking_hooks_flush"
"""A config value that is written last, to check that everything before it was written."""

_PATIENCE = 40.0
"""Seconds until the client must have written; without the setting below it writes every 15 seconds."""


class OfflineClient(Client):
    """Writes a run to a folder, record by record."""

    mode = "offline"

    def __init__(self, destination: Destination, journal: tuple[str, str | None, float]) -> None:
        """Prepare; see ``open``."""
        super().__init__(destination, journal)
        self._folder: OfflineFolder | None = None
        self._safe = 0  # the last event in the folder, and …
        self._last_safe = 0  # … the last row

    def open(self, start: Start, state: State) -> None:
        """Open the run again; the content of its folder stays.

        :raises Unavailable: if the folder lacks data
        """
        if self._folder is None:
            self._start = start
            part, size = state.get("part", 1), state.get("size", 0)
            self._folder = OfflineFolder(self._path(), self.destination["id"], part, size)
            self.last = self._last_safe = state.get("row", 0)
            self._safe = state.get("seq", 0)
        super().open(start, state)

    def _path(self) -> Path:
        return Path(self.destination["folder"])

    def _init(self, settings: Mapping[str, Any], **more: Any) -> wandb.Run:
        run = super()._init(
            {**settings, "x_transaction_log_flush_interval": 0.1},
            # In a run that others have written to, `wandb sync` must number our rows after theirs.
            resume="allow" if self._start.is_joined else None,
            **content.labels({} if self._start.run.addendum else self.destination),
            **more,
        )
        self._log = Path(run.settings.sync_file)
        self._read = self._flushes = 0
        return run

    def _use(self, run: wandb.Run, artifact: wandb.Artifact) -> None:
        """Leave the input to the folder, since the client refuses it offline."""

    def flush(self, state: State) -> int | None:
        """Move new records to the run's folder, and note how much of it counts."""
        safe = super().flush(state)
        if self._folder is not None:
            state |= {"size": self._folder.size, "part": self._folder.part}
        return safe

    def confirm(self) -> int | None:
        """Make sure that all records are on disk, once this instance was given what the client has."""
        if self.memory.is_behind():
            return self._safe
        self._flushes += 1
        self._configure({_BARRIER: self._flushes})
        self._move()
        return None

    def finish(self, exit_code: int) -> None:
        """End the run in its folder."""
        self._end(exit_code)
        try:
            self._move()
        except BaseException:  # the client takes nothing more: all that is not in the folder is given again
            self.close()
            raise
        self._close_ended(exit_code)

    def close(self) -> None:
        """Forget the run, and what is not in its folder."""
        super().close()
        self.last = self._last_safe

    def _move(self) -> None:
        records, end = self._written()
        if self._folder is not None and self._run is not None:
            self._folder.add(records, Path(self._run.dir))
        self._read = end
        self._last_safe, self._safe = self.last, self.memory.seq
        self.memory.save(self.memory.unsafe.keys())

    def _written(self) -> tuple[list[pb.Record], int]:
        """Return all new records, and the offset of their end."""
        deadline = time.monotonic() + _PATIENCE
        records: list[pb.Record] = []
        at = self._read
        while True:
            for end, raw in translog.read(self._log, at):
                at = end
                record = pb.Record.FromString(raw)
                kind = record.WhichOneof("record_type")
                barrier = _barrier(record) if kind == "config" else None
                if barrier is None:
                    records.append(record)
                if kind == "exit" or (kind == "config" and barrier == self._flushes):
                    return records, end
            if time.monotonic() > deadline:
                raise Unavailable(f"W&B's client does not write to {self._log}")
            time.sleep(0.02)


class OfflineFolder:
    """The folder of an offline run, which can be continued at a known size of its log.

    :param path: the first folder; later ones have a number after that name
    :param part: the number of the folder, from 1
    :param size: number of bytes of its log that count
    """

    def __init__(self, path: Path, run_id: str, part: int, size: int) -> None:
        self._first = path
        self._run_id = run_id
        self.part = part
        self.size = size
        self._records = 0
        self._head: list[pb.Record] = []
        self._begins = True  # whether the record that says which run this is has not come
        if size:
            ends = [end for end, _ in translog.read(self.log) if end <= size] if self.log.is_file() else []
            if ends[-1:] != [size]:
                raise Unavailable(f"{self.log} has lost data: {size} bytes of it should hold whole records")
            self._records = len(ends)

    @property
    def path(self) -> Path:
        """The folder."""
        return _part(self._first, self.part)

    @property
    def log(self) -> Path:
        """Its file of records."""
        return self.path / f"run-{self._run_id}.wandb"

    def add(self, records: Iterable[pb.Record], files: Path) -> None:
        """Append records with the files that they name, and make sure that they are on disk.

        :param files: the folder with these files
        """
        if self._synced.exists():
            if self.size:
                self.part, self.size, self._records = self.part + 1, 0, 0
            self._synced.unlink(missing_ok=True)  # otherwise `wandb sync` would skip it
        (self.path / "files").mkdir(parents=True, exist_ok=True)
        head: list[pb.Record] = []
        body: list[pb.Record] = []
        for record in records:
            kind = record.WhichOneof("record_type")
            is_start = kind == "header" or (kind == "run" and self._begins)  # a later one has other tags
            (head if is_start else body).append(record)
            self._begins = kind == "header" or (self._begins and kind != "run")
        self._head = head or self._head  # the start of a client's log; the folder already has one
        count, size = self._records, self.size or len(translog.HEAD)
        data, end = bytearray(), None
        for record in body if self._records else [*self._head, *body]:
            kind = record.WhichOneof("record_type")
            if kind == "exit":
                end = size + len(data)  # the records of a resumed training replace the end of the earlier part
            elif kind == "run" and self.part > 1:
                record.run.resume = True
            elif kind in {"files", "artifact"}:
                self._bring(record, files)
            count += 1
            record.num = count
            data += translog.framed(record.SerializeToString(), size + len(data))
        fd = os.open(self.log, os.O_RDWR | os.O_CREAT, 0o666)
        with os.fdopen(fd, "r+b") as file:
            file.truncate(size)
            file.write(translog.HEAD)
            file.seek(size)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.size, self._records = (size + len(data), count) if end is None else (end, count - 1)

    @property
    def _synced(self) -> Path:
        return self.log.with_name(f"{self.log.name}.synced")

    def _bring(self, record: pb.Record, files: Path) -> None:
        """Copy the files that a record names, and let it name the copies."""
        for item in record.files.files:
            source = files / item.path
            if source.is_file():
                _copy(source, self.path / "files" / item.path)
        for entry in record.artifact.manifest.contents:
            if not Path(entry.local_path).is_file():  # deleted a moment ago: waiting is useless
                logger.warning("%s is gone, so %s cannot be synced", entry.local_path, entry.path)
            else:
                name = hashlib.sha256(entry.digest.encode()).hexdigest()[:16]
                copy = self.path / "artifacts" / name / Path(entry.path).name
                _copy(Path(entry.local_path), copy)
                entry.local_path = str(copy)
        if record.artifact.type == "dataset":
            record.artifact.use_after_commit = True  # the run's input


def folders(first: Path) -> Iterator[Path]:
    """Yield the folders of a run, in their order."""
    part = 1
    while (path := _part(first, part)).is_dir():
        yield path
        part += 1


def _part(first: Path, part: int) -> Path:
    return first if part == 1 else first.with_name(f"{first.name}-{part}")


def _barrier(record: pb.Record) -> int | None:
    update = record.config.update
    return int(update[0].value_json) if len(update) == 1 and update[0].key == _BARRIER else None


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, draft)
    with draft.open("r+b") as file:
        os.fsync(file.fileno())
    draft.replace(target)
