"""A W&B run. It stays open while the relay replaces the tracker's instance after an error."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import wandb

from tracking_hooks.events import Destination, Environment, Params, Rejected, Run, State, Unavailable
from tracking_hooks_wandb import content, names, process
from tracking_hooks_wandb.errors import ClientDied, told_to_relay
from tracking_hooks_wandb.memory import Memory
from tracking_hooks_wandb.steps import Steps


class Start(NamedTuple):
    """What is known of the training when its run is opened."""

    run: Run
    params: Params
    environment: Environment
    time: float
    """Of the journal's first event. A training that is resumed on another machine has a new journal."""
    is_joined: bool
    """Whether W&B's run had rows before this journal."""
    exit_code: int | None
    """Of a run that has ended."""

    @property
    def journal(self) -> tuple[str, str | None, float]:
        """What tells the journal from others: two machines may have one each of a run."""
        return self.run.uid, self.run.addendum, self.time


class Client:
    """A run, and what was given to it. Subclasses differ in when that is safe: see ``confirm`` and ``finish``.

    By itself, this class is a run for ``WANDB_MODE=disabled``: W&B's client takes everything and does nothing.
    """

    mode: Literal["online", "offline", "shared", "disabled"] = "disabled"

    def __init__(self, destination: Destination, journal: tuple[str, str | None, float]) -> None:
        """Prepare; see ``open``."""
        self.destination = destination
        self.journal = journal
        self.where = f"W&B at {destination['base_url']}" if destination.get("base_url") else "W&B"
        self.stop_asked = threading.Event()
        self.steps = Steps()
        self.last = 0  # the last event whose row the run has
        self.exit_code: int | None = None  # of a run that has ended
        self.memory = Memory()
        self._run: wandb.Run | None = None

    def open(self, start: Start, state: State) -> None:
        """Open the run for a fresh instance, unless it is open. One that has ended is opened when it is written to.

        :raises Unavailable: if it cannot be opened now
        """
        self._start = start
        self.memory.open(state)
        if start.exit_code is not None:
            self.exit_code = start.exit_code
        elif self._run is None:
            self._connect()

    def start(self, params: Params, environment: Environment, seq: int) -> None:
        """Take in that the training starts, or goes on."""
        is_late = seq < self.memory.seq  # it was set aside, and a run that has ended since stays so
        if self.memory.is_new("start", seq):
            self._start = self._start._replace(params=params, environment=environment)
            self.exit_code = self.exit_code if is_late else None
            # As in Ultralytics' own integration: config values of the user's run or of a sweep stay.
            self._configure(params, missing_only=bool(self.destination.get("joined")))
            self._gave("start", seq)

    def _connect(self) -> wandb.Run:
        self._scratch = process.new_scratch(key(self.destination))
        process.prepare(self.destination, self._scratch)
        try:
            self._run = run = self._init(content.about(self._start.environment))
        except BaseException:
            self._clean_up()  # otherwise W&B's client says "run ID is in use" from now on
            raise
        self._look_at(run)
        for x, metrics in content.X_AXES.items():
            self.x_axis(x, *metrics)
        start = self._start
        if start.run.addendum is None:
            # Also when a run is opened again: the client sends it some seconds late.
            self._configure(start.params, missing_only=True)
            source = content.source(start.run, start.environment, self.destination, start.time, self.steps.base)
            self._configure({"tracking_hooks": source})
        return run

    def _init(self, settings: Mapping[str, Any], **more: Any) -> wandb.Run:
        settings = {"sweep_id": self.destination.get("sweep") or None, **settings}
        with told_to_relay(self.where):
            return wandb.init(
                dir=str(self._scratch),
                mode=self.mode,
                entity=self.destination.get("entity") or None,
                project=self.destination["project"],
                id=self.destination["id"],
                reinit="create_new",
                settings=process.settings(self.stop_asked, settings),
                **more,
            )

    def _look_at(self, run: wandb.Run) -> None:
        """Take in what the run has, now that it is open."""

    # -- writing ----------------------------------------------------------------------------------------------

    def log(self, row: Mapping[str, Any], seq: int, time: float) -> None:
        """Add the row of an event to the run's history, unless it is there.

        :raises Rejected: if the run has later rows, but not this one
        """
        before, self.memory.row = self.memory.row, max(self.memory.row, seq)
        if not self.memory.is_new("row", seq):
            return
        if self.is_late(seq):
            raise Rejected(
                f"the run in W&B has passed step {self.steps.of(seq)}: W&B takes rows in their order, and drops one "
                f"that comes late. Not in W&B: {', '.join(row)}"
            )
        if seq <= self.last:
            self._complete(row, before)
        else:
            with self._client() as run:
                run.log({**row, "_timestamp": time}, step=self.steps.of(seq), commit=True)
            self.last = seq
        self._gave("row", seq, row)

    def is_late(self, seq: int) -> bool:
        """Return whether the run has passed an event whose row it does not have."""
        is_over = self.exit_code is not None and self._start.run.addendum is None
        return (seq <= self.last or is_over) and not self.has_row(seq)

    def has_row(self, seq: int) -> bool:
        """Return whether the run has the row of an event."""
        return self.memory.has("row", seq)

    def _complete(self, row: Mapping[str, Any], before: int) -> None:
        """Send what belongs to a row that the run has.

        :param before: the event of the row before it
        """

    def x_axis(self, name: str, *metrics: str) -> None:
        """Draw the charts of some metrics over another metric, which has no chart of its own."""
        with self._client() as run:
            run.define_metric(name, hidden=True)
            for metric in metrics:
                run.define_metric(metric, step_metric=name)

    def _configure(self, values: Mapping[str, Any], *, missing_only: bool = False) -> None:
        with self._client() as run:
            new = {name: value for name, value in values.items() if not (missing_only and name in run.config)}
            run.config.update(new, allow_val_change=True)

    def configure(self, values: Mapping[str, Any], seq: int) -> None:
        """Set values in the run's config, whatever it has under these names."""
        self._do("config", seq, lambda run: run.config.update(dict(values), allow_val_change=True))

    def tag(self, tags: Mapping[str, str], seq: int) -> None:
        """Add tags to the run, each in place of an earlier one of that name."""
        self._do("tags", seq, lambda run: setattr(run, "tags", names.tags(run.tags or (), tags)))

    def summarize(self, values: Mapping[str, Any], seq: int) -> None:
        """Set values in the run's summary."""
        self._do("summary", seq, lambda run: run.summary.update(dict(values)))

    def replace_summary(self, name: str, text: str) -> None:
        """Set a text in the run's summary, or take it out where there is none; may come again."""
        with self._client() as run:
            if text:
                run.summary[name] = text
            elif not run.disabled:
                del run.summary[name]

    def save(self, path: Path, name: str, seq: int) -> None:
        """Add a file to the run, replacing an older one of that name."""
        self._save(partial(shutil.copyfile, path), name, seq)

    def write(self, text: str, name: str, seq: int) -> None:
        """Add a text to the run as a file."""
        self._save(lambda path: path.write_text(text, encoding="utf-8"), name, seq)

    def _save(self, write: Callable[[Path], Any], name: str, seq: int) -> None:
        if self.memory.is_new("file", seq):
            with self._client() as run:
                if not run.disabled:
                    path = Path(run.dir, name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write(path)
                    run.save(str(path), base_path=run.dir, policy="now")
            self._gave("file", seq)

    def add(self, artifact: wandb.Artifact, aliases: list[str], seq: int, *, is_input: bool = False) -> None:
        """Add a version of an artifact, unless it is there."""
        if self.memory.is_new("artifact", seq):
            with self._client() as run:
                added = self._add(run, artifact, aliases)
                if is_input:
                    self._use(run, added)
            self._gave("artifact", seq)

    def _add(self, run: wandb.Run, artifact: wandb.Artifact, aliases: list[str]) -> wandb.Artifact:
        return run.log_artifact(artifact, aliases=aliases)

    def _use(self, run: wandb.Run, artifact: wandb.Artifact) -> None:
        """Declare an artifact as an input of the run."""
        run.use_artifact(artifact)

    def print(self, text: str, seq: int) -> None:
        """Add lines to the run's log."""
        self._do("line", seq, lambda run: run.write_logs(text))

    def alert(self, title: str, text: str, level: str, seq: int) -> None:
        """Send an alert to the users who have subscribed to alerts in W&B."""
        self._do("alert", seq, lambda run: run.alert(title, text, level=level, wait_duration=0))

    def alert_when_safe(self, title: str, text: str, level: str, seq: int) -> None:
        """Send an alert when its event will not be given again."""
        self.alert(title, text, level, seq)

    def _do(self, what: str, seq: int, act: Callable[[wandb.Run], Any]) -> None:
        if self.memory.is_new(what, seq):
            with self._client() as run:
                act(run)
            self._gave(what, seq)

    def _gave(self, what: str, seq: int, row: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Remember what the client was given."""
        self.memory.gave(what, seq)

    # -- confirming -------------------------------------------------------------------------------------------

    def flush(self, state: State) -> int | None:
        """Return the last event that is safe; None: all that was given.

        :raises Unavailable: if W&B does not take it
        """
        if self._run is not None and self.exit_code is not None:
            self.finish(self.exit_code)  # something late was written
        safe = None if self._run is None else self.confirm()
        state |= {"row": self.memory.row, "seq": self.memory.seq}
        return safe

    def confirm(self) -> int | None:
        """Return the last event of an open run that is safe; None: all that was given."""
        self.memory.save(self.memory.unsafe.keys())
        return None

    def finish(self, exit_code: int) -> None:
        """End the run, and make sure that it is safe.

        :raises Unavailable: if W&B has not received all of it
        """
        self._end(exit_code)
        self._close_ended(exit_code)

    def _end(self, exit_code: int) -> None:
        with self._client() as run:
            try:
                run.finish(exit_code=exit_code)
            except TimeoutError:
                self.close()
                raise Unavailable(f"{self.where} has not accepted the rest of the run in time") from None

    def _close_ended(self, exit_code: int) -> None:
        self.exit_code = exit_code
        self.memory.save(self.memory.unsafe.keys())
        self.close()

    def close(self) -> None:
        """Forget the run, and what is not safe."""
        self.memory.lose()
        if self._run is not None:
            self._run = None
            self._clean_up()

    @contextmanager
    def _client(self) -> Iterator[wandb.Run]:
        run = self._run or self._connect()
        try:
            with told_to_relay(self.where):
                yield run
        except ClientDied:
            self.close()
            raise

    def _clean_up(self) -> None:
        with suppress(Exception):  # left by a process that may be dead
            wandb.teardown()
        shutil.rmtree(self._scratch, ignore_errors=True)


def key(destination: Destination) -> str:
    """Return a short text that stands for the run."""
    parts = [destination.get(name, "") for name in ("mode", "base_url", "entity", "project", "id", "folder")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
