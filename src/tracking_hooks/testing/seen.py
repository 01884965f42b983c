"""Compares what a reader of a tracker sees, at one time and at another."""

from __future__ import annotations

import difflib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import pytest

from tracking_hooks.run.journal import Call

Values: TypeAlias = Literal["all", "latest", "none"]
"""Of which epochs a tracker shows the values."""

Value: TypeAlias = tuple[str, str]
"""A value of JSON, behind the names on the way to it."""

_SHOWN = 30  # lines of a difference


def without_repeats(value: Any) -> Any:
    """Take equal elements of a list for one."""
    if isinstance(value, dict):
        return {key: without_repeats(item) for key, item in value.items()}
    if isinstance(value, list):
        return list({json.dumps(item, sort_keys=True): item for item in map(without_repeats, value)}.values())
    return value


def values(content: Any, *names: str) -> Counter[Value]:
    """Count the values of JSON, each with the names on the way to it. In a list, the order does not matter."""
    if isinstance(content, dict):
        return sum((values(item, *names, name) for name, item in content.items()), Counter())
    if isinstance(content, list):
        return sum((values(item, *names) for item in content), Counter())
    return Counter([(" / ".join(names), json.dumps(content))])


def lacking(content: list[Any], expected: Iterable[Value]) -> list[Value]:
    """Return the values that are not there any more. More may have been added to a text."""
    there = values(content)
    return [
        (names, value)
        for names, value in expected
        if not any(names == those and value.strip('"') in text for those, text in there)
    ]


def _numbers(value: Any) -> Iterator[float]:
    """All numbers in JSON values."""
    if isinstance(value, bool):
        return
    if isinstance(value, (int, float)):
        yield float(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)


def see_epochs(content: list[Any], calls: Iterable[Call], keeps: Values, whose: str) -> None:
    """See that the values of the epochs are there that a tracker keeps.

    :param whose: for messages
    """
    epochs = {call.args["epoch"]: call.args["metrics"] for call in calls if call.hook == "on_epoch_end"}
    first = {"all": 0, "latest": len(epochs) - 1, "none": len(epochs)}[keeps]
    for epoch in sorted(epochs)[first:]:
        missing = _lacking(content, epochs[epoch])
        assert not missing, f"{whose}, epoch {epoch}: no value of {', '.join(missing)} can be seen"


def _lacking(content: list[Any], metrics: Mapping[str, float]) -> list[str]:
    """Return the metrics whose value is nowhere; a tracker may have rounded it."""
    seen = set(_numbers(content))
    return [
        name
        for name, value in metrics.items()
        if not math.isnan(value) and not any(value == pytest.approx(other, rel=1e-5, abs=1e-6) for other in seen)
    ]


def see_nothing_of_discarded_attempts(content: list[Any], calls: Iterable[Call]) -> None:
    """See that no value is there that is of a discarded attempt alone."""
    final: dict[int, Mapping[str, float]] = {}
    discarded: list[tuple[int, Mapping[str, float]]] = []
    for call in calls:
        if call.hook == "on_epoch_end":
            final[call.args["epoch"]] = call.args["metrics"]
        elif call.hook == "on_train_epoch_end":
            discarded.append((call.args["epoch"], call.args["metrics"]))
    for epoch, metrics in discarded:
        old = {name: value for name, value in metrics.items() if value != final[epoch][name]}
        seen = old.keys() - set(_lacking(content, old))
        assert not seen, f"{', '.join(sorted(seen))} of a discarded attempt at epoch {epoch} can be seen"


def same(found: list[Any], expected: list[Any], when: str) -> None:
    """See that a reader sees the same."""
    if found == expected:
        return
    wanted, got = (
        json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).splitlines() for content in (expected, found)
    )
    lines = list(difflib.unified_diff(wanted, got, "as it should be", "as it is", lineterm="", n=2))
    more = [f"… and {len(lines) - _SHOWN} more lines"] if len(lines) > _SHOWN else []
    pytest.fail(
        "\n".join([f"{when}: a reader of the tracker sees something else", *lines[:_SHOWN], *more]), pytrace=False
    )
