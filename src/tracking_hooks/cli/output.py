"""What the commands print: text that fits the terminal, and JSON for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

import click
import msgspec
from rich.console import Console

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: object) -> None:
    """Print data as JSON; a number that JSON does not know is null."""
    click.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=str)).decode())


def width() -> int | None:
    """Return the columns of the terminal; None where the output goes elsewhere and nothing has to fit."""
    console = Console()
    return console.width if console.is_terminal else None


def indented(text: str, indent: int = 0) -> str:
    """Return a text indented, and broken between words where the terminal is too narrow; elsewhere in one line."""
    columns = width()
    if columns is None:
        return " " * indent + " ".join(text.split())
    margin = " " * indent
    return textwrap.fill(
        " ".join(text.split()), max(columns, indent + 20), initial_indent=margin, subsequent_indent=margin,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def with_note(line: str, note: str, between: str = ", ") -> str:
    """Return a line and the note that goes with it: below it, where the terminal is too narrow for both."""
    columns = width()
    if not note:
        return line
    if columns is None or len(line) + len(between) + len(note) <= columns:
        return f"{line}{between}{note}"
    return f"{line}\n{indented(note, 4)}"


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, without blanks at their ends."""
    found = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*found)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() for row in found]
