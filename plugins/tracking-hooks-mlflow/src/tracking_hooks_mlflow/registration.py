"""The name to register a model under. Imports no MLflow, since the training process uses this module."""

from __future__ import annotations

import re
from typing import NamedTuple

VARIABLE = "TRACKING_HOOKS_MLFLOW_REGISTER"

_NAME = r"[^/:@'\"]*[^/:@'\"\s]"
_ALIAS = r"(?!latest$|v\d+$)[\w-]{1,255}"  # MLflow reserves these two


class Registration(NamedTuple):
    """The name of a registered model, the alias for the new version, and the metric in which it has to be better."""

    name: str
    alias: str | None = None
    metric: str | None = None


def parse(text: str) -> Registration:
    """Read ``name``, ``name@alias`` or ``name@alias if metric``.

    :raises ValueError: saying what is expected
    """
    version, *condition = re.split(r"\s+if(?:\s+|$)", text.strip(), maxsplit=1)
    found = re.fullmatch(rf"({_NAME})(?:@({_ALIAS}))?", version, re.IGNORECASE | re.ASCII)
    if not found:
        raise ValueError(
            f"{VARIABLE}={text!r} is neither a registered model's name nor name@alias, such as shapes@champion."
            " The name has no slash, colon or quote; the alias has letters, digits, _ and -, and is not latest or v1."
        )
    if condition and not (found[2] and condition[0]):
        raise ValueError(
            f"{VARIABLE}={text!r}: a condition needs an alias before it and a metric behind it, such as"
            " shapes@champion if metrics/mAP50-95(B)."
        )
    return Registration(found[1], found[2], *condition)
