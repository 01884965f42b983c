"""``TRACKING_HOOKS_METRICS``: which metrics the trackers receive, and under which names.

The journal holds all metrics. A relay applies the rules that were set when the run started.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Any, TypeVar

_V = TypeVar("_V")


class MetricRules:
    """Drops and renames metrics by glob, in the order of the rules.

    ``-lr/*`` drops. ``metrics/*`` keeps matching metrics and drops those that match no such rule.
    ``metrics/*=val/*`` renames; the asterisk stands for the same text on both sides.
    """

    def __init__(self, text: str) -> None:
        """Read the rules.

        :param text: rules separated by commas
        :raises ValueError: naming the invalid rule
        """
        items = [item.strip() for item in text.split(",") if item.strip()]
        self._dropped = [re.compile(translate(item[1:])) for item in items if item.startswith("-")]
        self._chosen = [re.compile(translate(item)) for item in items if "=" not in item and not item.startswith("-")]
        self._renamed: list[tuple[re.Pattern[str], str]] = []
        for item in items:
            if "=" in item and not item.startswith("-"):
                self._renamed.append(_renaming(item))
            elif item == "-" or (item.startswith("-") and "=" in item):
                raise ValueError(f"{item!r} drops nothing: write a name or a pattern after the minus sign")
        self._name = lru_cache(maxsize=10_000)(self._rename)

    def __bool__(self) -> bool:
        """Whether there is a rule."""
        return bool(self._dropped or self._chosen or self._renamed)

    def apply(self, metrics: Mapping[str, _V]) -> dict[str, _V]:
        """Return the metrics that a tracker receives, by their names there."""
        return {new: value for name, value in metrics.items() if (new := self._name(name)) is not None}

    def apply_to_call(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return a hook's arguments with only the metrics that a tracker receives."""
        args = dict(args)
        if self and "metrics" in args:
            args["metrics"] = self.apply(args["metrics"])
        if self and args.get("per_class"):
            args["per_class"] = self.filter_classes(args["per_class"])
        return args

    def filter_classes(self, per_class: Mapping[str, Mapping[str, _V]]) -> dict[str, dict[str, _V]]:
        """Return the class metrics that a tracker receives; the rules see them as ``per_class/CLASS/METRIC``."""
        kept = {
            label: {name: value for name, value in metrics.items() if self._name(f"per_class/{label}/{name}")}
            for label, metrics in per_class.items()
        }
        return {label: metrics for label, metrics in kept.items() if metrics}

    def _rename(self, name: str) -> str | None:
        if self._chosen and not any(pattern.match(name) for pattern in self._chosen):
            return None
        if any(pattern.match(name) for pattern in self._dropped):
            return None
        for pattern, new in self._renamed:
            if found := pattern.fullmatch(name):
                return new.replace("*", found[1] if pattern.groups else "")
        return name


def _renaming(item: str) -> tuple[re.Pattern[str], str]:
    old, _, new = item.partition("=")
    old, new = old.strip(), new.strip()
    if not old or not new or "=" in new or old.count("*") > 1 or new.count("*") > old.count("*"):
        raise ValueError(f"{item!r} is not of the form old/*=new/*, with one asterisk at most on each side")
    return re.compile("(.*)".join(re.escape(part) for part in old.split("*"))), new
