"""One line of a journal: a hook call as JSON, with a checksum; its format is that of the hook's specification."""

from __future__ import annotations

import functools
import inspect
import typing
import zlib
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from tracking_hooks.hookspecs import LifecycleSpecs
from tracking_hooks.run.encoding import encode

COMMON = frozenset({"self", "run", "time", "seq", "state", "destination"})
"""Parameters that every hook offers; the journal does not repeat them in each line."""

EVENTS = frozenset(name for name in dir(LifecycleSpecs) if name.startswith("on_")) - {"on_event"}
"""The hooks that are recorded."""

DAMAGED = "damaged line"
"""Of an entry whose checksum does not fit: what was written may not have arrived, on a network file system."""

_CHECKSUM = b',"crc":"%08x"}'
_CHECKSUM_LENGTH = len(_CHECKSUM % 0)


class Call(Struct, frozen=True):
    """One recorded hook call."""

    seq: int
    time: float
    hook: str
    args: dict[str, Any]
    """The hook's own parameters, typed as its specification says."""


class _Line(Struct):
    seq: int
    time: float
    hook: str
    args: msgspec.Raw


def decode_other(kind: type, value: Any) -> Any:
    """Read back what JSON has as a string."""
    return Path(value) if kind is Path else value


_line_decoder = msgspec.json.Decoder(_Line)


@functools.cache
def _args_decoder(hook: str) -> msgspec.json.Decoder[Any] | None:
    """Derive a hook's line format from its specification, the one place that says what it receives."""
    if hook not in EVENTS:
        return None
    spec = getattr(LifecycleSpecs, hook)
    hints = typing.get_type_hints(spec)
    own = [name for name in inspect.signature(spec).parameters if name not in COMMON]
    # None by default: a parameter that is added later is missing in the journals of today.
    struct = msgspec.defstruct(hook, [(name, hints[name] | None, None) for name in own])
    # Lax, so that "NaN" is read back as a float.
    return msgspec.json.Decoder(struct, dec_hook=decode_other, strict=False)


def seal(body: bytes) -> bytes:
    """Put the checksum behind the last key of a JSON object, and end the line."""
    body = body[:-1]
    return body + _CHECKSUM % zlib.crc32(body) + b"\n"


def unseal(line: bytes) -> bytes | None:
    """Return the JSON object of a line, or None if the line is damaged."""
    line = line.rstrip(b"\n")
    body = line[:-_CHECKSUM_LENGTH]
    return body + b"}" if body and line[-_CHECKSUM_LENGTH:] == _CHECKSUM % zlib.crc32(body) else None


def line(seq: int, time: float, hook: str, args: Mapping[str, Any]) -> bytes:
    """Return the line of one call."""
    # None is what a parameter that is missing is read back as.
    given = {name: value for name, value in args.items() if value is not None}
    return seal(encode({"seq": seq, "time": time, "hook": hook, "args": given}))


def parse(line: bytes, only: Container[str] | None = None) -> tuple[Call | None, str]:
    """Read the line of a call.

    :param only: the hooks whose arguments are wanted
    :returns: the call, None if it cannot be read; and why there is none, or none of a known hook
    """
    body = unseal(line)
    if body is None:
        return None, DAMAGED
    try:
        raw = _line_decoder.decode(body)
        decoder = _args_decoder(raw.hook)
        if decoder is None:
            args = {} if only is not None else msgspec.json.decode(raw.args, type=dict[str, Any])
            return Call(raw.seq, raw.time, raw.hook, args), f"unknown hook {raw.hook!r} of a newer tracking-hooks"
        if only is not None and raw.hook not in only:
            return Call(raw.seq, raw.time, raw.hook, {}), ""
        args = decoder.decode(raw.args)
    except msgspec.MsgspecError as error:
        return None, f"unreadable line: {error}"
    return Call(raw.seq, raw.time, raw.hook, {name: getattr(args, name) for name in args.__struct_fields__}), ""
