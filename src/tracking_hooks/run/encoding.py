"""Events as JSON: numbers that it does not know, names that are no UTF-8, values of other libraries."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec


def _encode_other(value: Any) -> Any:
    """Turn what JSON does not know into what it knows: numpy and torch scalars, paths, anything else."""
    if not isinstance(value, Path) and callable(getattr(value, "item", None)):
        with suppress(Exception):  # an array of many elements has no one item
            return value.item()
    return str(value)


_has_null = re.compile(b"null").search  # in a long line, twice as fast as ``in``
_encoder = msgspec.json.Encoder(enc_hook=_encode_other)


def number(value: float) -> float | str:
    """Return a float as the journal writes it: JSON has no NaN and no infinity, so these become strings."""
    return value if math.isfinite(value) else "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124


def _are_numbers(values: list[Any] | tuple[Any, ...]) -> bool:
    """Whether these are floats that JSON knows; no loop in Python tells it: a confusion matrix may have a million."""
    return {*map(type, values)} == {float} and math.isfinite(sum(values))


def _spell_out(value: Any) -> Any:
    """Make plain data what JSON takes: floats that it does not know as strings, strings without lone surrogates."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_spell_out(key): _spell_out(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return list(value) if _are_numbers(value) else [_spell_out(item) for item in value]
    return value


def plain(value: Any) -> Any:
    """Return arguments of a hook as JSON values, spelled as in the journal."""
    return _spell_out(msgspec.to_builtins(value, enc_hook=_encode_other, str_keys=True))


def encode(line: Any) -> bytes:
    """Return a line of the journal, or what stands in one."""
    try:
        encoded = _encoder.encode(line)
    except UnicodeEncodeError:  # a file name that is no UTF-8
        encoded = b"null"
    if _has_null(encoded):  # JSON has neither NaN nor infinity: msgspec writes null
        encoded = _encoder.encode(plain(line))
    return encoded
