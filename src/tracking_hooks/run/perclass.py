"""``TRACKING_HOOKS_PER_CLASS``: of which classes the trackers get curves, where there are many.

The journal has every class in every epoch, and the table of a validation has them all. Which ones get curves follows
from the journal alone: its first validation decides, so each relay, each resume and each replay chooses the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any

from msgspec import structs

from tracking_hooks.events import Curve, Dataset, Metrics, PerClass
from tracking_hooks.metricrules import MetricRules
from tracking_hooks.run import journal, result
from tracking_hooks.run.journal import Call, Head

_OVER_EPOCHS = frozenset({"on_validation_end", "on_epoch_end"})
_VALIDATIONS = _OVER_EPOCHS | {"on_final_validation", "on_evaluation"}


class Choice:
    """The classes of one run, or of an addendum to it, whose curves the trackers get."""

    def __init__(self, path: Path, head: Head) -> None:
        """Know nothing: the journal is read when there is something to choose from.

        :param path: of the journal
        """
        self._path = path
        self._most = head.per_class
        self._rules = MetricRules(head.metrics)
        self._classes: list[str] | None = head.classes or None

    def concerns(self, per_class: Mapping[str, object] | None) -> bool:
        """Whether these are more classes than are wanted."""
        return self._most is not None and len(per_class or ()) > self._most

    def classes(self) -> list[str] | None:
        """Return the classes that are chosen; None as long as no validation is recorded, and if all get curves.

        :raises JournalError, OSError: if the journal cannot be read
        """
        if self._classes is None and self._most is not None:
            self._classes = self._first(self._most)
        return self._classes

    def narrow(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call with the curves of the chosen classes only.

        :param args: as the rules for metrics leave them
        """
        if call.hook not in _VALIDATIONS or not self.concerns(call.args.get("per_class")):
            return args
        chosen = frozenset(self.classes() or ())
        if call.hook in _OVER_EPOCHS:
            return {**args, "per_class": {name: of for name, of in args["per_class"].items() if name in chosen}}
        return {**args, "curves": [_narrow(curve, chosen) for curve in args["curves"] or ()]}

    def _first(self, most: int) -> list[str] | None:
        instances: Mapping[str, int] = {}
        for call in journal.calls(self._path, _VALIDATIONS | {"on_train_start"}):
            if call.hook == "on_train_start":
                instances = _instances(call.args["dataset"])
            elif per_class := call.args["per_class"]:
                left = self._rules.filter_classes(per_class)  # whoever wants certain classes says so by rules
                candidates = {name: per_class[name] for name in left or per_class}
                return choose(candidates, instances, most)
        return None


def choose(per_class: PerClass, instances: Mapping[str, int], most: int) -> list[str]:
    """Choose half of them for their many instances, and of the others the worst; they keep their order.

    Of those that are equally bad, which at the beginning may be most of them, those with more instances come first.

    :param per_class: the metrics of a validation
    :param instances: class to number of labelled objects
    """
    by_instances = sorted(per_class, key=lambda name: -instances.get(name, 0))
    largest, others = by_instances[: most - most // 2], by_instances[most - most // 2 :]
    worst = sorted(others, key=lambda name: _quality(per_class[name]))[: most // 2]
    chosen = {*largest, *worst}
    return [name for name in per_class if name in chosen]


def _quality(metrics: Metrics) -> float:
    names = tuple(metrics)
    key = result.key_metric(names) or (names[-1] if names else "")
    value = metrics.get(key, nan)
    return value if isfinite(value) else -inf


def _instances(dataset: Dataset | None) -> Mapping[str, int]:
    """Return the instances of the training set; where it has none that are known, those of the validation set."""
    splits = dataset.splits if dataset else {}
    counts = [splits[name].instances for name in ("train", "val") if name in splits]
    return next((of for of in counts if any(of.values())), {})


def _narrow(curve: Curve, chosen: frozenset[str]) -> Curve:
    y = {name: values for name, values in curve.y.items() if name in chosen}
    if len(y) == len(curve.y):
        return curve
    return structs.replace(curve, y=y, mean=[_mean(values) for values in zip(*curve.y.values())])


def _mean(values: tuple[float, ...]) -> float:
    numbers = [value for value in values if isfinite(value)]
    return sum(numbers) / len(numbers) if numbers else nan
