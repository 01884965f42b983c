"""Runs that are sent to the service. The client sends rows every few seconds and does not say what has arrived.

So we do not rely on the client, but ask the service: now and then, and at the run's end. What it does not have is not
confirmed, and is given again if this process dies.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import wandb
from wandb.plot.custom_chart import CustomChart
from wandb.proto import wandb_internal_pb2 as pb

from tracking_hooks.events import Destination, State, Unavailable
from tracking_hooks_wandb import content, process
from tracking_hooks_wandb.client import Client, Start
from tracking_hooks_wandb.errors import told_to_relay
from tracking_hooks_wandb.service import Found, Inquiry, Received, Service, find
from tracking_hooks_wandb.steps import EVENT, Addenda, Steps
from tracking_hooks_wandb.uploads import Uploads

logger = logging.getLogger("tracking_hooks.wandb")

_HICCUP = 10.0
"""Seconds of failing requests before an outage is reported."""

_INTERVAL = 2.0
"""Seconds between two requests with rows for a run that several write to."""

_ALERTING = 2.0
"""Seconds in which the client sends an alert. It does not say when it has, and the service does not say what it has."""

_CONFIRMATION = 30.0
"""Seconds until the service must have received everything."""

_POLL = 0.5
"""Seconds between two looks at what the end of a run waits for."""


class OnlineClient(Client):
    """A run of our own, or a run named by the user that nobody else writes to."""

    mode: Literal["online", "offline", "shared", "disabled"] = "online"

    def __init__(self, destination: Destination, journal: tuple[str, str | None, float]) -> None:
        """Prepare; see ``open``."""
        super().__init__(destination, journal)
        self._uploads = Uploads(self.where)
        self._files: dict[int, set[str]] = {}  # what goes with an event, in the run's folder
        self._media: set[str] = set()
        self._alerts: dict[int, tuple[str, str, str]] = {}  # to be sent when their events are safe
        self._found = 0  # the last event whose row the run had when it was opened
        self._failing_since: float | None = None

    def open(self, start: Start, state: State) -> None:
        """Open the run, or continue it."""
        self._is_known = "url" in state
        self._first_step: int | None = state.get("first_step")
        self._safe_before = state.get("seq", 0)
        super().open(start, state)
        if self._run is not None:
            state["url"] = self._run.url
        if self._first_step is not None:
            state["first_step"] = self._first_step

    def _connect(self) -> wandb.Run:
        self._look_before()
        return super()._connect()

    def _look_before(self) -> None:
        """See whether the run can be opened.

        :raises Unavailable: if another process of ours has it open, since W&B allows one writer at a time
        """
        if not (self._is_known or self._start.is_joined):
            return
        found = self._found_run()
        if found is None or not found.is_written:
            return
        own = self._start.run.uid
        if other := found.addenda.open_by or (found.uid if found.uid != own else ""):
            reason = f"{self.where} has the run as one that {other} is writing to"
            raise Unavailable(f"{reason}, and W&B allows one writer at a time", only_this_run=True)

    def _found_run(self) -> Found | None:
        process.point_to(self.destination)
        with told_to_relay(self.where):
            return find(self.destination)

    def _init(self, settings: Mapping[str, Any], **more: Any) -> wandb.Run:
        return super()._init(
            # The journal replaces the client's own log, whose records would be duplicates.
            {**settings, "x_skip_transaction_log": True},
            resume="must" if self._start.run.addendum else "allow",
            # Later changes on W&B's page stay as they are.
            **content.labels({} if self._is_known else self.destination),
            **more,
        )

    def _look_at(self, run: wandb.Run) -> None:
        next_step = run.starting_step if run.resumed else 0
        if self._first_step is None and self._start.is_joined:
            found = run.config.get("tracking_hooks") or {}
            is_known = (found.get("run_uid"), found.get("started")) == (self._start.run.uid, self._start.time)
            self._first_step = found.get("first_step", 0) if is_known else next_step
        self._ask(run)
        addenda = Addenda.of(run.config)
        if addenda.open_by:  # by a process that has died, perhaps before it said which steps it took
            addenda = addenda._replace(open_by="").with_steps(*self._added(0).values())
            run.config.update(addenda.config(), allow_val_change=True)
        self.steps = Steps(self._first_step or 0, addenda.steps)
        self.last = self._found = self.steps.event(next_step - 1)

    def _ask(self, run: wandb.Run) -> None:
        self._service = Service(run.entity, run.project, run.id)
        self._inquiry = Inquiry(self._service)

    def _added(self, first: int) -> dict[str, int]:
        """Return the events of addenda whose rows the run has from a step on, with these steps."""
        with told_to_relay(self.where):
            return self._service.values(EVENT, first)

    # -- writing ----------------------------------------------------------------------------------------------

    def has_row(self, seq: int) -> bool:
        """Return whether the run has the row of an event; of an earlier process, the service knows."""
        if super().has_row(seq) or seq > self._found:
            return super().has_row(seq)
        return self._service.has_step(self.steps.of(seq), last=self.steps.of(self._found))

    def _complete(self, row: Mapping[str, Any], before: int) -> None:
        """Make sure that the pictures and tables of a row are there, too."""
        with self._client() as run:
            bind(row, run, self.steps.of(before) + 1)

    def _add(self, run: wandb.Run, artifact: wandb.Artifact, aliases: list[str]) -> wandb.Artifact:
        return self._uploads.wait(artifact, partial(super()._add, run, artifact, aliases))

    def print(self, text: str, seq: int) -> None:
        """Add lines to the run's log, unless the rows behind them have arrived: then so have they."""
        if not self._safe_before < seq <= self._found:
            super().print(text, seq)

    def alert(self, title: str, text: str, level: str, seq: int) -> None:
        """Send an alert, after the earlier ones."""
        self._send_alerts(seq - 1)
        super().alert(title, text, level, seq)

    def alert_when_safe(self, title: str, text: str, level: str, seq: int) -> None:
        """Send an alert when the service has a later row."""
        if self.memory.is_new("alert", seq):
            self._alerts.setdefault(seq, (title, text, level))
            self.memory.unsafe.setdefault(("alert", seq), time.monotonic())

    def _send_alerts(self, upto: int) -> None:
        for seq in [seq for seq in self._alerts if seq <= upto]:
            super().alert(*self._alerts.pop(seq), seq)
            self.memory.unsafe["alert", seq] = time.monotonic()

    def _save(self, write: Callable[[Path], Any], name: str, seq: int) -> None:
        super()._save(write, name, seq)
        if ("file", seq) in self.memory.unsafe:
            self._files.setdefault(seq, set()).add(name)

    def _gave(self, what: str, seq: int, row: Mapping[str, Any] | None = None) -> None:
        # An upload was waited for; the alert of a run's end is not sent again for each try to end it.
        self.memory.gave(what, seq, safe=what in {"artifact", "alert"})
        has_media = not all(isinstance(value, (int, float, str)) for value in (row or {}).values())
        if has_media and (media := self._new_media()):  # there are a thousand files at a training's end
            self._files.setdefault(seq, set()).update(media)

    def _new_media(self) -> set[str]:
        run = self._run
        if run is None:
            return set()
        found = {path.relative_to(run.dir).as_posix() for path in Path(run.dir, "media").rglob("*") if path.is_file()}
        new = found - self._media
        self._media |= new
        return new

    # -- confirming -------------------------------------------------------------------------------------------

    def confirm(self) -> int | None:
        """Return the last event before the first one that the service does not have."""
        self._check_requests()
        if self.memory.unsafe and (answer := self._inquiry.answer(set().union(*self._files.values()))):
            self._take(answer)
        return self.memory.safe()

    def _take(self, answer: Received) -> None:
        last = self.steps.event(answer.step)
        self._send_alerts(last)
        arrived = self._arrived(answer)
        self._files = {seq: left for seq, files in self._files.items() if (left := files - arrived)}
        sent = time.monotonic() - _ALERTING
        self.memory.save(
            {
                (what, seq)
                for (what, seq), given in self.memory.unsafe.items()
                if seq <= last and seq not in self._files and (what != "alert" or given < sent)
            }
        )

    def _arrived(self, answer: Received) -> set[str]:
        folder = Path(self._run.dir if self._run else "")
        return {name for name, size in answer.files.items() if (folder / name).stat().st_size == size}

    def finish(self, exit_code: int) -> None:
        """End the run, and ask the service whether it has received all of it."""
        while not self._check_requests():  # finishing now would abandon the run
            time.sleep(_POLL)
        self._send_alerts(self.memory.seq)
        self.memory.save([event for event in self.memory.unsafe if event[0] == "alert"])
        self._end(exit_code)
        try:
            self._check_end()
        except BaseException:
            self.close()
            raise
        self._close_ended(exit_code)

    def _check_end(self) -> None:
        deadline = time.monotonic() + _CONFIRMATION
        files = set().union(*self._files.values())
        with told_to_relay(self.where):
            while (answer := self._service.received(files, anew=True)).step < self._last_step():
                if time.monotonic() > deadline:
                    steps = f"{answer.step} of {self._last_step()}"
                    raise Unavailable(f"{self.where} has the run up to step {steps} only")
                time.sleep(_POLL)
        if missing := files - answer.files.keys():
            logger.warning("%s does not name these files of the run: %s", self.where, ", ".join(sorted(missing)))

    def _last_step(self) -> int:
        return self.steps.of(self.last)

    def close(self) -> None:
        """Forget the run, and what is not safe."""
        super().close()
        self._files.clear()
        self._alerts.clear()
        self._media.clear()
        self._uploads.forget()

    def _check_requests(self) -> bool:
        """Return whether none of the client's requests fails at the moment.

        :raises Unavailable: if they have failed for longer than a hiccup lasts
        """
        trouble = self._trouble()
        if trouble is None:
            self._failing_since = None
            return True
        self._failing_since = self._failing_since or time.monotonic()
        if time.monotonic() - self._failing_since > _HICCUP:
            raise Unavailable(f"{self.where} is not available: {trouble}")
        return False

    def _trouble(self) -> str | None:
        """Return why the client's requests fail, if it says so."""
        return next((operation.error_status for operation in self._operations() if operation.error_status), None)

    def _operations(self) -> list[Any]:
        """Return what the client is doing, if it says so."""

        async def ask() -> Any:
            request = pb.Record(request=pb.Request(operations=pb.OperationStatsRequest()))
            handle = await self._run._interface.deliver_async(request)  # type: ignore[union-attr]
            return await handle.wait_async(timeout=10)

        try:
            # There is no public interface for this.
            found = self._run._wl.asyncer.run(ask).response.operations_response.operation_stats  # type: ignore[union-attr]
            return list(found.operations)
        except Exception as error:  # noqa: BLE001 a release that has no such thing
            logger.debug("what the client is doing is not known: %r", error)
            return []


def bind(row: Mapping[str, Any], run: wandb.Run, step: int) -> None:
    """Write the files of the pictures and tables of a row.

    :param step: the client's step when it wrote the row, which is part of their names
    """
    for name, value in row.items():
        if isinstance(value, CustomChart):
            value.set_key(name)
            value.table.bind_to_run(run, value.spec.table_key, step)
        for media in value if isinstance(value, list) else [value]:
            if isinstance(media, (wandb.Image, wandb.Table)):
                media.bind_to_run(run, name, step)


class SharedClient(OnlineClient):
    """A run that the user's process has opened in shared mode, in which several processes may write.

    The service numbers the rows, so it cannot be asked about ours: what was sent without trouble counts as safe, and
    what is sent again is there twice. A late row is no problem. We do not end the run, unless the user's process has
    ended it before we open it.
    """

    mode = "shared"

    def _look_before(self) -> None:
        found = self._found_run()
        self._ended_with = None if found is None or found.is_written else found.exit_code

    def _init(self, settings: Mapping[str, Any], **more: Any) -> wandb.Run:
        settings = {
            **settings,
            "x_label": "tracking-hooks",
            "x_primary": False,
            "x_update_finish_state": self._ended_with is not None,
            "x_file_stream_transmit_interval": _INTERVAL,
        }
        return Client._init(self, settings, **more)

    def _look_at(self, run: wandb.Run) -> None:
        """What the run has is not ours."""

    def log(self, row: Mapping[str, Any], seq: int, time: float) -> None:
        """Add the row of an event to the run's history."""
        if self.memory.is_new("row", seq):
            with self._client() as run:
                run.log({**row, "_timestamp": time}, commit=True)
            self._gave("row", seq, row)

    def is_late(self, seq: int) -> bool:  # noqa: ARG002
        """No row is late."""
        return False

    def alert_when_safe(self, title: str, text: str, level: str, seq: int) -> None:
        """Send an alert at once, since nobody knows when it is safe."""
        self.alert(title, text, level, seq)

    def confirm(self) -> int | None:
        """Return the last event that was sent without trouble, as far as this is known."""
        self._check_requests()
        if not self._operations():
            sent = time.monotonic() - _INTERVAL - 0.5
            self.memory.save({event for event, given in self.memory.unsafe.items() if given < sent})
        return self.memory.safe()

    def finish(self, exit_code: int) -> None:
        """Leave the run to the user's process, which ends it; if it has, end it again as it had ended."""
        Client.finish(self, exit_code if self._ended_with is None else self._ended_with)
