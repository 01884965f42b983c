"""Prints the reference of the commands: ``python docs/commands.py > docs/commands.md``."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator

import click

from tracking_hooks.cli import main

PAGE = """\
# Commands

This page is written by `python docs/commands.py` from the commands themselves; a test compares the two. `--help` behind
a command shows the same. [README](../README.md#commands) has them at a glance.

{toc}
{commands}"""

_AS_CODE = re.compile(
    r"""(?<! [`\w-] )
    (?: (?:sync\ )? --[a-z][a-z-]* (?: \ [\w.]+=[\w:/.]*\w )? | TRACKING_HOOKS(?:_[A-Z]+)* | tracking_hooks\.\w+\(\) )
    (?! [`\w] )""",
    re.VERBOSE,
)


def page() -> str:
    """Return the page."""
    above = click.Context(main, info_name="tracking-hooks", terminal_width=1000, max_content_width=1000)
    commands = {name: main.get_command(above, name) for name in main.list_commands(above)}
    toc = "".join(f"- [`{name}`](#{name}): {_sentence(command)}\n" for name, command in commands.items() if command)
    told = [_told(name, command, above) for name, command in commands.items() if command]
    return PAGE.format(toc=toc, commands="\n".join(told))


def _sentence(command: click.Command) -> str:
    return _paragraphs(command)[0].rstrip(".").replace("\n", " ")


def _paragraphs(command: click.Command) -> list[str]:
    return inspect.cleandoc(command.help or "").split("\n\n")


def _told(name: str, command: click.Command, above: click.Context) -> str:
    context = click.Context(command, info_name=name, parent=above)
    usage = command.get_usage(context).removeprefix("Usage: ")
    text = "\n\n".join(_paragraphs(command))
    rows = "".join(f"| {' | '.join(row)} |\n" for row in _options(command, context))
    table = f"\n| Option | What it does |\n| --- | --- |\n{rows}" if rows else ""
    return f"## {name}\n\n```text\n{usage}\n```\n\n{_code(text)}\n{table}"


def _code(text: str) -> str:
    """Return a help text in which options, variables and placeholders are set as code, as in the documents."""
    return _AS_CODE.sub(r"`\g<0>`", text)


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and record[1] and "--help" not in parameter.opts:
            option, text = (" ".join(cell.split()).replace("|", r"\|") for cell in record)
            yield f"`{option}`", _code(text)


if __name__ == "__main__":
    sys.stdout.write(page())
