"""Markdown for TensorBoard."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

_SPECIAL = re.compile(r"[\\`*\[\]|]|(?<![^\W_])_|_(?![^\W_])")  # an underscore within a word does not mark emphasis


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table whose cells are shown literally."""
    titles = [_cell(title) for title in header]
    lines = [titles, ["---"] * len(titles), *([_cell(value) for value in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(lines: str) -> str:
    """Return a block that is shown literally, line by line."""
    return textwrap.indent(lines, "    ", lambda _line: True)


def _cell(value: object) -> str:
    escaped = _SPECIAL.sub(r"\\\g<0>", str(value).replace("&", "&amp;").replace("<", "&lt;"))
    return "<br>".join(escaped.splitlines())
