"""The part of the contract that tells what the user's script does beside the training, and what the model sees."""

from __future__ import annotations

from tracking_hooks.events import (
    Artifact,
    Checkpoint,
    ConfusionMatrix,
    Curve,
    Destination,
    Metrics,
    Params,
    PerClass,
    Run,
    State,
)
from tracking_hooks.markers import hookspec
from tracking_hooks.predictions import SeenImage


class UserSpecs:
    """What the script logs itself, and what it does with a checkpoint of the run; see ``LifecycleSpecs``."""

    @hookspec
    def on_log(
        self, metrics: Metrics, step: int | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The user called ``tracking_hooks.log(metrics, step)``."""

    @hookspec
    def on_params(
        self, params: Params,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The user called ``log_params``; or it was chosen which of many classes get curves (``per_class_curves``).

        A name may be that of a param of the training, or of an earlier call. The later value counts; a tracker that
        never changes a param shows it beside the first one.
        """

    @hookspec
    def on_tags(
        self, tags: dict[str, str],
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The user called ``set_tags``. A tag of the same name replaces the earlier one."""

    @hookspec
    def on_image(
        self, artifact: Artifact, step: int | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The user called ``log_image``.

        :param artifact: a PNG or JPEG file; its ``name`` is the image's, without a suffix, the same at each step
        """

    @hookspec
    def on_predictions(
        self, artifact: Artifact, images: list[SeenImage], step: int | None, classes: dict[int, str],
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """What the model sees in images, beside their labels. The same images come at each step of a name.

        Of a training, ``artifact.name`` is ``predictions`` for some images of the validation set, and ``worst`` for
        those in which the best checkpoint makes the most mistakes, the worst one first. Or the user called
        ``log_image`` with boxes, and it is the image's name.

        :param artifact: an archive (ZIP) with the pictures, which ``predictions.read_member`` reads
        :param step: the epoch, counted from 1; not always the latest one. Of what the user gave, as in ``log_image``
        :param classes: the names of all classes by index
        """

    @hookspec
    def on_table(
        self, artifact: Artifact, step: int | None,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """The user called ``log_table``.

        :param artifact: a JSON file, ``{"columns": [names], "data": [rows]}``, each row a list of JSON values;
            its ``name`` is the table's, without a suffix, the same at each step
        """

    @hookspec
    def on_evaluation(
        self, split: str, metrics: Metrics, per_class: PerClass | None, curves: list[Curve],
        confusion_matrix: ConfusionMatrix | None, checkpoint: Checkpoint,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """A checkpoint of the run was validated outside of its training, as by ``yolo val``. This is not an epoch.

        :param split: such as ``"val"`` or ``"test"``; where it would not tell evaluations apart, a longer name
        :param metrics: by their names in a validation of the training, such as ``metrics/mAP50(B)``
        """

    @hookspec
    def on_export(
        self, artifact: Artifact, format: str, checkpoint: Checkpoint,
        run: Run, time: float, seq: int, state: State, destination: Destination,
    ) -> None:  # fmt: skip
        """A checkpoint of the run was exported, as by ``yolo export``.

        :param artifact: the exported file, or an archive of the exported folder
        :param format: such as ``"onnx"``
        """
