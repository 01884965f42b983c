"""What the ranks above 0 have counted in the final validation of a distributed training: each leaves it for rank 0."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import RANK

from tracking_hooks.hosts.ultralytics import choosing, looking, shares
from tracking_hooks.hosts.ultralytics.looking import Watch
from tracking_hooks.hosts.ultralytics.shares import ShareError
from tracking_hooks.hosts.ultralytics.worst import WholeValidation
from tracking_hooks.recording.complaints import describe
from tracking_hooks.run.layout import RunFolder, write_json
from tracking_hooks.run.worst import Wrong

_FINAL = 0
"""The final validation among those of epochs, which count from 1."""


class _Counted(Struct):
    rows: list[tuple[int, Wrong]]
    """Each with its number of mistakes."""
    pairs: list[tuple[int, int, int]] | None
    """True class, predicted class, how often."""
    error: str = ""
    """What went wrong: then nothing of it counts."""


class Portion:
    """Looks at a rank's share of the final validation, above rank 0."""

    def __init__(self) -> None:
        """Look at nothing so far."""
        self._whole: WholeValidation | None = None
        self._end = Watch()

    def begin(self, trainer: BaseTrainer, validator: Any) -> None:
        """Look at the validation, from now on. Never raises: rank 0 says what there is to be said."""
        with suppress(Exception):
            _, folder = shares.asked_for(trainer)
            reader = looking.reader_for(validator) if folder else None
            if folder is None or reader is None:
                return
            names = choosing.Images(validator.dataloader.dataset, trainer.data).names
            self._whole = whole = WholeValidation(reader, names)
            whole.attach(validator)
            # Behind this, rank 0 goes on: it finds the files then, and waits for nothing.
            self._end.before(validator, "gather_stats", lambda: leave(folder, RANK, whole))

    def stop(self) -> None:
        """Leave the validator as it was. Never raises."""
        with suppress(Exception):
            self._end.end()
            if self._whole:
                self._whole.detach()

    def keep(self, trainer: BaseTrainer, validator: Any) -> None:
        """Nothing is kept here: rank 0 has it."""


def leave(folder: RunFolder, rank: int, whole: WholeValidation) -> None:
    """Leave a rank's share for rank 0.

    :raises OSError: if it cannot be written
    """
    if whole.error is not None:
        write_json(_file(folder, rank), _Counted([], None, describe(whole.error)))
        return
    shares.leave(folder, rank, _FINAL, whole.worst.in_order())
    pairs = None if whole.confident is None else [(*pair, times) for pair, times in whole.confident.items()]
    write_json(_file(folder, rank), _Counted(whole.worst.ranked(), pairs))


def add_others(folder: RunFolder, trainer: BaseTrainer, whole: WholeValidation) -> list[int]:
    """Add what the ranks above 0 have left; their validation is over when that of rank 0 is.

    :returns: the ranks that have left nothing, such as those on another machine
    :raises ShareError: if one of them could not see its share
    """
    sights = shares.of_others(folder, trainer, _FINAL)
    taken = [(rank, shares.take(_file(folder, rank), _Counted)) for rank in shares.ranks(trainer)]
    for rank, counted in taken:
        if counted and counted.error:
            raise ShareError(f"on rank {rank}: {counted.error}")
    for _, counted in taken:
        if counted:
            whole.worst.add(counted.rows, sights)
            if whole.confident is not None:
                whole.confident.update({(true, predicted): times for true, predicted, times in counted.pairs or ()})
    return [rank for rank, counted in taken if counted is None]


def is_shared(validator: Any) -> bool:
    """Whether each rank validates a share; in older releases, rank 0 validates all."""
    return bool(getattr(getattr(validator.dataloader, "sampler", None), "num_replicas", 1) > 1)


def _file(folder: RunFolder, rank: int) -> Path:
    return folder.path / f"worst-{rank}.json"
