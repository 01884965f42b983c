"""A fresh environment with what was built: installed as users install it, and trained with."""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
import venv
from pathlib import Path

from tests.release.packages import CORE, FOLDERS, ROOT, Failed, module, run, version

_OF_THE_USER = ("TRACKING_HOOKS", "MLFLOW", "WANDB", "PYTHON", "PYTEST", "GITHUB", "VIRTUAL_ENV")
"""Beginnings of variables that would change what is installed or tracked."""


class Environment:
    """A virtual environment, with a home folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Make none.

        :param folder: where it is to be; what is there is removed
        """
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder / "venv"
        self._home = folder / "home"
        self._home.mkdir(parents=True)
        self._bin = self._folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self._bin / "python"

    def install(self, built: Path, torch: list[str]) -> None:
        """Install PyTorch, then all wheels, with what they need from the index.

        :raises Failed: with what pip has said
        """
        venv.create(self._folder, with_pip=True, symlinks=os.name != "nt")
        pip = [self.python, "-m", "pip"]
        run([*pip, "install", "--upgrade", "pip"])
        run([*pip, "install", *torch])
        run([*pip, *_from(built)])  # not together with the rest: of an index, pip might prefer other files
        run([*pip, "install", f"{CORE}[demo]=={version()}", *FOLDERS])
        run([*pip, "check"])

    def borrow(self, built: Path) -> None:
        """Install the wheels alone; what they need is that of the environment that runs this."""
        venv.create(self._folder, symlinks=os.name != "nt")
        variables = {"base": str(self._folder), "platbase": str(self._folder)}
        Path(sysconfig.get_path("purelib", "venv", variables)).joinpath("borrowed.pth").write_text(
            sysconfig.get_path("purelib"), encoding="utf-8"
        )
        run([sys.executable, "-m", "pip", "--python", self.python, *_from(built), "--ignore-installed"])

    def check(self, epochs: int) -> str:
        """Train the demo, and see that all of it is delivered; return what was seen.

        :raises Failed: if something is not as it is to be
        """
        self._are_those_that_were_built()
        folder = self._home / "demo"
        self._ours("demo", "--epochs", str(epochs), "--folder", folder)
        self._ours("sync", folder)  # on a busy machine, the relays may be at it still
        (training,) = json.loads(self._ours("status", folder, "--json"))
        parts = {one["label"]: one for one in training["trackers"]}
        if training["status"] != "finished" or not {"mlflow", "tensorboard"} <= parts.keys():
            raise Failed(f"the demo is {training['status']}, tracked in {', '.join(parts) or 'nothing'}")
        for label, part in parts.items():
            if part["pending"] or part["set_aside"] or part["lost"] or not part["delivered"]:
                raise Failed(f"{label} does not have all of the demo: {part}")
        return ", ".join(f"{label}: {part['delivered']} events" for label, part in parts.items())

    def _are_those_that_were_built(self) -> None:
        said = self._ours("--version")
        if version() not in said:
            raise Failed(f"tracking-hooks --version says {said.strip()}, not {version()}")
        names = [module(package) for package in FOLDERS]
        found = self._run([self.python, "-c", f"import {', '.join(names)}; print(*({', '.join(names)}), sep='\\n')"])
        for line in found.splitlines():
            if str(self._folder) not in line:
                raise Failed(f"imported was what was not built: {line}")
        for plugin in json.loads(self._ours("plugins", "--json"))["plugins"]:
            if plugin["error"] or plugin["from"].split() not in [[package, version()] for package in FOLDERS]:
                raise Failed(f"the plugin {plugin['name']} is from {plugin['from']}: {plugin['error']}")

    def sbom(self, path: Path, *, validated: bool) -> int:
        """Write what is installed as a CycloneDX document; return how many components it has.

        :param validated: whether it is compared with the schema, which takes half a minute
        """
        about = ["--pyproject", ROOT / "pyproject.toml", "--mc-type", "library", "--output-reproducible"]
        about += [] if validated else ["--no-validate"]
        run([sys.executable, "-m", "cyclonedx_py", "environment", *about, "--output-file", path, self.python])
        components = json.loads(path.read_text("utf-8"))["components"]
        listed = {one["name"]: one["version"] for one in components}
        for package in FOLDERS.keys() - {CORE}:
            if listed.get(package) != version():
                raise Failed(f"the SBOM has {package} {listed.get(package)}, not {version()}")
        return len(components)

    def _ours(self, *words: str | Path) -> str:
        return self._run([self._bin / "tracking-hooks", *words])

    def _run(self, command: list[str | Path]) -> str:
        env = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_USER)}
        env |= {"HOME": str(self._home), "XDG_STATE_HOME": str(self._home / "state"), "COLUMNS": "200"}
        env |= {"YOLO_CONFIG_DIR": str(self._home / "yolo"), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
        env["APPRISE_URLS"] = "json://127.0.0.1"  # without an address, one plugin cannot be used
        env |= {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}"}
        return run(command, cwd=self._home, env=env)


def _from(built: Path) -> list[str | Path]:
    """Return how pip is told to install what was built, and nothing else."""
    exact = [f"{package}=={version()}" for package in FOLDERS]
    return ["install", "--no-index", "--no-deps", "--only-binary", ":all:", "--find-links", built, *exact]
