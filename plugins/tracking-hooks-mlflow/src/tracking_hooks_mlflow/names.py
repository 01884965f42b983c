"""Keys that MLflow accepts: a single invalid key makes it refuse the whole batch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Mapping
from typing import Any

from tracking_hooks.events import Metrics, PerClass

MAX_LENGTH = 250

_REFUSED = re.compile(r"[^\w./ -]")  # MLflow accepts a colon as well, but not on a Windows server


def spelled(name: str) -> str:
    """Return a name that MLflow accepts: a plain path without parentheses, as Ultralytics' own integration does."""
    name = _REFUSED.sub("_", name.replace("(", "").replace(")", ""))[:MAX_LENGTH]
    parts = [re.sub(r"^\.{1,2}$", "_", part) for part in name.split("/") if part]
    key = "/".join(parts) or "_"
    return "__" + key[2:] if key.startswith("..") else key


class Names:
    """Gives each name a key of its own.

    :param owners: key to name, where they differ; kept by the caller, so that a name has the same key for the
        whole run
    """

    def __init__(self, owners: dict[str, str]) -> None:
        self._owners = owners

    def key(self, name: str, beside: Container[str] = ()) -> str:
        """Return the key for a name.

        :param beside: the other names of this event: a name that is a valid key keeps it
        """
        key = spelled(name)
        if key == name and key not in self._owners:
            return key
        owner = self._owners.setdefault(key, key if key in beside else name)
        if owner == name:
            return key
        return f"{key[: MAX_LENGTH - 7]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def as_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters by keys that MLflow accepts, in full length."""
    flat = flattened(params)
    names = Names({})
    return {names.key(name, beside=flat): value for name, value in flat.items()}


def per_class(metrics: PerClass | None) -> Metrics:
    """Return the metrics of classes by the names of single metrics."""
    classes = (metrics or {}).items()
    return {f"per_class/{label}/{name}": value for label, values in classes for name, value in values.items()}


def below(place: str, metrics: Metrics) -> Metrics:
    """Return metrics that are no curve of the training by the names that they have beside the curves.

    :param place: ``best`` for those of the best checkpoint, else the split of an evaluation
    """
    return {f"{place}/{name}": value for name, value in metrics.items()}


def flattened(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return parameters as MLflow shows them: text, with dots for nested dicts."""
    flat: dict[str, str] = {}
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat
