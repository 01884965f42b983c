"""The final validation of a training, that of its best checkpoint: what is looked at in it, and recorded of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
from msgspec import structs
from ultralytics.engine.trainer import BaseTrainer

from tracking_hooks.events import Checkpoint, ConfusionMatrix
from tracking_hooks.hosts.ultralytics import choosing, classes, looking, portions, validation
from tracking_hooks.hosts.ultralytics.album import Album, Page
from tracking_hooks.hosts.ultralytics.guard import guard
from tracking_hooks.hosts.ultralytics.shares import ShareError
from tracking_hooks.hosts.ultralytics.worst import WholeValidation, rows_of_pairs
from tracking_hooks.recording import given
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import worst


class FinalValidation:
    """Looks at the final validation of a training, in the process that records it."""

    def __init__(self, recorder: Recorder, album: Album) -> None:
        """Look at nothing so far.

        :param album: records the images
        """
        self._recorder, self._album = recorder, album
        self._whole: WholeValidation | None = None

    def begin(self, trainer: BaseTrainer, validator: Any) -> None:
        """Look at the validation, from now on. Never raises."""
        self._whole = None
        with guard("looking at the final validation"):
            is_on = self._recorder.settings.image_limit() and trainer.args.plots
            if reader := looking.reader_for(validator) if is_on else None:
                whole = WholeValidation(reader, choosing.Images(validator.dataloader.dataset, trainer.data).names)
                whole.attach(validator)
                self._whole = whole

    def stop(self) -> None:
        """Leave the validator as it was, whatever has become of the validation. Never raises."""
        if self._whole:
            self._recorder.complain.guard(self._whole.detach, "leaving the validator alone")

    def keep(self, trainer: BaseTrainer, validator: Any) -> None:
        """Add what the other ranks have seen."""
        if self._whole and self._whole.error:
            self._recorder.complain.of_failure("looking at the final validation", self._whole.error)
            self._whole = None
        if not self._whole:
            return
        try:
            missing = portions.add_others(self._recorder.folder, trainer, self._whole)
        except ShareError as error:
            self._recorder.complain(f"the worst images are not recorded: {error}")
            self._whole = None
            return
        if missing and portions.is_shared(validator):
            self._whole.confident = None  # of some of the images, beside the counts of all
            self._recorder.complain(
                f"the worst images are those of a part of the validation set: rank {', '.join(map(str, missing))} has "
                f"left nothing in {self._recorder.folder.path}, which all machines have to share"
            )

    def record(self, trainer: BaseTrainer) -> None:
        """Record the validation, and the worst images behind it, once."""
        parts = validation.parts(trainer.validator)
        self._recorder.record(
            "on_final_validation",
            metrics=dict(trainer.metrics),
            **parts,
            checkpoint=Checkpoint(path=Path(trainer.best).absolute(), kind="best"),
        )
        whole, self._whole = self._whole, None
        if whole:
            with guard("recording the worst images"):
                self._record_worst(trainer, whole, parts["confusion_matrix"])

    def _record_worst(self, trainer: BaseTrainer, whole: WholeValidation, matrix: ConfusionMatrix | None) -> None:
        folder, large_texts = self._recorder.folder, self._recorder.plan.large_texts
        epoch = self._best_epoch()  # by which `run/worst.py` tells these files from a script's own of the same name
        if pairs := rows_of_pairs(matrix, whole.confident) if matrix else []:
            table = given.table(folder, worst.PAIRS, pairs, large_texts=large_texts)
            self._recorder.record("on_table", artifact=structs.replace(table, epoch=epoch), step=None)
        if rows := whole.worst.rows():
            listed = given.csv(folder, worst.LIST, worst.listed(rows))
            self._recorder.record("on_artifact", artifact=structs.replace(listed, epoch=epoch))
        page = Page(
            name=worst.IMAGES,
            step=epoch,
            sights=whole.worst.in_order(),
            names=whole.worst.names,
            classes=classes.named(trainer.validator.names),
            flag=getattr(trainer.validator.dataloader.dataset, "cv2_flag", cv2.IMREAD_COLOR),
        )
        self._album.add(page)

    def _best_epoch(self) -> int:
        """Return the epoch whose weights are the best: the last one of those with the highest fitness."""
        best, found = None, self._recorder.epoch
        for call in self._recorder.calls("on_epoch_end"):
            fitness = call.args["metrics"].get("fitness")
            if fitness is not None and (best is None or fitness >= best):
                best, found = fitness, call.args["epoch"]
        return found
