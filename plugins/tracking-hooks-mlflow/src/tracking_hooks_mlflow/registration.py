"""Under which name a model is to be registered. MLflow is not imported: the training process reads this."""

from __future__ import annotations

import re
from typing import NamedTuple

VARIABLE = "TRACKING_HOOKS_MLFLOW_REGISTER"

_NAME = r"[^/:@'\"]*[^/:@'\"\s]"
_ALIAS = r"(?!latest$|v\d+$)[\w-]{1,255}"  # those two MLflow keeps for itself


class Registration(NamedTuple):
    """A registered model's name, and the alias that shall point at the new version."""

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
