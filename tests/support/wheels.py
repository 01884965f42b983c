"""Environments in which our packages are the built ones, and the packages of others are those of this interpreter."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import venv
from pathlib import Path

from tests.release.packages import FOLDERS, run

_BUILD = """
import os, sys
from importlib import import_module
wheels, *projects = sys.argv[1:]
for project in projects:
    os.chdir(project)
    import_module("hatchling.build").build_wheel(wheels)
"""
_OURS = ("tracking_hooks", "_editable_impl_tracking_hooks")


def build(folder: Path) -> Path:
    """Build the wheels of all packages, without isolation; return the folder that they are in."""
    folder.mkdir()
    _run([sys.executable, "-c", _BUILD, str(folder), *map(str, FOLDERS.values())])
    assert len(list(folder.glob("*.whl"))) == len(FOLDERS)
    return folder


class Environments:
    """Makes virtual environments that differ in nothing but which of our wheels are installed."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        """Make two to copy: without and with all of the wheels."""
        self.wheels = wheels
        self.others = folder / "others"
        self.empty = folder / "empty"
        self._full = folder / "full"
        venv.EnvBuilder(symlinks=True).create(self.empty)
        _link_others(self.others)
        _copy_programs(self.empty / "bin")
        (packages(self.empty) / "others.pth").write_text(f"{self.others}\n")
        self._copy(self.empty, self._full)
        install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        _run([str(self._full / "bin/python"), *install, *map(str, wheels.glob("*.whl"))])

    def make(self, folder: Path, *, installed: bool) -> Path:
        """Make an environment, with all of our wheels or with none."""
        return self._copy(self._full if installed else self.empty, folder)

    @staticmethod
    def _copy(source: Path, folder: Path) -> Path:
        shutil.copytree(source, folder, symlinks=True)
        for script in (folder / "bin").iterdir():
            if not script.is_symlink():
                script.write_text(script.read_text().replace(str(source), str(folder)))
        return folder


def packages(environment: Path) -> Path:
    """Return the folder that pip installs packages in."""
    return environment / f"lib/python{sysconfig.get_python_version()}/site-packages"


def _link_others(folder: Path) -> None:
    """Fill a folder with links to the packages of this interpreter, but not to ours, which are installed from here."""
    folder.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(_OURS):
            (folder / entry.name).symlink_to(entry)


def _copy_programs(folder: Path) -> None:
    """Put the programs of those packages where pip would have put them."""
    own = f"#!{sys.executable}\n".encode()
    for program in Path(sys.executable).parent.iterdir():
        if program.is_file() and not program.name.startswith("tracking-hooks") and not (folder / program.name).exists():
            with program.open("rb") as file:
                is_ours = file.readline() == own
            if is_ours:
                text = program.read_text().replace(sys.executable, str(folder / "python"), 1)
                (folder / program.name).write_text(text)
                (folder / program.name).chmod(0o755)


def _run(command: list[str]) -> None:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    run(command, env=env)
