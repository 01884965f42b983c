"""A part of a plugin that is for files costs a process while there is something in it, and at no other time."""

import logging

import pytest

from tracking_hooks import plugins
from tracking_hooks.events import Capture
from tracking_hooks.recording.process import recorders
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.recording.supervisor import Supervisor
from tracking_hooks.run import files, layout, state
from tracking_hooks.settings import Settings
from tracking_hooks.testing import sample_run

BOOK = """
import tracking_hooks.delivery.relay as relay

relay._IDLE = 0.1

class Plugin:
    @hookimpl
    def on_artifact(self, artifact, run):
        run.save_dir.joinpath(f"got {artifact.name}").touch()
"""
"""Notes each file, and has a relay that does not wait long for the next one."""


@pytest.fixture
def training(make_plugin, install, environment, tmp_path):
    """A recorder in mid-training, with a plugin in two parts: ``book`` and ``book.files``."""
    first, second = make_plugin("class Plugin(Notes): pass"), make_plugin(BOOK)
    sides = make_plugin(
        """
        class Plugin:
            @hookimpl
            def capture(self, run):
                from tracking_hooks import Capture
                return Capture(destination={"file": str(run.save_dir / "notes")})
        """
    )
    install(f"[tracking_hooks]\nbook = {first}\nbook.files = {second}\n\n[tracking_hooks.trainer]\nbook = {sides}\n")
    run = sample_run(tmp_path / "project/train")
    run.save_dir.mkdir(parents=True)
    captures = plugins.of_parts(plugins.capture(plugins.load_trainer_sides(["book"]), run))
    settings = Settings(system_every=0.0, console="off")
    recorder = Recorder.start(run, captures, settings, logging.getLogger("host"), params={}, environment=environment)
    recorder.check()
    recorder.begin(params={}, environment=environment)
    yield recorder
    recorder.end("finished")
    for process in recorder.supervisor.processes.values():
        process.wait()
    recorders.clear()


def test_the_files_of_a_training_have_a_relay_only_while_there_is_one_to_deliver(training, until):
    save_dir = training.run.save_dir

    def relays():
        training.look_after_relays()  # as the host does at the end of each epoch
        return [label for label in ("book", "book.files") if state.has_relay(training.folder, label)]

    until(lambda: relays() == ["book"])
    for epoch in range(1, 4):
        training.record("on_epoch_end", epoch=epoch, step=epoch, metrics={"x": 1.0}, per_class=None)
        assert relays() == ["book"], "there is nothing in an epoch for it"
    for name in ("a.png", "b.png"):
        (save_dir / name).write_text(name)
        artifact = files.artifact(training.folder, save_dir, save_dir / name, None)
        training.record("on_artifact", artifact=artifact)
        got = save_dir / f"got {name}"
        until(lambda got=got: relays() and got.exists())
        until(lambda: relays() == ["book"])


def test_one_outage_is_one_sentence_whichever_part_meets_it_first(tmp_path):
    folder = layout.RunFolder(tmp_path)
    labels = ("book", "book.files")
    supervisor = Supervisor(folder, dict.fromkeys(labels, Capture()), dict.fromkeys(labels, "book"), Settings())
    supervisor.processes = dict.fromkeys(labels)

    def say(label, condition, error=""):
        folder.relay(label).path.mkdir(parents=True, exist_ok=True)
        layout.write_json(folder.relay(label).health, layout.Health(state=condition, pid=1, error=error))
        return [*supervisor.outages(), *supervisor.outages()]

    assert say("book.files", "down", "no database") == ["book.files waits, recording continues: no database"]
    assert say("book", "down", "no database") == []
    assert say("book.files", "ready") == ["book.files goes on", "book waits, recording continues: no database"]
    assert say("book.files", "down", "no shelf") == []
    assert say("book", "ready") == ["book goes on", "book.files waits, recording continues: no shelf"]
