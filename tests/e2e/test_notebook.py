"""A notebook whose first cells import PyTorch and Ultralytics, and whose later ones install a tracker."""

from __future__ import annotations

import pytest

from tests.support.processes import PATIENCE

pytestmark = pytest.mark.e2e

# PyTorch asks for what is installed once, when it is imported; what is installed behind that is as if not asked for.
BEFORE = """
import os
os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
import torch, ultralytics
from ultralytics import YOLO
model = YOLO("yolo26n.yaml")
del os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"]
"""


def run_cells(home, *cells):
    """Run these cells, and one that trains, in a kernel of IPython; return what the last one printed."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    arguments = {name: str(value) if name in ("data", "project") else value for name, value in home.arguments().items()}
    arguments |= {"epochs": 1}
    del arguments["model"]
    texts = [BEFORE, *cells, f"model.train(**{arguments!r})"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in texts])
    resources = {"metadata": {"path": home.work}}
    nbclient.NotebookClient(notebook, timeout=int(PATIENCE), kernel_name="python3", resources=resources).execute(
        env=home.env
    )
    return "".join(output.get("text", "") for output in notebook.cells[-1].outputs)


def test_what_was_installed_after_torch_was_imported_tracks_from_attach_on(home):
    printed = run_cells(home, "%env TRACKING_HOOKS=tensorboard", "import tracking_hooks\ntracking_hooks.attach()")
    assert "tracking-hooks: tracking run" in printed
    assert f"%tensorboard --logdir {home.work / 'runs/train'}" in printed, "a line to paste into a cell"
    assert [call.args["status"] for call in home.calls() if call.hook == "on_run_end"] == ["finished"]


def test_attach_may_name_the_tracker(home):
    run_cells(home, 'import tracking_hooks\ntracking_hooks.attach("tensorboard")')
    assert len(home.runs()) == 1


def test_without_attach_such_a_notebook_trains_as_if_nothing_was_installed(home):
    assert "tracking-hooks" not in run_cells(home, "%env TRACKING_HOOKS=tensorboard")
    assert home.runs() == []
