"""What the relay sees to around the calls of a plugin that has files."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from tracking_hooks import plugins
from tracking_hooks.delivery.instance import PluginInstance
from tracking_hooks.events import Artifact, Unavailable
from tracking_hooks.hookspecs import LifecycleSpecs
from tracking_hooks.markers import hookimpl
from tracking_hooks.run.journal import Call
from tracking_hooks.testing import sample_run


class Sender:
    """A plugin that collects files and sends them in ``flush``."""

    @hookimpl
    def on_artifact(self, artifact):
        pass

    @hookimpl
    def flush(self):
        pass


class Watch:
    """Notes how much more time each call is given."""

    def __init__(self):
        self.more = {}

    @contextmanager
    def watching(self, what, more=0.0):
        self.more.setdefault(what, []).append(more)
        yield


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def instance(watch, tmp_path):
    manager = plugins.check("sender", Sender(), LifecycleSpecs)
    return PluginInstance("sender", manager, sample_run(tmp_path), {}, watch)


def give(instance, path, size):
    artifact = Artifact(path=path, kind="file", name=path.name, size=size, digest="0")
    instance.give(Call(1, 0.0, "on_artifact", {"artifact": artifact}), {"artifact": artifact}, {})


def test_the_flush_that_sends_large_files_may_take_as_long_as_all_of_them(instance, watch, tmp_path):
    for name in "ab":
        give(instance, tmp_path / name, 50_000_000)
    instance.flush({})
    instance.flush({})
    assert watch.more["sender, flush"] == [1000, 0]


def test_a_file_that_is_replaced_before_the_flush_has_sent_it_is_given_again(instance, tmp_path):
    path = tmp_path / "best.pt"
    path.write_bytes(b"ours")
    give(instance, path, 4)
    path.write_bytes(b"theirs")
    with pytest.raises(Unavailable, match="given again"):
        instance.flush({})
