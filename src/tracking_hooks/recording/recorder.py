"""What a host adapter talks to: it records one run in a journal and looks after the relays that deliver it.

Only ``Recorder.start`` and ``Recorder.check`` raise, with a ``ConfigurationError``, before the training begins.
Nothing else here blocks, slows down or ends a training.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tracking_hooks import redact
from tracking_hooks.delivery.spawn import start_adopter
from tracking_hooks.events import Capture, Environment, Error, Params, Run, Status
from tracking_hooks.recording import resumption
from tracking_hooks.recording.console import ConsoleLog
from tracking_hooks.recording.resumption import Earlier
from tracking_hooks.recording.supervisor import Supervisor, wait_for_delivery
from tracking_hooks.recording.system import SystemMonitor
from tracking_hooks.recording.writer import Writer
from tracking_hooks.run import files, journal, layout, orphans, state
from tracking_hooks.run.commands import Command, Commands
from tracking_hooks.run.journal import FORMAT, Call, Head, Journal, JournalError
from tracking_hooks.run.layout import Pointer, RunFolder, write_json
from tracking_hooks.run.liveness import Lock
from tracking_hooks.settings import ConfigurationError, Settings

_recorders: list[Recorder] = []
# The one piece of module state: `log()` and the exit of the process have nothing else to find recorders by.


def log(metrics: Mapping[str, float], step: int | None = None) -> None:
    """Record metrics of your own in the training that runs in this thread; without effect if none is tracked.

    :param metrics: name to value
    :param step: the x axis; None: the journal's own numbering
    """
    running = [recorder for recorder in _recorders if recorder.is_recording]
    mine = [recorder for recorder in running if recorder.thread == threading.get_ident()] or running
    for recorder in mine:
        recorder.record("on_log", metrics=metrics, step=step)


class Recorder:
    """One run: its journal, and the relays of the plugins that it goes to."""

    def __init__(
        self,
        run: Run,
        captures: Mapping[str, Capture],
        settings: Settings,
        logger: logging.Logger,
        *,
        params: Params,
        environment: Environment,
        earlier: Earlier | None,
        home: Path | None,
    ) -> None:
        """Make the run's files, or go on with those that are there; see ``start``."""
        self.run = run
        self.epoch = earlier.epoch if earlier else 0  # the last settled one
        self.resumed = earlier is not None
        self.status_at_exit: Status = "failed"
        """How the run has ended if its process comes to an end without having said so."""
        self.settings = settings
        self.thread = threading.get_ident()
        self._logger = logger
        self._pid = os.getpid()
        self._offline = settings.mode == "offline"
        self._early: dict[str, Any] = {"params": params, "environment": environment}
        self._begun = False
        self._complaints: set[str] = set()
        self._saved = dict(earlier.saved) if earlier else {}
        self._stop_sampling = threading.Event()
        self._captures = dict(captures)
        self._added: list[str] = []  # trackers that the run did not have before it was resumed
        self._is_new = not (earlier and earlier.journal)
        if earlier and earlier.journal:
            self.folder, head = earlier.journal
            resumption.take_over(self.folder)
            lock = self._take_lock()
            self._go_on(head)
            log = Journal.reopen(self.folder.journal)
        else:
            self.folder = _make_folder(run, logger, home)
            lock = self._take_lock()
            destinations = {name: capture.destination for name, capture in captures.items()}
            head = Head(
                format=FORMAT,
                created=time.time(),
                run=run,
                plugins=destinations,
                metrics=settings.metrics,
                checkpoints=settings.checkpoints,
                home=self.folder.path.parent,
            )
            log = Journal.create(self.folder.journal, head)
        self._writer = Writer(log, lock, self._complain)
        self._commands = Commands(self.folder.commands, self._complain)
        self._console: ConsoleLog | None = None
        if settings.console == "on":
            self._console = ConsoleLog(self.folder.files / layout.CONSOLE)
            logger.addHandler(self._console)
        self.supervisor = Supervisor(self.folder, self._captures, settings)
        self._write_pointer()

    @classmethod
    def start(
        cls,
        run: Run,
        captures: Mapping[str, Capture],
        settings: Settings,
        logger: logging.Logger,
        *,
        params: Params,
        environment: Environment,
        earlier: Earlier | None = None,
        home: Path | None = None,
    ) -> Recorder:
        """Begin to record a run, or go on with it, and start the relays.

        :param captures: what the plugins to deliver to have noted down
        :param logger: where the user reads what we have to say
        :param params: as far as known; ``begin`` gives the resolved ones
        :param earlier: the run so far, if this one is resumed
        :param home: the folder to make the run folder in; by default the one beside ``save_dir``
        :raises ConfigurationError: if the run's files cannot be made
        """
        if earlier is None:
            secure_older(run.save_dir, logger)
        try:
            recorder = cls(
                run, captures, settings, logger, params=params, environment=environment, earlier=earlier, home=home
            )
        except (JournalError, OSError) as error:
            raise ConfigurationError(f"the run's files cannot be made: {error}") from error
        if not _recorders:
            atexit.register(_finish_all)
        for other in [other for other in _recorders if other.run.uid == run.uid]:
            _recorders.remove(other)  # in a notebook: the part that was interrupted has nothing more to say
        _recorders.append(recorder)
        try:
            recorder.supervisor.start()
        except OSError as error:
            recorder._forget()
            raise ConfigurationError(f"a relay cannot be started: {error}") from error
        recorder.adopt()
        recorder._guard(lambda: layout.enter_in_index(recorder.folder), "entering the run in the index")
        return recorder

    def _take_lock(self) -> Lock:
        lock = Lock(self.folder.lock)
        lock.acquire()
        return lock

    def _go_on(self, head: Head) -> None:
        """Deliver to where the run has been delivered so far; a new tracker gets all of it."""
        for name, capture in list(self._captures.items()):
            known = head.plugins.get(name)
            if known is None:
                del self._captures[name]
                label = self.folder.add_replay(name, capture.destination)
                self._captures[label] = capture
                self._added.append(label)
            elif known != capture.destination:
                self._complain(f"{name} goes on where this run was begun, not where a new one would go: {known}")

    @property
    def is_recording(self) -> bool:
        """Whether the run has not ended yet."""
        return not self._writer.has_ended

    @property
    def replaced(self) -> list[str]:
        """The names of the host's own integrations that the plugins stand in for."""
        return [capture.disables for capture in self._captures.values() if capture.disables]

    def describe(self) -> str:
        """Return what is attached and where to look, for the start line."""
        if not self._captures:
            return f"{self.folder.path} (no tracker)"
        if self._offline:
            return f"{self.folder.path} only (offline), for {', '.join(self._captures)}"
        return ", ".join(
            f"{name} ({capture.summary})" if capture.summary else name for name, capture in self._captures.items()
        )

    def check(self, replaced: Sequence[str] = (), rules: Sequence[str] = ()) -> None:
        """Wait, for a bounded time, until every relay has checked its plugin; then say what is attached.

        :param replaced: the host's own integrations that were taken off
        :param rules: what may act on the training
        :raises ConfigurationError: if a plugin cannot be used; the run is forgotten then
        """
        for sentence, is_fatal in self.supervisor.verdicts():
            if is_fatal:
                self._forget()
                raise ConfigurationError(sentence)
            self._complain(sentence)
        line = f"run {self.run.uid} goes {'on ' if self.resumed else ''}to {self.describe()}"
        if rules:
            line += f"; governed by {'; '.join(rules)}"
        if replaced:
            line += f"; Ultralytics' own {' and '.join(replaced)} is taken off this run"
        self._logger.info(f"tracking-hooks: {line}")

    def begin(self, *, params: Params, environment: Environment) -> None:
        """Record the start of the run, and sample system metrics from now on."""
        self._record_start(params=params, environment=environment)
        if self.settings.system_every:
            threading.Thread(target=self._sample, name="tracking-hooks-system", daemon=True).start()

    def _record_start(self, *, params: Params, environment: Environment) -> None:
        self._begun = True
        self.record("on_run_start", params=redact.values(params), environment=environment, resumed=self.resumed)

    def record(self, hook: str, **args: Any) -> None:
        """Append one hook call to the journal. Never raises.

        An epoch is settled once: after a resume from further back, the end of one that was settled is left out.

        :param hook: a name from ``LifecycleSpecs``
        :param args: the hook's own parameters
        """
        if self._writer.has_ended or os.getpid() != self._pid:  # a forked worker has inherited us
            return
        if hook == "on_epoch_end":
            if args["epoch"] <= self.epoch:
                self._complain(f"epochs up to {self.epoch} were settled before the resume and stay as they are")
                return
            self.epoch = args["epoch"]
        if hook == "on_action":
            files.note_saved(self._saved, args["action"], args["outcome"])
        self._guard(lambda: self._append(hook, args), f"recording {hook}")
        if hook == "on_epoch_end":
            self._guard(self._write_pointer, f"writing {layout.POINTER}")

    def _append(self, hook: str, args: dict[str, Any]) -> None:
        files.secure_if_outside(self.folder, args)
        self._writer.append(hook, args)

    def calls(self) -> list[Call]:
        """Return what is recorded so far; nothing if it cannot be read. Never raises."""
        calls: list[Call] = []
        self._guard(lambda: calls.extend(self._read()), "reading what was recorded so far")
        return calls

    def _read(self) -> Iterator[Call]:
        _, offset = journal.read_head(self.folder.journal)
        return (entry.call for entry in journal.read(self.folder.journal, offset) if entry.call)

    def take_commands(self) -> list[Command]:
        """Return what was asked of the training from outside since the last call. Never raises."""
        commands: list[Command] = []
        self._guard(lambda: commands.extend(self._commands.take()), "reading what is asked of the training")
        return commands

    def look_after_relays(self) -> None:
        """Start relays again that died, and say what has changed with the trackers. Never raises."""
        if os.getpid() == self._pid:
            self._record_console()
            self._guard(self._restart_relays, "looking after the relays")
            if not self._writer.has_ended:  # at the end, the end line tells
                self._guard(self._tell_of_outages, "reading what the relays say")

    def _restart_relays(self) -> None:
        for sentence in self.supervisor.restart():
            self._complain(sentence)

    def _tell_of_outages(self) -> None:
        for sentence in self.supervisor.outages():
            self._logger.warning(f"tracking-hooks: {sentence}")

    def end(self, status: Status, error: BaseException | None = None) -> None:
        """Record the end of the run, once; what comes later is ignored. Never raises.

        :param error: what ended a failed run
        """
        if self._writer.has_ended or os.getpid() != self._pid:
            return
        if not self._begun:
            if self.resumed:  # "nothing to resume": what the run has come to stands
                self._guard(self._forget, "leaving the run as it was")
                return
            self._record_start(**self._early)
        self._close_console()
        told = describe_error(error) if error and status == "failed" else None
        # What ended another process comes first: ours has then only lost its partner.
        self.record("on_run_end", status=status, error=told and (state.first_crash(self.folder) or told))
        self._stop_sampling.set()
        self._guard(self._close, "closing the journal")
        if hasattr(sys, "ps1") or "ipykernel" in sys.modules:  # this process may go on for days
            self.tell_outcome()

    def end_by(self, error: BaseException | None) -> None:
        """Record the end of the run, as the exception in flight tells it. Never raises."""
        if error is None:
            self.end("finished")
        elif isinstance(error, KeyboardInterrupt):
            self.end("interrupted")
        else:
            self.end("failed", error)

    def record_final_files(self, epoch: int, skip: Callable[[Path], bool] = lambda _: False) -> None:
        """Record what the run has left in ``save_dir``. Never raises.

        :param skip: says of a file that it is recorded already, as it is now
        """
        if self._writer.has_ended or not self._begun:
            return
        self._guard(self._write_pointer, f"writing {layout.POINTER}")
        self._close_console()
        self._guard(lambda: self._record_final_files(epoch, skip), "recording the final files")

    def _record_final_files(self, epoch: int, skip: Callable[[Path], bool]) -> None:
        kinds = self.settings.checkpoint_rule().kinds
        for hook, args in files.final_files(self.folder, self.run.save_dir, epoch, kinds, skip, saved=self._saved):
            self.record(hook, **args)

    def secure_files(self) -> None:
        """Copy a trial's files that are not delivered yet: the tuning may delete its folder now. Never raises."""
        if self.run.parent is None or self.supervisor.are_done():
            return
        self._guard(lambda: orphans.secure_files(self.folder), "copying files that are not delivered yet")

    def tell_outcome(self) -> None:
        """Say what was delivered where; the pointer file gets the links. Never raises."""
        self._guard(self._tell_outcome, "telling what was delivered")

    def _tell_outcome(self) -> None:
        for line in self.supervisor.outcome():
            self._logger.info(f"tracking-hooks: {line}")
        self._write_pointer(self.supervisor.links())

    def _write_pointer(self, links: Mapping[str, str] = MappingProxyType({})) -> None:
        if self.run.save_dir.is_dir():  # that of a trial may be deleted by now
            pointer = Pointer(uid=self.run.uid, folder=self.folder.path, epoch=self.epoch, links=dict(links))
            write_json(self.run.save_dir / layout.POINTER, pointer)

    def adopt(self) -> None:
        """Have delivered what other trainings beside this one have left behind. Never raises."""
        if not self._offline:
            self._guard(self._adopt, "adopting other runs")

    def _adopt(self) -> None:
        home = self.folder.path.parent
        others = [folder for folder in layout.find_runs(home) if not state.is_running(folder)]
        if any(_has_pending(folder) for folder in others):
            start_adopter(home)

    def _close(self) -> None:
        events = self._writer.close()
        self.supervisor.finish(self.folder.journal.stat().st_size, events)
        self._restart_relays()

    def _forget(self) -> None:
        """Undo ``start``: nothing was recorded."""
        self._writer.has_ended = True
        self._close_console()
        self.supervisor.stop()
        self._writer.close()
        for label in self._added:
            self.folder.forget_replay(label)
        if self._is_new:
            self.folder.remove()
            (layout.index_folder() / f"{self.run.uid}.json").unlink(missing_ok=True)
        if not self.resumed:
            (self.run.save_dir / layout.POINTER).unlink(missing_ok=True)
        if self in _recorders:
            _recorders.remove(self)

    # -- helpers ----------------------------------------------------------------------------------------------

    def _sample(self) -> None:
        monitor: SystemMonitor | None = None
        while not self._stop_sampling.wait(self.settings.system_every):
            try:
                monitor = monitor or SystemMonitor()
                metrics = monitor.sample()
            except Exception as error:  # noqa: BLE001 whatever the machine refuses, the training goes on
                self._complain(f"system metrics are left out: {type(error).__name__}: {error}")
                metrics = {}  # still a sign of life
            self.record("on_system_metrics", metrics=metrics)
            self._record_console()

    def _record_console(self) -> None:
        if self._console and self._begun and (lines := self._console.take()):
            self.record("on_console", lines=lines)

    def _close_console(self) -> None:
        if self._console:
            self._logger.removeHandler(self._console)
            self._record_console()
            self._console.close()
            self._console = None

    def _guard(self, action: Any, what: str) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 nothing of ours may end a training
            self._complain(f"{what} failed: {type(error).__name__}: {error}")

    def _complain(self, sentence: str) -> None:
        if sentence not in self._complaints:
            self._complaints.add(sentence)
            self._logger.warning(f"tracking-hooks: {sentence}")


def _finish_all() -> None:
    """At the end of the process: end what was not ended, wait for delivery, say what was delivered."""
    mine = [recorder for recorder in _recorders if recorder._pid == os.getpid()]
    _recorders.clear()
    if not mine:
        return
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    for recorder in (recorder for recorder in mine if recorder.is_recording):
        recorder.record_final_files(recorder.epoch)
        recorder.end("interrupted" if isinstance(error, KeyboardInterrupt) else recorder.status_at_exit, error)
    with suppress(KeyboardInterrupt):  # the user does not want to wait; the relays go on
        mine[0]._guard(lambda: _wait_for(mine), "waiting for delivery")
    for recorder in mine:
        recorder.secure_files()
        recorder.tell_outcome()
    if isinstance(error, KeyboardInterrupt):
        # Python then ends by SIGINT, but it forgets that when a text is executed after it, as an import of
        # dataclasses does: remind it, or the exit code would be another one with tracking.
        with suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102


def _wait_for(recorders: list[Recorder]) -> None:
    limit = max(recorder.settings.exit_wait for recorder in recorders)
    for _ in wait_for_delivery([recorder.supervisor for recorder in recorders], limit):
        for recorder in recorders:
            recorder.look_after_relays()


def _has_pending(folder: RunFolder) -> bool:
    try:
        return any(True for _ in state.pending([folder]))
    except (JournalError, OSError):
        return False  # it cannot be read: `status` says so


def secure_older(save_dir: Path, logger: logging.Logger) -> None:
    """Copy what an older run in the same folder has not delivered yet. Never raises."""
    older = layout.find_runs(save_dir) if (save_dir / layout.POINTER).exists() else []
    try:
        for folder in older:
            orphans.secure_files(folder)
    except (JournalError, OSError) as error:
        logger.warning(f"tracking-hooks: files of an older run may be overwritten before delivery: {error}")


def _make_folder(run: Run, logger: logging.Logger, home: Path | None) -> RunFolder:
    """Make the run folder, or one in the user's own folder where that cannot be written."""
    folder = RunFolder(home / run.uid) if home else RunFolder.beside(run.save_dir, run.uid)
    try:
        folder.create()
    except OSError as error:
        folder = RunFolder(layout.fallback_home() / run.uid)
        folder.create()
        logger.warning(f"tracking-hooks: {error}; the run is recorded in {folder.path}")
    return folder


def describe_error(error: BaseException, where: str = "") -> Error:
    """Describe what ended a run, without secrets.

    :param where: the process, if it is not the one that records
    """
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return Error(
        type=type(error).__name__,
        message=redact.text(f"{where}: {error}" if where else str(error)),
        traceback=redact.text("".join(lines)),
    )
