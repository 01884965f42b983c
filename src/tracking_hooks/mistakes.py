"""Which prediction is whose, how wrong they are, and that in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracking_hooks.counts import counted
from tracking_hooks.predictions import OVERLAP

_NAMED = 3
"""So many confusions are named, the most frequent ones."""


@dataclass(frozen=True)
class Mistakes:
    """What is wrong in an image, or in many."""

    right: int = 0
    """Objects that were found, with their class."""
    missed: int = 0
    false: int = 0
    """Predictions that are no object's."""
    confused: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(true class, predicted class) to objects that were found with another class than their own."""

    @property
    def score(self) -> float:
        """1 - F1: 0 where all is right, 1 where nothing is. A confused object is both missed and a false positive."""
        wrong = self.number + self.confused.total()
        return wrong / (2 * self.right + wrong) if wrong else 0.0

    @property
    def number(self) -> int:
        """How many there are."""
        return self.missed + self.false + self.confused.total()

    @property
    def reason(self) -> str:
        """Name them, such as ``2 missed, 1 false positive, 1 circle taken for square``; empty if there are none."""
        parts = [f"{self.missed} missed"] if self.missed else []
        parts += [counted(self.false, "false positive")] if self.false else []
        pairs = self.confused.most_common()
        parts += [f"{times} {true} taken for {predicted}" for (true, predicted), times in pairs[:_NAMED]]
        if others := sum(times for _, times in pairs[_NAMED:]):
            parts.append(f"{others} taken for others")
        return ", ".join(parts)


def match(overlaps: Any, threshold: float = OVERLAP) -> dict[int, int]:
    """Say which prediction is which label's: the best one that no more confident prediction has, whatever the class.

    :param overlaps: an array of the intersection over union, a row for each label, a column for each prediction, the
        most confident first
    :returns: predictions to labels
    """
    predictions, labels = (overlaps > threshold).T.nonzero()
    best_first = (-overlaps[labels, predictions]).argsort(kind="stable")
    best_first = best_first[predictions[best_first].argsort(kind="stable")]
    found: dict[int, int] = {}
    taken: set[int] = set()
    for prediction, label in zip(predictions[best_first].tolist(), labels[best_first].tolist(), strict=True):
        if prediction not in found and label not in taken:
            found[prediction] = label
            taken.add(label)
    return found


def mistakes(true: Sequence[str], predicted: Sequence[str], matches: Mapping[int, int]) -> Mistakes:
    """Count the mistakes in an image.

    :param true: the class of each label
    :param predicted: that of each prediction
    :param matches: predictions to labels, as ``match`` returns them
    """
    pairs = Counter((true[label], predicted[prediction]) for prediction, label in matches.items())
    confused = Counter({pair: times for pair, times in pairs.items() if pair[0] != pair[1]})
    return Mistakes(
        right=len(matches) - confused.total(),
        missed=len(true) - len(matches),
        false=len(predicted) - len(matches),
        confused=confused,
    )
