"""Additions to a run that has ended: what came after its end, or from another process.

The run is opened for them and ended again, with the exit code that it had.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb
from wandb.proto import wandb_internal_pb2 as pb

from tracking_hooks.events import State, Unavailable
from tracking_hooks_wandb import translog
from tracking_hooks_wandb.client import Start
from tracking_hooks_wandb.offline import OfflineClient, folders
from tracking_hooks_wandb.online import OnlineClient, SharedClient, bind
from tracking_hooks_wandb.service import Found
from tracking_hooks_wandb.steps import EVENT


class OnlineAddendum(OnlineClient):
    """An addendum to a run of the service. Its rows come behind those that the run has, whoever wrote these.

    So the number of an event is not its step: a row names its event.
    """

    def open(self, start: Start, state: State) -> None:
        """See whether the run is there and has ended.

        :raises Unavailable: if it is not there, or somebody is writing to it
        """
        self._start = start
        self._known_exit_code: int | None = state.get("exit")
        if "exit" not in state:
            found = self._find()
            state |= {"exit": found.exit_code, "first_step": found.step + 1}
        super().open(start._replace(exit_code=state["exit"]), {**state, "url": ""})

    def _find(self) -> Found:
        found = self._found_run()
        if found is None:
            raise Unavailable(f"{self.where} does not have the run that this is an addendum to", only_this_run=True)
        exit_code = found.exit_code
        if exit_code is None and found.addenda.open_by == self._start.run.addendum:
            exit_code = self._known_exit_code  # the process has died that had opened it for us
        if found.is_written or exit_code is None:
            reason = f"{self.where} has the run as one that has not ended, and W&B allows one writer at a time"
            raise Unavailable(reason, only_this_run=True)
        return found._replace(exit_code=exit_code)

    def _look_before(self) -> None:
        self._before = self._find()
        self.exit_code = self._before.exit_code  # another one where the training was resumed since we have asked

    def _init(self, settings: Mapping[str, Any], **more: Any) -> wandb.Run:
        # Sent with the request that opens the run: from then on a training waits.
        self._addenda = self._before.addenda._replace(open_by=self._start.run.addendum or "")
        return super()._init({**settings, **self._before.about}, config=self._addenda.config(), **more)

    def _look_at(self, run: wandb.Run) -> None:
        self._ask(run)
        self._end_step = int(run.starting_step) - 1
        self._there = self._added(self._first_step or 0)
        self._addenda = self._addenda.with_steps(*self._there.values())  # a process that died may not have said so
        run.define_metric(EVENT, hidden=True, summary="none")

    def log(self, row: Mapping[str, Any], seq: int, time: float) -> None:
        """Add the row of an event to the run's history, unless it is there."""
        if not self.memory.is_new("row", seq):
            return
        event = f"{self._start.run.addendum}/{seq}"
        with self._client() as run:
            if event in self._there:
                bind(row, run, self._there[event])
            else:
                step = self._end_step + 1
                self._addenda = self._addenda.with_steps(step)
                run.config.update(self._addenda.config(), allow_val_change=True)
                run.log({**row, EVENT: event, "_timestamp": time}, step=step, commit=True)
                self._end_step = step
        self._gave("row", seq, row)

    def _end(self, exit_code: int) -> None:
        self._configure(self._addenda._replace(open_by="").config())
        super()._end(exit_code)

    def is_late(self, seq: int) -> bool:  # noqa: ARG002
        """No row is late."""
        return False

    def _last_step(self) -> int:
        return self._end_step


class SharedAddendum(SharedClient):
    """An addendum to a run that the user's process has opened in shared mode."""

    def open(self, start: Start, state: State) -> None:
        """See whether the run is there.

        :raises Unavailable: if it is not
        """
        if self._found_run() is None:
            raise Unavailable(f"{self.where} does not have the run that this is an addendum to", only_this_run=True)
        super().open(start._replace(exit_code=0), state)


class OfflineAddendum(OfflineClient):
    """An addendum to an offline run: a folder of its own beside the run's, for ``wandb sync`` behind that."""

    def open(self, start: Start, state: State) -> None:
        """See whether the run is there and has ended.

        :raises Unavailable: if it is not there, or has not ended
        """
        if "exit" not in state:
            exit_code = _exit_code(Path(self.destination["folder"]), self.destination["id"])
            if exit_code is None:
                reason = f"{self.destination['folder']} does not have the end of the run that this is an addendum to"
                raise Unavailable(reason, only_this_run=True)
            state["exit"] = exit_code
        super().open(start._replace(exit_code=state["exit"], is_joined=True), state)

    def _path(self) -> Path:
        folder = super()._path()
        return folder.with_name(f"{folder.name}-{self._start.run.addendum}")


def _exit_code(folder: Path, run_id: str) -> int | None:
    found = None
    for log in (path / f"run-{run_id}.wandb" for path in folders(folder)):
        for _, raw in translog.read(log) if log.is_file() else ():
            record = pb.Record.FromString(raw)
            if record.WhichOneof("record_type") == "exit":
                found = record.exit.exit_code
    return found
