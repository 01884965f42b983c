"""A W&B run that is open in this process.

After each error, the relay creates a new instance of the tracker. The run of W&B's client stays open, and the next
instance finds it. What the client has received once is not sent to it again.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import wandb

from tracking_hooks.events import Destination, State, Unavailable
from tracking_hooks_wandb.errors import ClientDied, told_to_relay

logger = logging.getLogger("tracking_hooks.wandb")

UPLOAD_PATIENCE = 120
"""Seconds to wait for an upload before the relay is told that it takes long. The upload continues."""

# These would replace the destination that was recorded when the training started.
_NOTED_DOWN = [
    "WANDB_DIR", "WANDB_ENTITY", "WANDB_JOB_TYPE", "WANDB_MODE", "WANDB_NAME", "WANDB_NOTES", "WANDB_PROJECT",
    "WANDB_RESUME", "WANDB_RUN_GROUP", "WANDB_RUN_ID", "WANDB_SERVICE", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH",
    "WANDB_TAGS",
]  # fmt: skip

# The client must collect nothing about this process. Settings that a release lacks are left out.
_SETTINGS: dict[str, Any] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "save_code": False,
    "silent": True,
    "symlink": False,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_viewer": True,
    "x_save_requirements": False,
    # Every wait has a limit.
    "init_timeout": 15.0,
    "finish_timeout": 60.0,
    "finish_timeout_raises": True,
    "x_file_stream_timeout_seconds": 30.0,
    "x_graphql_timeout_seconds": 20.0,
    # Short, like the relay's own back-off, to notice soon that the service is back.
    "x_file_stream_retry_wait_max_seconds": 15.0,
    "x_file_transfer_retry_wait_max_seconds": 15.0,
    "x_graphql_retry_wait_max_seconds": 15.0,
}

_clients: dict[str, Client] = {}
# Module state, since W&B's client is one per process: instances of the tracker find its runs here.


class Mark(NamedTuple):
    """Identifies, within a W&B run, the journal that is delivered."""

    uid: str
    started: float | None
    """Time of its first event. A run that is resumed on another machine has a new journal."""
    is_joined: bool
    """Whether the run had rows before this journal."""


class Client:
    """One open run. The subclasses differ in when its content is safe: see ``confirm`` and ``finish``."""

    mode: Literal["online", "offline", "shared"]

    def __init__(self, destination: Destination, about: Mapping[str, Any]) -> None:
        """Open the run.

        :param about: further properties of the run, as settings of the client
        :raises Unavailable: if it cannot be opened now
        """
        self.where = f"W&B at {destination['base_url']}" if destination.get("base_url") else "W&B"
        self.key = _key(destination)
        self.base = 0  # the step of our first event, minus one; more than 0 in a run that others have written to
        self.last = 0  # the last event whose row of metrics the run has
        self.behind = 0  # up to this event, an earlier process may not have sent everything
        self.finished = False
        self.stop_asked = threading.Event()
        self._added: set[tuple[str, ...]] = set()
        self._printed: set[int] = set()
        self._alerted: set[int] = set()
        self._scratch = _new_scratch(self.key)
        _prepare_environment(destination, self._scratch)
        logging.getLogger("wandb").propagate = False  # otherwise it prints each step
        try:
            self.run = self._init(destination, about)
        except BaseException:
            self._clean_up()  # otherwise W&B's client says "run ID is in use" from now on
            raise
        _clients[self.key] = self

    @staticmethod
    def find(destination: Destination) -> Client | None:
        """Return the client that an earlier instance of the tracker left open."""
        return _clients.get(_key(destination))

    def _init(self, destination: Destination, settings: Mapping[str, Any], **more: Any) -> wandb.Run:
        stop_asked = self.stop_asked

        def stop() -> None:  # a plain function, since settings are copied, and an Event cannot be
            stop_asked.set()

        settings = {
            **_SETTINGS,
            "stop_fn": stop,
            "sweep_id": destination.get("sweep") or None,
            **settings,
        }
        known = {name: value for name, value in settings.items() if name in wandb.Settings.model_fields}
        with told_to_relay(self.where):
            return wandb.init(
                dir=str(self._scratch),
                mode=self.mode,
                entity=destination.get("entity") or None,
                project=destination["project"],
                id=destination["id"],
                reinit="create_new",
                settings=wandb.Settings(**known),
                **more,
            )

    # -- writing ----------------------------------------------------------------------------------------------

    def log(self, row: Mapping[str, Any], seq: int, time: float) -> None:
        """Add the row of an event to the run's history, unless it is there."""
        if seq > self.last:
            with self._client():
                self.run.log({**row, "_timestamp": time}, step=self.base + seq, commit=True)
            self.last = seq

    def x_axis(self, name: str, *metrics: str) -> None:
        """Draw the charts of some metrics over another metric, which has no chart of its own."""
        with self._client():
            self.run.define_metric(name, hidden=True)
            for metric in metrics:
                self.run.define_metric(metric, step_metric=name)

    def configure(self, values: Mapping[str, Any], *, missing_only: bool = False) -> None:
        """Set values of the run's config, replacing older ones unless only missing values are wanted."""
        with self._client():
            new = {name: value for name, value in values.items() if not (missing_only and name in self.run.config)}
            self.run.config.update(new, allow_val_change=True)

    def summarize(self, values: Mapping[str, Any]) -> None:
        """Set values in the run's summary."""
        with self._client():
            self.run.summary.update(dict(values))

    def save(self, path: Path, name: str) -> None:
        """Add a file to the run, replacing an older one of that name."""
        copy = Path(self.run.dir, name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        with self._client():
            self.run.save(str(copy), base_path=self.run.dir, policy="now")

    def write(self, text: str, name: str) -> None:
        """Add a text to the run as a file."""
        path = self._scratch / "text"
        path.write_text(text, encoding="utf-8")
        self.save(path, name)

    def add(self, artifact: wandb.Artifact, aliases: list[str], *, is_input: bool = False) -> None:
        """Add a version of an artifact, unless it is there."""
        key = (artifact.type, artifact.name, artifact.digest, *aliases)
        if key not in self._added:
            with self._client():
                added = self._add(artifact, aliases)
                if is_input:
                    self._use(added)
            self._added.add(key)

    def _add(self, artifact: wandb.Artifact, aliases: list[str]) -> wandb.Artifact:
        return self.run.log_artifact(artifact, aliases=aliases)

    def _use(self, artifact: wandb.Artifact) -> None:
        """Declare an artifact as an input of the run."""
        self.run.use_artifact(artifact)

    def print(self, text: str, seq: int) -> None:
        """Add lines to the run's log."""
        if seq > self.last and seq not in self._printed:
            with self._client():
                self.run.write_logs(text)
            self._printed.add(seq)

    def alert(self, title: str, text: str, level: str, seq: int) -> None:
        """Send an alert to the users who have subscribed to alerts in W&B."""
        if seq > self.behind and seq not in self._alerted:
            with self._client():
                self.run.alert(title, text, level=level, wait_duration=0)
            self._alerted.add(seq)

    # -- confirming -------------------------------------------------------------------------------------------

    def confirm(self) -> State:
        """Return once everything sent is safe, as far as this kind of run can know.

        :returns: values for the plugin's state
        :raises Unavailable: if it is not safe
        """
        raise NotImplementedError

    def finish(self, exit_code: int) -> None:
        """End the run.

        :raises Unavailable: if W&B has not received all of it
        """
        if not self.finished:
            with self._client():
                try:
                    self.run.finish(exit_code=exit_code)
                except TimeoutError:
                    self.close()
                    raise Unavailable(f"{self.where} has not accepted the rest of the run in time") from None
            self.finished = True

    def close(self) -> None:
        """Forget the run in this process."""
        if _clients.pop(self.key, None):
            self._clean_up()

    @contextmanager
    def _client(self) -> Iterator[None]:
        try:
            with told_to_relay(self.where):
                yield
        except ClientDied:
            self.close()
            raise

    def _clean_up(self) -> None:
        with suppress(Exception):  # left by a process that may be dead
            wandb.teardown()
        shutil.rmtree(self._scratch, ignore_errors=True)


def _key(destination: Destination) -> str:
    parts = [destination.get(name, "") for name in ("mode", "base_url", "entity", "project", "id", "folder")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _new_scratch(key: str) -> Path:
    """Create a folder for the client's own files, and remove those that a killed relay has left."""
    prefix = f"tracking-hooks-wandb-{key}-"
    for old in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        shutil.rmtree(old, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)  # for a run that is still open at that moment
    return scratch


def _prepare_environment(destination: Destination, scratch: Path) -> None:
    for name in _NOTED_DOWN:
        os.environ.pop(name, None)
    os.environ.pop("WANDB_BASE_URL", None)
    if destination.get("base_url"):
        os.environ["WANDB_BASE_URL"] = destination["base_url"]
    # Copies of uploads, which the client would otherwise keep in the user's home.
    os.environ["WANDB_DATA_DIR"] = str(scratch / "data")
    os.environ["WANDB_CACHE_DIR"] = str(scratch / "cache")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
