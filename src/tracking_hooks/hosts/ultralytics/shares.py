"""What the ranks above 0 of a distributed training see: each leaves its share of a validation in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from msgspec import Struct
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import RANK

from tracking_hooks.hosts.ultralytics import choosing, ddp, looking
from tracking_hooks.hosts.ultralytics.looking import Reader, Sight, Watch
from tracking_hooks.predictions import SeenImage
from tracking_hooks.recording import configuration
from tracking_hooks.recording.complaints import describe
from tracking_hooks.recording.tracking import Launch
from tracking_hooks.run.layout import RunFolder, read_json, write_json
from tracking_hooks.settings import is_off

_S = TypeVar("_S", bound=Struct)


class _Map(Struct):
    height: int
    width: int
    values: bytes


class _Seen(Struct):
    file: Path
    image: SeenImage
    maps: dict[str, _Map]


class _Share(Struct):
    epoch: int
    seen: list[_Seen]
    error: str = ""
    """What went wrong: the share is not all that there was to see."""


class ShareError(RuntimeError):
    """Another rank has not seen all of its share."""


def leave(
    folder: RunFolder, rank: int, epoch: int, sights: Mapping[Path, Sight], error: Exception | None = None
) -> None:
    """Leave a rank's share for rank 0, in the place of that of an earlier epoch.

    :param error: what went wrong; then nothing that was seen is left
    :raises OSError: if it cannot be written
    """
    if error is not None:
        write_json(_file(folder, rank), _Share(epoch, [], describe(error)))
        return
    seen = [_Seen(file, sight.image, _packed(sight.maps)) for file, sight in sights.items()]
    write_json(_file(folder, rank), _Share(epoch, seen))


def clear(folder: RunFolder) -> None:
    """Remove what ranks have left, and rank 0 did not take since its own looking had failed."""
    for pattern in ("seen-*.json", "worst-*.json"):
        for file in folder.path.glob(pattern):
            with suppress(OSError):
                file.unlink()


class Rank:
    """Looks at the validations of one training on a rank above 0."""

    def __init__(self) -> None:
        """Look at none so far."""
        self._reader: Reader | None = None
        self._end = Watch()

    def begin(self, trainer: BaseTrainer, validator: Any) -> None:
        """Look at a validation, from now on. Never raises: rank 0 says what there is to be said."""
        with suppress(Exception):
            count, folder = asked_for(trainer)
            reader = looking.reader_for(validator) if folder else None
            if folder is None or reader is None:
                return
            self._reader = reader
            reader.attach(validator, choosing.chosen(trainer, validator, count).__contains__)
            # Behind this, rank 0 goes on: it finds the file then, and waits for nothing.
            self._end.before(
                validator, "gather_stats", lambda: leave(folder, RANK, trainer.epoch + 1, reader.seen, reader.error)
            )

    def stop(self) -> None:
        """Leave the validator as it was. Never raises."""
        with suppress(Exception):
            self._end.end()
            if self._reader is not None:
                self._reader.detach()

    def keep(self, trainer: BaseTrainer, validator: Any) -> None:
        """Nothing is kept here: rank 0 has it."""


def asked_for(trainer: BaseTrainer) -> tuple[int, RunFolder | None]:
    """Return how many images are shown, and where a rank leaves its share; None: nobody asks for it."""
    settings = configuration.read_all_settings()
    count = 0 if is_off(settings.selection) or not trainer.args.plots else settings.image_limit()
    return count, ddp.run_folder(Path(trainer.save_dir), Launch.read()) if count else None


def of_others(folder: RunFolder, trainer: BaseTrainer, epoch: int) -> dict[Path, Sight]:
    """Return what the ranks above 0 have seen in this epoch; their validation is over when that of rank 0 is.

    A rank that has left nothing, on another machine perhaps, is done without.

    :raises ShareError: if one of them could not see its share
    """
    taken = [(rank, take(_file(folder, rank), _Share)) for rank in ranks(trainer)]
    found: dict[Path, Sight] = {}
    for rank, share in taken:
        if share and share.epoch == epoch:
            if share.error:
                raise ShareError(f"on rank {rank}: {share.error}")
            found |= {one.file: Sight(one.image, _unpacked(one.maps)) for one in share.seen}
    return found


def ranks(trainer: BaseTrainer) -> range:
    """Return the ranks above 0 of a training."""
    return range(1, int(getattr(trainer, "world_size", 1)))


def take(file: Path, kind: type[_S]) -> _S | None:
    """Return what a rank has left in a file, which nobody needs any more; None if there is nothing."""
    left = read_json(file, kind)
    with suppress(OSError):
        file.unlink()
    return left


def _file(folder: RunFolder, rank: int) -> Path:
    return folder.path / f"seen-{rank}.json"


def _packed(maps: Mapping[str, Any]) -> dict[str, _Map]:
    return {
        name: _Map(height=len(values), width=values.shape[1], values=np.ascontiguousarray(values, np.uint8).tobytes())
        for name, values in maps.items()
    }


def _unpacked(maps: Mapping[str, _Map]) -> dict[str, Any]:
    return {name: np.frombuffer(one.values, np.uint8).reshape(one.height, one.width) for name, one in maps.items()}
