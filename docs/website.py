"""Builds the site of the documents: ``python docs/website.py`` makes ``build/site``, and fails at a dead link.

The documents stay where they are read without a site: README.md, docs/*.md and those of each plugin. Here they become
pages, and what they link to in the repository becomes a page that shows it.
"""

from __future__ import annotations

import argparse
import importlib.util
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "docs/zensical.toml"
DOCUMENTS = ("*.md", "docs/*.md", "docker/*.md", "plugins/*/README.md")
ASSETS = ("docs/images", "docs/site.css")

_NAMED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "docker/README.md": "team-server.md",
}
_PLUGIN = re.compile(r"plugins/tracking-hooks-(\w+)/README\.md")
_LANGUAGES = {
    "": "text", ".jsonl": "json", ".md": "markdown", ".py": "python", ".sbatch": "bash", ".toml": "toml",
    ".yaml": "yaml", ".yml": "yaml",
}  # fmt: skip

_FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2`* *$", re.MULTILINE | re.DOTALL)
_TARGET = re.compile(r"(?<=\]\()[^)\s]+(?=\))|(?:(?<= src=\")|(?<= href=\")|(?<= srcset=\"))[^\"]+")
_NESTED = re.compile(r"^( +)(?=[-*] )", re.MULTILINE)
_ROW = re.compile(r"^\|.*$", re.MULTILINE)
_CODE = re.compile(r"`[^`]+`")
_NOISE = re.compile(r"\x1b\[[0-9;]*m|^Traceback.*--strict flag is set\n", re.MULTILINE | re.DOTALL)


class DeadLink(Exception):
    """A document links to a file that is not in the repository."""


def documents() -> dict[str, str]:
    """Return the page of each document, both as paths: of the repository, and of the site's source."""
    found = sorted(path for pattern in DOCUMENTS for path in ROOT.glob(pattern))
    return {name: _page(name) for name in (path.relative_to(ROOT).as_posix() for path in found)}


def _page(document: str) -> str:
    if plugin := _PLUGIN.fullmatch(document):
        return f"trackers/{plugin[1]}.md"
    return _NAMED.get(document) or document.removeprefix("docs/")


def assemble(source: Path) -> None:
    """Write the source of the site: a page for each document, and one for each file that a document links to."""
    shutil.rmtree(source, ignore_errors=True)
    pages, shown = documents(), set[str]()
    for document, page in pages.items():
        text = (ROOT / document).read_text("utf-8")
        _write(source / page, _rewritten(text, document, page, pages, shown))
    for path in sorted(shown):
        _write(source / _shown_at(path), _listing(path, pages, shown))
    for asset in ASSETS:
        copy = shutil.copytree if (ROOT / asset).is_dir() else shutil.copyfile
        copy(ROOT / asset, source / asset.removeprefix("docs/"))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _rewritten(text: str, document: str, page: str, pages: dict[str, str], shown: set[str]) -> str:
    """Return a document whose links lead to pages; what they need besides is added to ``shown``."""

    def moved(found: re.Match[str]) -> str:
        path, sharp, fragment = found[0].partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return found[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(document), path))
        if not (ROOT / target).exists():
            raise DeadLink(f"{document} links to {path}, which does not exist")
        if target.startswith("docs/images/"):
            there = target.removeprefix("docs/")
        elif target in pages:
            there = pages[target]
        else:
            there = _shown_at(target)
            shown.update([target, *_below(target)])
        return posixpath.relpath(there, posixpath.dirname(page)) + sharp + fragment

    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_prose(text[end : fence.start()], moved), fence[0]]
        end = fence.end()
    return "".join([*parts, _prose(text[end:], moved)])


def _prose(text: str, moved: Callable[[re.Match[str]], str]) -> str:
    """Return what is between two blocks of code, as zensical reads it.

    It wants a list in a list indented by four spaces, not by two, and no backslash before a `|` in the code of a table.
    """
    text = _NESTED.sub(r"\1\1", _TARGET.sub(moved, text))
    return _ROW.sub(lambda row: _CODE.sub(lambda code: code[0].replace(r"\|", "|"), row[0]), text)


def _shown_at(path: str) -> str:
    """Return the page that shows a file of the repository, by a name that a page can have."""
    return "source/" + re.sub(r"(^|/)[.]", r"\1dot-", re.sub(r"[^\w./-]+", "_", path)) + ".md"


def _below(folder: str) -> list[str]:
    """Return the files of a folder that git has or would take, with the folders among them."""
    if not (ROOT / folder).is_dir():
        return []
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", folder]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):  # an archive that was unpacked, or no git
        listed = [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*")]
        listed = [name for name in listed if not re.search(r"(^|/)(\.|__pycache__/)", name)]
    files = [name for name in listed if (ROOT / name).is_file()]
    folders = {parent.as_posix() for file in files for parent in Path(file).parents}
    return sorted({*files, *(found for found in folders if found.startswith(f"{folder}/"))})


def _listing(path: str, pages: dict[str, str], shown: set[str]) -> str:
    """Return the page that shows a file, or what is in a folder."""
    head = f"---\nsearch:\n  exclude: true\nhide:\n  - toc\n---\n# {path}\n\n"
    if (ROOT / path).is_dir():
        inside = sorted(other for other in shown if posixpath.dirname(other) == path)
        rows = [(other, pages.get(other) or _shown_at(other)) for other in inside]
        here = posixpath.dirname(_shown_at(path))
        lines = [f"- [{posixpath.basename(other)}]({posixpath.relpath(page, here)})" for other, page in rows]
        return head + "\n".join(lines) + "\n"
    text = (ROOT / path).read_text("utf-8")
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{head}{ticks}{_language(path)}\n{text.rstrip()}\n{ticks}\n"


def _language(path: str) -> str:
    name = posixpath.basename(path).removesuffix(".jinja")
    return "docker" if name == "Dockerfile" else _LANGUAGES.get(posixpath.splitext(name)[1], "text")


def build(folder: Path) -> str:
    """Build ``site`` in a folder, and return what there is to complain of."""
    assemble(folder / "site-source")
    shutil.rmtree(folder / "site", ignore_errors=True)
    shutil.copyfile(CONFIG, folder / "zensical.toml")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", "zensical.toml"]
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", check=False
    )
    return _NOISE.sub("", done.stdout) if done.returncode else ""


def main() -> str | int:
    """Build the site, or say why not; return what the interpreter is to exit with."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=ROOT / "build", help="the folder in which `site` is made")
    folder = parser.parse_args().into.resolve()
    if not importlib.util.find_spec("zensical"):
        sys.stdout.write("The site of the documents is not built: zensical is not installed; it needs Python 3.11.\n")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    try:
        complaints = build(folder)
    except DeadLink as dead:
        return str(dead)
    if complaints:
        return complaints
    serve = f"python -m http.server --bind 127.0.0.1 --directory {folder / 'site'}"
    sys.stdout.write(f"The site of the documents is built. To read it: {serve}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
