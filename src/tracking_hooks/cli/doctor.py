"""``tracking-hooks doctor``."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import msgspec

from tracking_hooks import redact
from tracking_hooks.cli.examination import Examination
from tracking_hooks.counts import counted
from tracking_hooks.findings import Finding

_MARKS = {"ok": "ok", "note": "-", "warning": "WARN", "problem": "FAIL"}
_INDENT = " " * 7
_WIDEST = 120


@click.command("doctor", short_help="Say whether a training here would be tracked.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print everything as JSON, with secrets masked: for a bug report."
)
def command(*, as_json: bool) -> None:
    """Say whether a training that is started here would be tracked, and if not, why.

    Looks at this Python environment, at what is set and where, and asks each selected tracker whether it answers and
    takes your credentials. Writes nothing anywhere, and takes some five seconds at most. Ends with 1 if a training
    would not be tracked.
    """
    redact.learn(os.environ)
    examination = Examination()
    findings = examination.findings()
    problems = sum(finding.level == "problem" for finding in findings)
    if as_json:
        told = {
            "tracked": not problems,
            "findings": [msgspec.structs.asdict(finding) for finding in findings],
            "settings": [msgspec.structs.asdict(setting) for setting in examination.settings],
            "plugins": {name: origin for name, (origin, _) in examination.installed.items()},
        }
        click.echo(msgspec.json.format(msgspec.json.encode(_masked(told))).decode())
    else:
        for line in _lines(findings):
            click.echo(line)
        click.echo()
        click.echo(
            f"A training here would not be tracked: {counted(problems, 'problem')}."
            if problems
            else "A training here is tracked."
        )
    raise click.exceptions.Exit(1 if problems else 0)


def _lines(findings: list[Finding]) -> Iterator[str]:
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    for number, (topic, group) in enumerate(groupby(findings, key=lambda finding: finding.topic)):
        if number:
            yield ""
        yield topic.capitalize()
        for finding in group:
            yield from _wrapped(f"  {_MARKS[finding.level]:4} ", finding.text, width)
            if finding.advice:
                yield from _wrapped(f"{_INDENT}→ ", finding.advice, width)


def _wrapped(first: str, text: str, width: int) -> Iterator[str]:
    """Break a text between words: a path, an address or a command is whole, so that it can be copied."""
    for line in _masked(text).splitlines():
        yield from textwrap.wrap(
            line.strip(), width, initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False,
            break_on_hyphens=False,
        )  # fmt: skip
        first = " " * len(first)


def _masked(value: Any) -> Any:
    """Return plain data without secrets, and without the name of the user's home folder."""
    with suppress(RuntimeError):  # a user without a home folder
        return _without_home(redact.values(value), f"{Path.home()}{os.sep}")
    return redact.values(value)


def _without_home(value: Any, home: str) -> Any:
    if isinstance(value, dict):
        return {key: _without_home(item, home) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_home(item, home) for item in value]
    return value.replace(home, f"~{os.sep}") if isinstance(value, str) and len(home) > 2 else value
