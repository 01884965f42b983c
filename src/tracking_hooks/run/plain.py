"""Whether a plugin's state is plain data: what JSON gives back equal."""

from __future__ import annotations

import msgspec

from tracking_hooks.events import State

_SHOWN = 200
"""Characters of a value that a message shows."""


def check_state(state: State) -> None:
    """See that a plugin's state will be the same when it is read again.

    :raises TypeError: naming what would not, and where it stands
    """
    if not is_plain(state):
        raise TypeError(f"{_what_does_not(state, 'state')}: state takes JSON values, which come back equal")


def is_plain(value: object) -> bool:
    """Whether JSON gives a value back equal."""
    try:
        return bool(msgspec.json.decode(msgspec.json.encode(value)) == value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return False


def _what_does_not(value: object, where: str) -> str:
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if isinstance(value, dict) and not isinstance(key, str):
            return f"{where} has the key {key!r}"
        if not is_plain(item):
            return _what_does_not(item, f"{where}[{key!r}]")
    return f"{where} is {value!r}"[:_SHOWN]
