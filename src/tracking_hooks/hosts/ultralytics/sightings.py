"""Of which epochs it is recorded what the model sees: the first, the last, the best, and some between."""

from __future__ import annotations

import math
from typing import Any

import cv2
from ultralytics.engine.trainer import BaseTrainer

from tracking_hooks.hosts.ultralytics import checkpoints, choosing, classes, looking, shares
from tracking_hooks.hosts.ultralytics.album import Album, Page
from tracking_hooks.hosts.ultralytics.looking import Reader
from tracking_hooks.hosts.ultralytics.shares import ShareError
from tracking_hooks.recording.complaints import describe
from tracking_hooks.recording.recorder import Recorder

NAME = "predictions"
_EVERY = 10
_BETWEEN = 7
"""So many of those in between are recorded, at most. With the first, the last and the best one, these are no more than
ten, which a tag of TensorBoard keeps: so no tracker has to know which one is the last. A resume may add two.
"""
_TIMEOUT = 60.0
"""Seconds that are waited at the end for pictures that are still being made: half a second each from 50 megapixels."""


def is_due(epoch: int, epochs: int) -> bool:
    """Whether an epoch is recorded, whatever becomes of it: every tenth, or fewer of a long training."""
    every = _EVERY * math.ceil(epochs / (_EVERY * _BETWEEN))
    return epoch in (1, epochs) or epoch % every == 0


class Sightings:
    """Looks at the validations of one training, in the process that records it."""

    def __init__(self, recorder: Recorder) -> None:
        """Look at none so far."""
        self._recorder = recorder
        self.album = Album(recorder)
        self._reader: Reader | None = None
        self._failure = ""
        self._pages: dict[str, Page] = {}
        self._elsewhere = 0  # an epoch of which other images were validated
        self._is_off = not recorder.settings.image_limit()

    def begin(self, trainer: BaseTrainer, validator: Any) -> None:
        """Look at a validation, from now on. Never raises."""
        if self._is_off or not getattr(trainer.args, "plots", True):
            return
        try:
            reader = looking.reader_for(validator)
            if reader is None:
                self._is_off = True
                self._recorder.complain(
                    f"what the model sees is not recorded: this release of {self._recorder.plan.host} does not show it "
                    f"for the task {trainer.args.task!r}"
                )
                return
            images = choosing.chosen(trainer, validator, self._recorder.settings.image_limit())
            self._reader = reader
            reader.attach(validator, images.__contains__)
        except Exception as error:  # noqa: BLE001 nothing of ours may end a training
            self._is_off = True
            self._recorder.complain(f"what the model sees is not recorded: {describe(error)}")

    def stop(self) -> None:
        """Leave the validator as it was, whatever has become of the validation. Never raises."""
        if self._reader is not None:
            self._recorder.complain.guard(self._reader.watch.end, "leaving the validator alone")

    def keep(self, trainer: BaseTrainer, validator: Any) -> None:
        """Keep what was seen, until it is known what becomes of the epoch."""
        reader, self._reader = self._reader, None
        if reader is None:
            return
        epoch = trainer.epoch + 1
        if reader.watch.error is not None:
            self._say(describe(reader.watch.error), epoch)
            return
        images = choosing.chosen(trainer, validator, self._recorder.settings.image_limit())
        try:
            sights = {**reader.seen, **shares.of_others(self._recorder.folder, trainer, epoch)}
        except ShareError as error:
            self._say(str(error), epoch)
            return
        shown = {file: sights[file] for file in images if file in sights}
        if not shown:
            self._elsewhere = epoch  # a callback has had other images validated, as a rule
            return
        self._pages["current"] = Page(
            name=NAME,
            step=epoch,
            sights=shown,
            names=images,
            classes=classes.named(validator.names),
            flag=getattr(validator.dataloader.dataset, "cv2_flag", cv2.IMREAD_COLOR),
        )

    def _say(self, failure: str, epoch: int) -> None:
        if failure != self._failure:  # else it would be said in each of 300 epochs
            self._failure = failure
            self._recorder.complain(
                f"what the model sees in epoch {epoch} is not recorded, nor in others where that happens: {failure}"
            )

    def epoch_ended(self, trainer: BaseTrainer, epoch: int) -> None:
        """Record what was seen in an epoch, if that is due; it is kept if it may have to be later."""
        page = self._pages.pop("current", None)
        if page is None or page.step != epoch:
            if self._elsewhere == epoch:
                self._say("no image of the trainer's validation set was validated", epoch)
            return
        self._pages["last"] = page
        if checkpoints.is_best(trainer):
            self._pages["best"] = page
        if is_due(epoch, int(trainer.epochs)):
            self.album.add(page)

    def finish(self) -> None:
        """Record the best epoch and the last one. Never raises."""
        self._pages.pop("current", None)  # of an epoch that was not finished; a resumed training begins it again
        for page in self._pages.values():
            self.album.add(page)
        self._pages.clear()
        self.album.close(_TIMEOUT)
        shares.clear(self._recorder.folder)
