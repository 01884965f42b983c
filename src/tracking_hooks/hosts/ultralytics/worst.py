"""The worst images of a validation: those in which the predictions have the most mistakes, found while it runs."""

from __future__ import annotations

import functools
import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ultralytics.utils import metrics

from tracking_hooks.events import ConfusionMatrix
from tracking_hooks.hosts.ultralytics import classes
from tracking_hooks.hosts.ultralytics.looking import Reader, Sight, Watch
from tracking_hooks.hosts.ultralytics.objects import Objects
from tracking_hooks.mistakes import Mistakes, match
from tracking_hooks.predictions import CONFIDENT
from tracking_hooks.run.worst import Wrong

MOST = 24
"""So many of the worst images are shown."""
_LISTED = 10_000
"""So many images with a mistake are remembered; the list has fewer if their paths are long."""
_ORIENTED = 5
"""The numbers that an oriented box has: its middle, width, height and angle."""
_TINY = 1e-7
"""What keeps a division from being one by zero."""
_PAIRS = 5_000
"""So many pairs of classes a table has, the most frequent ones."""


class _Rank(NamedTuple):
    """How bad an image is: first by its score, then by its number of mistakes, then by which came first."""

    score: float
    number: int
    order: int


class Worst(dict[Path, Sight]):
    """The worst images so far. A reader puts in what it sees; what is not among the worst is let go."""

    def __init__(self, names: dict[Path, str], most: int = MOST, listed: int = _LISTED) -> None:
        """Begin with none.

        :param names: the file of each image to its path below the root of the data set
        """
        super().__init__()
        self.names = names
        self._most, self._listed = most, listed
        self._kept: list[tuple[_Rank, Path]] = []  # heaps: the least bad one is the first
        self._rows: list[tuple[_Rank, Wrong]] = []
        self._ranks: dict[Path, _Rank] = {}
        self._order = itertools.count(0, -1)

    def note(self, path: Path, score: float, reason: str, number: int = 0) -> bool:
        """Note how wrong an image is; return whether it is among the worst so far."""
        return self._note(path, number, Wrong(str(path.absolute()), score, reason, self.names.get(path, path.name)))

    def _note(self, path: Path, number: int, row: Wrong) -> bool:
        rank = _Rank(row.score, number, next(self._order))
        _push(self._rows, (rank, row), self._listed)
        if len(self._kept) == self._most and rank < self._kept[0][0]:
            return False
        self._ranks[path] = rank
        return True

    def __setitem__(self, path: Path, sight: Sight) -> None:
        """Keep what was seen in an image, if it is among the worst."""
        image = sight.image
        is_noted = path in self._ranks or (image.reason and self.note(path, image.score or 0.0, image.reason))
        if is_noted and path in self:  # a data set may list an image twice, and two ranks may share one
            del self._ranks[path]
        elif is_noted:
            super().__setitem__(path, sight)
            if out := _push(self._kept, (self._ranks.pop(path), path), self._most):
                self.pop(out[1], None)

    def add(self, rows: Iterable[tuple[int, Wrong]], sights: Mapping[Path, Sight]) -> None:
        """Add what was noted elsewhere.

        :param rows: each with its number of mistakes, as ``ranked`` returns them
        :param sights: of the worst of them
        """
        files = {str(path.absolute()): path for path in sights}
        for number, row in rows:
            path = files.get(row.filepath)
            if self._note(path or Path(row.filepath), number, row) and path:
                self[path] = sights[path]

    def in_order(self) -> dict[Path, Sight]:
        """Return what was seen, the worst first."""
        return {path: self[path] for _, path in sorted(self._kept, reverse=True)}

    def ranked(self) -> list[tuple[int, Wrong]]:
        """Return all images with a mistake, each with its number of them, the worst first."""
        found: dict[str, tuple[int, Wrong]] = {}
        for rank, row in sorted(self._rows, reverse=True):
            found.setdefault(row.filepath, (rank.number, row))
        return list(found.values())

    def rows(self) -> list[Wrong]:
        """Return all images with a mistake, the worst first."""
        return [row for _, row in self.ranked()]


def _push(heap: list[Any], item: Any, most: int) -> Any:
    """Put an item into a heap of limited size; return what it has no room for."""
    if len(heap) < most:
        heapq.heappush(heap, item)
        return None
    return heapq.heappushpop(heap, item)


class WholeValidation:
    """Looks at each image of one validation: counts its mistakes, and keeps the worst."""

    def __init__(self, reader: Reader, names: dict[Path, str]) -> None:
        """Look by a reader, which has not looked at anything.

        :param names: see ``Worst``
        """
        self.worst = Worst(names)
        self.confident: Counter[tuple[int, int]] | None = None
        """(true, predicted class) to how often, from ``CONFIDENT`` on; None: of whole images, or maps."""
        self._reader, self._watch = reader, Watch()
        self._among_worst: Path | None = None
        self._classes: dict[int, str] = {}

    @property
    def error(self) -> Exception | None:
        """What went wrong."""
        return self._watch.error or self._reader.error

    def attach(self, validator: Any) -> None:
        """Look at its images from now on; if that is not possible, it is left as it was."""
        try:
            self._attach(validator)
        except BaseException:
            self.detach()
            raise

    def _attach(self, validator: Any) -> None:
        self._reader.seen = self.worst
        if not isinstance(self._reader, Objects):
            self._reader.attach(validator, lambda _: True)
            return
        self.confident = Counter()
        self._reader.attach(validator, lambda path: path == self._among_worst)
        # What is put there last is called first: the reader then looks at the worst images only, since that takes long.
        self._watch.before(validator, "_process_batch", functools.partial(self._look, validator))

    def detach(self) -> None:
        """Leave the validator as it was."""
        self._watch.end()
        self._reader.detach()

    def _look(self, validator: Any, predictions: dict[str, Any], labels: dict[str, Any]) -> None:
        self._classes = self._classes or classes.named(validator.names)
        path = Path(labels["im_file"])
        pairs = _pairs(predictions, labels, len(self._classes))  # a list: to count it is quicker than to add up counts
        assert self.confident is not None
        self.confident.update(pairs)
        found = _mistakes(pairs, self._classes)
        is_bad = bool(found.number) and self.worst.note(path, found.score, found.reason, found.number)
        self._among_worst = path if is_bad else None


def _pairs(predictions: dict[str, Any], labels: dict[str, Any], background: int) -> list[tuple[int, int]]:
    """Return (true, predicted class) in an image, as a confusion matrix counts at ``CONFIDENT`` and ``OVERLAP``."""
    true = labels["cls"].int().tolist()
    confidences = predictions["conf"].cpu().numpy()
    rows = np.flatnonzero(confidences > CONFIDENT)
    rows = rows[np.argsort(-confidences[rows], kind="stable")]
    predicted = predictions["cls"].cpu().numpy()[rows].astype(int).tolist()
    matches: dict[int, int] = {}
    if true and predicted:
        matches = match(_overlaps(labels["bboxes"].float().cpu(), predictions["bboxes"].float().cpu(), rows))
    found = set(matches.values())
    return [
        *((true[label], predicted[prediction]) for prediction, label in matches.items()),
        *((label, background) for number, label in enumerate(true) if number not in found),
        *((background, prediction) for number, prediction in enumerate(predicted) if number not in matches),
    ]


def _overlaps(labels: Any, predictions: Any, rows: Any) -> Any:
    """Return the intersection over union of each label (rows) with each of these predictions.

    Of upright boxes by NumPy, which takes a tenth of the time that PyTorch takes for so few.
    """
    if labels.shape[1] == _ORIENTED:
        return metrics.batch_probiou(labels, predictions[rows]).numpy()
    one, other = labels.numpy().T[..., None], predictions.numpy()[rows].T
    width = (np.minimum(one[2], other[2]) - np.maximum(one[0], other[0])).clip(0)
    height = (np.minimum(one[3], other[3]) - np.maximum(one[1], other[1])).clip(0)
    shared = width * height
    areas = [(boxes[2] - boxes[0]) * (boxes[3] - boxes[1]) for boxes in (one, other)]
    return shared / (areas[0] + areas[1] - shared + _TINY)


def _mistakes(pairs: Iterable[tuple[int, int]], names: dict[int, str]) -> Mistakes:
    background = len(names)
    right = missed = false = 0
    confused: Counter[tuple[str, str]] = Counter()
    for true, predicted in pairs:
        if true == predicted:
            right += 1
        elif predicted == background:
            missed += 1
        elif true == background:
            false += 1
        else:
            confused[names.get(true, str(true)), names.get(predicted, str(predicted))] += 1
    return Mistakes(right, missed, false, confused)


def rows_of_pairs(matrix: ConfusionMatrix, confident: Counter[tuple[int, int]] | None) -> list[dict[str, Any]]:
    """Return the mistakes by pair of classes, the most frequent ones first.

    :param matrix: what each ``count`` is of, by rows of predictions
    :param confident: see ``WholeValidation``
    """
    cells = np.asarray(matrix.matrix)
    counts = {(int(true), int(predicted)): cells[predicted, true] for predicted, true in np.argwhere(cells)}
    pairs = [pair for pair in counts | (confident or {}) if pair[0] != pair[1]]
    frequent = sorted(pairs, key=lambda pair: (-(confident or counts).get(pair, 0), -counts.get(pair, 0), pair))
    return [
        {
            "true": matrix.labels[true],
            "predicted": matrix.labels[predicted],
            "count": int(counts.get((true, predicted), 0)),
            **({} if confident is None else {"confident": confident[true, predicted]}),
        }
        for true, predicted in frequent[:_PAIRS]
    ]
