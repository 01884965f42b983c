"""Which images a classifier's batches are of: they do not say it, and Ultralytics shuffles them in validations, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_UNKNOWN = "it is not known which images the batches are of"


class OrderError(LookupError):
    """Which images a batch is of cannot be told."""


def note(loader: Any) -> None:
    """Have a loader's batches noted from its next round on.

    It stays so: the next round begins before the last one ends, since the batches are loaded ahead.
    """
    repeated = loader.batch_sampler
    if hasattr(loader, "iterator") and not isinstance(getattr(repeated, "sampler", None), _Noted):
        repeated.sampler = _Noted(repeated.sampler, loader)


def files(loader: Any, classes: Sequence[int]) -> list[Path]:
    """Return the image files of the batch that a loader has given last, in the order of the batch.

    :param classes: the true classes in the batch, by which it is verified
    :raises OrderError: if it cannot be told
    """
    noted = getattr(loader.batch_sampler, "sampler", None)
    indices = noted.latest() if isinstance(noted, _Noted) else None
    samples = getattr(loader.dataset, "samples", None)
    if indices is None or samples is None:
        raise OrderError(_UNKNOWN)
    if [int(samples[index][1]) for index in indices] != list(classes):
        raise OrderError(_UNKNOWN)
    return [Path(samples[index][0]) for index in indices]


class _Noted:
    """Draws what a sampler of batches draws, and keeps it until it is asked for."""

    def __init__(self, sampler: Any, loader: Any) -> None:
        self._sampler = sampler
        self._loader = loader
        self._drawn: int | None = None  # batches, since the loader's iterator was made
        self._batches: dict[int, list[int]] = {}

    def __iter__(self) -> Iterator[Any]:
        if self._drawn is None:  # older releases make the iterator at once, and draw the first batches
            iterator = self._loader.iterator
            self._drawn = 0 if iterator is None else getattr(iterator, "_send_idx", iterator._num_yielded)
        for indices in self._sampler:
            self._batches[self._drawn] = list(indices)
            self._drawn += 1
            yield indices

    def __len__(self) -> int:
        return len(self._sampler)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_sampler":  # while it is copied, it has no attributes yet
            raise AttributeError(name)
        return getattr(self._sampler, name)

    def latest(self) -> list[int] | None:
        """Return the indices of the batch that the iterator has given last, if they were noted."""
        number = self._loader.iterator._num_yielded - 1
        for past in [past for past in self._batches if past < number]:
            del self._batches[past]
        return self._batches.get(number)
