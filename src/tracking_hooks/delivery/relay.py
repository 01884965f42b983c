"""A relay: one process that delivers one run's journal to one plugin, whatever happens.

Delivery is at least once. A batch of calls goes to the plugin, ``flush`` behind it, and only then the cursor
moves, together with the plugin's state. ``Unavailable`` and any ``OSError`` mean: the same batch again, for
ever, with back-off. Any other exception means that something in the batch is at fault: the plugin is built
anew from its saved state, the batch is halved until the culprit is alone, and that one is tried three times
before it is set aside as a dead letter. An event at which the process itself died three times is set aside too.
"""

from __future__ import annotations

import copy
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pluggy
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential, wait_random

from tracking_hooks import plugins
from tracking_hooks.delivery import dead_letters
from tracking_hooks.delivery.condition import Condition
from tracking_hooks.delivery.deaths import Deaths
from tracking_hooks.delivery.inquiry import Inquiry
from tracking_hooks.delivery.spawn import BUSY, DELIVERED, PENDING, REFUSED, start_adopter
from tracking_hooks.delivery.watchdog import Watchdog
from tracking_hooks.events import Destination, Rejected, Run, Unavailable
from tracking_hooks.metricrules import MetricRules
from tracking_hooks.run import files, journal, orphans, state
from tracking_hooks.run.journal import Call, Entry, Head
from tracking_hooks.run.layout import Cursor, RunFolder, check_state, fallback_home, write_json
from tracking_hooks.run.liveness import Lock
from tracking_hooks.settings import ConfigurationError, Settings

logger = logging.getLogger("tracking_hooks.delivery.relay")

_TRIES = 3
_BATCH_BYTES = 4 << 20
_DRAIN_PATIENCE = 5.0
"""Seconds that `sync` waits for a tracker that is down."""
_POLL = 0.2
"""Seconds between two looks at a journal that has nothing new."""


class Relay:
    """Delivers a journal to a plugin. Use ``main``, in a process of its own."""

    def __init__(
        self,
        folder: RunFolder,
        label: str,
        settings: Settings,
        *,
        drain: bool = False,
        check: bool = False,
    ) -> None:
        """Make a relay.

        :param label: the plugin's name, or that of a replay (see ``RunFolder.replays``)
        :param drain: end when everything there is has been delivered, or when the tracker is down
        :param check: only check the plugin
        """
        self.folder = folder
        self.files = folder.relay(label)
        self.replay = folder.replays().get(label)
        self.name = self.replay.plugin if self.replay else label
        self.settings = settings
        self.drain = drain
        self.check = check
        self.cursor = Cursor()
        self._manager: pluggy.PluginManager | None = None
        self._condition = Condition(self.name, self.files)
        self._deaths = Deaths(self.files)
        self._progress = time.monotonic()
        self._inquiry = Inquiry(folder, self.name)
        self._watch = Watchdog(settings.call_timeout)

    def run(self) -> int:
        """Deliver until there is nothing left to do; return the exit code."""
        self.files.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = Lock(self.files.lock)
        if not lock.acquire():
            return BUSY
        self.files.health.unlink(missing_ok=True)  # what an earlier relay said of itself
        self._watch.start()
        try:
            code = self._run()
        finally:
            lock.release()
        if code == DELIVERED and self._condition.was_down and not self.drain:
            start_adopter(self.folder.path.parent)  # other runs may have given up on the same tracker
        return code

    def _run(self) -> int:
        head, start = journal.read_head(self.folder.journal)
        self.recorded_in = head.root
        self.metric_rules = MetricRules(head.metrics)
        self.run_info, self.destination = _as_moved(self.folder, head, head.plugins.get(self.name, {}))
        if self.replay:
            self.destination = self.replay.destination
        try:
            self._load()
        except ConfigurationError as error:
            logger.error("%s", error)  # noqa: TRY400 the sentence is for a person
            self._condition.say("refused", str(error))
            return REFUSED
        self._condition.say("ready")
        if self.check:
            return DELIVERED
        self.cursor = self.files.read_cursor()
        if self.cursor.offset < start:
            self.cursor.offset = start
            self._save(self.cursor)  # a run without a single event is delivered with this
        self._deaths.look(self.cursor.offset)
        return self._follow()

    def _follow(self) -> int:
        """Deliver what is there and what comes, until the run has ended."""
        while True:
            running = state.is_running(self.folder)  # asked first: what it wrote before it died is read below
            entries = list(
                journal.read(
                    self.folder.journal,
                    self.cursor.offset,
                    max_calls=self._deaths.batch_calls(self.cursor.offset),
                    max_bytes=_BATCH_BYTES,
                )
            )
            if running and not self.drain:
                self._ask()
            if entries:
                _sync(self.folder.journal)
                try:
                    self._deliver(entries)
                except _OUTAGE as error:
                    self._condition.note_outage(error)
                    logger.warning("given up for now, `tracking-hooks sync` delivers the rest: %s", error)
                    return PENDING
            elif not running and _end_orphan(self.folder):
                time.sleep(_POLL)  # perhaps another relay is at it
            elif self.drain or not running or (self.cursor.ended and not _is_resumed(self.folder)):
                if next(journal.read(self.folder.journal, self.cursor.offset), None) is None:
                    return DELIVERED  # nothing has come since, not even from another relay that ended this run
            else:
                time.sleep(_POLL)

    def _ask(self) -> None:
        """Ask the plugin every few seconds what was asked for in its tracker, and pass it on to the training."""
        if self.cursor.ended or not self._inquiry.is_due():
            return
        manager = self._manager or self._load()
        try:
            with self._watch.watching(f"{self.name}, poll"):
                self._inquiry.ask(manager, self.run_info, self.cursor.state, self.destination)
        except _OUTAGE:
            self._manager = None  # the next delivery tells of it
        except Exception:
            self._manager = None
            self._inquiry.is_over = True
            logger.exception("plugin %r failed in poll, and is not asked any more in this run", self.name)

    # -- delivering -------------------------------------------------------------------------------------------

    def _deliver(self, entries: list[Entry]) -> None:
        """Deliver entries, setting aside the ones that cannot be delivered.

        :raises Unavailable, OSError: if the tracker is down and there is no point in waiting on
        """
        for attempt in Retrying(
            retry=retry_if_exception_type(_OUTAGE),
            wait=wait_exponential(multiplier=0.5, max=15) + wait_random(0, 1),
            stop=self._has_waited_enough,
            before_sleep=self._before_sleep,
            reraise=True,
        ):
            with attempt:
                culprit = self._try(entries)
        self._condition.note_recovery()
        if culprit is None:
            return
        if len(entries) == 1:
            self._bury(entries[0], culprit)
            return
        middle = len(entries) // 2
        self._deliver(entries[:middle])
        self._deliver(entries[middle:])

    def _try(self, entries: list[Entry]) -> str | None:
        """Send entries and move the cursor; return the reason if one of them is at fault."""
        if reason := self._deaths.verdict():
            return reason
        self._deaths.note(entries)
        for _ in range(_TRIES if len(entries) == 1 else 1):
            try:
                self._send(entries)
            except _OUTAGE:
                self._manager = None
                self._deaths.clear()  # the call came back: dying now is nobody's fault
                raise
            except Rejected as error:
                self._manager = None
                reason = str(error) or "rejected by the tracker"
                break
            except Exception as error:
                self._manager = None
                reason = f"{type(error).__name__}: {error}"
                if len(entries) == 1:
                    logger.exception("plugin %r failed in %s", self.name, _hook(entries[0]))
            else:
                return None
        return reason

    def _send(self, entries: list[Entry]) -> None:
        cursor = copy.deepcopy(self.cursor)  # what the plugin notes down counts only once it is saved
        manager = self._manager or self._load()
        common = {"run": self.run_info, "state": cursor.state, "destination": self.destination}
        for entry in entries:
            call = entry.call
            if call is None:
                logger.warning("journal, bytes %d to %d: %s", entry.start, entry.end, entry.damage)
                cursor.damaged += 1
                continue
            args = self._arguments(call)
            with self._watch.watching(f"{self.name}, {call.hook}"):
                getattr(manager.hook, call.hook)(**args, **common, time=call.time, seq=call.seq)
            cursor.seq = call.seq
            cursor.delivered += 1
            cursor.ended = call.hook == "on_run_end"
        with self._watch.watching(f"{self.name}, flush"):
            manager.hook.flush(**common)
        check_state(cursor.state)
        cursor.offset = entries[-1].end
        self._save(cursor)

    def _arguments(self, call: Call) -> dict[str, Any]:
        """Return a call's arguments, with the metrics that are wanted and the path where a final file is now.

        :raises Rejected: if the content that was recorded is no more
        """
        return files.locate_for_call(self.folder, self.recorded_in, self.metric_rules.apply_to_call(call.args))

    def _bury(self, entry: Entry, reason: str) -> None:
        """Set an event aside as a dead letter and go on behind it."""
        logger.error("plugin %r: %s is set aside: %s", self.name, _hook(entry), reason)
        dead_letters.add(self.files.dead_letters, self.folder.journal, entry, reason)
        cursor = self.files.read_cursor()
        cursor.offset = entry.end
        cursor.dead += 1
        if entry.call:
            cursor.seq = entry.call.seq
            cursor.ended = entry.call.hook == "on_run_end"
        self._save(cursor)

    def _save(self, cursor: Cursor) -> None:
        write_json(self.files.cursor, cursor)
        self.cursor = cursor
        self._progress = time.monotonic()

    def _load(self) -> pluggy.PluginManager:
        with self._watch.watching(f"{self.name}, loading"):
            self._manager = plugins.load(self.name)
        return self._manager

    def leave(self, *_: object) -> None:
        """End at once, as a signal handler: somebody wants it, so what is being delivered is not at fault."""
        self._deaths.clear()
        os._exit(PENDING)

    # -- outages ----------------------------------------------------------------------------------------------

    def _has_waited_enough(self, _: RetryCallState) -> bool:
        if self.drain:
            return time.monotonic() - self._progress > _DRAIN_PATIENCE
        if state.is_running(self.folder):
            self._progress = time.monotonic()
        # Of many runs against a dead server, only the last one's relay lingers.
        return time.monotonic() - self._progress > self.settings.linger or self._has_successor()

    def _has_successor(self) -> bool:
        if state.is_running(self.folder):
            return False
        home = self.folder.path.parent
        later = sorted((path for path in home.iterdir() if path.name > self.folder.uid and path.is_dir()), reverse=True)
        label = self.files.path.name
        return any(state.is_running(run) or state.has_relay(run, label) for run in map(RunFolder, later))

    def _before_sleep(self, attempt: RetryCallState) -> None:
        self._condition.note_outage(attempt.outcome.exception() if attempt.outcome else None)


_OUTAGE = (Unavailable, OSError)


def _as_moved(folder: RunFolder, head: Head, destination: Destination) -> tuple[Run, Destination]:
    """Say where things are if the root folder was moved or copied together with its journals."""
    run, old, new = head.run, head.root, folder.path.parent.parent
    if old == new or folder.path.parent == fallback_home():
        return run, destination
    if run.save_dir.is_relative_to(old):
        run = msgspec.structs.replace(run, save_dir=new / run.save_dir.relative_to(old))
    for key, value in destination.items():
        if isinstance(value, str) and Path(value).is_relative_to(old):
            destination = {**destination, key: str(new / Path(value).relative_to(old))}
    return run, destination


def _sync(journal: Path) -> None:
    # The recorder does not wait for the disk; this process can.
    with suppress(OSError), journal.open("rb") as file:
        os.fsync(file.fileno())


def _end_orphan(folder: RunFolder) -> bool:
    try:
        return orphans.end_orphan(folder)
    except OSError as error:
        logger.warning("the end of the run cannot be written: %s", error)
        return False


def _is_resumed(folder: RunFolder) -> bool:
    # Its first event may be minutes away. On another machine, nothing tells before that.
    return state.is_running(folder, silence=0)


def _hook(entry: Entry) -> str:
    return f"{entry.call.hook} (event {entry.call.seq})" if entry.call else "a damaged line"
