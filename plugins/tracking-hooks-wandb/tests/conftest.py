import os
from contextlib import suppress

import psutil
import pytest
import wandb
from wandb.sdk.lib import module

from tests.support.wandb_standin import WandbStandIn
from tracking_hooks.testing import sample_run
from tracking_hooks_wandb import tracker
from tracking_hooks_wandb.trainer import capture


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    """A user who has never heard of W&B, in a process that has no run open."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        del os.environ[name]
    os.environ["HOME"] = str(tmp_path / "home")
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield
    forget_process()
    os.environ.clear()
    os.environ.update(before)


def forget_process():
    """Be another process: W&B's own one is ended, as it is when the one that started it dies."""
    for child in psutil.Process().children():
        if child.name() == "wandb-core":
            child.kill()
            child.wait()
    tracker._clients.clear()
    with suppress(Exception):  # it speaks to the process that is gone
        wandb.teardown()
    module.unset_globals()  # a run that is switched off stays as `wandb.run`
    os.environ.pop("WANDB_SERVICE", None)


@pytest.fixture
def die():
    """Let the relay die, with all that it had in memory."""
    return forget_process


@pytest.fixture
def save_dir(tmp_path):
    return tmp_path / "runs/train"


@pytest.fixture
def run(save_dir):
    return sample_run(save_dir)


@pytest.fixture
def offline(run, monkeypatch):
    """A destination: the folder of an offline run."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    return capture(run, None).destination


@pytest.fixture
def service():
    """The stand-in of the W&B service."""
    standin = WandbStandIn()
    standin.start()
    yield standin
    standin.stop()
    assert standin.unknown == []


@pytest.fixture(name="online")
def _online(run, service, monkeypatch):
    """A destination: a run that the stand-in of the service has."""
    soon = {"WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1"}  # less than a second counts as the default, 15 seconds
    for name, value in {**service.environment(), **soon}.items():
        monkeypatch.setenv(name, value)
    return capture(run, None).destination
