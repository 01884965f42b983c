"""A relay: one process that delivers one run's journal to one plugin, whatever happens.

Delivery is at least once. A batch of calls goes to the plugin, ``flush`` behind it, and only then the cursor
moves, together with the plugin's state. ``Unavailable`` and any ``OSError`` mean: the same batch again, for
ever, with back-off. Any other exception means that something in the batch is at fault: the plugin is built
anew from its saved state, the batch is halved until the culprit is alone, and that one is tried three times
before it is set aside as a dead letter. An event at which the process itself died three times is set aside too.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pluggy
from msgspec import Struct
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential, wait_random

from tracking_hooks import plugins, redact
from tracking_hooks.delivery.spawn import BUSY, DELIVERED, HANGING, PENDING, REFUSED, start_adopter
from tracking_hooks.events import Action, Rejected, Unavailable
from tracking_hooks.metricrules import MetricRules
from tracking_hooks.redact import RedactingFormatter
from tracking_hooks.run import commands, files, journal, orphans, state
from tracking_hooks.run.commands import Command
from tracking_hooks.run.journal import Call, Entry
from tracking_hooks.run.layout import Cursor, Health, RunFolder, check_state, fallback_home, read_json, write_json
from tracking_hooks.run.liveness import Lock, this_boot
from tracking_hooks.settings import ConfigurationError, Settings

logger = logging.getLogger("tracking_hooks.delivery.relay")

_TRIES = 3
_BATCH_CALLS = (2000, 50, 1)
"""Largest batch after so many deaths of the process over one batch."""
_BATCH_BYTES = 4 << 20
_DRAIN_PATIENCE = 5.0
"""Seconds that `sync` waits for a tracker that is down."""
_ASK_EVERY = 5.0
"""Seconds between two calls of ``poll``."""
_POLL = 0.2
"""Seconds between two looks at a journal that has nothing new."""


class Inflight(Struct):
    """What a relay is about to deliver; left behind if it dies over it."""

    start: int
    end: int
    deaths: int = 0
    boot: str = ""


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
        self._down = self._was_down = False
        self._deaths = 0
        self._suspect_until = 0
        self._progress = time.monotonic()
        self._next_question = 0.0
        self._asked: Action | None = None
        self._watch = _Watchdog(settings.call_timeout)

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
        if code == DELIVERED and self._was_down and not self.drain:
            start_adopter(self.folder.path.parent)  # other runs may have given up on the same tracker
        return code

    def _run(self) -> int:
        head, start = journal.read_head(self.folder.journal)
        self.recorded_in = head.root
        self.metric_rules = MetricRules(head.metrics)
        self.run_info = head.run
        self.destination = self.replay.destination if self.replay else head.plugins.get(self.name, {})
        self._follow_a_move()
        try:
            self._load()
        except ConfigurationError as error:
            logger.error("%s", error)  # noqa: TRY400 the sentence is for a person
            self._say("refused", str(error))
            return REFUSED
        self._say("ready")
        if self.check:
            return DELIVERED
        self.cursor = self.files.read_cursor()
        if self.cursor.offset < start:
            self.cursor.offset = start
            self._save(self.cursor)  # a run without a single event is settled with this
        self._look_for_a_death()
        return self._follow()

    def _follow_a_move(self) -> None:
        """See where things are if the project's folder was moved or copied together with its journals."""
        old, new = self.recorded_in, self.folder.path.parent.parent
        if old == new or self.folder.path.parent == fallback_home():
            return
        save_dir = self.run_info.save_dir
        if save_dir.is_relative_to(old):
            self.run_info = msgspec.structs.replace(self.run_info, save_dir=new / save_dir.relative_to(old))
        for key, value in self.destination.items() if not self.replay else ():
            if isinstance(value, str) and Path(value).is_relative_to(old):
                self.destination = {**self.destination, key: str(new / Path(value).relative_to(old))}

    def _follow(self) -> int:
        """Deliver what is there and what comes, until the run has ended."""
        while True:
            running = state.is_running(self.folder)  # asked first: what it wrote before it died is read below
            entries = list(
                journal.read(
                    self.folder.journal,
                    self.cursor.offset,
                    max_calls=self._batch_calls(),
                    max_bytes=_BATCH_BYTES,
                )
            )
            if running and not self.drain:
                self._ask()
            if entries:
                self._sync_journal()
                try:
                    self._deliver(entries)
                except _OUTAGE as error:
                    self._note_outage(error)
                    logger.warning("given up for now, `tracking-hooks sync` delivers the rest: %s", error)
                    return PENDING
            elif not running and self._end_orphan():
                time.sleep(_POLL)  # perhaps another relay is at it
            elif self.drain or not running or (self.cursor.ended and not self._is_resumed()):
                if next(journal.read(self.folder.journal, self.cursor.offset), None) is None:
                    return DELIVERED  # nothing has come since, not even from another relay that ended this run
            else:
                time.sleep(_POLL)

    def _ask(self) -> None:
        """Ask the plugin every few seconds what was asked for in its tracker, and pass it on to the training."""
        if time.monotonic() < self._next_question or self.cursor.ended:
            return
        self._next_question = time.monotonic() + _ASK_EVERY
        manager = self._manager or self._load()
        if not manager.hook.poll.get_hookimpls():
            self._next_question = math.inf
            return
        try:
            with self._watch.watching(f"{self.name}, poll"):
                action = manager.hook.poll(
                    run=self.run_info, state=copy.deepcopy(self.cursor.state), destination=self.destination
                )
            if action is not None and action != self._asked:
                self._asked = action
                commands.send(self.folder.commands, Command(plugin=self.name, action=action))
        except _OUTAGE:
            self._manager = None  # the next delivery tells of it
        except Exception:
            self._manager = None
            self._next_question = math.inf
            logger.exception("plugin %r failed in poll, and is not asked any more in this run", self.name)

    def _is_resumed(self) -> bool:
        # Its first event may be minutes away. On another machine, nothing tells before that.
        return state.is_running(self.folder, silence=0)

    def _end_orphan(self) -> bool:
        try:
            return orphans.end_orphan(self.folder)
        except OSError as error:
            logger.warning("the end of the run cannot be written: %s", error)
            return False

    def _batch_calls(self) -> int:
        """Return how many calls to deliver at once: few where an earlier relay died, to find the culprit."""
        if self.cursor.offset >= self._suspect_until:
            self._deaths = 0
        return _BATCH_CALLS[min(self._deaths, len(_BATCH_CALLS) - 1)]

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
        self._note_recovery()
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
        if self._deaths >= _TRIES:
            return f"the relay process died {self._deaths} times at this event"
        write_json(self.files.inflight, Inflight(entries[0].start, entries[-1].end, self._deaths, this_boot()))
        reason = ""
        for _ in range(_TRIES if len(entries) == 1 else 1):
            try:
                self._send(entries)
            except _OUTAGE:
                self._manager = None
                self.files.inflight.unlink(missing_ok=True)  # the call came back: dying now is nobody's fault
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
        with self.folder.journal.open("rb") as source:
            source.seek(entry.start)
            line = source.read(entry.end - entry.start)
        letter = {"reason": redact.text(reason), "line": line.decode(errors="replace").rstrip("\n")}
        fd = os.open(self.files.dead_letters, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(letter) + b"\n")
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
        self.files.inflight.unlink(missing_ok=True)
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
        self._note_outage(attempt.outcome.exception() if attempt.outcome else None)

    def _note_outage(self, error: BaseException | None) -> None:
        if not self._down:
            self._down = True
            logger.warning("%s is down, trying again until it is back: %s", self.name, error)
            self._say("down", str(error))

    def _note_recovery(self) -> None:
        if self._down:
            self._down = False
            self._was_down = True
            logger.warning("%s is back", self.name)
            self._say("ready")

    # -- deaths -----------------------------------------------------------------------------------------------

    def _look_for_a_death(self) -> None:
        """See whether an earlier relay died over what comes next; if so, go on one event at a time."""
        left = read_json(self.files.inflight, Inflight)
        if left and left.start == self.cursor.offset and left.boot == this_boot():  # else the machine went down
            self._deaths = left.deaths + 1
            self._suspect_until = left.end
            logger.warning("an earlier relay died while delivering bytes %d to %d", left.start, left.end)

    # -- the rest ---------------------------------------------------------------------------------------------

    def _say(self, state: Any, error: str = "") -> None:
        with suppress(OSError):  # a full disk does not keep a relay from delivering
            write_json(self.files.health, Health(state=state, pid=os.getpid(), error=redact.text(error)))

    def _sync_journal(self) -> None:
        # The recorder does not wait for the disk; this process can.
        with suppress(OSError), self.folder.journal.open("rb") as file:
            os.fsync(file.fileno())


_OUTAGE = (Unavailable, OSError)


class _Watchdog:
    """Ends the process when one of the plugin's calls does not return: nothing else can."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._call: tuple[str, float] | None = None

    def start(self) -> None:
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def watching(self, what: str) -> _Watchdog:
        self._what = what
        return self

    def __enter__(self) -> None:
        self._call = (self._what, time.monotonic())

    def __exit__(self, *_: object) -> None:
        self._call = None

    def _run(self) -> None:
        while True:
            time.sleep(min(1.0, self._timeout / 4))
            call = self._call
            if call and time.monotonic() - call[1] > self._timeout:
                logger.error("%s has not returned for %.0f s: this relay ends itself", call[0], self._timeout)
                os._exit(HANGING)


def _hook(entry: Entry) -> str:
    return f"{entry.call.hook} (event {entry.call.seq})" if entry.call else "a damaged line"


def main(arguments: list[str]) -> int:
    """Run a relay: ``relay RUN_FOLDER LABEL [--drain]``."""
    parser = argparse.ArgumentParser(prog="tracking-hooks relay")
    parser.add_argument("folder", type=Path)
    parser.add_argument("label")
    parser.add_argument("--drain", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--linger", type=float, default=Settings().linger)
    parser.add_argument("--call-timeout", type=float, default=Settings().call_timeout)
    options = parser.parse_args(arguments)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    with suppress(OSError, AttributeError):
        os.nice(10)  # the training comes first
    with suppress(OSError):
        # Where Linux groups processes by session, as desktops do, that counts only within this one: nice the group.
        Path("/proc/self/autogroup").write_text("10")
    settings = Settings(linger=options.linger, call_timeout=options.call_timeout)
    relay = Relay(RunFolder(options.folder), options.label, settings, drain=options.drain, check=options.check)
    signal.signal(signal.SIGTERM, relay.leave)
    return relay.run()
