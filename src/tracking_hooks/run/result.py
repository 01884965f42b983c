"""The one number by which people compare runs, told by its name, and its best value so far."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from math import isfinite
from typing import Any

from msgspec import Struct

_KEYS = ("mAP50-95", "accuracy_top1", "mIoU", "delta1", "fitness")
"""What is in the name of a key metric, the best known first."""


class Result(Struct, frozen=True):
    """A key metric and its value; more of it is better."""

    metric: str
    value: float


@functools.lru_cache(maxsize=32)  # every epoch of a run has the same names
def key_metric(names: tuple[str, ...]) -> str | None:
    """Return the metric that people look at first; of several heads, such as boxes and masks, that of the last."""
    return next((name for key in _KEYS for name in reversed(names) if key in name), None)


def of(metrics: Mapping[str, Any] | None) -> Result | None:
    """Return the result that these metrics tell, if they tell one."""
    name = key_metric(tuple(metrics or ()))
    value = metrics[name] if metrics and name else None
    return Result(name, float(value)) if name and isinstance(value, (int, float)) and isfinite(value) else None


def better(one: Result | None, other: Result | None) -> Result | None:
    """Return the better one of two results of a run."""
    if one and other and one.metric == other.metric:
        return max(one, other, key=lambda result: result.value)
    return other or one
