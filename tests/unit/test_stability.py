"""What one release writes to disk is read by the next, and by the one before."""

import typing

import pytest
from msgspec import Struct, structs

from tracking_hooks.delivery.disk import Note
from tracking_hooks.events import Error
from tracking_hooks.hookspecs import LifecycleSpecs
from tracking_hooks.run.commands import Command
from tracking_hooks.run.journal import Head
from tracking_hooks.run.layout import AsideFile, Cursor, Health, Pointer, Replay
from tracking_hooks.run.liveness import Holder

FILES = (Head, Cursor, AsideFile, Health, Note, Replay, Pointer, Command, Holder, Error)
"""What stands alone in a file of a run folder."""

REQUIRED = {
    "AsideFile": "",
    "Artifact": "path kind name size digest",
    "Box": "label box",
    "Checkpoint": "path kind",
    "Command": "plugin action",
    "ConfusionMatrix": "labels matrix",
    "Cursor": "",
    "Curve": "name x_label y_label x y",
    "Dataset": "name yaml splits classes digest",
    "Environment": "host user cwd argv python platform versions devices",
    "Error": "type message traceback",
    "Git": "commit",
    "Head": "format created run plugins",
    "Health": "state pid",
    "Holder": "host boot pid started",
    "Inflight": "start end",
    "Landmarks": "",
    "Model": "name task parameters gradients layers gflops classes",
    "Note": "inflight boot",
    "Origin": "uid name checkpoint",
    "Plan": "",
    "Pointer": "uid folder",
    "Replay": "plugin destination",
    "Run": "uid name project task save_dir",
    "SaveCheckpoint": "name reason",
    "ScaleLearningRate": "factor reason",
    "SeenImage": "path width height picture",
    "SetAside": "seq start end hook reason",
    "Split": "path images instances",
    "Stop": "reason",
}
"""The fields without a default in 0.1. None is ever added: the files of 0.1 do not have it."""


def found_in(kind):
    """Return the Structs that a type is made of."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        hints = typing.get_type_hints(kind).values()
        return {kind}.union(*map(found_in, hints))
    return set().union(*map(found_in, typing.get_args(kind)))


def all_structs():
    events = [getattr(LifecycleSpecs, name) for name in dir(LifecycleSpecs) if name.startswith("on_")]
    hints = [hint for spec in events for hint in typing.get_type_hints(spec).values()]
    return sorted(set().union(*map(found_in, [*FILES, *hints])), key=lambda kind: kind.__name__)


def test_every_struct_that_is_written_to_disk_is_known():
    assert [kind.__name__ for kind in all_structs()] == sorted(REQUIRED), (
        "name a new Struct with the fields that it cannot do without: later ones need a default"
    )


@pytest.mark.parametrize("kind", all_structs(), ids=lambda kind: kind.__name__)
def test_a_field_that_is_added_has_a_default(kind):
    required = [field.name for field in structs.fields(kind) if field.required]
    for name in required:
        assert name in REQUIRED[kind.__name__].split(), (
            f"files of earlier releases have no {kind.__name__}.{name}: give it a default"
        )
