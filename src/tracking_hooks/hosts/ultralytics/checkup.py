"""Whether trainings of Ultralytics are tracked in this environment: for ``tracking-hooks doctor``.

Imports neither Ultralytics nor PyTorch, which may be broken: what has to be tried is tried in a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from tracking_hooks.findings import Finding, Level

_TRY = """
import json, sys
early = "torch" in sys.modules
import torch
active = any(type(finder).__module__ == "tracking_hooks.autoload" for finder in sys.meta_path)
print(json.dumps({"early": early, "active": active}))
"""
_AUTOLOAD = "TORCH_DEVICE_BACKEND_AUTOLOAD"
_OTHERWISE = "Start trainings with `tracking-hooks run -- CMD`, or call tracking_hooks.attach() first."
_FIRST_TORCH = (2, 5)
_OLDEST = (8, 0, 200)  # see docs/compatibility.md
_OF_TRACKERS = ("clearml", "comet", "dvc", "mlflow", "neptune", "raytune", "tensorboard", "wandb")


class Checkup:
    """Begun when it is created, so that other things can be looked at in the meantime."""

    def __init__(self) -> None:
        self._torch = _version("torch")
        self._trial = _try() if self._torch else None

    def findings(self, timeout: float) -> Iterator[Finding]:
        """Yield what was found.

        :param timeout: how many seconds PyTorch may still take
        """
        yield from self._of_torch(timeout)
        found = _version("ultralytics")
        if found is None:
            yield _finding(
                "problem", "Ultralytics is not installed here", f"For {sys.executable}: pip install ultralytics"
            )
        elif _numbers(found) < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            yield _finding("warning", f"Ultralytics {found} is older than {oldest}", "pip install -U ultralytics")
        else:
            yield _finding("ok", f"Ultralytics {found}")
        yield from _other_environment()
        if on := _integrations():
            text = f"Ultralytics' own integrations that are on: {', '.join(on)}"
            yield _finding("note", f"{text}; one that a selected plugin replaces is taken off tracked trainings")

    def _of_torch(self, timeout: float) -> Iterator[Finding]:
        if self._trial is None or self._torch is None:
            yield _finding("problem", "PyTorch is not installed here", f"For {sys.executable}: pip install torch")
            return
        name = f"PyTorch {self._torch}"
        try:
            out, errors = self._trial.communicate(timeout=max(timeout, 0.0))
        except subprocess.TimeoutExpired:
            self._trial.kill()
            self._trial.communicate()
            if reason := _why_inactive(self._torch):
                yield _finding("problem", f"{name} does not load tracking-hooks: {reason[0]}", reason[1])
            else:
                yield _finding(
                    "note", f"{name} is installed; its import is slow, as after an installation: not waited for"
                )
            return
        if self._trial.returncode:
            why = next(reversed(errors.strip().splitlines()), f"exit code {self._trial.returncode}")
            yield _finding("problem", f"{name} cannot be imported: {why}", "Reinstall it: see https://pytorch.org")
            return
        told: dict[str, Any] = json.loads(out.splitlines()[-1])
        if told["active"]:
            yield _finding("ok", f"{name} loads tracking-hooks")
        else:
            why, advice = _why_inactive(self._torch) or ("nothing says why", _OTHERWISE)
            yield _finding("problem", f"{name} does not load tracking-hooks: {why}", advice)
        if told["early"]:
            yield _finding(
                "note", "PyTorch is imported whenever Python starts, by a .pth file or a sitecustomize module"
            )


def _try() -> subprocess.Popen[str]:
    """Import PyTorch as a training does."""
    return subprocess.Popen(
        [sys.executable, "-c", _TRY],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _why_inactive(torch: str) -> tuple[str, str] | None:
    """Return the reason why an installed PyTorch does not load us, and what to do; None if there is none to be seen."""
    if os.environ.get(_AUTOLOAD, "1") == "0":
        return f"{_AUTOLOAD} is 0", f"Unset it. {_OTHERWISE}"
    if _numbers(torch) < _FIRST_TORCH:
        return "it is older than 2.5", _OTHERWISE
    if not any(point.name == "tracking_hooks" for point in entry_points(group="torch.backends")):
        return "tracking-hooks is not installed as a package", f"For {sys.executable}: pip install tracking-hooks"
    return None


def _other_environment() -> Iterator[Finding]:
    """Say so if the command ``yolo`` belongs to another environment than this one."""
    yolo = shutil.which("yolo")
    if yolo and Path(yolo).parent.resolve() != Path(sys.executable).parent.resolve():
        text = f"the command `yolo` is {yolo}, of another environment than {sys.executable}"
        yield _finding("warning", text, "Install tracking-hooks where you train, and ask its doctor.")


def _integrations() -> list[str]:
    """Return which integrations for trackers are on in Ultralytics' settings, if it has written them."""
    with suppress(OSError, ValueError, RuntimeError):  # there are none, or no home folder
        settings = json.loads((_config_folder() / "settings.json").read_text(encoding="utf-8"))
        return [name for name in _OF_TRACKERS if settings.get(name) is True]
    return []


def _config_folder() -> Path:
    if given := os.environ.get("YOLO_CONFIG_DIR"):
        base = Path(given).expanduser()
    elif sys.platform == "win32":
        base = Path.home() / "AppData/Roaming"
    elif sys.platform == "darwin":
        base = Path.home() / "Library/Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "Ultralytics"


def _version(distribution: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(distribution)
    return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text.partition("+")[0])[:3])


def _finding(level: Level, text: str, advice: str = "") -> Finding:
    return Finding("environment", level, text, advice)
