"""Keys that MLflow takes: one it refuses makes it refuse the whole batch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Mapping
from typing import Any

MAX_LENGTH = 250

_REFUSED = re.compile(r"[^\w./ -]")  # a colon is taken as well, but not by a server on Windows


def spelled(name: str) -> str:
    """Return the name as MLflow takes it: without parentheses (as Ultralytics does), a plain path."""
    name = _REFUSED.sub("_", name.replace("(", "").replace(")", ""))[:MAX_LENGTH]
    parts = [re.sub(r"^\.{1,2}$", "_", part) for part in name.split("/") if part]
    key = "/".join(parts) or "_"
    return "__" + key[2:] if key.startswith("..") else key


class Names:
    """Gives each name a key of its own.

    :param owners: who has which key, where that is not obvious; kept by the caller, so that a name has the
        same key for the whole run
    """

    def __init__(self, owners: dict[str, str]) -> None:
        self._owners = owners

    def key(self, name: str, beside: Container[str] = ()) -> str:
        """Return the key for a name.

        :param beside: the other names of this event: one that needs no change keeps its spelling
        """
        key = spelled(name)
        if key == name and key not in self._owners:
            return key
        owner = self._owners.setdefault(key, key if key in beside else name)
        if owner == name:
            return key
        return f"{key[: MAX_LENGTH - 7]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def flattened(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return parameters as MLflow shows them: text, with dots for nested dicts."""
    flat: dict[str, str] = {}
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat
