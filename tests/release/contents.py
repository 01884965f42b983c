"""What is in the files that were built, and what is not."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path

from tests.release.packages import FOLDERS, ROOT, module, sdist, version, wheel

_MADE = ("__pycache__", ".pyc", ".egg-info", ".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache")
"""In the name of a file that a machine has made."""


def mistakes(folder: Path) -> Iterator[str]:
    """Return what is wrong with the files in a folder, in a sentence each."""
    expected = {path for package in FOLDERS for path in (wheel(package, folder), sdist(package, folder))}
    there = set(folder.iterdir())
    yield from (f"{path.name} was not built" for path in sorted(expected - there))
    yield from (f"{path.name} is there, too: the upload would take it" for path in sorted(there - expected))
    for package in FOLDERS:
        for path, look in ((wheel(package, folder), _wheel), (sdist(package, folder), _sdist)):
            if path in there:
                members = _unpacked(path)
                yield from (f"{path.name}: {mistake}" for mistake in [*look(package, members), *_machine(members)])


def _unpacked(path: Path) -> dict[str, bytes]:
    """Return the content of each file in an archive, by name."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive if member.isfile()]
        return {name: file.read() for name, file in files if file}


def _wheel(package: str, members: dict[str, bytes]) -> Iterator[str]:
    name, about = module(package), f"{module(package)}-{version()}.dist-info"
    source = FOLDERS[package] / "src"
    own = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    own = {path for path in own if not any(made in path for made in _MADE)}
    yield from (f"{path} of the source is missing" for path in sorted(own - members.keys()))
    yield from (f"{path} is not of the source" for path in sorted(members.keys() - own) if not path.startswith(about))
    if f"{name}/py.typed" not in members:
        yield "py.typed is missing: type checkers would not look at its types"
    yield from _licensed(members.get(f"{about}/licenses/LICENSE"))
    yield from _metadata(package, members.get(f"{about}/METADATA", b""))


def _sdist(package: str, members: dict[str, bytes]) -> Iterator[str]:
    top = f"{module(package)}-{version()}/"
    yield from (f"{name} is outside of {top}" for name in members if not name.startswith(top))
    for name in ("PKG-INFO", "pyproject.toml", "README.md", f"src/{module(package)}/py.typed"):
        if top + name not in members:
            yield f"{name} is missing"
    yield from _licensed(members.get(f"{top}LICENSE"))
    yield from _metadata(package, members.get(f"{top}PKG-INFO", b""))


def _licensed(text: bytes | None) -> Iterator[str]:
    if text != (ROOT / "LICENSE").read_bytes():
        yield "the license is missing, or is another one than that of the repository"


def _metadata(package: str, text: bytes) -> Iterator[str]:
    found = message_from_string(text.decode())
    expected = {
        "Name": package, "Version": version(), "License-Expression": "Apache-2.0", "Requires-Python": ">=3.10",
        "Description-Content-Type": "text/markdown",
    }  # fmt: skip
    for field, value in expected.items():
        if found[field] != value:
            yield f"its metadata have {field} {found[field]}, not {value}"
    yield from (f"its metadata have no {field}" for field in ("Summary", "Keywords", "Classifier") if not found[field])


def _machine(members: dict[str, bytes]) -> Iterator[str]:
    """Return what tells of the machine that has built it."""
    yield from (f"{name} was made by a machine" for name in members if any(made in name for made in _MADE))
    for place in (str(ROOT), os.path.join(os.path.expanduser("~"), "")):  # noqa: PTH111, PTH118 without an error
        if len(Path(place).parts) < 3:
            continue  # a word that other things have, too
        yield from (f"{name} names {place}" for name, content in members.items() if place.encode() in content)
