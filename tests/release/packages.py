"""The packages of this repository: where each is, and how its files are built."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = "tracking-hooks"
FOLDERS = {CORE: ROOT, **{path.parent.name: path.parent for path in sorted(ROOT.glob("plugins/*/pyproject.toml"))}}


class Failed(Exception):
    """What is wrong with the release, in a sentence."""


def version() -> str:
    """Return the version of all packages: read as hatchling reads it, since Python 3.10 has no tomllib."""
    found = re.search(r'^version = "(.+?)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert found
    return found[1]


def module(package: str) -> str:
    """Return the name under which a package is imported; its files begin with it, too."""
    return package.replace("-", "_")


def wheel(package: str, folder: Path) -> Path:
    """Return the wheel of a package, whether it is there or not."""
    return folder / f"{module(package)}-{version()}-py3-none-any.whl"


def sdist(package: str, folder: Path) -> Path:
    """Return the sdist of a package, whether it is there or not."""
    return folder / f"{module(package)}-{version()}.tar.gz"


def build(folder: Path, *, isolated: bool) -> None:
    """Build the sdist of each package, and the wheel from that sdist.

    :param isolated: whether hatchling comes from the index, as for a user, or is that of this environment
    :raises Failed: with what the build has said
    """
    how = [] if isolated else ["--no-isolation"]
    for place in FOLDERS.values():
        run([sys.executable, "-m", "build", *how, "--outdir", folder, place])


def run(command: list[str | Path], **options: object) -> str:
    """Run a command and return its output.

    :raises Failed: with the command and its output
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        encoding="utf-8", errors="replace", check=False, **options,
    )  # fmt: skip
    if done.returncode:
        raise Failed(f"{' '.join(words)} ended with exit code {done.returncode}:\n{done.stdout}")
    return done.stdout


def sums(folder: Path) -> Iterator[tuple[Path, str]]:
    """Return the files in a folder, each with its SHA-256."""
    for path in sorted(folder.iterdir()):
        yield path, hashlib.sha256(path.read_bytes()).hexdigest()


def notes(tag: str) -> str:
    """Return what the changelog says of the version that a tag names.

    :raises Failed: if the tag names another version, or the changelog does not have it
    """
    if tag != f"v{version()}":
        raise Failed(f"the tag is {tag}, and the version in pyproject.toml {version()}: one of the two is wrong")
    heading = rf"^## \[{re.escape(version())}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)"
    found = re.search(heading, (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    if not found:
        raise Failed(f"CHANGELOG.md lacks the heading `## [{version()}] - YYYY-MM-DD`, above what is released")
    return found[1].strip() + "\n"
