"""What the labels of a data set say: how many objects of each class there are, and whether two data sets are the same.

A data set is one of Ultralytics' classes, or several of them joined (``datasets``), or of a class of the user's own, of
which nothing is known.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

_AT_ONCE = 1000
"""Images whose labels are joined for the digest: faster than one by one, and little memory."""
_TAIL = 64
"""Bytes at the end of a PNG: the checksums of its pixels are among them."""
_READERS = 8


def count(images: Any, classes: dict[int, str]) -> dict[str, int]:
    """Return the number of labelled objects by class, in the order of the classes.

    Objects that an image has phrases of its own for belong to no class.
    """
    labelled: list[Any] = [[]]
    for part in _parts(images):
        of_images = [label for label in getattr(part, "labels", ()) if "texts" not in label]
        labelled.append(_joined([label["cls"] for label in of_images]))
        labelled.append([int(sample[1]) for sample in getattr(part, "samples", ())])  # classification: (file, class, …)
    indices, counts = np.unique(np.concatenate(labelled).astype(int), return_counts=True)
    return {classes.get(index, str(index)): number for index, number in zip(indices.tolist(), counts.tolist())}


def digest(images: Any, classes: dict[int, str]) -> bytes:
    """Return what is equal for the same images, labels and class names, wherever they are, and differs for others.

    Of labels that are files of pixels (masks, depths), size and end are compared.

    :raises ValueError: if nothing is known of the labels
    """
    sha, known = hashlib.sha256(repr(sorted(classes.items())).encode()), False
    for part in _parts(images):
        # Their order is another one with rect=True.
        if labels := sorted(getattr(part, "labels", ()), key=lambda label: str(label["im_file"])):
            known = True
            _add_names(sha, [str(label["im_file"]) for label in labels])
            for some in _batches(labels):
                _add_labels(sha, some)
            _add_files(sha, part, labels)
        if samples := getattr(part, "samples", ()):
            known = True
            _add_names(sha, [str(sample[0]) for sample in samples])
            sha.update(np.fromiter((sample[1] for sample in samples), np.int64))
    if not known:
        raise ValueError(f"the labels of a {type(images).__name__} are unknown")
    return sha.digest()


def _parts(images: Any) -> Iterable[Any]:
    parts: Iterable[Any] = getattr(images, "datasets", None) or (images,)
    return parts


def _batches(items: list[Any]) -> Iterable[list[Any]]:
    return (items[first : first + _AT_ONCE] for first in range(0, len(items), _AT_ONCE))


def _add_names(sha: Any, names: list[str]) -> None:
    """Add the names of files, without the folder that they have in common."""
    cut = len(os.path.commonpath([Path(name).parent for name in (min(names), max(names))]))
    for some in _batches(names):
        sha.update("".join(f"{name[cut:]}\0" for name in some).encode(errors="surrogateescape"))


def _add_labels(sha: Any, labels: list[dict[str, Any]]) -> None:
    for part in ("cls", "bboxes", "keypoints"):
        _add(sha, [label.get(part) for label in labels])
    polygons = [label.get("segments") or () for label in labels]
    _add(sha, [np.array([len(of_image) for of_image in polygons])])
    _add(sha, list(chain.from_iterable(polygons)))
    sha.update("".join(repr(label["texts"]) for label in labels if "texts" in label).encode())


def _add(sha: Any, arrays: list[Any]) -> None:
    given = [array for array in arrays if array is not None]
    sha.update(np.array([0 if array is None else len(array) for array in arrays]))
    if given:
        sha.update(_joined(given))


def _joined(arrays: list[Any]) -> Any:
    """Join arrays to one of a single dimension."""
    if not arrays:
        return np.array([])
    try:
        return np.concatenate(arrays).ravel()  # as they nearly always are: equal but for their length
    except ValueError:
        return np.concatenate([np.ravel(array) for array in arrays])


def _add_files(sha: Any, part: Any, labels: list[dict[str, Any]]) -> None:
    """Add what is known of the files with the labels of single pixels: masks and depths."""
    depths = getattr(part, "depth_files_by_image", {})
    files = (label.get("mask_file") or depths.get(label["im_file"]) for label in labels)
    with ThreadPoolExecutor(_READERS) as pool:
        for about in pool.map(_end_of, filter(None, files)):
            sha.update(about)


def _end_of(file: str) -> bytes:
    """Return size and end of a file: to read all of them would hold up the training."""
    with Path(file).open("rb") as content:
        size = content.seek(0, os.SEEK_END)
        content.seek(max(size - _TAIL, 0))
        return f"{size}\0".encode() + content.read()
