"""Runs that are sent to the service. The client sends rows every few seconds and does not say what has arrived.

So we do not rely on the client, but ask the service, when the run is opened again and at its end. Missing events are
read from the journal and sent again (see ``tracker``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Literal

import wandb
from wandb.plot.custom_chart import CustomChart
from wandb.proto import wandb_internal_pb2 as pb

from tracking_hooks.events import Destination, State, Unavailable
from tracking_hooks_wandb.client import UPLOAD_PATIENCE, Client, Mark
from tracking_hooks_wandb.errors import reason, told_to_relay

logger = logging.getLogger("tracking_hooks.wandb")

_HICCUP = 10.0
"""Seconds of failing requests before an outage is reported."""

_INTERVAL = 2.0
"""Seconds between two requests with rows for a run that several write to."""

_CONFIRMATION = 30.0
"""Seconds until the service must have received everything."""

_alerted: dict[str, set[int]] = {}
# Module state: an alert is sent once, not once for each attempt to deliver the run.


class OnlineClient(Client):
    """A run of our own, or a run named by the user that nobody else writes to."""

    mode: Literal["online", "offline", "shared"] = "online"

    def __init__(self, destination: Destination, about: Mapping[str, Any], state: State, mark: Mark) -> None:
        """Open the run, or continue it."""
        self._is_new = "url" not in state
        super().__init__(destination, about)
        self._alerted = _alerted.setdefault(self.key, set())
        self._uploads: dict[str, _Upload] = {}
        self._failing_since: float | None = None
        self._previous = -1  # the last event that had a row
        next_step = self.run.starting_step if self.run.resumed else 0
        if mark.is_joined:
            found = self.run.config.get("tracking_hooks") or {}
            is_known = (found.get("run_uid"), found.get("started")) == (mark.uid, mark.started)
            state.setdefault("first_step", found.get("first_step", 0) if is_known else next_step)
        self.base = state.get("first_step", 0)
        self.last = self._found = max(next_step - 1 - self.base, 0)
        self.behind = state.get("sent", 0) if self.mode == "online" else 0
        state["url"] = self.run.url

    def _init(self, destination: Destination, settings: Mapping[str, Any], **more: Any) -> wandb.Run:
        # Later changes on W&B's page stay as they are.
        given = destination if self._is_new else {}
        return super()._init(
            destination,
            # The journal replaces the client's own log, whose records would be duplicates.
            {**settings, "x_skip_transaction_log": True},
            resume="allow",
            name=given.get("name") or None,
            group=given.get("group") or None,
            job_type=given.get("job_type") or None,
            tags=[tag for tag in given.get("tags", "").split(",") if tag] or None,
            notes=given.get("notes") or None,
            **more,
        )

    def log(self, row: Any, seq: int, time: float) -> None:
        """Add the row of an event; if it is there, make sure that its pictures and tables are there, too."""
        if self._previous < seq <= self._found:
            step = self.base + self._previous + 1  # the client's step at that time, which is part of the names of files
            with self._client():
                for name, value in row.items():
                    self._upload_again(name, value, step)
        self._previous = max(self._previous, seq)
        super().log(row, seq, time)

    def _upload_again(self, name: str, value: Any, step: int) -> None:
        if isinstance(value, CustomChart):
            value.set_key(name)
            name, value = value.spec.table_key, value.table
        if isinstance(value, (wandb.Image, wandb.Table)):
            value.bind_to_run(self.run, name, step)

    def _add(self, artifact: wandb.Artifact, aliases: list[str]) -> wandb.Artifact:
        """Wait until the artifact is uploaded. If that takes too long, the upload continues and is awaited later."""
        key = f"{artifact.type}/{artifact.name}/{artifact.digest}"
        if key not in self._uploads:
            self._uploads[key] = _Upload(super()._add(artifact, aliases))
        upload = self._uploads[key]
        if not upload.is_done(UPLOAD_PATIENCE):
            raise Unavailable(f"{self.where}: the upload of {artifact.name} takes long and continues")
        del self._uploads[key]
        if upload.error is not None:
            if isinstance(upload.error, ValueError):  # the client reports a failed upload like this
                raise Unavailable(f"{self.where} did not take {artifact.name}: {reason(upload.error)}")
            raise upload.error
        return upload.artifact

    def confirm(self) -> State:
        """Check whether the client reaches the service."""
        trouble = None if self.finished else self._trouble()
        if trouble is None:
            self._failing_since = None
        else:
            self._failing_since = self._failing_since or time.monotonic()
            if time.monotonic() - self._failing_since > _HICCUP:
                raise Unavailable(f"{self.where} is not available: {trouble}")
        return {}

    def finish(self, exit_code: int) -> None:
        """End the run, and ask the service whether it has received all of it."""
        if trouble := self._trouble():  # finishing now would abandon the run
            raise Unavailable(f"{self.where} is not available: {trouble}")
        super().finish(exit_code)
        try:
            self._confirm()
        finally:
            self.close()

    def _confirm(self) -> None:
        deadline = time.monotonic() + _CONFIRMATION
        with told_to_relay(self.where):
            while (found := self._last_step()) < self.base + self.last:
                if time.monotonic() > deadline:
                    raise Unavailable(f"{self.where} has the run up to step {found} of {self.base + self.last} only")
                time.sleep(0.5)

    def _last_step(self) -> int:
        """Ask the service for the last row that it has."""
        path = f"{self.run.entity}/{self.run.project}/runs/{self.run.id}"
        run = wandb.Api({"entity": self.run.entity}, timeout=20).run(path)
        return int(max(run.lastHistoryStep, run.summary.get("_step", -1)))

    def _trouble(self) -> str | None:
        """Return why the client's requests fail, if it says so."""

        async def ask() -> Any:
            request = pb.Record(request=pb.Request(operations=pb.OperationStatsRequest()))
            handle = await self.run._interface.deliver_async(request)
            return await handle.wait_async(timeout=10)

        try:
            # There is no public interface for this.
            found = self.run._wl.asyncer.run(ask).response.operations_response.operation_stats
            return next((operation.error_status for operation in found.operations if operation.error_status), None)
        except Exception as error:  # noqa: BLE001 a release that has no such thing
            logger.debug("what the client is doing is not known: %r", error)
            return None


class _Upload:
    """Waits for an artifact in a separate thread, since the client allows no second wait after a time-out."""

    def __init__(self, artifact: wandb.Artifact) -> None:
        self.artifact = artifact
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._wait, name="upload", daemon=True)
        self._thread.start()

    def is_done(self, timeout: float) -> bool:
        """Wait for the end of the upload; return whether it has ended, in success or failure."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _wait(self) -> None:
        try:
            self.artifact.wait()
        except Exception as error:  # noqa: BLE001 for whoever waits
            self.error = error


class SharedClient(OnlineClient):
    """A run that the user's process has opened in shared mode, in which several processes may write.

    The service numbers the rows, so a row that is sent twice is duplicated. We do not end the run.
    """

    mode = "shared"

    def _init(self, destination: Destination, settings: Mapping[str, Any], **more: Any) -> wandb.Run:
        settings = {
            **settings,
            "x_label": "tracking-hooks",
            "x_primary": False,
            "x_update_finish_state": False,
            "x_file_stream_transmit_interval": _INTERVAL,
        }
        return Client._init(self, destination, settings, **more)

    def log(self, row: Any, seq: int, time: float) -> None:
        """Add the row of an event to the run's history."""
        if seq > self.last:
            with self._client():
                self.run.log({**row, "_timestamp": time}, commit=True)
            self.last = seq

    def confirm(self) -> State:
        """Wait until the client has sent everything: later, nobody can tell what has arrived."""
        deadline = time.monotonic() + UPLOAD_PATIENCE
        time.sleep(_INTERVAL + 0.5)
        while trouble := self._trouble():
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.where} is not available: {trouble}")
            time.sleep(0.5)
        return {}

    def finish(self, exit_code: int) -> None:
        """Leave the run open: the user's process ends it."""
        Client.finish(self, exit_code)
        self.close()
