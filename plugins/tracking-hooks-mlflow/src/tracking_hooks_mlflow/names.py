"""Keys that MLflow accepts: a single invalid key makes it refuse the whole batch."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Container, Mapping
from typing import Any

from tracking_hooks.events import Metrics, PerClass

MAX_LENGTH = 250

OF_ALL = 0
"""The step of what a run as a whole has come to. MLflow's pages draw what is at no other step as a bar for each run."""

_REFUSED = re.compile(r"[^\w./ -]")  # MLflow accepts a colon as well, but not on a Windows server


@functools.lru_cache(maxsize=10_000)  # each epoch has the names of the one before it
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


# MLflow's page has a section for each beginning of a name, sorted by name. What is many or of little weight comes
# behind the curves of the training: ``best/…``, ``lr/…``, ``metrics/…``, ``train/…``, ``train_batch/…``, ``val/…``, …


def of_batch(metrics: Metrics) -> Metrics:
    """Return the running means of a batch by the names that they have: ``train_batch/box_loss``."""
    return {f"train_{name}" if name.startswith("batch/") else name: value for name, value in metrics.items()}


def of_best_trial(metrics: Metrics) -> Metrics:
    """Return what a tuning's best trial has come to; what was tried in it, a chart for each value, comes behind."""
    if "best/trial" not in metrics:
        return metrics
    reached = {name for name in metrics if name in ("best/trial", "best/fitness") or name.count("/") > 1}
    return {name if name in reached else f"tune_{name}": value for name, value in metrics.items()}


def per_class(metrics: PerClass | None) -> Metrics:
    """Return the metrics of classes by the names of single metrics: ``val_per_class/square/metrics/mAP50``."""
    classes = (metrics or {}).items()
    return {f"val_per_class/{label}/{name}": value for label, values in classes for name, value in values.items()}


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
