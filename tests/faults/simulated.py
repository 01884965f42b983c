"""A simulated world for the deliverer: journal, disk, clock, plugin and tracker, and what goes wrong with them.

No file, no process: a process dies by an exception that nothing catches, at any use of a port, and the next one begins
with what the simulated disk holds. The ports see by themselves that nothing is lost at any moment.
"""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from tracking_hooks.delivery.context import Context
from tracking_hooks.delivery.deliverer import Deliverer
from tracking_hooks.delivery.ports import Inflight, Instance
from tracking_hooks.delivery.shelf import file_of, name_of
from tracking_hooks.events import Missing, Rejected, Unavailable
from tracking_hooks.run.journal import Call, Entry
from tracking_hooks.run.layout import Cursor, SetAside
from tracking_hooks.run.state import settled

HEAD = 100
"""Bytes before the first event."""

FILES = 16 << 20
"""Bytes of files that are given at once."""

ALWAYS = 10**9
_BAD_STATES: list[Any] = [(1, 2), {1: "a number as key"}, {"a set"}, object, float("nan")]


class Crash(BaseException):
    """The process is gone."""


class Broken(BaseException):
    """A promise is broken; not an ``Exception``, which the deliverer would take for one of the plugin's."""


def see(is_kept: object, message: str) -> None:
    """See that a promise is kept."""
    if not is_kept:
        raise Broken(message)


class Poison(NamedTuple):
    """What is wrong with an event."""

    what: str
    """``reject``, ``fail``, ``name``: it has one that cannot be; ``outage``, ``kill``, ``hang``; ``state``: it leaves a
    state that is no JSON; ``gone``: what it names is not there any more."""
    where: str = "give"
    """``give`` or ``flush``: when the buffer is sent that it is in."""
    retry_after: float | None = None


class Traits(NamedTuple):
    """What a plugin is like."""

    needs_open: bool
    unwanted: frozenset[str]
    """Hooks that it has nothing to do for."""
    sends: str
    """``at once``, ``at flush``, or ``late``: what it was given is confirmed some flushes later."""
    lag: int
    """How many."""
    is_atomic: bool
    """Whether a flush sends all that it sends or nothing."""
    counts: bool
    """Whether it answers with a number where all is confirmed, as long as that tells it."""
    every: int = 1
    """Of the batches, each so many-th is given."""
    names: bool = False
    """Whether it takes files together, and its ``flush`` says which event it rejects, and keeps the others."""


class World:
    """What outlives a process: the journal, the disk, the tracker; and what goes wrong."""

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.now = 1e9
        self.entries: list[Entry] = []
        self.calls: dict[int, Call] = {}
        self.poison: dict[int, list[tuple[Poison, int]]] = {}
        self.ever_poisoned: set[int] = set()
        # disk
        self.cursor = json.dumps(msgspec.to_builtins(Cursor(offset=HEAD)))
        self.aside = "[]"
        self.note: tuple[Inflight, int] | None = None
        self.boot = 0
        self.broken_writes = 0
        # tracker
        self.is_up = True
        self.has: Counter[int] = Counter()
        self.content: dict[tuple[str, str], int] = {}
        self.first_sent: list[int] = []
        # faults to come
        self.fuse: int | None = None
        self.was_full = False
        self.refusals: list[Exception] = []
        self.glitch = False
        self.glitches = 0
        # what is true, whatever the deliverer says
        self.reports = 0
        self.ever_aside: set[int] = set()
        self.deaths: Counter[int] = Counter()

    @property
    def end(self) -> int:
        return self.entries[-1].end if self.entries else HEAD

    def append(self, hook: str, args: dict[str, Any], *, gap: int = 0) -> int:
        seq = len(self.entries) + 1
        start = self.end + gap  # an empty line, where a torn one was ended
        damage = "" if hook.startswith("on_") and hook != "on_future" else "an unknown hook"
        call = Call(seq, 1e9 + seq, hook, args)
        self.entries.append(Entry(start, start + 10, call, damage))
        self.calls[seq] = call
        return seq

    def append_damaged(self) -> None:
        self.entries.append(Entry(self.end, self.end + 7, None, "damaged line"))

    def is_wanted(self, call: Call) -> bool:
        return call.hook not in self.traits.unwanted and self.keeps(call.hook, self.number(call))

    def keeps(self, hook: str, nth: int) -> bool:
        return hook != "on_batch_end" or nth % self.traits.every == 0

    def number(self, call: Call) -> int:
        """Return which event of its hook it is."""
        return sum(other.hook == call.hook and other.seq <= call.seq for other in self.calls.values())

    def is_replaced(self, seq: int) -> bool:
        """Whether a later event of the same hook and name was recorded."""
        call = self.calls[seq]
        name = name_of(call)
        return bool(name) and any(
            other.seq > seq and other.hook == call.hook and name_of(other) == name for other in self.calls.values()
        )

    def poisoned(self, seq: int, what: str, where: str = "give") -> Poison | None:
        """Whether an event does this now; counts down."""
        poisons = self.poison.get(seq, [])
        if not poisons or (poisons[0][0].what, poisons[0][0].where) != (what, where):
            return None
        poison, times = poisons.pop(0)
        if times > 1:
            poisons.insert(0, (poison, times - 1))
        return poison

    def read_cursor(self) -> Cursor:
        return msgspec.convert(json.loads(self.cursor), Cursor)

    def read_aside(self) -> list[SetAside]:
        return msgspec.convert(json.loads(self.aside), list[SetAside])

    def check_disk(self) -> None:
        """See that a process that begins with what is on the disk now loses nothing."""
        cursor, aside = self.read_cursor(), self.read_aside()
        kept = {event.seq for event in aside}
        for seq, call in self.calls.items():
            if seq <= cursor.seq and self.is_wanted(call) and seq not in kept:
                is_replaced = seq in self.ever_aside and self.is_replaced(seq)
                see(self.has[seq] or is_replaced, f"event {seq} is lost")
        see(all(event.reason for event in aside), "set aside without a reason")
        behind = [entry for entry in self.entries if entry.start >= cursor.offset]
        delivered, pending = settled(cursor, aside, len(behind))
        before = [entry for entry in self.entries if entry.start < cursor.offset]
        see(cursor.damaged == sum(entry.call is None for entry in before), "damaged lines are miscounted")
        see(delivered + pending + len(aside) + cursor.damaged == len(self.entries), "the numbers do not add up")
        is_right = delivered == sum(entry.call is not None and entry.call.seq not in kept for entry in before)
        see(is_right, f"{delivered} is not the number of events that are delivered")
        calls = [entry.call for entry in before if entry.call]
        see(cursor.seq == (calls[-1].seq if calls else 0), "the number saved does not fit the offset")
        see(cursor.ended == bool(calls and calls[-1].hook == "on_run_end"), "wrong about the end of the run")
        batches = sum(call.hook == "on_batch_end" for call in calls)
        see(cursor.counts.get("on_batch_end", 0) == batches, "the batches are miscounted")
        last = cursor.state.get("last", 0)
        expected = max(
            (call.seq for call in calls if self.is_wanted(call) and call.seq not in self.ever_aside), default=0
        )
        see(
            last == expected or (last in self.ever_aside and expected < last <= cursor.seq),
            f"the state saved at event {cursor.seq} is that of event {last}, not {expected}",
        )

    def send(self, seq: int, *, is_late: bool) -> None:
        """Take in an event, as the tracker."""
        call = self.calls[seq]
        if not self.has[seq] and not is_late and seq not in self.ever_aside:
            see(not self.first_sent or self.first_sent[-1] < seq, "fresh events arrive in another order")
            self.first_sent.append(seq)
        self.has[seq] += 1
        if name := name_of(call):
            self.content[call.hook, name] = seq


class Process:
    """One process: a deliverer with its ports."""

    def __init__(self, world: World, *, retry: bool = False) -> None:
        self.world = world
        self.is_dead = False
        self.is_in_open = False
        self.has_noted = False
        self.instances: list[Plugin] = []
        self.noted = set(world.read_cursor().state.get("sent", []))
        """What its instances have noted as sent, and those of earlier processes as far as that was saved."""
        left = world.note[0] if world.note and world.note[1] == world.boot else None
        self.deliverer = Deliverer(
            Source(self), Disk(self), self.make, cursor=world.read_cursor(), aside=world.read_aside(),
            left=msgspec.structs.replace(left) if left else None, between=self.between,
        )  # fmt: skip
        self.deliverer.shelf.retry(everything=retry)

    def make(self) -> Instance:
        self.at()
        self.instances.append(Plugin(self))
        return self.instances[-1]

    def between(self, instance: Instance, state: dict[str, Any]) -> None:
        see(instance is self.instances[-1], "an instance was asked that is gone")
        see(not self.instances[-1].traits.needs_open or self.instances[-1].is_open, "asked before it was opened")

    def at(self) -> None:
        """Pass a point at which the process may die."""
        if self.is_dead:
            raise Crash
        if self.world.fuse is not None:
            self.world.fuse -= 1
            if self.world.fuse < 0:
                self.world.fuse = None
                self.die()

    def die(self, *, is_at_rest: bool = False) -> None:
        """Die over what is on its way: given, or just about to be."""
        world = self.world
        if self.is_in_open:
            see(world.note is None, "a death in `open` would count against an event")
        noted = world.note[0] if world.note and world.note[1] == world.boot else None
        if is_at_rest and self.has_noted and noted and not world.was_full:
            is_safe = noted.end <= self.deliverer.cursor.offset
            see(is_safe or self.deliverer.is_unconfirmed, "a death at rest would count against an event")
        on_its_way = set(self.instances[-1].given) if self.instances else set()
        if noted:
            on_its_way |= {
                entry.call.seq for entry in world.entries if entry.call and noted.start <= entry.start < noted.end
            }
        world.deaths.update(on_its_way)
        self.is_dead = True
        raise Crash

    def hang(self) -> None:
        """End as the watchdog ends a process."""
        self.world.note = None
        self.is_dead = True
        raise Crash


class Source:
    """The simulated journal."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world

    def read(self, offset: int, max_calls: int, stop: int | None) -> Sequence[Entry]:
        self._process.at()
        see(stop is None or stop > offset, "reads backwards")
        most = 7  # instead of 4 MB
        found = [
            entry for entry in self._world.entries if entry.start >= offset and (stop is None or entry.start < stop)
        ]
        return found[: min(max_calls, most)]

    def context(self, offset: int) -> Context:
        self._process.at()
        context = Context()
        for entry in self._world.entries:
            if entry.call and entry.start < offset:
                context.coming(entry.call)
                context.passed(entry.call)
        return context

    def keeps(self, hook: str, nth: int) -> bool:
        return self._world.keeps(hook, nth)

    def arguments(self, call: Call) -> Mapping[str, Any]:
        self._process.at()
        if self._world.poisoned(call.seq, "gone"):
            self._world.ever_aside.add(call.seq)  # even if the process dies before it is written down
            raise Rejected("the file is gone")
        return call.args


class Disk:
    """The simulated disk."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world

    def _write(self, write: Callable[[], None]) -> None:
        self._process.at()
        if self._world.broken_writes:
            self._world.broken_writes -= 1
            self._world.was_full = True
            raise OSError("no space left on device")
        write()
        self._world.check_disk()
        self._process.at()

    def save_cursor(self, cursor: Cursor) -> None:
        text = json.dumps(msgspec.to_builtins(cursor))
        self._write(lambda: setattr(self._world, "cursor", text))

    def save_aside(self, events: list[SetAside]) -> None:
        self._world.ever_aside |= {event.seq for event in events}
        text = json.dumps(msgspec.to_builtins(events))
        self._write(lambda: setattr(self._world, "aside", text))

    def note(self, inflight: Inflight) -> None:
        self._process.has_noted = True
        note = (msgspec.structs.replace(inflight), self._world.boot)
        self._write(lambda: setattr(self._world, "note", note))

    def clear_note(self) -> None:
        self._write(lambda: setattr(self._world, "note", None))


class Plugin:
    """An instance of the simulated plugin. It keeps in its state what it was given last, and what it has sent."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self.traits = process.world.traits
        self.is_open = False
        self.told: dict[str, Any] = {}
        self.given: list[int] = []
        self.has_reported = False
        self._opened = 0
        self._since_flush: list[Call] = []
        self._has_late = False
        self._buffer: list[list[int]] = []  # event, flushes that it has waited, whether it is late
        self._confirmed = 0

    @property
    def needs_open(self) -> bool:
        return self.traits.needs_open

    @property
    def files_together(self) -> bool:
        return self.traits.names

    def wants(self, hook: str) -> bool:
        return hook not in self.traits.unwanted

    def _fail(self, seq: int, where: str) -> None:
        world = self._world
        if poison := world.poisoned(seq, "reject", where):
            raise Rejected("the tracker does not take it", retry_after=poison.retry_after)
        if world.poisoned(seq, "fail", where):
            raise ValueError(f"event {seq} is too much for this plugin")
        if world.poisoned(seq, "name", where):
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", f"file of event {seq}")
        if world.poisoned(seq, "outage", where):
            raise (Unavailable("busy") if seq % 2 else TimeoutError("timed out"))
        if world.poisoned(seq, "kill", where):
            self._process.die()
        if world.poisoned(seq, "hang", where):
            self._process.hang()

    def _reach(self) -> None:
        if not self._world.is_up:
            raise (Unavailable("down") if self._world.now % 2 else ConnectionRefusedError("refused"))

    def open(self, context: Context, state: dict[str, Any]) -> None:
        see(not self.is_open, "opened twice")
        see(not self.given, "opened behind its first event")
        self._process.is_in_open = True
        self._process.at()
        if self.traits.needs_open:
            self._reach()
            if self._world.refusals:
                raise self._world.refusals.pop()
            state["opened"] = self._opened = state.get("opened", 0) + 1
        self.told = context.arguments()
        self._process.at()
        self._process.is_in_open = False
        self.is_open = True

    def give(self, call: Call, args: Mapping[str, Any], state: dict[str, Any]) -> None:
        process, world, seq = self._process, self._world, call.seq
        process.at()
        see(self.is_open, "an event was given before `open`")
        see(process.noted <= {*state.get("sent", [])}, "what was noted as sent is forgotten")
        see(self.wants(call.hook), "given what it does not want")
        see(world.is_wanted(call), "given what is thinned out")
        see(args is call.args, "given something else than was recorded")
        see(world.note is not None and world.note[1] == world.boot, "what is given is not noted")
        cursor, is_late = world.read_cursor(), seq in process.deliverer.shelf
        see(cursor.state.get("opened", 0) >= self._opened, "the state that `open` has left is not saved")
        self._check_open(call, is_late=is_late)
        self._since_flush.append(call)
        sizes = [file.size or 0 for other in self._since_flush if (file := file_of(other))]
        most = FILES if self.files_together else 0
        see(sum(sizes) <= most or len(self._since_flush) == 1, "a file is given together with others")
        if is_late:
            see(seq in {event.seq for event in world.read_aside()}, "given late, and not on the list")
            newer = [other for other in world.calls.values() if other.seq > seq and other.hook == call.hook]
            name = name_of(call)
            see(
                not (name and any(world.has[other.seq] and name_of(other) == name for other in newer)),
                f"the old file of event {seq} overwrites a newer one",
            )
            state["lates"] = state.get("lates", 0) + 1
        else:
            see(seq > cursor.seq, f"event {seq} was confirmed, and is given again")
            last = state.get("last", 0)
            see(last < seq, f"event {seq} comes behind event {last}")
            skipped = {
                other.seq for other in world.calls.values() if last < other.seq < seq and world.is_wanted(other)
            } - world.ever_aside
            see(not {other for other in skipped if other not in process.deliverer.shelf}, f"skipped: {skipped}")
            state["last"] = seq
        self.given.append(seq)
        self._has_late |= seq < max(self.given)  # nothing else tells a plugin that an event comes late
        self._fail(seq, "give")
        if world.poisoned(seq, "state"):
            state["bad"] = _BAD_STATES[seq % len(_BAD_STATES)]
        if self.traits.sends == "at once":
            self._reach()
            self._send(seq, state, is_late=is_late)
        self._buffer.append([seq, 0, is_late])
        process.at()

    def _check_open(self, call: Call, *, is_late: bool) -> None:
        """See that the first event fits what `open` was told."""
        if self.given:
            return
        before = [
            entry.call for entry in self._world.entries if entry.call and entry.start < self._process.deliverer.offset
        ]
        if not is_late:
            before = [other for other in self._world.calls.values() if other.seq < call.seq]
        epoch, status, resumed = 0, None, False
        for other in before:
            if other.hook == "on_run_start":
                status, resumed = None, other.args["resumed"]
            elif other.hook == "on_epoch_end":
                epoch = max(epoch, other.args["epoch"])
            elif other.hook == "on_run_end":
                status = other.args["status"]
        if call.hook == "on_run_start" and not is_late:
            status, resumed = None, call.args["resumed"]
        told = self.told
        is_told = (told["epoch"], told["status"], told["resumed"]) == (epoch, status, resumed)
        see(is_told, f"`open` was told {told}, not {(epoch, status, resumed)}")
        see(told["time"] == min(other.time for other in self._world.calls.values()), "`open` was told another time")

    def flush(self, state: dict[str, Any]) -> int | None:
        self._process.at()
        see(self.is_open, "flushed before it was opened")
        see(self.given or self.has_reported, "flushed, and nothing was given")
        self._since_flush.clear()
        world = self._world
        if world.glitch:
            world.glitch = False
            raise KeyError("nobody knows why")
        for item in self._buffer:
            item[1] += 1
        lag = self.traits.lag if self.traits.sends == "late" else 0
        ripe = [item for item in self._buffer if item[1] > lag]
        if ripe and self.traits.sends != "at once":
            self._reach()
        for item in ripe if self.traits.names else ():
            if poison := world.poisoned(item[0], "reject", "flush"):
                self._buffer.remove(item)
                self._confirmed = max(self._confirmed, item[0])
                raise Rejected("the tracker does not take it", retry_after=poison.retry_after, seq=item[0])
        for seq, _, is_late in ripe:
            self._fail(seq, "flush")
            if self.traits.sends != "at once" and not self.traits.is_atomic:
                self._send(seq, state, is_late=bool(is_late))
        if self.traits.sends != "at once" and self.traits.is_atomic:
            for seq, _, is_late in ripe:
                self._send(seq, state, is_late=bool(is_late))
        self._buffer = self._buffer[len(ripe) :]
        self._confirmed = max([self._confirmed, *(seq for seq, _, _ in ripe)])
        self._process.at()
        if self._buffer:
            return self._confirmed
        is_told_by_number = self.traits.counts and not self._has_late
        self._has_late = False
        return self._confirmed if is_told_by_number else None

    def _send(self, seq: int, state: dict[str, Any], *, is_late: bool) -> None:
        self._world.send(seq, is_late=is_late)
        state["sent"] = [*state.get("sent", []), seq]
        self._process.noted.add(seq)

    def poll(self, state: dict[str, Any]) -> None:
        return None

    @property
    def can_report(self) -> bool:
        return "report_missing" not in self.traits.unwanted

    def report(self, missing: Sequence[Missing], time: float, state: dict[str, Any]) -> None:
        self._process.at()
        see(self.is_open, "asked to report before it was opened")
        see(not self._process.deliverer.is_unconfirmed, "asked to report while something is on its way")
        self.has_reported = True
        self._reach()
        state["reports"] = self._world.reports = self._world.reports + 1
        self._process.at()
