"""The final validation of a training, that of its best checkpoint: what is looked at in it, and recorded of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ultralytics.engine.trainer import BaseTrainer

from tracking_hooks.events import Checkpoint, ConfusionMatrix
from tracking_hooks.hosts.ultralytics import choosing, looking, validation
from tracking_hooks.hosts.ultralytics.guard import guard
from tracking_hooks.hosts.ultralytics.worst import WholeValidation, rows_of_pairs
from tracking_hooks.recording import given
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import worst


class FinalValidation:
    """Looks at the final validation of a trainer, and records it."""

    def __init__(self, recorder: Recorder) -> None:
        """Record with this."""
        self._recorder = recorder
        self._whole: WholeValidation | None = None

    @contextmanager
    def looking(self, validator: Any) -> Iterator[None]:
        """Look at the validation that is done in the meantime, where plots are drawn."""
        self._whole = None
        with guard("looking at the final validation"):
            if self._recorder.settings.image_limit() and validator.args.plots:
                if reader := looking.reader_for(validator):
                    self._whole = WholeValidation(reader, choosing.Images(validator).names)
                    self._whole.attach(validator)
        try:
            yield
        finally:
            if self._whole:
                self._whole.detach()

    def record(self, trainer: BaseTrainer, epoch: int) -> None:
        """Record the validation, and behind it the images that are the worst.

        :param epoch: that of the best checkpoint
        """
        parts = validation.parts(trainer.validator)
        self._recorder.record(
            "on_final_validation",
            metrics=dict(trainer.metrics),
            **parts,
            checkpoint=Checkpoint(path=Path(trainer.best).absolute(), kind="best"),
        )
        whole, self._whole = self._whole, None
        if whole is None:
            return
        if whole.error:
            self._recorder.complain.of_failure("looking at the images of the final validation", whole.error)
            return
        with guard("recording the worst images"):
            self._record_worst(whole, parts["confusion_matrix"])

    def _record_worst(self, whole: WholeValidation, matrix: ConfusionMatrix | None) -> None:
        folder, large_texts = self._recorder.folder, self._recorder.plan.large_texts
        if pairs := rows_of_pairs(matrix, whole.confident) if matrix else []:
            table = given.table(folder, worst.PAIRS, pairs, large_texts=large_texts)
            self._recorder.record("on_table", artifact=table, step=None)
        if rows := whole.worst.rows():
            artifact = given.csv(folder, f"{worst.LIST}.csv", worst.listed(rows))
            self._recorder.record("on_artifact", artifact=artifact)
