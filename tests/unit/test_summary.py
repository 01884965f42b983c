"""The size of a network in the trackers is what Ultralytics has printed of it."""

import re
from types import SimpleNamespace

import pytest

pytest.importorskip("ultralytics")

import torch
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER, torch_utils

from tracking_hooks import attach
from tracking_hooks.hosts.ultralytics import data, summary
from tracking_hooks.recording.tracking import LAUNCHED, Launch

DETECT, CLASSIFY = "yolo26n.yaml", "yolo26n-cls.yaml"
KINDS = {DETECT: tasks.DetectionModel, CLASSIFY: tasks.ClassificationModel}
LINE = re.compile(r"summary: ([\d,]+) layers, ([\d,]+) parameters, ([\d,]+) gradients, ([\d.]+) GFLOPs")


@pytest.fixture
def build(monkeypatch, caplog):
    """Build a network as a trainer does; return it, and what the console says of it."""
    monkeypatch.setattr(LOGGER, "propagate", True)
    monkeypatch.setenv("TRACKING_HOOKS", "notes")
    attach()

    def build(config=DETECT, *, verbose=True):
        caplog.clear()
        network = KINDS[config](config, nc=3, verbose=verbose)
        monkeypatch.setattr(torch_utils, "get_flops", lambda *_: pytest.fail("it was run once more"))
        return network, LINE.search(caplog.text)

    return build


def described(network, imgsz=640):
    args = SimpleNamespace(model=DETECT, task="detect", imgsz=imgsz)
    return data.model(SimpleNamespace(model=network, args=args, data={"names": {}}))


@pytest.mark.parametrize("config", [DETECT, CLASSIFY])
@pytest.mark.parametrize("imgsz", [64, 320, 640, [640, 640], [640, 320]], ids=str)
def test_it_is_that_of_the_line_on_the_console_whatever_the_image_size(build, config, imgsz):
    network, line = build(config)
    found = described(network, imgsz)
    assert [f"{found.layers:,}", f"{found.parameters:,}", f"{found.gflops_640:.1f}"] == [line[1], line[2], line[4]]
    assert found.gflops == (found.gflops_640 if imgsz in (640, [640, 640]) else None)


def test_frozen_layers_leave_it_as_it_is(build):
    network, line = build()
    before = described(network)
    for parameter in network.model[0].parameters():
        parameter.requires_grad = False
    after = described(network)
    assert (f"{before.gradients:,}", before.gflops_640) == (line[3], after.gflops_640)
    assert after.gradients < before.gradients == after.parameters


def test_a_network_that_is_wrapped_for_training_is_the_same_one(build):
    network, line = build()
    for wrapped in (torch.nn.DataParallel(network), torch.compile(network)):
        assert f"{described(wrapped).gflops_640:.1f}" == line[4]


def test_a_teacher_is_no_part_of_the_network_that_it_teaches(build):
    network, line = build()
    teaching = torch.nn.Module()  # as Ultralytics' distillation wraps it
    teaching.student_model, teaching.teacher_model = network, torch.nn.Linear(1000, 1000)
    for wrapped in (teaching, torch.nn.DataParallel(teaching)):
        assert described(wrapped) == described(network)
    assert f"{described(teaching).parameters:,}" == line[2]


def test_of_a_network_that_ultralytics_prints_nothing_of_it_is_unknown(build):
    network, line = build(verbose=False)
    assert line is None
    assert (described(network).gflops, described(network).gflops_640) == (None, None)
    assert described(network).parameters > 2_000_000


def test_a_later_look_at_the_network_at_another_size_changes_nothing(build, monkeypatch):
    network, line = build()
    monkeypatch.setattr(torch_utils, "get_flops", lambda *_: 0.1)
    network.info(imgsz=64)
    network.info(False, True, 64)
    assert f"{described(network).gflops_640:.1f}" == line[4]


def test_a_worker_whose_network_is_not_printed_is_told_by_its_launcher(build, monkeypatch):
    network, _ = build(verbose=False)
    monkeypatch.setenv(LAUNCHED, "")
    assert summary.gflops_640("yolo26n.pt") is None, "the launcher has built nothing yet"
    Launch("uid", {}, [], gflops_640=5.9).hand_on()
    assert described(network).gflops_640 == 5.9
