"""Masks secrets in free texts: params, command lines, console, tracebacks, tags, text files.

By name and by shape, as the table in ``secretshapes`` says, and by value: what is in the environment under the name of
a secret is one wherever it appears. The time is linear in the length of the text.
"""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from tracking_hooks.secretshapes import HARMLESS, MAYBE_NAME, SHAPES, SURE_NAME

MASK = "[redacted]"

_SHORTEST = 8
"""Characters of a value that is masked wherever it appears: a shorter one is too likely to be a word."""
_BEFORE = r"(?:(?<![\w-])(?<!\w\.)|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
_BEHIND = r"=*(?![\w-]|\.\w)"
_learnt: dict[str, re.Pattern[str]] = {}
# Module state, since whoever writes a text has nothing else to find them by; a forked process inherits it.


def learn(environ: Mapping[str, str]) -> None:
    """Mask from now on, in this process, the values of variables that are called like secrets."""
    for name, value in list(environ.items()):
        if len(value) >= _SHORTEST and is_secret_name(name, value) and not (_is_number(value) or _is_path(value)):
            for form in sorted(_forms(value) - set(_learnt), key=len, reverse=True):
                _learnt[form] = re.compile(_BEFORE + re.escape(form) + _BEHIND)


def _forms(value: str) -> set[str]:
    """Return how a value may be written."""
    data = value.encode(errors="surrogateescape")
    coded = {base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()}
    quoted = {quote(data), quote(data, safe=""), quote_plus(data), repr(value)[1:-1]}
    return {value} | quoted | {form.rstrip("=") for form in coded}


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_path(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):  # too long for one, or with a null character
        return False


def text(value: str) -> str:
    """Return a text with everything masked that is, or looks like, a secret."""
    for form, pattern in list(_learnt.items()):
        if form in value:
            value = pattern.sub(MASK, value)
    lower = value.lower()
    for shape in SHAPES:
        if any(hint in lower for hint in shape.hints):
            value = re.sub(shape.pattern, _masked, value)  # compiled when it is first needed
    return value


def _masked(match: re.Match[str]) -> str:
    kept = next((group for group in match.groups() if group), "")
    return kept + MASK


def is_secret_name(name: str, value: object) -> bool:
    """Whether this value is a secret since its name says so."""
    if SURE_NAME.search(name):
        return True
    return bool(MAYBE_NAME.search(name)) and not HARMLESS.match(str(value))


def values(value: Any, name: str = "") -> Any:
    """Return plain data (dicts, lists, scalars) with secrets masked, including values whose name says so."""
    if name and value and not isinstance(value, bool) and is_secret_name(name, value):
        return MASK
    if isinstance(value, dict):
        return {key: values(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [values(item, name) for item in value]
    if isinstance(value, str):
        return text(value)
    return value


def argv(arguments: list[str]) -> list[str]:
    """Return a command line with secrets masked, even if name and value are two arguments."""
    masked = []
    before = ""
    for argument in arguments:
        is_value = before.startswith("-") and "=" not in before and not argument.startswith("--")
        masked.append(MASK if is_value and is_secret_name(before, argument) else text(argument))
        before = argument
    return masked


class RedactingFormatter(logging.Formatter):
    """Masks secrets in log lines and their tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as usual, then mask."""
        return text(super().format(record))
