"""The machine of a user called Ada, as the pictures show it: a home folder, a data set, and what is set there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tracking_hooks.cli.demo import TRAINING
from tracking_hooks.cli.shapes import make_shapes

DEMO, TUNING = "tracking-hooks demo", "tuning"
"""The names of experiments."""

_BIN = Path(sys.executable).parent
_INHERITED = re.compile("PYTHONPATH|MPLCONFIGDIR|LD_LIBRARY_PATH|SYSTEMROOT|TMPDIR")


class Home:
    """Below a folder that nobody else uses; its path is not shown."""

    def __init__(self, folder: Path) -> None:
        self.root = folder.resolve()
        self.folder = self.root / "home/ada"
        self.work = self.folder / "shapes"
        self.env = {
            **{name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)},
            "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder), "USER": "ada", "LOGNAME": "ada", "LANG": "C.UTF-8", "TERM": "xterm-256color",
            "YOLO_CONFIG_DIR": str(self.folder / ".config"), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false",
            "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore::UserWarning",
            "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore",
            "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_EXPERIMENT_NAME": DEMO, "BROWSER": str(self.root / "browser"),
        }  # fmt: skip

    def furnish(self) -> None:
        """Make the data set, the settings of the demo, and a browser that writes down what it is to open."""
        data = make_shapes(self.work)
        given = {**TRAINING, "project": str(self.work / "runs"), "epochs": 20, "name": "demo"}
        (self.work / "cpu.yaml").write_text(yaml.safe_dump({k: v for k, v in given.items() if k != "model"}))
        browser = Path(self.env["BROWSER"])
        browser.write_text('#!/bin/sh\nprintf %s "$1" > "$0.url"\n')
        browser.chmod(0o755)
        self.run("yolo", "settings", "clearml=False")  # which asks for an account; the first call tells of its file
        assert data.parent == self.work

    def opened(self) -> str:
        """Return the address that the browser was to open."""
        return Path(f"{self.env['BROWSER']}.url").read_text()

    def run(self, *command: str, fails: bool = False, **env: str) -> None:
        """Run a command in the folder of the data set.

        :raises SystemExit: with its output, if it ends otherwise than it is to
        """
        done = subprocess.run(
            command, cwd=self.work, env={**self.env, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if fails != bool(done.returncode):
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-5000:]}")

    def anonymous(self, text: str) -> str:
        """Return a text with paths as they are on Ada's machine."""
        return text.replace(f"{self.root}/", "/").replace(sys.prefix, "/home/ada/.venv")
