"""The option ``--set KEY=VALUE`` of several commands, which changes a part of a destination."""

from __future__ import annotations

from collections.abc import Iterable

from tracking_hooks import redact
from tracking_hooks.settings import ConfigurationError


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """Return the values by key.

    :raises ConfigurationError: if one is invalid, or holds a secret
    """
    changes = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not (separator and key):
            raise ConfigurationError(f"--set {assignment}: it takes KEY=VALUE.")
        name = key.rpartition(".")[2]
        if redact.values({name: value}) != {name: value}:
            raise ConfigurationError(
                f"--set {key}=…: it holds what looks like a password or a key, and a destination is kept on disk. "
                "Leave that out, and give it to the tracker's client by its own variables, such as "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            )
        changes[key] = value
    return changes


def check_part(plugin: str, known: Iterable[str], key: str) -> None:
    """Check that a destination has the part that is to be changed.

    :raises ConfigurationError: if not, naming what it has
    """
    if key not in known:
        raise ConfigurationError(
            f"--set {key}=…: the destination of {plugin} has no such part. It has: {', '.join(known)}."
        )
