"""What the deliverer promises, as a state machine for Hypothesis; it drives it through its ports."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.faults.simulated import ALWAYS, FILES, Broken, Crash, Poison, Process, Traits, World
from tracking_hooks.delivery.current import Down
from tracking_hooks.delivery.shelf import name_of
from tracking_hooks.events import Artifact, Checkpoint, Rejected, Unavailable
from tracking_hooks.run.layout import Cursor

_HOOKS = ("on_epoch_end", "on_batch_end", "on_artifact", "on_checkpoint_saved", "on_future", "future")
_traits = st.builds(
    Traits, needs_open=st.booleans(),
    unwanted=st.frozensets(st.sampled_from((*_HOOKS, "on_run_start", "report_missing")), max_size=3),
    sends=st.sampled_from(["at once", "at flush", "late"]), lag=st.integers(1, 3), is_atomic=st.booleans(),
    counts=st.booleans(), every=st.integers(1, 3), names=st.booleans(),
)  # fmt: skip
_where = st.sampled_from(["give", "flush"])
_few, _some = st.integers(1, 4), st.sampled_from([1, 2, 3, 4, ALWAYS])
_poisons = st.one_of(
    st.tuples(st.builds(Poison, st.just("reject"), _where, st.sampled_from([None, 0.0, 5.0])), _some),
    st.tuples(st.builds(Poison, st.sampled_from(["fail", "name", "kill"]), _where, st.none()), _some),
    st.tuples(st.builds(Poison, st.sampled_from(["outage", "hang"]), _where, st.none()), _few),
    st.tuples(st.builds(Poison, st.sampled_from(["state", "gone"]), st.just("give"), st.none()), _some),
)


def _size(count: int) -> int:
    return FILES // (4, 2, 1)[count % 3] + count % 2


class DelivererModel(RuleBasedStateMachine):
    """Records, gives, breaks and mends; in the end everything has arrived, or is set aside and says why."""

    @initialize(traits=_traits)
    def begin(self, traits: Traits) -> None:
        self.world = World(traits)
        self.world.append("on_run_start", {"params": {"lr0": 0.1}, "environment": None, "resumed": False})
        self.process = Process(self.world)
        self.epoch = 0

    # -- what is recorded -----------------------------------------------------------------------------------------

    @rule(hooks=st.lists(st.sampled_from(_HOOKS), min_size=1, max_size=9), gap=st.sampled_from([0, 0, 0, 1]))
    def record(self, hooks: list[str], gap: int) -> None:
        for hook in hooks:
            self._record(hook, gap)

    @rule(hook=st.sampled_from(_HOOKS), poisons=st.lists(_poisons, min_size=1, max_size=2))
    def record_trouble(self, hook: str, poisons: list[tuple[Poison, int]]) -> None:
        seq = self._record(hook)
        self.world.poison[seq] = list(poisons)
        self.world.ever_poisoned.add(seq)

    def _record(self, hook: str, gap: int = 0) -> int:
        count = len(self.world.entries)
        args: dict[str, Any] = {"metrics": {"loss": 1.0}}
        if hook == "on_epoch_end":
            self.epoch += 1
            args["epoch"] = self.epoch
        if hook in {"on_artifact", "on_future"}:
            name = "ab"[count % 2]
            args["artifact"] = Artifact(path=Path(name), kind="plot", name=name, size=_size(count), digest=f"{count}")
        if hook == "on_checkpoint_saved":
            digest = f"{count}" if count % 3 else None
            args |= {
                "epoch": self.epoch,
                "checkpoint": Checkpoint(path=Path("w.pt"), kind="last", size=_size(count), digest=digest),
            }
        if hook == "on_future":
            args = msgspec.to_builtins(args, enc_hook=str)
        return self.world.append(hook, args, gap=gap)

    @rule(resumed=st.booleans())
    def end_or_go_on(self, resumed: bool) -> None:
        ends = [call.hook for call in self.world.calls.values() if call.hook in {"on_run_start", "on_run_end"}]
        if ends[-1] == "on_run_start":
            self.world.append("on_run_end", {"status": "finished", "error": None})
        else:
            self.world.append("on_run_start", {"params": {}, "environment": None, "resumed": resumed})

    @rule()
    def a_line_is_damaged(self) -> None:
        self.world.append_damaged()

    # -- what is done ---------------------------------------------------------------------------------------------

    def _do(self, call: Callable[[], object]) -> object:
        """Call the deliverer as the relay does; None: the tracker is down, or the process has died."""
        try:
            result = call()
        except (Down, OSError):
            self.world.now += 1
            return None
        except Crash:
            self._restart()
            return None
        except Broken as broken:
            raise AssertionError(str(broken)) from broken
        for plugin in self.process.instances[-1:]:
            assert not plugin.is_open or plugin.given or plugin.has_reported, "opened without need"
        return result

    def _restart(self, *, retry: bool = False) -> None:
        """Begin with what the disk holds; that process may die, too."""
        while True:
            self.process = None  # type: ignore[assignment]
            try:
                self.process = Process(self.world, retry=retry)
            except (Crash, OSError):
                continue
            except Broken as broken:
                raise AssertionError(str(broken)) from broken
            return

    def _step(self) -> object:
        return self._do(lambda: self.process.deliverer.step(self.world.now))

    def _confirm(self) -> object:
        return self._do(self.process.deliverer.confirm)

    @rule(times=st.integers(1, 8))
    def steps(self, times: int) -> None:
        for _ in range(times):
            self._step()

    @rule(times=st.integers(1, 4))
    def confirms(self, times: int) -> None:
        for _ in range(times):
            self._confirm()
            self._do(self.process.deliverer.pause)

    @rule(seconds=st.sampled_from([1.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(retry=st.booleans())
    def another_process(self, retry: bool) -> None:
        """It is asked to leave, and another one begins."""
        self.world.note = None
        self._restart(retry=retry)

    @rule()
    def says_what_is_missing(self) -> None:
        """Everything is given and safe: it is said what is missing, and the process ends."""
        deliverer, world = self.process.deliverer, self.world
        if deliverer.is_unconfirmed or deliverer.offset != world.end:
            return
        before = copy.deepcopy(deliverer.cursor)  # what is on the disk may be older: it was full

        def report() -> bool:
            try:
                deliverer.report([], world.now)
            except Exception:  # it costs the words alone
                return False
            return True

        is_said = self._do(report)
        after = world.read_cursor()
        assert after.state.get("reports", 0) == world.reports or not is_said, "the state that it has left is not saved"
        assert not is_said or _without_state(after) == _without_state(before), "what is delivered has changed"
        world.note = None
        self._restart()

    # -- what goes wrong ------------------------------------------------------------------------------------------

    @rule(points=st.integers(0, 60))
    def dies(self, points: int) -> None:
        self.world.fuse = points
        for _ in range(12):
            if self.world.fuse is None:
                return
            if not self._step():
                self._confirm()

    @rule()
    def dies_at_rest(self) -> None:
        try:
            self.process.die(is_at_rest=True)
        except Crash:
            self._restart()
        except Broken as broken:
            raise AssertionError(str(broken)) from broken

    @rule()
    def the_machine_goes_down(self) -> None:
        self.world.boot += 1
        self._restart()

    @rule()
    def the_tracker_goes_down_or_comes_up(self) -> None:
        self.world.is_up = not self.world.is_up

    @precondition(lambda self: self.world.traits.needs_open)
    @rule(errors=st.lists(st.sampled_from([Unavailable, OSError, Rejected, ValueError]), min_size=1, max_size=3))
    def open_refuses_for_a_while(self, errors: list[type[Exception]]) -> None:
        self.world.refusals = [error("not now") for error in errors]

    @precondition(lambda self: self.world.glitches < 2)
    @rule()
    def a_flush_fails_once(self) -> None:
        self.world.glitch = True
        self.world.glitches += 1

    @rule(writes=st.integers(1, 5))
    def the_disk_is_full(self, writes: int) -> None:
        self.world.broken_writes = writes

    @rule()
    def all_is_mended(self) -> None:
        self._mend()
        self.world.poison.clear()

    def _mend(self) -> None:
        """Mend everything but the events themselves."""
        self.world.is_up, self.world.glitch, self.world.fuse, self.world.broken_writes = True, False, None, 0
        self.world.refusals.clear()

    # -- what is true ---------------------------------------------------------------------------------------------

    @invariant()
    def nobody_is_set_aside_without_guilt(self) -> None:
        for event in self.world.read_aside():
            is_guilty = event.seq in self.world.ever_poisoned or self.world.deaths[event.seq] >= 3
            assert is_guilty, f"event {event.seq} is set aside, and has done nothing: {event.reason}"
            if "died" in event.reason:
                assert self.world.deaths[event.seq] >= 3, f"no three deaths at event {event.seq}"

    def teardown(self) -> None:
        if not hasattr(self, "process"):
            return
        self._mend()
        self._rest()
        self._judge()
        self.world.poison.clear()
        self._restart(retry=True)
        self._rest()
        self._judge()
        assert self.world.read_aside() == [], "what was set aside cannot be tried again"

    def _rest(self) -> None:
        """Go on until nothing is left to do."""
        most = 300 * (len(self.world.entries) + 5)
        for _ in range(most):
            if self._step() is not False:
                continue
            self.world.now += 3
            self._confirm()
            deliverer = self.process.deliverer
            if not deliverer.is_unconfirmed and deliverer.offset == self.world.end and not self._is_due():
                return
        raise AssertionError(f"no end after {most} steps")

    def _is_due(self) -> bool:
        """Whether something is tried again that is not bound to fail again."""
        return any(
            event.retry_at is not None and event.retry_at <= self.world.now and not self.world.poison.get(event.seq)
            for event in self.process.deliverer.shelf.events()
        )

    def _judge(self) -> None:
        world = self.world
        try:
            world.check_disk()
        except Broken as broken:
            raise AssertionError(str(broken)) from broken
        kept = {event.seq for event in world.read_aside()}
        cursor = world.read_cursor()
        assert cursor.offset == world.end
        assert (cursor.delivered, cursor.aside) == (len(world.calls) - len(kept), len(kept))
        newest: dict[tuple[str, str], int] = {}
        for seq, call in world.calls.items():
            if (name := name_of(call)) and seq not in kept and world.is_wanted(call) and world.has[seq]:
                newest[call.hook, name] = seq
        for key, seq in newest.items():
            assert world.content[key] >= seq, f"event {world.content[key]} has overwritten the newer event {seq}"


def _without_state(cursor: Cursor) -> Cursor:
    return msgspec.structs.replace(cursor, state={})


def check_model(examples: int, *, derandomize: bool = False) -> None:
    """Play so many sequences against the deliverer.

    :param derandomize: always the same ones
    """
    logging.disable(logging.CRITICAL)
    try:
        run_state_machine_as_test(
            DelivererModel,
            settings=settings(
                max_examples=examples, stateful_step_count=40, deadline=None, database=None, derandomize=derandomize,
                suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
            ),
        )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
