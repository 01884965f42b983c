"""The commands and the code that documents show: their fenced blocks, and what is said of those that are not run.

A comment directly above a fence says why a block is not run, or which test runs it::

    <!-- not run: needs a GPU -->
    <!-- run by: tests/test_docs.py::test_the_tests_of_the_package_in_the_guide_pass -->
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "README.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "docs/*.md",
        "docker/README.md",
        "plugins/*/README.md",
    )
    for path in ROOT.glob(pattern)
)
SHELL = {"console", "shell", "bash", "sh"}
DATA = {"toml", "ini", "json", "yaml"}
RUN = {"python", *SHELL, *DATA}
NOT_CODE = {"text", "mermaid", "diff"}

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_SAID = re.compile(r"<!-- (not run|run by): (.+?) -->\n *$")
_FILE = re.compile(r"[`/\[]([\w-]+\.(?:py|yaml|json))[`\]]")
_GOES_ON = ("\\", "|", "&&", "||")


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    document: str
    line: int
    section: str
    language: str
    code: str
    not_run: str = ""
    run_by: str = ""
    file: str = ""
    """The file that the paragraph above gives to the code; may be none."""

    @property
    def where(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def commands(self) -> str:
        """What a reader types: of a console, the lines behind a prompt."""
        return self.code if self.language != "console" else "".join(_typed(self.code))


def _typed(code: str) -> list[str]:
    lines, goes_on = [], False
    for line in code.splitlines(keepends=True):
        is_typed = line.startswith(("$ ", "> "))
        if is_typed or goes_on:
            lines.append(line[2:] if is_typed else line)
            goes_on = line.rstrip().endswith(_GOES_ON)
    return lines


def blocks(document: str, text: str | None = None) -> list[Block]:
    """Return the blocks of a document that are code, in their order.

    :param text: its text, if it is not that of the file
    """
    text = (ROOT / document).read_text(encoding="utf-8") if text is None else text
    found = []
    for fence in _FENCE.finditer(text):
        language, before = fence["language"], text[: fence.start()]
        if language in NOT_CODE:
            continue
        said = dict([match.groups()] if (match := _SAID.search(before)) else [])
        paragraph = _SAID.sub("", before).rstrip().rpartition("\n\n")[2]
        headings = re.findall(r"^#+ .+$", re.sub(_FENCE, "", before), re.MULTILINE)
        found.append(
            Block(
                document=document,
                line=before.count("\n") + 1,
                section=headings[-1] if headings else "",
                language=language,
                code=re.sub(rf"^{fence['indent']}", "", fence["code"], flags=re.MULTILINE),
                not_run=said.get("not run", ""),
                run_by=said.get("run by", ""),
                file=(_FILE.findall(paragraph) or [""])[-1] if "```" not in paragraph else "",
            )
        )
    return found


def every_block() -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks(document)]


def summary() -> str:
    """Say how many blocks are run, and why the others are not."""
    found = every_block()
    elsewhere, not_run = [block for block in found if block.run_by], [block for block in found if block.not_run]
    lines = [f"{len(found)} blocks of documents, {len(elsewhere)} run by other tests, {len(not_run)} not run:"]
    return "\n".join([*lines, *(f"  {block.where}: {block.not_run}" for block in not_run)])
