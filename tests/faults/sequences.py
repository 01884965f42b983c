"""Random sequences of faults, each drawn from its seed, and what is left of a run after one."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
from mlflow import MlflowClient
from msgspec import Struct

from tests.faults import content, mishaps, sink
from tests.faults.proxy import FaultProxy, Trouble
from tests.faults.reference import Reference
from tests.faults.trainer import READY, Spec
from tests.support.mlflow import MLflowServer
from tests.support.processes import NeverCame, relay_pid, send, wait_for
from tests.support.runs import read_calls
from tracking_hooks import plugins as our_plugins
from tracking_hooks.delivery.spawn import BUSY
from tracking_hooks.delivery.sync import deliver
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.state import is_delivered, owed
from tracking_hooks.settings import SELECTION, Settings

ROOT = Path(__file__).parents[2]
REQUEST_TIMEOUT = 2
"""Seconds after which an MLflow client gives up: the user's variable, short, so that a stall is noticed."""

_MOST_DEATHS = 2
"""Kills of one plugin's relay in a sequence. An event at which three relays died is set aside, by design."""

_PACE = 0.004
_SYNC_PATIENCE = 120.0
_CALL_TIMEOUT = 120.0
_SHORT_CALL_TIMEOUT = 3.0
"""Where calls hang: shorter than some uploads over a slow line take."""
_FIRST_DELIVERY = 10.0
"""Seconds to wait for a relay's first delivery, which other faults may keep from coming."""
_SLOW = 8.0
"""Seconds that a slow line stays slow, at most."""

TROUBLES = (
    Trouble("reset"),
    Trouble("hang"),
    Trouble("delay", 0.05),
    Trouble("delay", 0.4),
    *(Trouble("store", status) for status in (503, 403)),
    *(Trouble("limit", size) for size in (2_000, 30_000)),
    *(Trouble("status", status) for status in (500, 429, 401)),
    *(Trouble(kind, amount) for kind in ("cut request", "cut answer") for amount in (0, 150, 3000, 40_000)),
)


MISHAPS = ("stranger", "power", "upgrade", "copy")
"""What happens to the run folder, not to a process; one of them in every second sequence."""

_TARGETS = ("trainer", "server", "network", "machine", "sink", *MISHAPS)


class Fault(NamedTuple):
    """Something that goes wrong while a training is replayed."""

    at: float
    """When: as a part of the training's events; beyond 1: during the ``sync`` behind it."""
    target: str
    """``trainer``, ``server``, ``network``, ``machine``, ``sink``, one of ``MISHAPS``, or a part of a plugin, whose
    relay it is."""
    what: str
    lasts: float = 0.0
    """Seconds until it is over."""
    pause: float = 0.0
    """Seconds from the moment ``at`` to the fault: something is under way then."""
    trouble: Trouble = Trouble()

    @property
    def kind(self) -> str:
        if self.target in MISHAPS:
            return self.target
        target = self.target if self.target in _TARGETS else "relay"
        status = f" {self.trouble.amount:.0f}" if self.trouble.kind in {"status", "store", "limit"} else ""
        return f"{target} {self.what}{status}"


@dataclass(frozen=True)
class Plan:
    """What is going to happen in a sequence."""

    faults: list[Fault]
    linger: float
    exit_wait: float
    call_timeout: float = _CALL_TIMEOUT

    @classmethod
    def draw(cls, seed: int, parts: Sequence[str]) -> Plan:
        """Draw two to six faults; the same seed gives the same plan.

        :param parts: the plugins, with their further parts
        """
        dice = random.Random(seed)
        faults: list[Fault] = []
        deaths: Counter[str] = Counter()
        for _ in range(dice.randint(2, 6)):
            fault = _draw(dice, parts)
            if fault.what == "kill":
                deaths[fault.target] += 1
                if deaths[fault.target] > (_MOST_DEATHS if fault.target in parts else 1):
                    continue
            faults.append(fault)
        faults += _draw_mishap(seed, parts)
        timeout = (
            _SHORT_CALL_TIMEOUT if any("hang" in fault.what or fault.lasts > 2.5 for fault in faults) else _CALL_TIMEOUT
        )
        return cls(sorted(faults), dice.choice([0.0, 2.0]), dice.choice([0.0, 1.0]), timeout)


def _draw(dice: random.Random, parts: Sequence[str]) -> Fault:
    at, pause, lasts = dice.random(), dice.choice([0.0, 0.0, dice.uniform(0, 0.3)]), dice.uniform(0.1, 2.5)
    kinds = {"relay": 8, "trainer": 3, "machine": 1}
    if "mlflow" in parts:
        kinds |= {"network": 8, "server": 3}
    if sink.NAME in parts:
        kinds |= {"sink": 6}
    (target,) = dice.choices(list(kinds), list(kinds.values()))
    if target == "network":
        trouble = dice.choice(TROUBLES)
        lasts = lasts * _SLOW / 2.5 if trouble.kind == "delay" else lasts
        return Fault(at, target, trouble.kind, lasts, pause, trouble)
    if target == "sink":
        return Fault(at * 1.4, target, dice.choice(sink.FLAGS), lasts, pause)
    if target == "machine":
        return Fault(at, target, dice.choice(parts))
    if target == "relay":
        target, at = dice.choice(parts), at * 1.4
    (what,) = dice.choices(["kill", "stall"], [1, 5] if target == "server" else [2, 1])  # a server takes long to start
    return Fault(at, target, what, lasts, pause)


def _draw_mishap(seed: int, parts: Sequence[str]) -> list[Fault]:
    """Draw what happens to the run folder, by dice of its own: the other faults of a seed stay what they are."""
    dice = random.Random(f"{seed}, the run folder")
    if dice.random() < 0.5:
        return []
    target, at = dice.choice(MISHAPS), dice.random()
    return [Fault(2.0 if target == "copy" else at, target, dice.choice(parts), pause=dice.choice([0.0, 0.1]))]


class Lab:
    """One MLflow server behind one proxy, for many sequences, each with an experiment of its own."""

    def __init__(self, folder: Path, store: str, empty: Path) -> None:
        """Make a lab; use it as a context.

        :param store: the URI of the server's database
        :param empty: an SQLite store without content, for clean deliveries
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.server = MLflowServer(folder, store=store)
        self.proxy = FaultProxy(self.server.port)
        (folder / "clean").mkdir()
        self.clean = f"sqlite:///{shutil.copy(empty, folder / 'clean')}"
        self._store = store

    def __enter__(self):
        self.proxy.start()
        self.server.start()
        self.server.wait_until_healthy()
        self.client = MlflowClient(self._store)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.go_on()
        self.server.kill()
        self.proxy.stop()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    def heal(self) -> None:
        """Put everything right."""
        self.proxy.set(Trouble())
        self.server.go_on()
        self.server.start()
        self.server.wait_until_healthy()


class Outcome(Struct):
    """What came of a sequence."""

    seed: int
    faults: dict[str, int] = {}
    """How many took effect, by kind."""
    events: int = 0
    """Delivered, over all trackers."""
    lost: int = 0
    doubled: int = 0
    pending: int = 0
    """Events that were not delivered in the end."""
    notes: list[str] = []

    @property
    def failed(self) -> bool:
        return bool(self.lost or self.doubled or self.pending or self.notes)


class Replay:
    """One replay of the reference under the faults of a plan."""

    def __init__(self, seed: int, plugins: Sequence[str], reference: Reference, folder: Path, lab: Lab | None) -> None:
        self._parts = parts_of(plugins)
        self.plan = Plan.draw(seed, self._parts)
        self.outcome = Outcome(seed)
        self._plugins = plugins
        self._dice = random.Random(f"{seed}, what happens to files")
        self._strangers: dict[Path, dict[str, tuple[int, int, int]]] = {}
        self._copy: RunFolder | None = None
        self._said: list[str] = []
        self._said_elsewhere = ""
        self._lab = lab
        self._folder = folder
        self._uid = f"sequence-{seed}-{folder.name}"
        self._save_dir = folder / "runs" / "train"
        self.run = RunFolder.beside(self._save_dir, self._uid)
        self._length = len(reference.calls())
        self._recorded = 0  # as far as the trainer acknowledged it
        self._heals: list[tuple[float, Callable[[], object]]] = []
        reference.copy_files(self._save_dir, self.run)
        sink.flags(self._save_dir).mkdir()
        spec = Spec(
            reference=reference.folder, recorded_in=reference.recorded_in, save_dir=self._save_dir, uid=self._uid,
            plugins=list(plugins), pace=_PACE,
        )  # fmt: skip
        (folder / "spec.json").write_bytes(msgspec.json.encode(spec, enc_hook=str))

    def play(self) -> Outcome:
        """Let it happen, heal everything, deliver the rest, and compare."""
        try:
            self._start()
            try:
                self._train()
            finally:
                self._heal()
            self._sync()
            self._judge()
        except NeverCame as error:
            self.outcome.notes.append(f"never came: {error}")
        finally:
            self._trainer.kill()
            self._trainer.wait()
            self._listener.join()
        return self.outcome

    # -- the training ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "TRACKING_HOOKS_SYSTEM_EVERY": "0",
            "TRACKING_HOOKS_LINGER": str(self.plan.linger),
            "TRACKING_HOOKS_EXIT_WAIT": str(self.plan.exit_wait),
            "TRACKING_HOOKS_CALL_TIMEOUT": str(self.plan.call_timeout),
            "MLFLOW_EXPERIMENT_NAME": self._uid,
        }
        if self._lab:
            env["MLFLOW_TRACKING_URI"] = self._lab.uri
        with (self._folder / "trainer.log").open("wb") as log:
            self._trainer = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.trainer", str(self._folder / "spec.json")],
                cwd=self._folder, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self._ready = False
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()
        self._wait(lambda: self._ready or self._has_ended(), "the trainer")
        if not self._ready:
            raise NeverCame(f"the trainer, see {self._folder / 'trainer.log'}")

    def _listen(self) -> None:
        with self._trainer.stdout as lines:
            for line in lines:
                if line.strip() == READY:
                    self._ready = True
                elif line.endswith("\n"):  # else it was cut by a kill
                    self._recorded = int(line)

    def _train(self) -> None:
        for fault in self.plan.faults:
            if fault.at <= 1:
                self._record(int(fault.at * self._length))
                self._begin_recording(self._length)
                self._wait_until(time.monotonic() + fault.pause)
                self._inflict(fault)
        self._record(self._length)
        if not self._has_ended():
            self._trainer.stdin.close()
        self._wait(self._has_ended, "the end of the trainer")
        self._listener.join()

    def _begin_recording(self, target: int) -> None:
        """Tell the trainer to go on, up to an event."""
        if not self._has_ended():
            self._trainer.stdin.write(f"{target}\n")
            self._trainer.stdin.flush()

    def _record(self, target: int) -> None:
        """Let the trainer record up to an event."""
        self._begin_recording(target)
        self._wait(lambda: self._recorded >= target or self._has_ended(), f"event {target}")

    def _has_ended(self) -> bool:
        return self._trainer.poll() is not None

    # -- faults ---------------------------------------------------------------------------------------------------

    def _inflict(self, fault: Fault) -> None:
        hurt = {
            "trainer": self._hurt_trainer, "server": self._hurt_server, "network": self._hurt_network,
            "machine": self._come_from_another_machine, "sink": self._hurt_sink, "power": self._lose_power,
            "stranger": self._come_beside, "upgrade": self._upgrade,
        }.get(fault.target, self._hurt_relay)  # fmt: skip
        if hurt(fault):
            self.outcome.faults[fault.kind] = self.outcome.faults.get(fault.kind, 0) + 1

    def _hurt_trainer(self, fault: Fault) -> bool:
        if self._has_ended():
            return False
        if fault.what == "kill":
            self._trainer.kill()
            self._trainer.wait()
        else:
            send(self._trainer.pid, signal.SIGSTOP)
            self._later(fault.lasts, lambda: self._has_ended() or send(self._trainer.pid, signal.SIGCONT))
        return True

    def _hurt_relay(self, fault: Fault) -> bool:
        pid = relay_pid(self.run, fault.target)
        if pid is None:
            return False
        if fault.what == "kill":
            self._wait_for_a_delivery(fault.target)
            time.sleep(fault.lasts / 50)
            return relay_pid(self.run, fault.target) == pid and send(pid, signal.SIGKILL)
        self._later(fault.lasts, lambda: relay_pid(self.run, fault.target) == pid and send(pid, signal.SIGCONT))
        return send(pid, signal.SIGSTOP)

    def _wait_for_a_delivery(self, plugin: str) -> None:
        """Wait for a moment until a relay begins to deliver something: one that waits for news has nothing to lose."""
        inflight = self.run.relay(plugin).inflight

        def written() -> int:
            try:
                return inflight.stat().st_mtime_ns
            except FileNotFoundError:
                return 0

        before, deadline = written(), time.monotonic() + 0.5
        while written() == before and time.monotonic() < deadline:
            time.sleep(0.001)

    def _hurt_server(self, fault: Fault) -> bool:
        server = self._lab.server
        if not server.is_running:
            return False
        if fault.what == "kill":
            server.kill()
            self._later(fault.lasts, server.start)
        else:
            server.stall()
            self._later(fault.lasts, server.go_on)
        return True

    def _hurt_network(self, fault: Fault) -> bool:
        self._lab.proxy.set(fault.trouble)
        self._later(fault.lasts, lambda: self._lab.proxy.set(Trouble()))
        return True

    def _hurt_sink(self, fault: Fault) -> bool:
        flag = sink.flags(self._save_dir) / fault.what
        flag.touch()
        self._later(fault.lasts, lambda: fault.what == "refuse open" and flag.unlink(missing_ok=True))
        return True

    def _come_from_another_machine(self, fault: Fault) -> bool:
        """See that a relay of another machine leaves the delivery to the one that is at work."""
        pid = relay_pid(self.run, fault.what)
        if pid is None:
            return False
        command = [sys.executable, "-m", "tests.faults.elsewhere", str(self.run.path), fault.what]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        if relay_pid(self.run, fault.what) != pid:
            return False
        if code != BUSY:
            self.outcome.notes.append(f"{fault.what}: a relay of another machine ends with {code}, and is not busy")
        return True

    def _lose_power(self, _: Fault) -> bool:
        """Let the machine go down, and the events be gone that its disk has not got."""
        self._trainer.kill()
        self._trainer.wait()
        self._listener.join()
        last = mishaps.lose_power(self.run, self._parts, self._dice)
        if last is None or last.hook != "on_run_end":  # the recorder has events of its own, which have numbers, too
            self._recorded = min(self._recorded, last.seq if last else 0, self._length - 1)
        return True

    def _come_beside(self, _: Fault) -> bool:
        """Let another user train in this folder, too."""
        folder = mishaps.leave_a_strangers_folder(self.run.path.parent, self._dice)
        self._strangers[folder] = mishaps.listing(folder)
        return True

    def _upgrade(self, fault: Fault) -> bool:
        """Let a relay of an older release have delivered what is delivered so far."""
        cursor, deadline = self.run.relay(fault.what).cursor, time.monotonic() + _FIRST_DELIVERY
        self._wait(lambda: cursor.exists() or time.monotonic() > deadline, "a first delivery")
        for _ in range(5):  # the training may have started the next one before we have looked
            self._await_the_end_of(mishaps.ask_to_leave(self.run, fault.what), fault.what)
            if mishaps.upgrade(self.run, fault.what):
                return True
        return False

    def _await_the_end_of(self, pid: int | None, label: str) -> None:
        self._wait(lambda: pid is None or relay_pid(self.run, label) != pid, f"the end of {label}'s relay")

    def _later(self, seconds: float, heal: Callable[[], object]) -> None:
        self._heals.append((time.monotonic() + seconds, heal))

    def _heal_what_is_due(self, now: float) -> None:
        due = [heal for at, heal in self._heals if at <= now]
        self._heals = [(at, heal) for at, heal in self._heals if at > now]
        for heal in due:
            heal()

    def _heal(self) -> None:
        self._heal_what_is_due(float("inf"))
        (sink.flags(self._save_dir) / "refuse open").unlink(
            missing_ok=True
        )  # the others happen once, perhaps in `sync`
        if self._lab:
            self._lab.heal()

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something, while faults pass by."""

        def look() -> bool:
            self._heal_what_is_due(time.monotonic())
            return condition()

        wait_for(look, what)

    def _wait_until(self, moment: float) -> None:
        self._wait(lambda: time.monotonic() >= moment, "a moment")

    # -- afterwards -----------------------------------------------------------------------------------------------

    def _sync(self) -> None:
        """Deliver what is pending; a relay that does it may be hurt, too."""
        late = [fault for fault in self.plan.faults if fault.at > 1 and fault.target != "copy"]
        hurting = threading.Thread(target=self._hurt_sync, args=(late,))
        self._over = False
        hurting.start()
        deadline = time.monotonic() + _SYNC_PATIENCE
        os.environ[SELECTION] = ",".join(self._plugins)  # else `sync` would import no class that a journal names
        elsewhere = threading.Thread(target=self._deliver_copy)
        try:
            if any(fault.target == "copy" for fault in self.plan.faults):
                self._copy = mishaps.copy_to_another_machine(self.run, self._folder / "copy", self._parts)
                shutil.rmtree(sink.flags(self._copied_save_dir))
                elsewhere.start()
            while not self._is_settled() and time.monotonic() < deadline:
                may_hang = hurting.is_alive() or any(sink.flags(self._save_dir).iterdir())
                timeout = self.plan.call_timeout if may_hang else _CALL_TIMEOUT
                settings = Settings(linger=self.plan.linger, call_timeout=timeout)
                what = deliver([self.run], settings, busy_wait=_SYNC_PATIENCE, retry=self._is_delivered())
                self._said = [delivery.note for delivery in what]
        finally:
            self._over = True
            hurting.join()
            if self._copy:
                elsewhere.join()
            del os.environ[SELECTION]

    @property
    def _copied_save_dir(self) -> Path:
        return self._folder / "copy" / self._save_dir.name

    def _deliver_copy(self) -> None:
        """Be the other machine, to which the run folder was copied; it begins when the trackers' runs are made."""
        while not self._over and not all(self.run.relay(plugin).read_cursor().state for plugin in self._plugins):
            time.sleep(0.01)
        copy, deadline = self._copy, time.monotonic() + _SYNC_PATIENCE
        settings = Settings(linger=self.plan.linger)
        while any(owed(copy, part).pending for part in self._parts) and time.monotonic() < deadline:
            for delivery in deliver([copy], settings, busy_wait=_SYNC_PATIENCE):
                self.outcome.faults["copy"] = 1
                self._said_elsewhere = delivery.note
        if any(owed(copy, part).aside for part in self._parts):  # what was wrong with an event is mended by now
            list(deliver([copy], settings, busy_wait=_SYNC_PATIENCE, retry=True))

    def _hurt_sync(self, faults: list[Fault]) -> None:
        for fault in faults:
            part = sink.NAME if fault.target == "sink" else fault.target
            while not self._over and relay_pid(self.run, part) is None:
                time.sleep(0.01)
            wake = time.monotonic() + fault.pause + (fault.at - 1) * 5  # up to 2 s: most of it is imports
            while not self._over and time.monotonic() < wake:
                time.sleep(0.01)
            if not self._over:
                self._inflict(fault)
                while self._heals and not self._over:
                    self._heal_what_is_due(time.monotonic())
                    time.sleep(0.01)
                self._heal_what_is_due(float("inf"))

    def _is_settled(self) -> bool:
        """Whether all is delivered, and no relay is left that holds the run while it looks for an end to write."""
        at_work = any(relay_pid(self.run, part) is not None for part in self._parts)
        return not at_work and self._is_delivered() and self._has_all()

    def _is_delivered(self) -> bool:
        return all(is_delivered(self.run, part) for part in self._parts)

    def _has_all(self) -> bool:
        """Whether nothing is set aside: what was wrong with an event is mended by now."""
        return not any(self.run.relay(part).read_aside() for part in self._parts)

    def _judge(self) -> None:
        outcome = self.outcome
        for flag in sink.flags(self._save_dir).iterdir():
            outcome.faults[f"sink {flag.name}"] -= 1  # there was no occasion
        self._judge_folders()
        calls = read_calls(self.run.journal)
        missing = set(range(1, self._recorded + 1)) - {call.seq for call in calls}
        if missing:
            outcome.lost += len(missing)
            outcome.notes.append(f"recorded, but not in the journal: {sorted(missing)[:10]}")
        if calls:
            ends = [call.args["status"] for call in calls if call.hook == "on_run_end"]
            # Killed over the last event: that may be in the journal without having been acknowledged.
            may = {"finished", "killed"} if self._recorded == self._length - 1 else set()
            may |= {"finished" if self._recorded == self._length else "killed"}
            if calls[-1].hook != "on_run_end" or len(ends) != 1 or ends[0] not in may:
                outcome.notes.append(f"the journal ends with {calls[-1].hook}, statuses {ends}, expected one of {may}")
        for part in self._parts:
            left = owed(self.run, part)
            outcome.events += left.delivered
            if left.is_pending:
                outcome.pending += max(1, left.pending)
                outcome.notes.append(f"{part}: not settled, sync says {self._said}")
            if left.aside:
                outcome.notes.append(
                    f"{part}: {len(left.aside)} set aside, the first for: {left.aside[0].reason[:300]}"
                )
            if left.delivered + left.pending + len(left.aside) != len(calls):
                outcome.notes.append(f"{part}: the numbers of {left} do not add up to {len(calls)}")
        for plugin in self._plugins:
            clean, found = self._contents(plugin)
            lost, doubled = content.difference(clean, found)
            outcome.lost += sum(lost.values())
            outcome.doubled += sum(doubled.values())
            outcome.notes += [f"{plugin}: lost {content.describe(lost)}"] if lost else []
            outcome.notes += [f"{plugin}: too much: {content.describe(doubled)}"] if doubled else []

    def _judge_folders(self) -> None:
        """See that another user's folder is as it was, and that a copy of the run is delivered, too."""
        for folder, before in self._strangers.items():
            if mishaps.listing(folder) != before:
                self.outcome.notes.append(f"{folder} of another user was changed")
        for part in self._parts if self._copy else ():
            if left := owed(self._copy, part).pending:
                self.outcome.pending += left
                self.outcome.notes.append(f"{part}, copied: not delivered, {self._said_elsewhere}")
        if self._copy and sink.NAME in self._plugins:
            lost, doubled = content.difference(content.clean_sink(self._copy), content.of_sink(self._copied_save_dir))
            self.outcome.lost += sum(lost.values())
            self.outcome.doubled += sum(doubled.values())

    def _contents(self, plugin: str) -> tuple[content.Content, content.Content]:
        if plugin == sink.NAME:
            return content.clean_sink(self.run), content.of_sink(self._save_dir)
        if plugin == "tensorboard":
            clean = content.clean_tensorboard(self.run, self._folder / "clean")
            return clean, content.of_tensorboard(self._save_dir)
        clean = content.clean_mlflow(self.run, self._lab.clean)
        found = content.of_mlflow(self._lab.client, self._uid, self._uid, self._lab.server.artifacts)
        if self._copy:  # the tag has the folder of the machine that was there last
            own, other = (
                ("tag", "tracking_hooks.save_dir", str(path)) for path in (self._save_dir, self._copied_save_dir)
            )
            found[own] += found.pop(other, 0)
        return clean, found


def parts_of(plugins: Sequence[str]) -> list[str]:
    """Return plugins with their further parts, each of which has a relay."""
    points = our_plugins.installed()
    return [part for plugin in plugins for part in our_plugins.parts(plugin, points)]


def play(seed: int, plugins: Sequence[str], reference: Reference, folder: Path, lab: Lab | None) -> Outcome:
    """Play one sequence.

    :param folder: an empty folder; kept for a look at it if something is wrong in the end, else removed
    """
    outcome = Replay(seed, plugins, reference, folder, lab).play()
    if not outcome.failed:
        shutil.rmtree(folder, ignore_errors=True)  # an adopter may just be looking at it
    return outcome
