"""Runs that wait in a folder for ``wandb sync``.

W&B's client writes to a folder of its own, up to 15 seconds late, and what it has written it cannot take up again. So
that one is only the workshop: what is to stay is appended from there to the run's folder at each flush, and that is
then safe. After a crash the workshop is thrown away, and the folder goes on behind what counts of it; so it holds
everything once, and is one run to ``wandb sync``. (Of two folders with the same steps it would number those of the
second anew.) Only what comes after a ``wandb sync`` goes to a folder of its own, which continues the run.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import wandb
from wandb.proto import wandb_internal_pb2 as pb

from tracking_hooks.events import Destination, State, Unavailable
from tracking_hooks_wandb import translog
from tracking_hooks_wandb.client import Client, Mark

logger = logging.getLogger("tracking_hooks.wandb")

_BARRIER = "tracking_hooks_flush"
"""A config value that is written behind everything else, to see that it is there."""

_PATIENCE = 40.0
"""Seconds until the client must have written: without the setting below it does every 15."""


class OfflineClient(Client):
    """Puts a run into a folder, record by record."""

    mode = "offline"

    def __init__(self, destination: Destination, about: Mapping[str, Any], state: State, mark: Mark) -> None:
        """Open the run anew; what there is of it in the folder stays.

        :raises Unavailable: the folder does not hold what it should
        """
        part, size = state.get("part", 1), state.get("size", 0)
        self.folder = OfflineFolder(Path(destination["folder"]), destination["id"], part, size)
        self._is_joined = mark.is_joined
        super().__init__(destination, about)
        self._log = Path(self.run.settings.sync_file)
        self._read = 0
        self._flushes = 0

    def _init(self, destination: Destination, settings: Mapping[str, Any], **more: Any) -> wandb.Run:
        return super()._init(
            destination,
            {**settings, "x_transaction_log_flush_interval": 0.1},
            # In a run that others have written to, `wandb sync` has to number the rows on behind theirs.
            resume="allow" if self._is_joined else None,
            name=destination.get("name") or None,
            group=destination.get("group") or None,
            job_type=destination.get("job_type") or None,
            tags=[tag for tag in destination.get("tags", "").split(",") if tag] or None,
            notes=destination.get("notes") or None,
            **more,
        )

    def _use(self, artifact: wandb.Artifact) -> None:
        """Leave that to the folder, which can say it: offline the client refuses to."""

    def confirm(self) -> State:
        """Move what was written to the run's folder, and make sure of it."""
        if not self.finished:
            self._flushes += 1
            self.configure({_BARRIER: self._flushes})
        records, end = self._written()
        self.folder.add(records, Path(self.run.dir))
        self._read = end
        if self.finished:
            self.close()
        return {"size": self.folder.size, "part": self.folder.part}

    def _written(self) -> tuple[list[pb.Record], int]:
        """Return the new records, all of them, and where they end."""
        deadline = time.monotonic() + _PATIENCE
        records: list[pb.Record] = []
        at = self._read
        while True:
            for end, raw in translog.read(self._log, at):
                at = end
                record = pb.Record.FromString(raw)
                barrier = _barrier(record)
                if barrier is None:
                    records.append(record)
                if barrier == self._flushes or record.HasField("exit"):
                    return records, end
            if time.monotonic() > deadline:
                raise Unavailable(f"W&B's client does not write to {self._log}")
            time.sleep(0.02)


class OfflineFolder:
    """The folder of an offline run, which can be taken up again at a known size of its log.

    :param path: the first folder; others have a number behind that name
    :param part: which folder it is, from 1
    :param size: how much of its log counts, in bytes
    """

    def __init__(self, path: Path, run_id: str, part: int, size: int) -> None:
        self._first = path
        self._run_id = run_id
        self.part = part
        self.size = size
        self._records = 0
        self._head: list[pb.Record] = []
        if size:
            ends = [end for end, _ in translog.read(self.log) if end <= size] if self.log.is_file() else []
            if ends[-1:] != [size]:
                raise Unavailable(f"{self.log} has lost data: {size} bytes of it should hold whole records")
            self._records = len(ends)

    @property
    def path(self) -> Path:
        """The folder."""
        return self._first if self.part == 1 else self._first.with_name(f"{self._first.name}-{self.part}")

    @property
    def log(self) -> Path:
        """Its file of records."""
        return self.path / f"run-{self._run_id}.wandb"

    def add(self, records: Iterable[pb.Record], files: Path) -> None:
        """Append records, with the files that they speak of, and make sure of them.

        :param files: the folder where those are
        """
        if self._synced.exists():
            if self.size:
                self.part, self.size, self._records = self.part + 1, 0, 0
            self._synced.unlink(missing_ok=True)  # else `wandb sync` would pass it over
        (self.path / "files").mkdir(parents=True, exist_ok=True)
        head: list[pb.Record] = []
        body: list[pb.Record] = []
        for record in records:
            (head if record.WhichOneof("record_type") in {"header", "run"} else body).append(record)
        self._head = head or self._head  # what a client begins with; at the top of the folder there is one already
        count, size = self._records, self.size or len(translog.HEAD)
        data, end = bytearray(), None
        for record in body if self._records else [*self._head, *body]:
            if record.HasField("exit"):
                end = size + len(data)  # what a training adds that is resumed comes in place of its end
            if record.HasField("run") and self.part > 1:
                record.run.resume = True
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
        """Copy what a record speaks of, and let it speak of the copy."""
        for item in record.files.files:
            source = files / item.path
            if source.is_file():
                _copy(source, self.path / "files" / item.path)
        for entry in record.artifact.manifest.contents:
            if not Path(entry.local_path).is_file():  # deleted since a moment ago: there is nothing to wait for
                logger.warning("%s is gone, so %s cannot be synced", entry.local_path, entry.path)
            else:
                name = hashlib.sha256(entry.digest.encode()).hexdigest()[:16]
                copy = self.path / "artifacts" / name / Path(entry.path).name
                _copy(Path(entry.local_path), copy)
                entry.local_path = str(copy)
        if record.artifact.type == "dataset":
            record.artifact.use_after_commit = True  # the run's input


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
