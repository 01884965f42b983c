"""What a script gives names and steps: as every tracker takes them, or refused with a sentence."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from pathlib import PureWindowsPath
from typing import Any

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # line breaks are among them

_LONGEST = 255
"""Bytes of a file's name: no file system takes more."""

_STEPS = range(-(2**63), 2**63)


class Unfit(ValueError):
    """What was given cannot be taken. The message is for the user, and names the argument."""


def step(given: Any) -> int | None:
    """Return a position on the x axis.

    :raises Unfit: if it is none
    """
    try:
        whole = None if given is None else int(given) if float(given).is_integer() else operator.index(given)
    except (TypeError, ValueError, OverflowError):
        raise Unfit(f"step={given!r} is not a whole number") from None
    if whole is not None and whole not in _STEPS:
        raise Unfit(f"step={given!r} is beyond 64 bits")
    return whole


def named(given: object, argument: str, complain: Callable[[str], None]) -> dict[str, Any]:
    """Return a dict with names of one line; what has no name is left out, and either is said.

    :raises Unfit: if it is no dict
    """
    if not isinstance(given, Mapping):
        raise Unfit(f"{argument}={given!r} is not a dict of names and values")
    found = {}
    for key, value in given.items():
        name = str(key)
        if _CONTROL.search(name):
            name = _CONTROL.sub(" ", name).strip()
            complain(f"the name {key!r} in {argument} has line breaks or other control characters: it becomes {name!r}")
        if name and not name.isspace():
            found[name] = value
        else:
            complain(f"{key!r} in {argument} is left out: it is no name")
    return found


def of_file(given: object) -> str:
    """Return the name of a file, a picture or a table.

    :raises Unfit: if it is none
    """
    text = given.replace("\\", "/") if isinstance(given, str) else ""
    parts = text.split("/")
    if {"", ".", ".."} & {*parts} or text.isspace() or _CONTROL.search(text) or PureWindowsPath(text).is_absolute():
        raise Unfit(f"name={given!r} is not a name such as 'samples/first', with forward slashes")
    if any(len(part.encode(errors="replace")) > _LONGEST for part in parts):
        raise Unfit(f"name={given!r} is longer than {_LONGEST} bytes between two slashes")
    return text
