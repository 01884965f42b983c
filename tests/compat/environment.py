"""Prepares the environment of a cell: what is swapped lies in a folder of its own, before everything else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.compat.cells import PRESENT, Cell

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build/compat"

_INSTALL = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")


class CannotBeHad(Exception):
    """Pip says why."""


def prepare(cell: Cell, folder: Path = FOLDER) -> Path | None:
    """Have pip put what is swapped into a folder, once; return it, or None if nothing is swapped.

    :raises CannotBeHad: if pip cannot
    """
    wanted = _wanted(cell)
    if not wanted or cell.python:
        return None
    target = folder / cell.name.replace("==", "-")
    done, written = target / ".done", "\n".join(wanted)
    if not _holds(done, written):
        shutil.rmtree(target, ignore_errors=True)
        command = [sys.executable, *_INSTALL]
        command += [] if cell.resolved else ["--no-deps"]
        _run([*command, "--target", target, *wanted])
        done.write_text(written, encoding="utf-8")
    return target


def interpreter(cell: Cell, folder: Path = FOLDER) -> str:
    """Return the Python that a cell trains with; one of another version gets an environment of its own, once.

    :raises CannotBeHad: if that Python is not installed, or pip fails
    """
    if not cell.python:
        return sys.executable
    place = folder / cell.name.replace("==", "-")
    python, done, written = place / "bin/python", place / ".done", "\n".join(_wanted(cell))
    if not _holds(done, written):
        if not (found := shutil.which(f"python{cell.python}")):
            raise CannotBeHad(f"python{cell.python} is not installed")
        shutil.rmtree(place, ignore_errors=True)
        _run([found, "-m", "venv", place])
        _run([python, *_INSTALL, "--upgrade", "pip"])
        _run([python, *_INSTALL, "--editable", ROOT, *_wanted(cell)])
        for plugin in ("mlflow", "tensorboard"):  # alone: what they need is said in the cell
            _run([python, *_INSTALL, "--no-deps", "--editable", ROOT / f"plugins/tracking-hooks-{plugin}"])
        _run([python, *_INSTALL, "google-crc32c"])
        done.write_text(written, encoding="utf-8")
    return str(python)


def _wanted(cell: Cell) -> list[str]:
    """Return what is swapped, as pip takes it."""
    return [*([f"{cell.package}=={cell.version}"] if cell.version != PRESENT else []), *cell.requirements]


def _holds(done: Path, written: str) -> bool:
    return done.is_file() and done.read_text(encoding="utf-8") == written


def _run(command: Sequence[str | Path]) -> None:
    """Run a command.

    :raises CannotBeHad: with its last error
    """
    answer = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if answer.returncode:
        errors = [line for line in answer.stderr.splitlines() if line.startswith("ERROR:")]
        raise CannotBeHad(f"pip: {(errors or [str(answer.returncode)])[-1].removeprefix('ERROR: ')}")


def python_path(target: Path | None) -> str:
    """Return the ``PYTHONPATH`` under which what is swapped is found first, also by ``importlib.metadata``."""
    return os.pathsep.join(map(str, filter(None, (target, os.environ.get("PYTHONPATH")))))
