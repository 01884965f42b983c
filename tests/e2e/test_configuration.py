"""A mistake in the set-up is one clear sentence before the training."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.e2e

PLUGINS = """
from tracking_hooks import hookimpl

class UnknownHook:
    @hookimpl
    def on_epoch_ends(self, epoch): pass

class UnknownParameter:
    @hookimpl
    def on_epoch_end(self, epoch, metric): pass

class CannotBeMade:
    def __init__(self): raise RuntimeError("no licence file")
"""


def refused(home, command, trackers, *, early=False, **env):
    """Train, and return the sentence; ``early``: nothing was made or printed before it."""
    output = home.run(command, trackers, code=1, **env)
    assert "Traceback" not in output
    assert "Starting training" not in output
    assert home.runs() == []
    assert not list(home.folder.rglob("tracking.json"))
    if early:
        assert "engine/trainer: " not in output
        assert not list(home.folder.rglob("args.yaml"))
    return output[output.index("tracking-hooks: ") :]


def test_a_misspelt_tracker(home):
    home.forks = False  # the user's whole command, from its start to its exit code
    message = refused(home, home.yolo(), "mlfow", early=True)
    assert message.splitlines() == [
        "tracking-hooks: no tracker 'mlfow' is installed.",
        "  Did you mean 'mlflow'?",
        "  Installed: clearml, mlflow, notify, otel, tensorboard, trackio, wandb",
    ]


def test_a_malformed_setting(home):
    message = refused(home, home.yolo(), "tensorboard", early=True, TRACKING_HOOKS_LINGER="soon")
    assert message.startswith("tracking-hooks: TRACKING_HOOKS_LINGER='soon'")


@pytest.mark.parametrize(
    ("trackers", "sentences"),
    [
        ("nowhere:Tracker", ["'nowhere:Tracker' cannot be imported", "No module named 'nowhere'"]),
        ("faulty:UnknownHook", ["plugin 'faulty:UnknownHook'", "unknown hook 'on_epoch_ends'", "mean 'on_epoch_end'?"]),
        (
            "faulty:UnknownParameter",
            ["plugin 'faulty:UnknownParameter', hook 'on_epoch_end'", "unknown parameter 'metric'", "mean 'metrics'?"],
        ),
        ("tensorboard,faulty:CannotBeMade", ["plugin 'faulty:CannotBeMade'", "no licence file"]),
    ],
)
def test_a_plugin_that_cannot_be_used(home, trackers, sentences):
    (home.work / "faulty.py").write_text(PLUGINS)
    message = refused(home, home.script(), trackers)
    for sentence in sentences:
        assert sentence in message


def test_a_script_can_catch_it_like_any_exception(home):
    command = home.script()
    script = home.work / "train.py"
    head, _, call = script.read_text().rpartition("model.train")
    script.write_text(
        f"{head}try:\n    model.train{call}except Exception as error:\n    print('caught', type(error).__name__)\n"
    )
    assert "caught ConfigurationError" in home.run(command, "mlfow")
