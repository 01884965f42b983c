"""The Makefile's targets, as tests run them: with this interpreter's environment instead of a new one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1].split()

# Ultralytics' own integrations switch themselves off where they see pytest or GitHub's runners.
_NOT_INHERITED = ("TRACKING_HOOKS", "MLFLOW", "WANDB", "PYTEST", "GITHUB", "MAKE", "MFLAGS")


def commands(target: str, arguments: str = "") -> list[str]:
    """Return the commands of a target, as its ``ARGS`` complete them."""
    return make("--dry-run", target, f"ARGS={arguments}").splitlines()


def make(*words: str, home: Path | None = None, cwd: Path = ROOT) -> str:
    """Run make and return its output.

    :param home: the user's folder; by default the real one
    :raises AssertionError: with the output, if the target fails
    """
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    # Nothing may be installed here: the environment counts as complete, and to make it would fail.
    ready = ["--old-file", f"{sys.prefix}/.ready", f"VENV={sys.prefix}", "PYTHON=false"]
    return run(["make", "--silent", f"--makefile={ROOT / 'Makefile'}", *ready, *words], home=home, cwd=cwd)


def run(command: list[str], *, home: Path | None = None, cwd: Path = ROOT) -> str:
    """Run a command as a user would, who has set nothing; return its output.

    :param home: as in ``make``
    :raises AssertionError: with the output, if the command fails
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    env |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    if home:
        env |= {"HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "YOLO_CONFIG_DIR": str(home / "yolo")}
    done = subprocess.run(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
