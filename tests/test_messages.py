"""The list of messages in docs/troubleshooting.md: each is one of ours, and no sentence of ours is forgotten."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/troubleshooting.md"
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")])
CLEAR = ROOT / "tests/data/clear_messages.txt"
"""Words of the sentences that say everything themselves, one a line."""

GAP = "…"
SAYS = re.compile(r"(Configuration|Pack|Server|Journal)Error|ClickException|_?complain|_?warn(ing)?|_say")
"""What a sentence for a user is given to."""
SAYS_TO_DEVELOPERS = re.compile(r"src/tracking_hooks/(testing|delivery)/")
"""A plugin's author reads these, or the log of a relay."""


def pieces(node: ast.AST) -> str:
    """A text with a gap for each value that is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(pieces(part) if isinstance(part, ast.Constant) else GAP for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return pieces(node.left) + pieces(node.right)
    return GAP


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """What the sources are made of, but for their docstrings."""
    found = []
    for path in SOURCES:
        every = list(ast.walk(ast.parse(path.read_text("utf-8"))))
        docstrings = {
            id(node.value) for node in every if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        found += [(path.relative_to(ROOT).as_posix(), node) for node in every if id(node) not in docstrings]
    return found


@cache
def texts() -> set[str]:
    """All texts of the sources, with gaps."""
    kinds = (ast.Constant, ast.JoinedStr, ast.BinOp)
    return {pieces(node) for _, node in nodes() if isinstance(node, kinds)} - {GAP}


@cache
def sentences() -> dict[str, str]:
    """What is said to users of the core: the sentence, with gaps, to where it stands."""
    found = {}
    for place, node in nodes():
        if not place.startswith("src/") or SAYS_TO_DEVELOPERS.match(place):
            continue
        if isinstance(node, ast.Call) and node.args and SAYS.fullmatch(name_of(node.func)):
            text = pieces(node.args[0])
            if len(re.findall(r"[A-Za-z]{2,}", text.removeprefix("tracking-hooks: "))) > 1:  # else it passes one on
                found[text] = f"{place}:{node.lineno}"
    return found


def name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@cache
def listed() -> list[str]:
    """The messages of the page."""
    _, _, section = PAGE.read_text("utf-8").partition("\n## Messages\n")
    rows = re.findall(r"^\| (`.+?) \| ", section.split("\n## ")[0], re.MULTILINE)
    return [" … ".join(re.findall(r"`([^`]+)`", row)) for row in rows]


def is_in(message: str, text: str) -> bool:
    """Whether the fixed words of a message are in a text, in this order."""
    at = 0
    for words in filter(None, map(str.strip, message.split(GAP))):
        at = text.find(words, at) + len(words)
        if at < len(words):
            return False
    return True


def test_the_list_is_read():
    assert len(listed()) > 50
    assert len(sentences()) > 100


@pytest.mark.parametrize("message", listed())
def test_every_message_on_the_list_is_one_of_ours(message):
    assert any(is_in(message, text) for text in texts()), f"no source says: {message}"


def test_every_sentence_that_a_user_may_read_is_on_the_list_or_needs_no_more_words():
    known = [*listed(), *clear()]
    missing = [f"{place}: {text}" for text, place in sentences().items() if not any(is_in(m, text) for m in known)]
    assert not missing, "name them in docs/troubleshooting.md, or in tests/data/clear_messages.txt"


@pytest.mark.parametrize("words", CLEAR.read_text("utf-8").splitlines())
def test_what_needs_no_more_words_is_said_somewhere_and_not_on_the_list(words):
    said = [text for text in sentences() if is_in(words, text)]
    assert said, "nobody says it any more"
    assert not any(is_in(message, text) for message in listed() for text in said), "it is on the list"


def clear() -> list[str]:
    return CLEAR.read_text("utf-8").splitlines()
