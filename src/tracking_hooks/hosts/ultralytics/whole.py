"""Sees what a classifier takes whole images for."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from msgspec import structs

from tracking_hooks.hosts.ultralytics import classes, maps, order
from tracking_hooks.hosts.ultralytics.looking import Sight, Watch
from tracking_hooks.predictions import SeenImage


class Whole:
    """Reads the scores of a validator of class ``ClassificationValidator``."""

    def __init__(self) -> None:
        """Look at nothing so far."""
        self.seen: MutableMapping[Path, Sight] = {}
        self.watch = Watch()

    @staticmethod
    def can_read(validator: Any) -> bool:
        """Whether it is one of these."""
        return bool(validator.args.task == "classify")

    def attach(self, validator: Any, wanted: Callable[[Path], bool]) -> None:
        """Look at these images from now on; only the instance is changed, and its loader notes its batches."""

        def begin(*_: Any) -> None:
            order.note(validator.dataloader)  # a validation of its own makes it just before

        def look(_: None, scores: Any, batch: dict[str, Any]) -> None:
            self._look(validator, wanted, scores, batch)

        self.watch.before(validator, "init_metrics", begin)
        self.watch.after(validator, "update_metrics", look)

    def _look(self, validator: Any, wanted: Callable[[Path], bool], scores: Any, batch: dict[str, Any]) -> None:
        true = [int(index) for index in validator.targets[-1].tolist()]
        files = [Path(file) for file in batch.get("im_file") or order.files(validator.dataloader, true)]
        rows = [row for row, file in enumerate(files) if wanted(file)]
        if not rows:
            return
        names = classes.named(validator.names)
        ranked = validator.pred[-1][rows].tolist()  # the best five, as the metrics rank them
        for row, probabilities, best in zip(rows, _probabilities(scores[rows].float().cpu()).numpy(), ranked):
            file, index = files[row], true[row]
            sight = Sight(_image(file, index, probabilities, best, names))
            self.seen[file] = sight
            if file in self.seen:  # it keeps the worst ones only, perhaps
                width, height = maps.size(file)
                sight.image = structs.replace(sight.image, width=width, height=height)


def _image(file: Path, true: int, probabilities: Any, best: list[int], names: dict[int, str]) -> SeenImage:
    """Tell what an image is taken for; its size is not known yet.

    :param true: the index of its class
    :param best: the indices of the most probable classes
    """
    label, taken_for = names[true], names[best[0]]
    return SeenImage(
        path=file.as_posix(),
        width=0,
        height=0,
        picture="",
        score=round(1 - float(probabilities[true]), 4),
        reason="" if best[0] == true else f"{label} taken for {taken_for} ({probabilities[best[0]]:.2f})",
        label=label,
        probabilities={names[index]: round(float(probabilities[index]), 5) for index in best},
    )


def _probabilities(scores: Any) -> Any:
    """Return probabilities; the networks of torchvision give logits."""
    are_probabilities = bool((scores >= 0).all()) and bool(((scores.sum(1) - 1).abs() < 0.01).all())
    return scores if are_probabilities else scores.softmax(1)
