"""What every plugin has to keep, as tests: inherit ``Contract``, and say what a reader of the tracker sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tracking_hooks import plugins
from tracking_hooks.events import Destination, Run
from tracking_hooks.markers import READER_GROUP
from tracking_hooks.run.journal import Call
from tracking_hooks.settings import ConfigurationError
from tracking_hooks.testing.afterwards import Afterwards
from tracking_hooks.testing.breakdowns import Breakdowns
from tracking_hooks.testing.inside import inside
from tracking_hooks.testing.playing import instance
from tracking_hooks.testing.recordings import (
    KINDS,
    Kind,
    recorded,
    sample_run,
)
from tracking_hooks.testing.seen import (
    Values,
    same,
    see_epochs,
    see_nothing_of_discarded_attempts,
    without_repeats,
)
from tracking_hooks.testing.tested import passes_on
from tracking_hooks.testing.tracker import Tracker

_TRAINERS = ("ultralytics", "torch")

_IMPORT = """
import socket, sys
local = getattr(socket, "AF_UNIX", None)
def refuse(event, args):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and args[0].family != local):
        raise OSError(f"it uses the network when it is imported: {event} {args[1:]}")
sys.addaudithook(refuse)
from tracking_hooks import plugins
for part in sys.argv[2:]:
    plugins.load(part)
plugins.load_trainer_sides([sys.argv[1]])
print("trainers:", *[name for name in %r if name in sys.modules])
"""


class Contract(Breakdowns, Afterwards):
    """The tests that a plugin passes, whatever its tracker is.

    Inherit it in a test module, name the plugin, and write ``observe``. pytest then collects the tests. Each one plays
    recorded runs to fresh instances of the plugin, interrupts that as trainings and machines do, and compares what
    ``observe`` then returns with what it returns where nothing was interrupted.
    """

    plugin: ClassVar[str]
    """The plugin as ``TRACKING_HOOKS`` names it: an installed one, or ``package.module:Class``."""

    keeps_values: ClassVar[Values | None] = None
    """Which values a reader sees: those of all epochs, the latest ones, or none, as in a chat.

    None asks the plugin's reader for its ``keeps_values``. Where it has none, it is ``"all"``.
    """

    at_least_once: ClassVar[bool | None] = None
    """Whether a relay that dies may have something sent twice: for a receiver that cannot be asked what it has.

    In the tests in which a relay dies, or has lost its state, what is seen twice then counts once. None asks the
    plugin's reader for its ``at_least_once``. Where it has none, it is False.
    """

    stride: ClassVar[int] = 1
    """Of how many events one is cut behind: more than 1 only for a client that takes seconds to start."""

    def destination(self, folder: Path) -> Destination:
        """Return the destination of a tracker that holds nothing.

        By default the ``destination`` of the plugin's reader is called; where it has none, ``capture``, with that
        folder as the training's working directory and as the user's home. What it says must lie in that folder: a
        variable of your own may name the tracker that you use.

        :param folder: an empty folder of its own, for a tracker that is a folder or a file
        """
        if made := getattr(self._reader(), "destination", None):
            return dict(made(folder))
        return _captured(self.plugin, recorded("finished", folder / "runs/train").run, folder)

    def observe(self, destination: Destination) -> list[Any]:
        """Return what somebody who looks at the tracker sees: one element for each run, as JSON values.

        By default the ``observe`` of the plugin's reader is called. Leave out what is another one each time by itself,
        such as ids and times that the tracker makes up. The events' own times belong in, and so does the status.

        :param destination: what ``destination`` returned
        """
        reader = self._reader()
        assert reader, f"write observe, or a module with one as entry point {self.plugin!r} of {READER_GROUP}"
        return list(reader.observe(destination))

    def restart(self) -> None:
        """Do what the death of a relay does to a client that keeps something in its process.

        By default the ``restart`` of the plugin's reader is called, where it has one.
        """
        if restart := getattr(self._reader(), "restart", None):
            restart()

    def half_down(self, destination: Destination) -> AbstractContextManager[Any]:
        """Have a part of the tracker be down within: one of two chats, a server beside a file.

        By default the ``half_down`` of the plugin's reader is called. Where it has none, the test that needs it is
        skipped.

        :param destination: what ``destination`` returned
        """
        if half_down := getattr(self._reader(), "half_down", None):
            return half_down(destination)  # type: ignore[no-any-return]  # of a module that is not ours
        pytest.skip("it has no half_down: write one if a part of the tracker can be down while others work")

    def _setting(self, name: str, default: Any) -> Any:
        own = getattr(self, name)
        return getattr(self._reader(), name, default) if own is None else own

    def _reader(self) -> Any:
        point = plugins.installed(READER_GROUP).get(self.plugin)
        return point.load() if point else None

    # -- what is tested ---------------------------------------------------------------------------------------

    def test_it_is_a_plugin(self) -> None:
        """It is what ``tracking-hooks plugins`` says ``ok`` to; ``capture`` works, or says what is not configured."""
        for part in self._parts():
            plugins.load(part)
        sides = plugins.load_trainer_sides([self.plugin])
        try:
            destination = plugins.capture(sides, sample_run(Path("runs/train").absolute()))[self.plugin].destination
        except ConfigurationError as error:
            if isinstance(error.__cause__, (TypeError, AttributeError, NameError)):
                pytest.fail(f"{error}: that is no mistake in a configuration", pytrace=False)
        else:
            assert json.loads(json.dumps(destination)) == destination, f"{destination} does not come back from JSON"

    def test_importing_it_needs_neither_the_network_nor_a_trainer(self, tmp_path: Path) -> None:
        """A relay has no trainer, and a training is not to wait for a server."""
        done = _import(self.plugin, self._parts(), tmp_path)
        assert done.returncode == 0, f"it cannot be imported without a network:\n{done.stderr}"
        trainers = done.stdout.rpartition("trainers:")[2].split()
        assert not trainers, f"it imports {trainers}: it is imported where no trainer is"

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_run_is_one_run_and_twice_is_once(self, kind: Kind, tmp_path: Path) -> None:
        """A run that is delivered once more, from another machine, where no state is, stands there once."""
        tracker = self._tracker(tmp_path, kind)
        tracker.deliver()
        once = tracker.observe()
        assert len(once) == 1, f"a run ({kind}) is {len(once)} runs in the tracker"
        tracker.forget()
        tracker.deliver()
        self._same_but_twice(tracker.observe(), once, f"a run ({kind}) was delivered twice")

    @pytest.mark.parametrize("kind", ["finished", "resumed", "everything"])
    def test_every_epoch_is_there(self, kind: Kind, tmp_path: Path) -> None:
        """The values of all epochs can be read, or the latest ones, as the tracker keeps them."""
        tracker = self._tracker(tmp_path, kind)
        tracker.deliver()
        see_epochs(tracker.observe(), tracker.calls, self._setting("keeps_values", "all"), f"a run ({kind})")

    def test_a_discarded_attempt_leaves_no_values(self, tmp_path: Path) -> None:
        """Of an epoch that was started again, the values of its last attempt are there, and no others."""
        tracker = self._tracker(tmp_path, "restarted")
        tracker.deliver()
        keeps = self._setting("keeps_values", "all")
        see_epochs(tracker.observe(), tracker.calls, keeps, "a run whose second epoch was started again")
        if not passes_on(self):
            see_nothing_of_discarded_attempts(tracker.observe(), tracker.calls)

    def test_the_endings_can_be_told_apart(self, tmp_path: Path) -> None:
        """Who looks at the tracker sees whether a run has finished or failed."""
        kinds: tuple[Kind, ...] = ("failed", "killed", "interrupted")
        seen = {kind: self._whole(tmp_path, kind, kind) for kind in kinds}
        finished = self._tracker(tmp_path, "failed", "finished")
        *calls, end = finished.calls  # the same events, so that nothing but the ending differs
        finished.calls = [*calls, Call(end.seq, end.time, end.hook, {"status": "finished", "error": None})]
        finished.deliver()
        for kind, content in seen.items():
            assert content != finished.observe(), (
                f"a run with the status {kind!r} looks like one that has finished: what observe returns has no status, "
                "or the plugin does not write it in on_run_end"
            )

    def test_restarted_and_killed_at_every_event(self, tmp_path: Path) -> None:
        """A fresh instance goes on with the state that the last one has left, and gives again what that lost in dying.

        For each event: one instance stops behind it; the next one dies two events later, when these are sent and that
        is not noted down; a third one delivers the rest. Events that the plugin has no hook for are not counted.
        """
        whole = self._whole(tmp_path, "everything")
        for part in self._parts():
            calls = recorded("everything", tmp_path / "run").calls
            numbers = _wanted(part, calls, tmp_path)[:: self.stride]
            for number, killed in zip(numbers, [*numbers[2:], *numbers[-1:] * 2], strict=False):
                tracker = self._tracker(tmp_path, "everything", f"{part} {number}")
                tracker.deliver_before(part)
                tracker.deliver(part, upto=number)
                tracker.die(part, upto=killed)
                tracker.deliver()
                when = f"{part} was stopped behind {tracker.name(number)}, and killed behind {tracker.name(killed)}"
                self._same_but_twice(tracker.observe(), whole, when)

    def test_killed_while_it_opens(self, tmp_path: Path) -> None:
        """What ``open`` has made is found again, although its state was not saved."""
        whole = self._whole(tmp_path, "finished")
        tracker = self._tracker(tmp_path, "finished", "killed")
        for part in self._parts():
            tracker.die_opening(part)
            tracker.deliver(part)
        when = "the plugin was killed behind its open, before its state was saved"
        self._same_but_twice(tracker.observe(), whole, when)

    @pytest.mark.parametrize("batch", [1, 7])
    def test_batches_make_no_difference(self, batch: int, tmp_path: Path) -> None:
        """How many events come between two flushes is not seen."""
        whole = self._whole(tmp_path, "everything")
        tracker = self._tracker(tmp_path, "everything", "batches")
        tracker.deliver(batch=batch)
        same(tracker.observe(), whole, f"the plugin was flushed after {batch} events")

    def test_the_start_may_be_set_aside(self, tmp_path: Path) -> None:
        """Where ``on_run_start`` is set aside, the rest arrives all the same; if it comes in the end, nothing lacks."""
        whole = self._whole(tmp_path, "finished")
        tracker = self._tracker(tmp_path, "finished")
        tracker.deliver(without=1)
        seen = tracker.observe()
        assert len(seen) == 1, f"a run without its on_run_start is {len(seen)} runs in the tracker"
        see_epochs(seen, tracker.calls, self._setting("keeps_values", "all"), "a run without its on_run_start")
        tracker.deliver(retry=True)
        same(tracker.observe(), whole, "on_run_start came behind everything else")

    def test_a_file_may_come_late(self, tmp_path: Path) -> None:
        """A file that was set aside, and is tried again behind everything else, arrives all the same."""
        whole = self._whole(tmp_path, "everything")
        calls = recorded("everything", tmp_path / "run").calls
        late = [call for call in calls if call.hook in {"on_artifact", "on_checkpoint_saved"}]
        for call in [call for call in late if getattr(call.args.get("checkpoint"), "digest", "") is not None][
            :: self.stride
        ]:
            tracker = self._tracker(tmp_path, "everything", f"late {call.seq}")
            tracker.deliver(without=call.seq)
            tracker.deliver(retry=True)
            same(tracker.observe(), whole, f"{tracker.name(call.seq)} came behind everything else")

    # -- how --------------------------------------------------------------------------------------------------

    def _parts(self) -> list[str]:
        return plugins.parts(self.plugin, plugins.installed())

    def _tracker(self, folder: Path, kind: Kind, name: str = "tracker") -> Tracker:
        """Return a tracker that holds nothing, and the run of this kind, whose folder is the same in each."""
        place = folder / name
        place.mkdir(parents=True)
        destination = self.destination(place)
        held = len(self.observe(destination))
        assert not held, f"the tracker at {destination} holds {held} runs already: have destination return an empty one"
        return Tracker(self._parts(), destination, self.observe, self.restart, recorded(kind, folder / "run"))

    def _whole(self, folder: Path, kind: Kind, name: str = "whole") -> list[Any]:
        tracker = self._tracker(folder, kind, name)
        tracker.deliver()
        return tracker.observe()

    def _same_but_twice(self, seen: list[Any], whole: list[Any], when: str) -> None:
        """See that two contents are the same, in a test in which something may be sent twice."""
        if self._setting("at_least_once", default=False):
            seen, whole = without_repeats(seen), without_repeats(whole)
        same(seen, whole, when)


def _wanted(part: str, calls: Iterable[Call], folder: Path) -> list[int]:
    """Return the number of each event that a part of a plugin has anything to do for."""
    fresh = instance(plugins.load(part), sample_run(folder), {})
    return [call.seq for call in calls if fresh.wants(call.hook)]


def _captured(plugin: str, run: Run, folder: Path) -> Destination:
    """Return what a plugin's capture says where a folder is the working directory and the user's home."""
    with pytest.MonkeyPatch.context() as patch:  # else a tracker below the user's home would be their own
        patch.chdir(folder)
        for name in ("HOME", "USERPROFILE"):
            patch.setenv(name, str(folder))
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
            patch.delenv(name, raising=False)
        captured = plugins.capture(plugins.load_trainer_sides([plugin]), run)[plugin].destination
        return inside(folder, captured)


def _import(plugin: str, parts: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Import a plugin in a process of its own, without a network."""
    command = [sys.executable, "-c", _IMPORT % (_TRAINERS,), plugin, *parts]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
