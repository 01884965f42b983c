"""What a host talks to: it records one run in a journal and looks after the relays that deliver it.

Only ``Recorder.start`` and ``Recorder.check`` raise, with a ``ConfigurationError``, before the training begins.
Nothing else here blocks, slows down or ends a training.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tracking_hooks import redact
from tracking_hooks.events import Capture, Environment, Params, Plan, Run, Status
from tracking_hooks.recording import (
    handle,  # noqa: F401 so that the first log() imports nothing: forks hang at that
    opening,
    process,
)
from tracking_hooks.recording.chosen import ChosenClasses
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.recording.errors import describe_error, status_of
from tracking_hooks.recording.finals import Finals
from tracking_hooks.recording.folders import adopt, enter_in_index, secure_older
from tracking_hooks.recording.opening import Opened
from tracking_hooks.recording.pointing import Pointing
from tracking_hooks.recording.repository import Repository
from tracking_hooks.recording.resumption import Earlier
from tracking_hooks.recording.sampler import Sampler
from tracking_hooks.recording.supervisor import Supervisor
from tracking_hooks.recording.writer import Writer
from tracking_hooks.run import copies, journal, state
from tracking_hooks.run.commands import Command, Commands
from tracking_hooks.run.journal import Call, JournalError
from tracking_hooks.run.liveness import Heart
from tracking_hooks.run.pointer import PointerFile
from tracking_hooks.settings import ConfigurationError, Settings


class Recorder:
    """One run: its journal, and the relays of the plugins that it goes to."""

    def __init__(
        self, run: Run, opened: Opened, settings: Settings, complain: Complaints, plan: Plan, early: dict[str, Any]
    ) -> None:
        """Record to files that are open; see ``start``. ``early`` is what ``begin`` is given, as far as it is known."""
        self.run = run
        self.plan = msgspec.structs.replace(plan, large_texts=settings.large_texts == "on")
        self.settings = settings
        self.complain = complain
        self.folder = opened.folder
        self.resumed = opened.resumed
        self.status_at_exit: Status = "failed"
        """How the run has ended if its process comes to an end without having said so."""
        self.thread = threading.get_ident()
        self.pid = os.getpid()
        self.supervisor = Supervisor(self.folder, opened.captures, opened.firsts, settings)
        self._opened = opened
        self._early, self._is_closed = early, False
        self._repository = Repository(early["environment"])
        self._finals = Finals(self.folder, run.save_dir, settings, complain)
        self._writer = Writer(opened.journal, opened.lock, complain, opened.story)
        pointer = PointerFile(self.folder, run.save_dir, opened.classes)
        self._pointer = Pointing(pointer, self._writer, complain)
        self._chosen = ChosenClasses(self.folder, opened.classes, pointer, self.record, complain)
        self._commands = Commands(self.folder.commands, complain)
        self._sampler = Sampler(self.record, complain, settings.system_every, Heart(self.folder.heartbeat))

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
        plan: Plan = Plan(),  # noqa: B008 it cannot be changed
        earlier: Earlier | None = None,
        home: Path | None = None,
    ) -> Recorder:
        """Begin to record a run, or go on with it, and start the relays.

        :param captures: what the plugins to deliver to have noted down
        :param logger: where the user reads what we have to say
        :param params: as far as known; ``begin`` gives the resolved ones
        :param plan: what is to be collected at the run's end, whoever ends it
        :param earlier: the run so far, if this one is resumed
        :param home: the folder to make the run folder in; by default the one beside ``save_dir``
        :raises ConfigurationError: if the run's files cannot be made
        """
        complain = Complaints(logger)
        since = secure_older(run.save_dir, complain) if earlier is None else 0.0
        try:
            opened = opening.open_run(run, captures, settings, home, earlier, complain)
        except (JournalError, OSError) as error:
            raise ConfigurationError(f"the run's files cannot be made: {error}") from error
        plan = msgspec.structs.replace(plan, since=max(since, plan.since, opened.story.plan.since))
        recorder = cls(run, opened, settings, complain, plan, {"params": params, "environment": environment})
        process.enter(recorder)
        complain.guard(recorder._sampler.live, "giving signs of life")
        if settings.console == "on":
            complain.guard(lambda: recorder._sampler.follow(logger, opened.folder.files), "recording the console")
        try:
            recorder.supervisor.start()
        except OSError as error:
            recorder._forget()
            raise ConfigurationError(f"a relay cannot be started: {error}") from error
        adopt(recorder.folder.path.parent, settings, complain)
        enter_in_index(opened.folder, complain)
        return recorder

    @property
    def epoch(self) -> int:
        """The last epoch that was settled."""
        return self._writer.story.epoch

    @property
    def disabled(self) -> list[str]:
        """The names of the host's own integrations that the plugins stand in for."""
        return self.supervisor.disabled

    @property
    def is_recording(self) -> bool:
        """Whether the run has not ended yet, and this process records it: a forked one has inherited us."""
        return not self._writer.has_ended and os.getpid() == self.pid

    def check(self, disabled: Sequence[str] = (), rules: Sequence[str] = ()) -> None:
        """Wait, for a bounded time, until every plugin is known to be usable; then say what is attached.

        :param disabled: the host's own integrations that were disabled for this run
        :param rules: what may act on the training
        :raises ConfigurationError: if a plugin cannot be used; the run is forgotten then
        """
        for sentence, is_fatal in self.supervisor.verdicts():
            if is_fatal:
                self._forget()
                raise ConfigurationError(sentence)
            self.complain(sentence)
        try:
            self._pointer.begin()
        except OSError as error:
            self._forget()
            raise ConfigurationError(f"the run's files cannot be made: {error}") from error
        line = f"{'resuming' if self.resumed else 'tracking'} run {self.run.uid} in {self.supervisor.describe()}"
        if rules:
            line += f"; rules: {'; '.join(rules)}"
        if disabled:
            line += f"; {self.plan.host} integrations disabled for this run: {', '.join(disabled)}"
        self.complain.tell(line)

    def begin(self, *, params: Params, environment: Environment, gpus: Sequence[str] | None = None) -> None:
        """Record the start of the run, and sample system metrics from now on, of these GPUs: see ``Gpus``."""
        self._record_start(params=params, environment=environment)
        self._pointer.write(of_another=True)
        self.complain.guard(lambda: self._sampler.start(gpus), "sampling system metrics")

    def _record_start(self, *, params: Params, environment: Environment) -> None:
        params, environment = redact.values(params), self._repository.add_to(environment)
        self.record("on_run_start", params=params, environment=environment, resumed=self.resumed, plan=self.plan)
        self._sampler.records = True

    def record(self, hook: str, **args: Any) -> None:
        """Append one hook call to the journal. Never raises.

        An epoch is settled once: after a resume from further back, the end of one that was settled is left out.

        :param hook: a name from ``LifecycleSpecs``
        :param args: the hook's own parameters
        """
        if not self.is_recording:
            return
        try:  # guard() takes longer, and this is done for every event
            if hook == "on_epoch_end" and args["epoch"] <= self.epoch:
                self.complain(f"epochs up to {self.epoch} were settled before the resume and stay as they are")
                return
            if file := copies.of_call(args):
                self.complain.guard(lambda: self._finals.keep(file), f"keeping the file of {hook}")
            self._writer.append(hook, args)
            self.supervisor.recorded(hook, self._opened.journal.seq)
            if args.get("per_class") and self._opened.captures:
                self._chosen.look(args["per_class"])
            if hook == "on_epoch_end":
                self._pointer.settle()
        except Exception as error:  # noqa: BLE001 nothing of ours may end a training
            self.complain.of_failure(f"recording {hook}", error)

    def calls(self, *hooks: str) -> Iterator[Call]:
        """Read the calls of these hooks that are recorded so far; none if they cannot be read. Never raises."""
        try:
            yield from journal.calls(self.folder.journal, hooks)
        except (JournalError, OSError) as error:
            self.complain(f"what was recorded so far cannot be read: {error}")

    def take_commands(self) -> list[Command]:
        """Return what was asked of the training from outside since the last call. Never raises."""
        return self.complain.guard(self._commands.take, "reading what is asked of the training") or []

    def look_after_relays(self, *, console: bool = True) -> None:
        """Start relays again that died, and say what has changed with the trackers. Never raises.

        A host calls it at the end of an epoch, and now and then within one, then without the lines of the console.
        """
        if os.getpid() != self.pid:
            return
        if console:
            self.complain.guard(self._sampler.record_console, "recording the console")
        self.complain.guard(lambda: self.complain.each(self.supervisor.restart()), "looking after the relays")
        if not self._writer.has_ended:  # at the end, the end line tells
            self.complain.guard(lambda: self.complain.each_time(self.supervisor.outages()), "reading what relays say")

    def end(self, status: Status | None = None, error: BaseException | None = None) -> None:
        """Record the end of the run, once; what comes later is ignored. Never raises; called again if interrupted.

        :param status: None: what the error tells, or that there is none
        :param error: what ended a failed run
        """
        if self._is_closed or os.getpid() != self.pid:
            return
        if self.is_recording:
            if not self._writer.story.is_open:
                if self.resumed:  # "nothing to resume": what the run has come to stands
                    self.complain.guard(self._forget, "leaving the run as it was")
                    return
                self._record_start(**self._early)
            self._sampler.close_console()
            status = status or status_of(error)
            told = describe_error(error) if error and status == "failed" else None
            # What ended another process comes first: ours has then only lost its partner.
            self.record("on_run_end", status=status, error=told and (state.first_crash(self.folder) or told))
        self._sampler.stop()
        self.complain.guard(self._close, "closing the journal")
        self._pointer.write()
        if process.may_go_on_for_days():
            self.tell_outcome()

    def record_final_files(self, skip: Callable[[Path], bool] = lambda _: False, *, is_last: bool = True) -> None:
        """Record what is new or changed in ``save_dir``, as the plan says; what is recorded is kept. Never raises.

        A host calls it as soon as the training is over, before the user can tidy up, and once more at its very end.

        :param skip: says of a file that it is recorded already, as it is now
        :param is_last: whether nothing more comes; the console's log is recorded, too
        """
        if not self.is_recording or not self._writer.story.is_open:
            return
        self._pointer.write()
        if is_last:
            self._sampler.close_console()
        redact.learn(os.environ)  # the script may have set more since the run began
        collect = functools.partial(self._finals.record, self._writer.story, self.record, skip, with_console=is_last)
        self.complain.guard(collect, "recording the final files")

    def tell_outcome(self, *, by_name: bool = False) -> None:
        """Say what was delivered where; the pointer file gets the links. Never raises.

        :param by_name: whether the lines begin with the run's name, since those of other runs stand beside them
        """
        front = f"{self.run.name}: " if by_name else ""
        self.complain.guard(lambda: self._tell_outcome(front), "telling what was delivered")

    def _tell_outcome(self, front: str) -> None:
        for line in self.supervisor.outcome():
            self.complain.tell(f"{front}{line}")
        self._pointer.write(self.supervisor.links())
        if self.supervisor.are_done():
            copies.Sweep(self.folder).now()

    def _close(self) -> None:
        events = self._writer.close()
        self.supervisor.finish(self.folder.journal.stat().st_size, events)
        self._is_closed = True
        self.complain.each(self.supervisor.restart())

    def _forget(self) -> None:
        """Undo ``start``: nothing was recorded."""
        self._writer.has_ended = self._is_closed = True
        self._sampler.stop()
        self.supervisor.stop()
        self._writer.close()
        self._opened.undo()
        process.forget(self)
