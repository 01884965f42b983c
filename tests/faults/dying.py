"""A relay that dies at a step of our choice, and the list of the steps that it can die at."""

from __future__ import annotations

import gc
import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pluggy

from tracking_hooks import plugins
from tracking_hooks.delivery import batches, disk, relay
from tracking_hooks.run import layout
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings

DIED = 99

_installed = plugins.installed()  # to look for plugins takes longer than all the rest of a short delivery


class Fuse:
    """Counts steps, and ends the process at one of them as SIGKILL would: nothing is flushed or undone."""

    def __init__(self, step: int | None) -> None:
        """Make a fuse.

        :param step: counts from 0; None: never, the steps are only written down
        """
        self.step = step
        self.passed: list[str] = []

    def at(self, what: str) -> None:
        if self.step == len(self.passed):
            os._exit(DIED)
        self.passed.append(what)


def in_child(action: Callable[[], int]) -> int:
    """Do something in a forked process, which shares what is imported here and nothing else; return its exit code."""
    pid = os.fork()
    if pid == 0:
        gc.disable()  # it would copy every page that is shared
        plugins.installed = lambda *_: _installed
        code = 1
        try:
            code = action()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def steps(folder: RunFolder, plugin: str, batch: int, notes: Path) -> list[str]:
    """Deliver without dying; return what can be died at."""

    def act() -> int:
        fuse = Fuse(None)
        code = _run(folder, plugin, batch, fuse)
        notes.write_text(json.dumps(fuse.passed))
        return code

    assert in_child(act) == 0, f"a relay of {plugin} does not deliver even when nothing happens to it"
    return json.loads(notes.read_text())


def die(folder: RunFolder, plugin: str, batch: int, step: int) -> None:
    """Let a relay die at a step."""
    assert in_child(lambda: _run(folder, plugin, batch, Fuse(step))) == DIED, f"there is no step {step}"


def finish(folder: RunFolder, plugin: str) -> int:
    """Deliver the rest with a fresh relay, as ``sync`` does; return its exit code."""
    return in_child(lambda: relay.Relay(folder, plugin, Settings(), drain=True).run())


def _run(folder: RunFolder, plugin: str, batch: int, fuse: Fuse) -> int:
    batches.MOST = batch
    disk.write_json = _burning(layout.write_json, fuse)
    disk.RunDisk.clear_note = _burning_clear(disk.RunDisk.clear_note, fuse)
    load = plugins.load
    plugins.load = lambda name: _watched(load(name), fuse)
    return relay.Relay(folder, plugin, Settings(), drain=True).run()


def _watched(manager: pluggy.PluginManager, fuse: Fuse) -> pluggy.PluginManager:
    """Put a step on both sides of each hook call that the plugin takes."""

    def before(hook: str, implementations: Any, arguments: Any) -> None:
        if implementations:
            fuse.at(f"before {hook} {arguments.get('seq', '')}")

    def after(_: Any, hook: str, implementations: Any, arguments: Any) -> None:
        if implementations:
            fuse.at(f"after {hook} {arguments.get('seq', '')}")

    manager.add_hookcall_monitoring(before, after)
    return manager


def _burning_clear(clear: Callable[[disk.RunDisk], None], fuse: Fuse) -> Callable[[disk.RunDisk], None]:
    """Put a step on both sides of the moment in which a note is taken back."""

    def clear_note(self: disk.RunDisk) -> None:
        fuse.at("before clearing the note")
        clear(self)
        fuse.at("after clearing the note")

    return clear_note


def _burning(write: Callable[..., None], fuse: Fuse) -> Callable[..., None]:
    """Put a step before a write, between its two halves, and behind it."""

    def write_json(path: Path, value: Any, **how: Any) -> None:
        fuse.at(f"before writing {path.name}")
        replace = Path.replace

        def replace_later(draft: Path, target: Path) -> Path:
            fuse.at(f"before putting {path.name} in place")
            return replace(draft, target)

        Path.replace = replace_later
        try:
            write(path, value, **how)
        finally:
            Path.replace = replace
        fuse.at(f"after writing {path.name}")

    return write_json
