"""Images with labels and predictions, as W&B shows them: boxes and masks over a picture, and a table of all.

W&B knows upright boxes and maps of classes. What else there is, such as keypoints, is drawn into the picture. Pillow
is imported when there are images.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import wandb

from tracking_hooks.drawing import draw
from tracking_hooks.events import Rejected
from tracking_hooks.predictions import Box, SeenImage, read_member

if TYPE_CHECKING:
    from PIL.Image import Image

OF_TRAINING = ("predictions", "worst")
"""Names of images that a training shows by itself, over epochs."""

COLUMNS = [
    "image", "path", "score", "reason", "labelled", "predicted", "missed", "false positives", "wrong class",
]  # fmt: skip

_NO_CLASS = 255
_MARGIN = (114, 114, 114)
_JPEG_QUALITY = 90


@contextmanager
def unpacked(archive: Path, images: Sequence[SeenImage], classes: Mapping[int, str], task: str) -> Iterator[Pictures]:
    """Unpack the pictures of an event for as long as W&B's client reads them."""
    with TemporaryDirectory(prefix="tracking-hooks-wandb-pictures-") as folder:
        yield Pictures(archive, images, classes, task, Path(folder))


class Pictures:
    """The images of one event.

    The names of all files come from the event, and so do those that W&B's client makes up of their content: what is
    given again is the same.
    """

    def __init__(
        self, archive: Path, images: Sequence[SeenImage], classes: Mapping[int, str], task: str, folder: Path
    ) -> None:
        """Use ``unpacked``."""
        self._archive = archive
        self._images = images
        self._classes = dict(classes)
        self._ids = {name: index for index, name in classes.items()}
        for box in (box for image in images for box in (*image.labels, *image.predictions)):
            if box.label not in self._ids:
                self._ids[box.label] = max(self._classes, default=-1) + 1
                self._classes[self._ids[box.label]] = box.label
        self._task = task
        self._files = [folder / f"{index}{self._suffix(image)}" for index, image in enumerate(images)]
        self._sizes = [self._write(image, file) for image, file in zip(images, self._files)]

    def row(self, name: str) -> dict[str, Any]:
        """Return what is logged: a panel and a table, or of the user's own image, the image."""
        if name in OF_TRAINING or len(self._images) != 1:
            return {f"{name}/images": self.gallery(), f"{name}/table": self.table()}
        return {name: self.single()}

    def gallery(self) -> list[wandb.Image]:
        """Return the images for one panel, which shows them rightly only if they are all of one size."""
        canvas = max(width for width, _ in self._sizes), max(height for _, height in self._sizes)
        return [self._image(index, canvas) for index in range(len(self._images))]

    def single(self) -> wandb.Image:
        """Return the only image."""
        return self._image(0, self._sizes[0])

    def table(self) -> wandb.Table:
        """Return a table with a row for each image."""
        shown = [self._image(index, size) for index, size in enumerate(self._sizes)]
        return wandb.Table(columns=COLUMNS, data=[[cell, *_cells(image)] for cell, image in zip(shown, self._images)])

    def _image(self, index: int, canvas: tuple[int, int]) -> wandb.Image:
        image, file, size = self._images[index], self._files[index], self._sizes[index]
        if canvas != size:
            wide = file.with_name(f"{index}-{canvas[0]}x{canvas[1]}{file.suffix}")
            picture = _decoded(file.read_bytes()).convert("RGB")
            _on_canvas(picture, canvas, _MARGIN).save(wide, quality=_JPEG_QUALITY)
            file = wide
        is_drawn = self._is_drawn(image)
        return wandb.Image(
            str(file),
            caption=caption(image),
            classes=[{"id": number, "name": name} for number, name in self._classes.items()],
            boxes=None if is_drawn else self._boxes(image, size, canvas),
            masks=None if is_drawn else self._masks(image, size, canvas),
        )

    def _is_drawn(self, image: SeenImage) -> bool:
        boxes = (*image.labels, *image.predictions)
        is_oriented = self._task == "obb" and any(box.polygon for box in boxes)
        return is_oriented or image.depths is not None or any(box.keypoints for box in boxes)

    def _suffix(self, image: SeenImage) -> str:
        return ".jpg" if self._is_drawn(image) else PurePosixPath(image.picture).suffix

    def _write(self, image: SeenImage, file: Path) -> tuple[int, int]:
        """Write the picture of an image, and return its size."""
        with self._reading(image.picture):
            is_drawn = self._is_drawn(image)
            content = draw(image, self._archive, self._classes) if is_drawn else self._read(image.picture)
            size: tuple[int, int] = _decoded(content).size
        file.write_bytes(content)
        return size

    def _read(self, member: str) -> bytes:
        return read_member(self._archive, member)

    @contextmanager
    def _reading(self, member: str) -> Iterator[None]:
        try:
            yield
        except (ImportError, KeyError, OSError, ValueError, zipfile.BadZipFile) as error:  # of a library
            raise Rejected(f"{member} of {self._archive} cannot be shown in W&B: {error}") from error

    # -- over the picture -------------------------------------------------------------------------------------

    def _boxes(self, image: SeenImage, size: tuple[int, int], canvas: tuple[int, int]) -> dict[str, Any] | None:
        if not (image.labels or image.predictions):
            return None
        # From pixels of the image on disk to fractions of what is shown.
        scale = size[0] / canvas[0] / image.width, size[1] / canvas[1] / image.height
        groups = {
            "predictions": [self._predicted(box, image, scale) for box in image.predictions],
            "ground_truth": [self._labelled(box, image, scale) for box in image.labels],
        }
        return {name: {"box_data": boxes, "class_labels": self._classes} for name, boxes in groups.items()}

    def _predicted(self, box: Box, image: SeenImage, scale: tuple[float, float]) -> dict[str, Any]:
        text = box.label if box.confidence is None else f"{box.label} {box.confidence:.2f}"
        if box.match is not None and image.labels[box.match].label != box.label:
            text += f" (is {image.labels[box.match].label})"
        elif box.match is None and is_judged(image):
            text += " (false positive)"
        scores = {} if box.confidence is None else {"confidence": round(box.confidence, 4)}
        if is_judged(image):
            scores["iou"] = round(box.iou or 0.0, 4)
        return {**self._placed(box, scale), "box_caption": text, "scores": scores}

    def _labelled(self, box: Box, image: SeenImage, scale: tuple[float, float]) -> dict[str, Any]:
        is_missed = box.match is None and is_judged(image)
        return {**self._placed(box, scale), "box_caption": f"{box.label} (missed)" if is_missed else box.label}

    def _placed(self, box: Box, scale: tuple[float, float]) -> dict[str, Any]:
        left, top, right, bottom = (
            round(min(max(at * scale[axis % 2], 0.0), 1.0), 6) for axis, at in enumerate(box.box)
        )
        position = {"minX": left, "maxX": right, "minY": top, "maxY": bottom}
        return {"position": position, "class_id": self._ids[box.label]}

    def _masks(self, image: SeenImage, size: tuple[int, int], canvas: tuple[int, int]) -> dict[str, Any] | None:
        labels = {index: name for index, name in self._classes.items() if index < _NO_CLASS}
        masks = {
            name: mask
            for name, mask in (
                ("predictions", self._mask(image, image.predicted_map, image.predictions, size)),
                ("ground_truth", self._mask(image, image.label_map, image.labels, size)),
            )
            if mask
        }
        if not masks:
            return None
        import numpy  # W&B's client takes no other masks

        return {
            name: {"mask_data": numpy.asarray(_on_canvas(mask, canvas, _NO_CLASS)), "class_labels": labels}
            for name, mask in masks.items()
        }

    def _mask(self, image: SeenImage, member: str, boxes: list[Box], size: tuple[int, int]) -> Image | None:
        """Return the class of each pixel; where objects overlap, of the most confident one."""
        if member:
            with self._reading(member):
                return _decoded(self._read(member)).convert("L")
        shown = [box for box in boxes if len(box.polygon) > 2 and self._ids[box.label] < _NO_CLASS]
        if not shown:
            return None
        from PIL import Image, ImageDraw

        mask = Image.new("L", size, _NO_CLASS)
        across, down = size[0] / image.width, size[1] / image.height
        for box in reversed(shown):
            ImageDraw.Draw(mask).polygon([(x * across, y * down) for x, y in box.polygon], fill=self._ids[box.label])
        return mask


def is_judged(image: SeenImage) -> bool:
    """Return whether predictions were compared with labels."""
    return image.score is not None


def caption(image: SeenImage) -> str:
    """Return what stands below an image."""
    parts = [image.path]
    if image.label is not None or image.probabilities:
        parts.append(f"{image.label or 'not labelled'}, predicted {_probable(image)}")
    if image.score is not None:
        parts.append(f"score {image.score:.2f}")
    if image.reason:
        parts.append(image.reason)
    if image.left_out:
        parts.append(f"{image.left_out} more object{'s' * (image.left_out > 1)}")
    return " · ".join(parts)


def _cells(image: SeenImage) -> list[Any]:
    score = None if image.score is None else round(image.score, 4)
    if image.label is not None or image.probabilities:
        wrong = int(image.label != next(iter(image.probabilities), None)) if is_judged(image) else None
        return [image.path, score, image.reason, image.label or "", _probable(image), None, None, wrong]
    counts: list[int | None] = [None, None, None]
    if is_judged(image) and not image.predicted_map:
        matched = [box for box in image.predictions if box.match is not None]
        counts = [
            sum(box.match is None for box in image.labels),
            len(image.predictions) - len(matched),
            sum(image.labels[box.match].label != box.label for box in matched if box.match is not None),
        ]
    return [image.path, score, image.reason, _counted(image.labels), _counted(image.predictions), *counts]


def _probable(image: SeenImage) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in image.probabilities.items())


def _counted(boxes: Sequence[Box]) -> str:
    return ", ".join(f"{count} {name}" for name, count in Counter(box.label for box in boxes).most_common())


def _decoded(content: bytes) -> Image:
    from PIL import Image

    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


def _on_canvas(picture: Image, size: tuple[int, int], color: Any) -> Image:
    """Return a picture with a margin to the right and below."""
    if picture.size == size:
        return picture
    from PIL import Image

    canvas = Image.new(picture.mode, size, color)
    canvas.paste(picture, (0, 0))
    return canvas
