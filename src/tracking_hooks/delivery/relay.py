"""A relay: the process around a deliverer, for one run and one plugin.

It holds the relay's lock, says how it is, waits while the tracker is down, asks what was asked for in the tracker,
writes the end of a run whose process is gone, and ends with a code that says why.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection

import pluggy

from tracking_hooks import plugins
from tracking_hooks.delivery import loading, reporting
from tracking_hooks.delivery.condition import Condition
from tracking_hooks.delivery.current import Down
from tracking_hooks.delivery.deliverer import Deliverer
from tracking_hooks.delivery.disk import RunDisk, RunSource
from tracking_hooks.delivery.inquiry import Inquiry
from tracking_hooks.delivery.instance import PluginInstance
from tracking_hooks.delivery.patience import Patience
from tracking_hooks.delivery.spawn import BUSY, DELIVERED, IDLE, PENDING, REFUSED, start_adopter, start_relay
from tracking_hooks.delivery.target import Target, further_labels
from tracking_hooks.delivery.watchdog import Watchdog
from tracking_hooks.run import index, journal, orphans, portable, state
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.liveness import Heart, Life, Lock
from tracking_hooks.settings import Settings

logger = logging.getLogger("tracking_hooks.delivery.relay")

_DRAIN_PATIENCE = 5.0
"""Seconds that `sync` waits for a tracker that is down."""
_CONFIRMATION = 60.0
"""Seconds that a tracker has to confirm what it was given last."""
_FLUSH_EVERY = 3.0
"""Seconds between two flushes while something is not confirmed."""
_POLL = 0.2
"""Seconds between two looks at a journal that has nothing new."""
_LAST_TRY = 3.0
"""Seconds that a relay goes on that was asked to leave while it waited."""
_IDLE = 10.0
"""Seconds after which the relay of a further part ends that has nothing to do."""
_IDLE_OF_ADDENDUM = 30.0
"""The same for that of an addendum: the next cell of a notebook may add something."""


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
        retry: bool = False,
    ) -> None:
        """Make a relay.

        :param label: the plugin's name, or that of a replay (see ``RunFolder.replays``)
        :param drain: end when everything there is has been delivered, or when the tracker is down
        :param check: only check the plugin
        :param retry: try again whatever was set aside
        """
        self.folder = folder
        self.label = label
        self.files = folder.relay(label)
        self.settings = settings
        self._drain = drain
        self._check = check
        self._retry = retry
        self._disk = RunDisk(self.files)
        self._condition = Condition(label, self.files)
        self._patience = Patience(time.monotonic)
        self._watch = Watchdog(settings.call_timeout, self._give_up_call, Heart(self.files.heartbeat))
        self._training = state.watch(folder)
        self.note_verdict: Callable[[Collection[str] | None], None] = lambda _: None  # see `loading.check`
        self._is_alone = False
        self._loaded: pluggy.PluginManager | None = None
        self._has_begun = False  # the first part of the plugin
        self._given, self._idle_since = 0, time.monotonic()
        self._is_waiting = self._is_reporting = False
        self._leave_by: float | None = None

    def run(self) -> int:
        """Deliver until there is nothing left to do; return the exit code."""
        self.files.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = Lock(self.files.lock)
        if state.has_relay(self.folder, self.label) or not lock.acquire():  # the lock may not reach to where it is
            return BUSY
        self.files.health.unlink(missing_ok=True)  # what an earlier relay said of itself
        self._watch.start()
        try:
            code = self._run()
            self._disk.sweep.now()
        finally:
            self._watch.stop()
            lock.release()
        if code == DELIVERED and not self._check:
            self._start_others()
        return code

    def _run(self) -> int:
        head, start = journal.read_head(self.folder.journal)
        self.target = Target.of(self.folder, self.label, head)
        self._is_addendum = head.run.addendum is not None
        self._first_label = plugins.first_label(self.label, self.target.plugin)
        self._inquiry = Inquiry(self.folder, self.target.plugin)
        self._loaded = loading.check(self._load, self._condition, self.note_verdict)
        if self._loaded is None:
            return REFUSED
        self._is_alone = any(getattr(plugin, "one_run_per_process", False) for plugin in self._loaded.get_plugins())
        if self._check:
            return DELIVERED
        cursor = self.files.read_cursor()
        cursor.offset = max(cursor.offset, start)
        if self.folder.journal.stat().st_size == start:  # a run without a single event is delivered with this
            self._disk.save_cursor(cursor)
        self._source = RunSource(self.folder, head, start, cursor)
        self.deliverer = Deliverer(
            self._source,
            self._disk,
            self._make,
            cursor=cursor,
            aside=self.files.read_aside(),
            left=self._disk.left(),
            between=self._inquiry.ask,
        )
        if self._retry or self._drain:
            self.deliverer.shelf.retry(everything=self._retry)
        code = self._follow()
        self._disk.clear_note()  # to end in good order is no death
        return code

    def _follow(self) -> int:
        """Deliver what is there and what comes, until the run has ended; return the exit code."""
        last_flush = time.monotonic()
        while self._leave_by is None or time.monotonic() < self._leave_by:
            life = self._life()  # asked first: what it wrote before it died is read below
            running = life.alive
            self._source.is_written_elsewhere = running and life.elsewhere
            self._inquiry.is_on = running and not self._drain and not self._has_no_training()
            if self._is_too_early():
                is_begun = state.has_relay(self.folder, self._first_label)
                if self._drain and is_begun:
                    return BUSY  # with that part; this one is not down
                if (self._drain or not (running or is_begun)) and self._is_too_early():  # it may just have ended
                    why = f"it waits for {self._first_label}, which has to make the run in the tracker"
                    self._condition.say("down", why, only_this_run=True)
                    return PENDING
                time.sleep(_POLL)
                continue
            try:
                portable.stay_somewhere(self.files.path)
                busy = self.deliverer.step(time.time())
                every = _POLL if self.deliverer.is_waiting else _FLUSH_EVERY
                if not busy and time.monotonic() - last_flush > every:
                    last_flush = time.monotonic()
                    if self.deliverer.confirm():
                        self._patience.note_progress()
            except (Down, OSError) as error:
                if not self._wait(error, running):
                    return PENDING
                continue
            self._condition.note_recovery()
            if busy:
                self._patience.note_progress()
                continue
            self.deliverer.pause()
            if (code := self._verdict(running)) is not None:
                return code
            time.sleep(_POLL)
        return PENDING

    def _verdict(self, running: bool) -> int | None:
        """Return the exit code, now that nothing new is there; None to go on."""
        if not running and _end_orphan(self.folder):
            return None  # perhaps another relay is at it
        if self._is_over(running):
            if not self.deliverer.is_unconfirmed:
                self._is_reporting = True
                reporting.report(self.folder, self.label, self.deliverer)
                return DELIVERED
            if self._patience.waited > _CONFIRMATION:
                self._condition.say("down", "it has not confirmed what it was given last")
                return PENDING
        elif not self.deliverer.is_unconfirmed and self._has_been_idle():
            return IDLE
        return None

    def _has_no_training(self) -> bool:
        """Whether nothing can be asked of the training: it is over, or this belongs to another process."""
        return self._is_addendum or self.deliverer.cursor.ended

    def _has_been_idle(self) -> bool:
        if not (self._is_further_part or self._is_addendum):
            return False
        if self.deliverer.given_at_all != self._given:
            self._given, self._idle_since = self.deliverer.given_at_all, time.monotonic()
        return time.monotonic() - self._idle_since > (_IDLE_OF_ADDENDUM if self._is_addendum else _IDLE)

    def _is_over(self, running: bool) -> bool:
        """Whether nothing more comes: everything that is there was given."""
        if self._drain or not running or (self.deliverer.cursor.ended and not _is_resumed(self.folder)):
            # Nothing has come since, not even from another relay that has ended this run.
            return self.deliverer.is_waiting or not self._source.read(self.deliverer.offset, 1, None)
        return False

    def _life(self) -> Life:
        """Return what is known of the training; who only drains does not live long enough to watch it."""
        return state.life(self.folder) if self._drain else self._training.look()

    # -- parts of a plugin ------------------------------------------------------------------------------------

    @property
    def _is_further_part(self) -> bool:
        return self._first_label != self.label

    def _is_too_early(self) -> bool:
        """Whether the first part of the plugin has to make the tracker's run first."""
        if self._is_further_part and not self._has_begun:
            first = self.folder.relay(self._first_label)
            self._has_begun = first.read_cursor().seq > 0 or bool(first.read_aside())
        return self._is_further_part and not self._has_begun

    def _start_others(self) -> None:
        """Start what waits for this relay: other parts of its plugin, and runs that gave up on the same tracker."""
        if self._drain:
            return
        if not self._is_further_part and not state.is_running(self.folder):
            for label in further_labels(self.folder, self.label):
                if state.owed(self.folder, label).is_pending and not state.has_relay(self.folder, label):
                    start_relay(self.folder, label, self.settings)
        if self._condition.was_down and index.undelivered(self.folder.path.parent):
            start_adopter(self.folder.path.parent)

    # -- the plugin -------------------------------------------------------------------------------------------

    def _load(self) -> pluggy.PluginManager:
        with self._watch.watching(f"{self.label}, loading"):
            return plugins.load(self.target.plugin)

    def _make(self) -> PluginInstance:
        manager, self._loaded = self._loaded or self._load(), None  # the one that was checked is fresh
        return PluginInstance(self.label, manager, self.target.run, self.target.destination, self._watch)

    def _give_up_call(self, sentence: str) -> None:
        """Leave word before the watchdog ends this process; a call that hangs is not the event's fault."""
        self._disk.clear_note()
        if self._is_reporting:
            os._exit(DELIVERED)  # these words cost nothing else; `sync` tries them again
        self._condition.say("down", sentence)

    # -- outages ----------------------------------------------------------------------------------------------

    def _wait(self, error: Exception, running: bool) -> bool:
        """Wait until the tracker is tried again; return False to leave the rest to `sync`.

        :param running: whether the training was still running when it was tried
        """
        was_last = self._leave_by is not None
        self._is_waiting = True  # before anybody reads that the tracker is down
        self._condition.note_outage(error)
        if running and not self._drain:
            self._patience.hold()
        if self._has_waited_enough(running) or was_last or (self._drain and getattr(error, "is_final", False)):
            logger.warning("given up for now, `tracking-hooks sync` delivers the rest: %s", error)
            return False
        until = time.monotonic() + self._patience.pause()
        while time.monotonic() < until and not self._leave_by and self._life().alive == running:
            time.sleep(_POLL)  # once the run has ended, or we are asked to leave, it is tried at once
        self._is_waiting = False
        return True

    def _has_waited_enough(self, running: bool) -> bool:
        if self._drain:
            return self._patience.waited > _DRAIN_PATIENCE
        # Of many runs against a dead server, only the last one's relay lingers.
        return not running and (
            self._patience.waited > self.settings.linger or _has_successor(self.folder, self.label, self.target.place)
        )

    @property
    def wants_a_process_for_each_run(self) -> bool:
        """Whether the plugin keeps something in its modules that the next run must not find."""
        return self._is_alone

    def leave(self, *_: object) -> None:
        """End, as a signal handler: at once, or after one more try where the tracker is waited for."""
        if self._is_waiting and not self._leave_by:
            self._leave_by = time.monotonic() + _LAST_TRY
            return
        self._disk.clear_note()  # somebody wants it: what is being delivered is not at fault
        os._exit(PENDING)


def _end_orphan(folder: RunFolder) -> bool:
    try:
        return orphans.end_orphan(folder)
    except OSError as error:
        logger.warning("the end of the run cannot be written: %s", error)
        return False


def _is_resumed(folder: RunFolder) -> bool:
    # Its first event may be minutes away. On another machine, nothing tells before that.
    return state.is_running(folder, silence=0)


def _has_successor(folder: RunFolder, label: str, place: str) -> bool:
    """Whether a later run in the same folder keeps a relay that waits for the same tracker; addenda wait for runs."""
    home = folder.path.parent
    later = sorted((path for path in home.iterdir() if path.name > folder.uid and path.is_dir()), reverse=True)
    return any(_is_at(other, label, place) for other in map(RunFolder, later))


def _is_at(folder: RunFolder, label: str, place: str) -> bool:
    try:
        head, _ = journal.read_head(folder.journal)
        is_there = not head.run.addendum and (state.is_running(folder) or state.has_relay(folder, label))
        return is_there and place == Target.of(folder, label, head).place
    except (journal.JournalError, OSError):
        return False
