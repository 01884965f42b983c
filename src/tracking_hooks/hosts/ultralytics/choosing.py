"""Which images of a data set are shown: the same ones in each epoch and in each training on it."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from ultralytics.engine.trainer import BaseTrainer

from tracking_hooks.hosts.ultralytics import data


def choose(images: Mapping[str, bool], count: int, seed: str) -> list[str]:
    """Choose images by chance, half of them among those with objects, which come first.

    A name's chance depends on nothing else: an image more or less changes one of those that are chosen.

    :param images: their names, and whether they have objects
    :param seed: a constant of the data set
    """
    drawn = sorted(images, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode(errors="surrogateescape")).digest())
    first = [name for name in drawn if images[name]][: (count + 1) // 2]
    chosen = set(first)
    return [*first, *(name for name in drawn if name not in chosen)][:count]


def names(files: Iterable[PurePath], roots: Sequence[PurePath]) -> list[str]:
    """Name files by their paths below a folder, with forward slashes on each system.

    :param roots: the folders that may be it; where none holds them all, it is the one that they have in common
    """
    paths = list(files)
    for root in roots:
        if all(path.is_relative_to(root) for path in paths):
            return [path.relative_to(root).as_posix() for path in paths]
    common = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(common).as_posix() for path in paths]


_chosen: weakref.WeakKeyDictionary[BaseTrainer, dict[Path, str]] = weakref.WeakKeyDictionary()


def chosen(trainer: BaseTrainer, validator: Any, count: int) -> dict[Path, str]:
    """Return the images that are shown of a training, with their names: the same ones in each of its processes."""
    if trainer not in _chosen:
        own = getattr(trainer, "test_loader", None)  # its validator may have other images first, by a callback
        images = Images((validator.dataloader if own is None else own).dataset, trainer.data)
        _chosen[trainer] = images.choose(count, data.name_of_dataset(trainer))
    return _chosen[trainer]


class Images:
    """The images of a data set: their names, and which of them have objects."""

    def __init__(self, dataset: Any, described: Any) -> None:
        """List them; no image is read.

        :param described: what Ultralytics has read of the data set's YAML
        """
        listed = [entry for part in getattr(dataset, "datasets", None) or [dataset] for entry in _listed(part)]
        files = [file for file, _ in listed]
        place = described.get("path") if isinstance(described, dict) else None
        roots = [Path(place).absolute(), Path(place).resolve()] if place else []  # Ultralytics resolves some of them
        self.names: dict[Path, str] = dict(zip(files, names(files, roots) if files else [], strict=True))
        self._have_objects = {self.names[file]: has_objects for file, has_objects in listed}

    def choose(self, count: int, seed: str) -> dict[Path, str]:
        """Return so many of them with their names, in the order in which they were chosen."""
        files = {name: file for file, name in self.names.items()}
        return {files[name]: name for name in choose(self._have_objects, count, seed)}


def _listed(dataset: Any) -> list[tuple[Path, bool]]:
    """Return the files of a data set, and whether each has objects; what is no detector's has some in each."""
    if hasattr(dataset, "samples"):
        return [(Path(sample[0]), True) for sample in dataset.samples]
    files = [Path(file) for file in dataset.im_files]
    labels = getattr(dataset, "labels", None) or []
    if len(labels) != len(files):
        return [(file, True) for file in files]
    return [(file, "cls" not in label or len(label["cls"]) > 0) for file, label in zip(files, labels)]
