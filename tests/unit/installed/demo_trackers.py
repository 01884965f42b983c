"""Plugins of a fake installed distribution: one that works, and every way not to."""

from pathlib import Path

from tracking_hooks import Capture, hookimpl
from tracking_hooks.hookspecs import LifecycleSpecs

EVENTS = [name for name in vars(LifecycleSpecs) if name.startswith("on_") and name != "on_event"]


def _note(hook):
    def method(self, seq, state, destination):
        self.before(seq, state)
        with Path(destination["file"]).open("a") as file:
            file.write(f"{seq} {hook}\n")

    return hookimpl(method)


class _Misbehaviour:
    def before(self, seq, state):
        """What a plugin of a test does before it notes an event down."""


Notes = type("Notes", (_Misbehaviour,), {hook: _note(hook) for hook in EVENTS})
"""Appends the number and the name of each event to the file that its destination names."""


class NotesInTrainer:
    @hookimpl
    def capture(self, run):
        return Capture(destination={"file": str(run.save_dir / "notes")}, disables="notebook", summary="a file")


class BrokenInTrainer:
    @hookimpl
    def capture(self):
        raise LookupError("no experiment is set")


class Unmakeable:
    def __init__(self):
        raise KeyError("NOTES_TOKEN")


class UnknownHook:
    @hookimpl
    def on_epoch_ended(self, epoch):
        pass


class UnknownParameter:
    @hookimpl
    def on_epoch_end(self, epoch, metric):
        pass


class DefaultValue:
    @hookimpl
    def on_epoch_end(self, epoch, metrics=None):
        pass
