"""The name to register a model under. Imports no MLflow, since the training process uses this module."""

from __future__ import annotations

import re
from typing import NamedTuple

VARIABLE = "TRACKING_HOOKS_MLFLOW_REGISTER"

_NAME = r"[^/:@'\"]*[^/:@'\"\s]"
_ALIAS = r"(?!latest$|v\d+$)[\w-]{1,255}"  # MLflow reserves these two


class Registration(NamedTuple):
    """The name of a registered model, and the alias for the new version."""

    name: str
    alias: str | None


def parse(text: str) -> Registration:
    """Read ``name`` or ``name@alias``.

    :raises ValueError: saying what is expected
    """
    found = re.fullmatch(rf"({_NAME})(?:@({_ALIAS}))?", text.strip(), re.IGNORECASE | re.ASCII)
    if not found:
        raise ValueError(
            f"{VARIABLE}={text!r} is neither a registered model's name nor name@alias, such as shapes@champion."
            " The name has no slash, colon or quote; the alias has letters, digits, _ and -, and is not latest or v1."
        )
    return Registration(found[1], found[2])
